//! The clients of every row: connections of HTTP/2, requests over them, and answers that are looked at.
//!
//! A refusal of gRPC is HTTP 200 with a trailer, and one of HTTP may be fast; so each answer counts only when
//! its status, its bytes and its trailers are those of the backend.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinSet;

use crate::backend;

/// What a client may have in flight toward it, so that a mebibyte does not wait for the window.
const WINDOW: u32 = 4 * 1024 * 1024;
/// No answer takes as long on any row.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// Requests over one connection.
pub(crate) type Client = http2::SendRequest<Full<Bytes>>;

/// Connections to a proxy, or to the backend itself, which end when they are dropped.
#[derive(Default)]
pub(crate) struct Clients {
    each: Vec<(Client, Arc<[HeaderValue]>)>,
    connections: JoinSet<()>,
}

impl Clients {
    /// Speaks HTTP/2 over a connection more, on which these tokens are shown in turns.
    ///
    /// # Errors
    /// When the other side does not.
    pub(crate) async fn add<S>(
        &mut self,
        stream: S,
        tokens: Arc<[HeaderValue]>,
    ) -> anyhow::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (client, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .handshake(TokioIo::new(stream))
            .await
            .context("speak HTTP/2")?;
        self.each.push((client, tokens));
        self.connections.spawn(async move {
            // What was on its way over a connection that broke has failed, and is told there.
            drop(connection.await);
        });
        Ok(())
    }
}

impl Clients {
    /// Asks once on each connection.
    ///
    /// # Errors
    /// When an answer is not the backend's.
    pub(crate) async fn each_answers(&self, asking: &Asking) -> anyhow::Result<()> {
        for (client, tokens) in &self.each {
            asking.ask(client.clone(), tokens.first()).await?;
        }
        Ok(())
    }
}

/// What is asked, over and over.
#[derive(Debug, Clone)]
pub(crate) struct Asking {
    /// What is asked for.
    pub(crate) kind: Kind,
    path: String,
    body: Bytes,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A small unary gRPC call.
    Unary,
    /// A small GET, which goes to the upstream over HTTP/1.1.
    Get,
    /// A GET of a mebibyte.
    Mebibyte,
}

impl Asking {
    /// What is asked for, of the gate or of a peer.
    pub(crate) fn of(kind: Kind, of_gate: bool) -> Self {
        let route = if of_gate { "/r/dictionary" } else { "" };
        Self {
            kind,
            path: match kind {
                Kind::Unary => "/scores.v1.ScoreService/Score".to_owned(),
                Kind::Get => format!("{route}/define"),
                Kind::Mebibyte => format!("{route}/mib"),
            },
            // `ScoreRequest { word: "gate" }` behind its five bytes of frame.
            body: Bytes::from_static(b"\0\0\0\0\x06\x0a\x04gate"),
        }
    }

    fn request(&self, token: Option<&HeaderValue>) -> anyhow::Result<Request<Full<Bytes>>> {
        let grpc = self.kind == Kind::Unary;
        let uri = format!("http://backend{}", self.path);
        let mut request = Request::new(Full::new(if grpc {
            self.body.clone()
        } else {
            Bytes::new()
        }));
        *request.uri_mut() = uri.parse()?;
        let headers = request.headers_mut();
        if grpc {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            headers.insert("te", HeaderValue::from_static("trailers"));
        }
        if let Some(token) = token {
            headers.insert(AUTHORIZATION, token.clone());
        }
        *request.method_mut() = if grpc { Method::POST } else { Method::GET };
        Ok(request)
    }

