//! gRPC whole, from a client of HTTP/2 to an endpoint of it.

use std::sync::Arc;

use bytes::Bytes;
use h2::server::Builder;
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::sync::Notify;

use crate::harness::{Backend, Call, H2Backend, Proxy, reset, taken, within};

fn call(path: &str) -> http::request::Builder {
    Request::post(format!("https://a.test{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
}

/// A length-prefixed message.
fn message(bytes: &[u8]) -> Bytes {
    let mut message = vec![0];
    message.extend((bytes.len() as u32).to_be_bytes());
    message.extend(bytes);
    message.into()
}

fn status(code: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(
        "grpc-status".parse().unwrap(),
        HeaderValue::from_static(code),
    )])
}

fn answer() -> Response<()> {
    let answer = Response::builder().header("content-type", "application/grpc");
    answer.body(()).unwrap()
}

async fn piece(body: &mut RecvStream) -> Bytes {
    let data = within(body.data()).await.unwrap().unwrap();
    let _ = body.flow_control().release_capacity(data.len());
    data
}

async fn before<F>(script: impl Fn(Call) -> F + Send + Sync + 'static) -> (H2Backend, Proxy)
where
    F: Future<Output = ()> + Send + 'static,
{
    let backend = H2Backend::script(Builder::new(), script).await;
    let proxy = Proxy::before(&backend.at());
    (backend, proxy)
}

/// Opens a call whose request goes on.
async fn open(
    proxy: &Proxy,
    path: &str,
) -> (
    h2::client::ResponseFuture,
    SendStream<Bytes>,
    crate::harness::H2,
) {
    let mut client = proxy.h2("a.test").await;
    let (answer, stream) = client
        .requests
        .send_request(call(path).body(()).unwrap(), false)
        .unwrap();
    (answer, stream, client)
}

#[tokio::test]
async fn a_unary_call_goes_through_whole() {
    let (_backend, proxy) = before(|mut call| async move {
        assert_eq!(call.request.headers()["te"], "trailers");
        assert_eq!(call.request.headers()["grpc-timeout"], "10S");
        let (body, _) = call.rest().await;
        let mut stream = call.respond.send_response(answer(), false).unwrap();
        stream.send_data(body.into(), false).unwrap();
        stream.send_trailers(status("0")).unwrap();
    })
    .await;
    let mut client = proxy.h2("a.test").await;
    let request = call("/s/m").header("grpc-timeout", "10S");
    let got = client
        .ask(request.body(message(b"hi").to_vec()).unwrap(), None)
        .await
        .unwrap();
    assert_eq!((got.status, got.body), (200, message(b"hi").to_vec()));
    assert_eq!(got.trailers, [("grpc-status".to_owned(), "0".to_owned())]);
}

#[tokio::test]
async fn an_answer_of_trailers_alone_ends_with_its_head() {
    let (_backend, proxy) = before(|mut call| async move {
        let mut answer = answer();
        answer.headers_mut().extend(status("5"));
        call.rest().await;
        call.respond.send_response(answer, true).unwrap();
    })
    .await;
    let (answer, mut stream, _client) = open(&proxy, "/").await;
    stream.send_data(message(b"x"), true).unwrap();
    let answer = within(answer).await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "5");
    assert!(answer.body().is_end_stream());
}

