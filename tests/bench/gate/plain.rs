//! A plain proxy of ours: hyper on one thread, as the gate has it, and nothing that decides anything. What the
//! gate's whole chain costs over it is the tax of its policy.

use std::path::Path;
use std::pin::pin;
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use hyper::body::Incoming;
use hyper::header::HOST;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response, Uri, Version};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::net::UnixListener;
use tokio::task::JoinSet;

/// The argument that makes this binary the plain proxy; its socket, the backend and the protocol follow.
pub(crate) const ROLE: &str = "--as-plain";

/// Starts it, as a process of its own.
///
/// # Errors
/// When it cannot be started.
pub(crate) fn start(socket: &Path, port: u16, protocol: &str) -> anyhow::Result<Child> {
    Command::new(std::env::current_exe()?)
        .arg(ROLE)
        .arg(socket)
        .args([&port.to_string(), protocol])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .context("start the plain proxy")
}

/// Serves until it is killed.
///
/// # Errors
/// When it cannot listen.
pub(crate) async fn serve(arguments: &[String]) -> anyhow::Result<()> {
    let [socket, port, protocol] = arguments else {
        anyhow::bail!("a socket, a port and a protocol");
    };
    let version = if protocol == "h2" {
        Version::HTTP_2
    } else {
        Version::HTTP_11
    };
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Incoming> = Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .http2_only(protocol == "h2")
        .build(connector);
    let authority = format!("127.0.0.1:{port}");
    let listener = UnixListener::bind(socket)?;
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted?.0,
            Some(_ended) = connections.join_next() => continue,
        };
        let (client, authority) = (client.clone(), authority.clone());
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let (client, authority) = (client.clone(), authority.clone());
                async move { pass_on(&client, &authority, version, request).await }
            });
            let connection = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .max_concurrent_streams(1_024)
                .serve_connection(TokioIo::new(stream), service);
            // What was on its way over a connection that broke has failed, and is told at its client.
            drop(pin!(connection).await);
        });
    }
}

async fn pass_on(
    client: &Client<HttpConnector, Incoming>,
    authority: &str,
    version: Version,
    mut request: Request<Incoming>,
) -> anyhow::Result<Response<Incoming>> {
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", |path| path.as_str());
    let uri: Uri = Uri::builder()
        .scheme("http")
        .authority(authority)
        .path_and_query(target)
        .build()?;
    *request.uri_mut() = uri;
    *request.version_mut() = version;
    request.headers_mut().remove(HOST);
    Ok(client.request(request).await?)
}
