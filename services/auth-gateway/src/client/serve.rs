//! The sockets of the client listener: HTTP/1.1 and HTTP/2, on loopback and Unix sockets in plaintext as well.
//!
//! A connection is for clients with a key. One over which no good key has come in time is closed, whatever it has
//! sent until then: half a handshake, a preface, or requests that were refused.

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
use tokio::time::Instant;

use super::Clients;
use super::met::{Met, Origin};
use crate::bound::{Bound, Connection};
use crate::workers::Workers;

/// Calls on one connection at a time.
const STREAMS_MAX: u32 = 256;
/// To the end of an HTTP/1.1 request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A client that is silent this long is asked whether it lives.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// After a listener had no descriptor to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// A stranger who was told that the connection ends has this long to take the last answer.
const LAST_ANSWER: Duration = Duration::from_secs(1);
/// The smallest HTTP/1.1 buffer that holds a header list at its limit.
const HTTP1_BUFFER_BYTES: usize = 64 * 1024;

/// How a listener takes connections.
#[derive(Debug)]
pub(crate) struct Taking {
    /// Room for connections.
    pub(crate) room: Arc<Semaphore>,
    /// From a connection to its first request with a good key.
    pub(crate) stranger_limit: Duration,
    /// Who serves them.
    pub(crate) workers: Arc<Workers>,
    /// Begins when connections end.
    pub(crate) ending: Shutdown,
    /// Begins when no more are taken.
    pub(crate) accepting: Shutdown,
}

/// Accepts until the shutdown begins, and gives each connection to a worker.
pub(crate) async fn serve(bound: Bound, clients: Clients, taking: Taking) {
    let Taking {
        room,
        stranger_limit,
        workers,
        ending,
        accepting,
    } = taking;
    let next = async || {
        let permit = Arc::clone(&room).acquire_owned().await;
        let permit = permit.map_err(io::Error::other)?;
        Ok::<_, io::Error>((bound.accept().await?, permit))
    };
    loop {
        let accepted = tokio::select! {
            () = accepting.cancelled() => return,
            accepted = next() => accepted,
        };
        match accepted {
            Ok((connection, permit)) => {
                let (clients, ending) = (clients.clone(), ending.clone());
                let until = Instant::now() + stranger_limit;
                let given = workers.try_spawn("client connection", async move {
                    let _permit = permit;
                    if let Err(error) = serve_one(connection, clients, until, ending).await {
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

async fn serve_one(
    connection: Connection,
    clients: Clients,
    until: Instant,
    ending: Shutdown,
) -> io::Result<()> {
    match connection {
        Connection::Tcp(stream, tls) => {
            stream.set_nonblocking(true)?;
            let stream = tokio::net::TcpStream::from_std(stream)?;
            stream.set_nodelay(true)?;
            let met = Met::stranger(Origin::of(stream.peer_addr()?.ip()));
            let Some(tls) = tls else {
                return speak(stream, clients, met, until, ending).await;
            };
            let secured = tokio::time::timeout_at(until, tls.accept(stream)).await;
            let secured = secured.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            speak(secured, clients, met, until, ending).await
        }
        Connection::Unix(stream) => {
            stream.set_nonblocking(true)?;
            let stream = tokio::net::UnixStream::from_std(stream)?;
            speak(stream, clients, Met::stranger(Origin::Unix), until, ending).await
        }
    }
}

async fn speak(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    clients: Clients,
    met: Met,
    until: Instant,
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
    let service = service_fn(|request| {
        let (clients, met) = (clients.clone(), met.clone());
        async move { Ok::<_, Infallible>(clients.answer(request, &met).await) }
    });
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended.map_err(io::Error::other),
        () = ending.cancelled() => {}
        () = still_strange(&met, until) => {}
    }
    connection.as_mut().graceful_shutdown();
    let ended = tokio::select! {
        ended = connection => ended,
        // Somebody who shows a good key in the last moment gets the answer, and then connects again.
        () = still_strange(&met, until + LAST_ANSWER) => {
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        }
    };
    ended.map_err(io::Error::other)
}

/// Ends at `until`, and never where the client is known by then.
async fn still_strange(met: &Met, until: Instant) {
    tokio::select! {
        biased;
        () = met.known() => std::future::pending().await,
        () = tokio::time::sleep_until(until) => {}
    }
}