#[tokio::test]
async fn a_client_may_stream() {
    let (_backend, proxy) = before(|mut call| async move {
        let (body, trailers) = call.rest().await;
        assert_eq!(trailers, None);
        call.answer(body, Some(status("0")));
    })
    .await;
    let (answer, mut stream, _client) = open(&proxy, "/").await;
    for n in 0..10 {
        stream.send_data(message(&[n]), n == 9).unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(taken(answer).await.unwrap().body.len(), 60);
}

#[tokio::test]
async fn both_sides_stream_and_the_answer_begins_before_the_request_ends() {
    let (_backend, proxy) = before(|mut call| async move {
        let mut stream = call.respond.send_response(answer(), false).unwrap();
        while let Some(data) = call.piece().await {
            stream.send_data(data, false).unwrap();
        }
        stream.send_trailers(status("0")).unwrap();
    })
    .await;
    let (answer, mut stream, _client) = open(&proxy, "/").await;
    let mut body = within(answer).await.unwrap().into_body();
    for n in 0..5 {
        stream.send_data(message(&[n]), false).unwrap();
        assert_eq!(piece(&mut body).await, message(&[n]), "at once");
    }
    stream.send_data(Bytes::new(), true).unwrap();
    assert!(within(body.data()).await.is_none());
    let trailers = within(body.trailers()).await.unwrap().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
}

#[tokio::test]
async fn an_endpoint_may_end_a_call_whose_request_goes_on() {
    let (_backend, proxy) =
        before(|call| async move { call.answer(message(b"enough"), Some(status("8"))) }).await;
    let (answer, mut stream, _client) = open(&proxy, "/").await;
    stream.send_data(message(b"more to come"), false).unwrap();
    let got = taken(answer).await.unwrap();
    assert!(got.whole);
    assert_eq!(got.trailers, [("grpc-status".to_owned(), "8".to_owned())]);
}

#[tokio::test]
async fn big_messages_go_both_ways() {
    let (_backend, proxy) = before(|mut call| async move {
        let (body, _) = call.rest().await;
        call.answer(body, Some(status("0")));
    })
    .await;
    let mut client = proxy.h2("a.test").await;
    let big: Vec<u8> = (0..6 << 20).map(|n: u32| n as u8).collect();
    let request = call("/").body(message(&big).to_vec()).unwrap();
    let got = client.ask(request, None).await.unwrap();
    assert!(got.whole && got.body == message(&big));
}

#[tokio::test]
async fn a_deadline_that_is_over_is_told_as_one() {
    let (backend, proxy) = before(|mut call| async move {
        assert_eq!(call.reset().await, h2::Reason::CANCEL);
    })
    .await;
    let mut client = proxy.h2("a.test").await;
    let request = call("/").header("grpc-timeout", "300m");
    let got = client
        .ask(request.body(message(b"x").to_vec()).unwrap(), None)
        .await
        .unwrap();
    assert_eq!(
        (got.status, got.field("grpc-status").as_deref()),
        (200, Some("4"))
    );
    backend.wait_for(|seen| seen.over == 1).await;
}

/// The deadline began with the attempt: a call that was held for a restarting
/// endpoint waited its five seconds, and was told that it was not available.
#[tokio::test]
async fn a_deadline_runs_while_a_call_is_held() {
    let refusing = Backend::refusing();
    let proxy = Proxy::before(&format!("h2c://{}", refusing.at()));
    let mut client = proxy.h2("a.test").await;
    let request = call("/").header("grpc-timeout", "100m");
    let got = client.ask(request.body(message(b"x").to_vec()).unwrap(), None);
    assert_eq!(
        got.await.unwrap().field("grpc-status").as_deref(),
        Some("4")
    );
}

#[tokio::test]
async fn a_call_that_is_cancelled_is_cancelled_at_the_endpoint() {
    let (backend, proxy) = before(|mut call| async move {
        let mut stream = call.respond.send_response(answer(), false).unwrap();
        assert_eq!(reset(&mut stream).await, h2::Reason::CANCEL);
    })
    .await;
    let (answer, mut stream, _client) = open(&proxy, "/").await;
    let body = within(answer).await.unwrap().into_body();
    stream.send_reset(h2::Reason::CANCEL);
    drop(body);
    backend.wait_for(|seen| seen.over == 1).await;
}

#[tokio::test]
async fn a_call_that_the_endpoint_resets_breaks_off() {
    let go = Arc::new(Notify::new());
    let (held, seen) = (go.clone(), go);
    let (_backend, proxy) = before(move |mut call| {
        let held = held.clone();
        async move {
            let mut stream = call.respond.send_response(answer(), false).unwrap();
            held.notified().await;
            stream.send_reset(h2::Reason::INTERNAL_ERROR);
        }
    })
    .await;
    let (answer, _stream, _client) = open(&proxy, "/").await;
    let mut body = within(answer).await.unwrap().into_body();
    seen.notify_one();
    assert!(within(body.data()).await.unwrap().is_err());
}

#[tokio::test]
async fn our_own_failures_are_told_in_grpcs_words() {
    let refusing = Backend::refusing();
    let stranger = Backend::script(|_| async {}).await;
    let check = async |keys: &str, host: &str, request: http::request::Builder, want: &str| {
        let proxy = Proxy::with(keys);
        let mut client = proxy.h2("a.test").await;
        let request = request.uri(format!("https://{host}/s/m"));
        let got = client
            .ask(request.body(message(b"hi").to_vec()).unwrap(), None)
            .await
            .unwrap();
        let told = got.field("grpc-status");
        assert_eq!(
            (got.status, told.as_deref()),
            (200, Some(want)),
            "{keys} {got:?}"
        );
        assert!(got.field("grpc-message").is_some());
    };
    let refused = format!(
        "upstream: {{ endpoints: \"h2c://{}\", wait_for_endpoint: 0s }}",
        refusing.at()
    );
    check(&refused, "a.test", call("/"), "14").await;
    let lost = format!(
        "upstream: {{ endpoints: {}, wait_for_endpoint: 0s }}",
        stranger.at()
    );
    check(&lost, "a.test", call("/"), "14").await;
    check(
        &format!("{refused}\nmax_body: 2B"),
        "a.test",
        call("/").header("content-length", "7"),
        "8",
    )
    .await;
    check(&refused, "a.test", call("/").header("host", "b.test"), "13").await;
}