    /// Asks once.
    ///
    /// # Errors
    /// When the answer is not the backend's.
    async fn ask(&self, mut client: Client, token: Option<&HeaderValue>) -> anyhow::Result<()> {
        client.ready().await?;
        let answered = async {
            let (head, body) = client
                .send_request(self.request(token)?)
                .await?
                .into_parts();
            ensure!(head.status.is_success(), "answered {}", head.status);
            if self.kind == Kind::Mebibyte {
                return read_through(body).await;
            }
            let body = body.collect().await?;
            let trailers = body.trailers().cloned().unwrap_or_default();
            let bytes = body.to_bytes();
            match self.kind {
                Kind::Unary => {
                    let status = trailers
                        .get("grpc-status")
                        .or(head.headers.get("grpc-status"));
                    ensure!(
                        status.is_some_and(|status| status == "0"),
                        "grpc-status {status:?}, {:?}",
                        trailers
                            .get("grpc-message")
                            .or(head.headers.get("grpc-message"))
                    );
                    ensure!(
                        *bytes == backend::MESSAGE,
                        "another message than the backend's"
                    );
                }
                Kind::Get => ensure!(*bytes == *backend::TEXT, "another text than the backend's"),
                Kind::Mebibyte => {}
            }
            Ok(())
        };
        tokio::time::timeout(ANSWER_LIMIT, answered)
            .await
            .context("no answer in time")?
    }
}

async fn read_through(mut body: hyper::body::Incoming) -> anyhow::Result<()> {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame?.data_ref().map_or(0, Bytes::len);
    }
    ensure!(bytes == 1024 * 1024, "{bytes} bytes instead of a mebibyte");
    Ok(())
}

/// Asks `calls` times with so many at once on each connection.
///
/// # Errors
/// When an answer is not the backend's.
pub(crate) async fn saturate(
    clients: &Clients,
    at_once: usize,
    calls: usize,
    asking: &Asking,
) -> anyhow::Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut askers = JoinSet::new();
    for (client, tokens) in &clients.each {
        for _ in 0..at_once {
            let (client, tokens) = (client.clone(), Arc::clone(tokens));
            let (asking, next) = (asking.clone(), Arc::clone(&next));
            askers.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= calls {
                        return Ok::<_, anyhow::Error>(());
                    }
                    let token = tokens.get(number % tokens.len().max(1));
                    asking.ask(client.clone(), token).await?;
                }
            });
        }
    }
    while let Some(ended) = askers.join_next().await {
        ended??;
    }
    Ok(())
}

/// Asks so often in a second, whether earlier ones have been answered or not, and answers how long each took
/// from the moment at which it was due, sorted.
///
/// # Errors
/// When an answer is not the backend's.
#[expect(
    clippy::disallowed_methods,
    reason = "a bench measures real time: the pace, and how long answers take"
)]
pub(crate) async fn at_rate(
    clients: &Clients,
    per_second: u32,
    calls: usize,
    asking: &Asking,
) -> anyhow::Result<Vec<Duration>> {
    let (due, mut dues) = tokio::sync::mpsc::unbounded_channel();
    let interval = Duration::from_secs(1) / per_second;
    // A thread of its own keeps the pace: timers of the runtime are good to a millisecond only.
    let pacing = std::thread::spawn(move || {
        let begin = Instant::now();
        for number in 0..calls {
            let at = begin + interval * u32::try_from(number).unwrap_or(u32::MAX);
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            if due.send((number, at)).is_err() {
                return;
            }
        }
    });
    let mut askers = JoinSet::new();
    while let Some((number, at)) = dues.recv().await {
        let (client, tokens) = clients
            .each
            .get(number % clients.each.len().max(1))
            .context("a connection")?;
        let (client, tokens) = (client.clone(), Arc::clone(tokens));
        let asking = asking.clone();
        askers.spawn(async move {
            asking
                .ask(client, tokens.get(number % tokens.len().max(1)))
                .await?;
            Ok::<_, anyhow::Error>(at.elapsed())
        });
    }
    pacing
        .join()
        .map_err(|_| anyhow::anyhow!("the pacing thread panicked"))?;
    let mut took = Vec::with_capacity(calls);
    while let Some(ended) = askers.join_next().await {
        took.push(ended??);
    }
    took.sort_unstable();
    Ok(took)
}

/// The quantile of sorted durations.
pub(crate) fn quantile(sorted: &[Duration], quantile: f64) -> Duration {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index below some ten thousand"
    )]
    let index = (sorted.len() as f64 * quantile) as usize;
    sorted
        .get(index.min(sorted.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}
