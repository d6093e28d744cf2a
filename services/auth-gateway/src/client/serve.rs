//! The sockets of the client listener: HTTP/1.1 and HTTP/2, on loopback and Unix sockets in plaintext as well.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use sandgate_rpc::{HEADER_LIST_MAX_BYTES, Shutdown};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;

use super::Clients;
use crate::bound::{Bound, Connection};
use crate::workers::Workers;

/// Connections of clients at a time, well under the usual limit of descriptors.
const CONNECTIONS_MAX: usize = 8_192;
/// Calls on one connection at a time.
const STREAMS_MAX: u32 = 256;
/// To the end of an HTTP/1.1 request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// To the end of a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// A client that is silent this long is asked whether it lives.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// After a listener had no descriptor to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The smallest HTTP/1.1 buffer that holds a header list at its limit.
const HTTP1_BUFFER_BYTES: usize = 64 * 1024;

/// Accepts until the shutdown begins, and gives each connection to a worker.
pub(crate) async fn serve(
    bound: Bound,
    clients: Clients,
    workers: Arc<Workers>,
    ending: Shutdown,
    accepting: Shutdown,
) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        let accepted = tokio::select! {
            () = accepting.cancelled() => return,
            accepted = bound.accept() => accepted,
        };
        match accepted {
            Ok(connection) => {
                let (clients, ending) = (clients.clone(), ending.clone());
                let given = workers.try_spawn("client connection", async move {
                    let _permit = permit;
                    if let Err(error) = serve_one(connection, clients, ending).await {
                        tracing::debug!(%error, "a client's connection ended");
                    }
                });
                if given.is_err() {
                    tracing::warn!("every worker is far behind; a client's connection was closed");
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the client listener could not accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve_one(connection: Connection, clients: Clients, ending: Shutdown) -> io::Result<()> {
    match connection {
        Connection::Tcp(stream, tls) => {
            stream.set_nonblocking(true)?;
            let stream = tokio::net::TcpStream::from_std(stream)?;
            stream.set_nodelay(true)?;
            let Some(tls) = tls else {
                return speak(stream, clients, ending).await;
            };
            let secured = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await;
            let secured = secured.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            speak(secured, clients, ending).await
        }
        Connection::Unix(stream) => {
            stream.set_nonblocking(true)?;
            speak(tokio::net::UnixStream::from_std(stream)?, clients, ending).await
        }
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    clients: Clients,
    ending: Shutdown,
) -> io::Result<()> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HTTP1_BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEPALIVE)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_LIST_MAX_BYTES);
    let service = service_fn(move |request| {
        let clients = clients.clone();
        async move { Ok::<_, Infallible>(clients.answer(request).await) }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = ending.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    ended.map_err(io::Error::other)
}
