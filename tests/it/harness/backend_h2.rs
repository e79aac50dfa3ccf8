//! An endpoint of HTTP/2 that keeps the rules, and answers as it is told.
//!
//! What breaks the rules is written frame by frame: see `Conn::frames`.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::certificates::Certificates;
use super::wire::Stream;
use super::within;

/// An endpoint. Dropped, it and its connections are closed.
pub(crate) struct H2Backend {
    port: u16,
    seen: watch::Receiver<Seen>,
    _tasks: JoinSet<()>,
}

/// What came to an endpoint.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) connections: usize,
    pub(crate) closed: usize,
    pub(crate) calls: usize,
    /// Calls whose script has ended.
    pub(crate) over: usize,
}

/// A request in the hands of a script. Dropped, its stream is reset.
pub(crate) struct Call {
    pub(crate) request: Request<RecvStream>,
    pub(crate) respond: SendResponse<Bytes>,
}

impl H2Backend {
    /// Answers with what it received.
    pub(crate) async fn echo() -> Self {
        Self::script(Builder::new(), Call::echo).await
    }

    /// Does with each request what the script says.
    pub(crate) async fn script<F>(
        builder: Builder,
        script: impl Fn(Call) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::run(builder, None, script).await
    }

    /// An echo behind TLS that offers HTTP/2.
    pub(crate) async fn echo_tls(certificates: &Certificates) -> Self {
        let acceptor = certificates.acceptor(&["h2"]);
        Self::run(Builder::new(), Some(acceptor), Call::echo).await
    }

    async fn run<F>(
        builder: Builder,
        acceptor: Option<TlsAcceptor>,
        script: impl Fn(Call) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, seen) = watch::channel(Seen::default());
        let (sender, script) = (Arc::new(sender), Arc::new(script));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                sender.send_modify(|seen| seen.connections += 1);
                let (sender, script) = (sender.clone(), script.clone());
                let (builder, acceptor) = (builder.clone(), acceptor.clone());
                connections.spawn(async move {
                    if let Some(stream) = secured(stream, acceptor).await {
                        serve(stream, &builder, &sender, script).await;
                    }
                    sender.send_modify(|seen| seen.closed += 1);
                });
            }
        });
        Self {
            port,
            seen,
            _tasks: tasks,
        }
    }

    /// The endpoint as `sites.yaml` names it, without TLS.
    pub(crate) fn at(&self) -> String {
        format!("h2c://{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.borrow().connections
    }

    /// Waits until what came is as it should be.
    pub(crate) async fn wait_for(&self, holds: impl FnMut(&Seen) -> bool) {
        let mut seen = self.seen.clone();
        within(seen.wait_for(holds)).await.unwrap();
    }
}

async fn secured(stream: TcpStream, acceptor: Option<TlsAcceptor>) -> Option<Box<dyn Stream>> {
    match acceptor {
        None => Some(Box::new(stream)),
        Some(acceptor) => {
            let stream = acceptor.accept(stream).await.ok()?;
            Some(Box::new(stream))
        }
    }
}

async fn serve<F>(
    stream: Box<dyn Stream>,
    builder: &Builder,
    seen: &Arc<watch::Sender<Seen>>,
    script: Arc<impl Fn(Call) -> F + Send + Sync + 'static>,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let Ok(mut connection) = builder.handshake(stream).await else {
        return;
    };
    let mut calls = JoinSet::new();
    while let Some(Ok((request, respond))) = connection.accept().await {
        seen.send_modify(|seen| seen.calls += 1);
        let running = script(Call { request, respond });
        let seen = seen.clone();
        calls.spawn(async move {
            running.await;
            seen.send_modify(|seen| seen.over += 1);
        });
    }
}

impl Call {
    async fn echo(mut self) {
        let (body, trailers) = self.rest().await;
        let uri = self.request.uri();
        let mut text = format!(
            "{} {} {} {}\n",
            self.request.method(),
            uri.scheme_str().unwrap_or_default(),
            uri.authority().map_or("", |authority| authority.as_str()),
            uri.path_and_query().map_or("", |target| target.as_str()),
        );
        for (name, value) in self.request.headers() {
            text.push_str(&format!("{name}: {}\n", value.to_str().unwrap()));
        }
        text.push('\n');
        let mut answer: Vec<u8> = text.into();
        answer.extend(body);
        self.answer(answer, trailers);
    }

    /// The request's body to its end, and its trailers.
    pub(crate) async fn rest(&mut self) -> (Vec<u8>, Option<HeaderMap>) {
        let mut whole = Vec::new();
        let body = self.request.body_mut();
        while let Some(Ok(data)) = body.data().await {
            let _ = body.flow_control().release_capacity(data.len());
            whole.extend(data);
        }
        (whole, body.trailers().await.ok().flatten())
    }

    /// The next piece of the request's body; `None` at its end, however it came.
    pub(crate) async fn piece(&mut self) -> Option<Bytes> {
        let body = self.request.body_mut();
        let data = within(body.data()).await?.ok()?;
        let _ = body.flow_control().release_capacity(data.len());
        Some(data)
    }

    /// Answers whole.
    pub(crate) fn answer(mut self, body: impl Into<Bytes>, trailers: Option<HeaderMap>) {
        let Ok(mut stream) = self.respond.send_response(Response::new(()), false) else {
            return;
        };
        let _ = stream.send_data(body.into(), trailers.is_none());
        if let Some(trailers) = trailers {
            let _ = stream.send_trailers(trailers);
        }
    }

    /// Waits until the stream is reset; gives the reason.
    pub(crate) async fn reset(&mut self) -> h2::Reason {
        within(std::future::poll_fn(|cx| self.respond.poll_reset(cx)))
            .await
            .unwrap()
    }
}

/// Waits until an answer's stream is reset; gives the reason.
pub(crate) async fn reset(stream: &mut SendStream<Bytes>) -> h2::Reason {
    within(std::future::poll_fn(|cx| stream.poll_reset(cx)))
        .await
        .unwrap()
}
