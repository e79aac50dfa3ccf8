//! `hostmux demo`: the main job at work, without a file, a privilege or a network.

#![allow(clippy::print_stdout)]

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::Context;
use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::{load, run};
use crate::body::Body;
use crate::diagnostic::Colour;
use crate::observe::access_log::Format;
use crate::rt;
use crate::server::inherit::Inherited;
use crate::server::{Speaks, reload};
use crate::tls::Tickets;

/// The sites of the demonstration and the ports that are asked for first.
const SITES: [(&str, u16); 3] = [
    ("sub1.xyz.com", 8080),
    ("sub2.xyz.com", 8181),
    ("fallback", 8888),
];

pub(super) fn run(port: u16) -> anyhow::Result<ExitCode> {
    let mut ports = Vec::new();
    for (name, wanted) in SITES {
        let socket = free(wanted).context("no port could be had for an example endpoint")?;
        let port = socket.local_addr()?.port();
        if port != wanted {
            println!("port {wanted} is taken: the endpoint of {name} is on {port}");
        }
        rt::thread(&format!("endpoint-{port}"), move || endpoint(name, socket))?;
        ports.push(port);
    }
    let router = free(port)?.local_addr()?.port();
    if router != port {
        println!("port {port} is taken: the router is on {router}");
    }
    let text = format!(
        "listen: {{ https: \"127.0.0.1:{router}\", http: off }}\nsites:\n  {}: {}\n  {}: {}\nfallback: {}\n",
        SITES[0].0, ports[0], SITES[1].0, ports[1], ports[2],
    );
    let state = state()?;
    let mut loaded = reload::judge("demo".to_owned(), text, Path::new("/nonexistent"));
    let Some((config, inventory)) = loaded.take() else {
        anyhow::bail!(
            "the demonstration's own configuration is broken:\n{}",
            loaded.render(Colour::Plain)
        );
    };
    super::start_log(Format::Text);
    let listeners = run::bind(&config, Inherited::none())?;
    let tickets = Tickets::fleeting(SystemTime::now());
    let snapshot = reload::open(&config, inventory, Arc::new(tickets), &state, None)?;
    let served = run::Served {
        snapshot,
        listeners,
        source: None,
        control: None,
    };
    run::serve(&config, served, Format::Text, |server| {
        let port = server
            .addresses()
            .iter()
            .find(|(speaks, _)| *speaks == Speaks::Https)
            .map_or(router, |(_, address)| address.port());
        print!(
            "{}",
            lines_to_try(&loaded.text, port, &state.join("local-ca/ca.pem"))
        );
        io::Write::flush(&mut io::stdout())?;
        Ok(())
    })
}

fn lines_to_try(config: &str, port: u16, ca: &Path) -> String {
    let ca = ca.display();
    let curl = |options: &str, name: &str| {
        format!(
            "  curl {options}--cacert {ca} --resolve {name}:{port}:127.0.0.1 https://{name}:{port}/\n"
        )
    };
    let indented: String = config.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "\nhostmux is serving this sites.yaml:\n\n{indented}\nTry, in another terminal:\n\n{}{}{}{}\n\
         Each request gets a line here. Ctrl-C stops.\n\n",
        curl("", SITES[0].0),
        curl("", SITES[1].0),
        curl("--http1.1 ", SITES[0].0),
        curl("", "unknown.xyz.com"),
    )
}

/// The port that is wanted, or a free one.
fn free(wanted: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, wanted))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
}

/// The usual state folder, so that the CA needs to be trusted only once; else a passing one.
fn state() -> anyhow::Result<PathBuf> {
    let usual = load::state_directory()?;
    if std::fs::create_dir_all(&usual).is_ok()
        && !std::fs::metadata(&usual)?.permissions().readonly()
    {
        return Ok(usual);
    }
    let passing = std::env::temp_dir().join(format!("hostmux-demo-{}", std::process::id()));
    std::fs::create_dir_all(&passing)
        .with_context(|| format!("cannot make {}", passing.display()))?;
    Ok(passing)
}

/// A tiny server that shows what it received.
async fn endpoint(name: &'static str, socket: TcpListener) {
    let listener = socket
        .set_nonblocking(true)
        .and_then(|()| tokio::net::TcpListener::from_std(socket));
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "an example endpoint cannot listen"),
    };
    let Ok(address) = listener.local_addr() else {
        return;
    };
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            continue;
        };
        tokio::task::spawn_local(async move {
            let service = service_fn(move |request| async move {
                Ok::<_, Infallible>(shown(name, address, &request))
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(socket), service)
                .await;
        });
    }
}

fn shown(name: &str, address: SocketAddr, request: &Request<Incoming>) -> Response<Body> {
    let mut text = format!(
        "This is the endpoint of {name}, on port {}. It received:\n\n{} {}\n",
        address.port(),
        request.method(),
        request.uri(),
    );
    for (name, value) in request.headers() {
        text.push_str(&format!(
            "{name}: {}\n",
            String::from_utf8_lossy(value.as_bytes())
        ));
    }
    let mut response = Response::new(Body::Full(Bytes::from(text)));
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}
