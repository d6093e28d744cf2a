//! An upstream that says what reached it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sandgate_rpc::Shutdown;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;
use tonic::body::Body;

use super::{Shared, keeper};

pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    pub(crate) requests: Arc<AtomicUsize>,
    /// What reached it of each request that it answered in JSON, its credential included.
    pub(crate) heard: Shared<Vec<serde_json::Value>>,
    /// From when on `/ticking` sends [`AFTER`].
    pub(crate) answered: Arc<AtomicBool>,
    /// Rung when what was sent to `/Early` has ended.
    pub(crate) upload_ended: Arc<Notify>,
    /// Rung when the next event of `/events` may be sent.
    pub(crate) next_event: Arc<Notify>,
    shutdown: Shutdown,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

/// What ticks, before something that a test says, and after it.
pub(crate) const BEFORE: u8 = b'.';
pub(crate) const AFTER: u8 = b'!';
/// Between two ticks.
const TICK: Duration = Duration::from_millis(50);

/// Serves HTTP/1.1 and HTTP/2 in plaintext.
pub(crate) async fn start() -> Upstream {
    serve(None).await
}

/// Serves the same over TLS, with the certificate and the key of these files.
pub(crate) async fn start_tls((certificate, key): &(PathBuf, PathBuf)) -> Upstream {
    let chain = CertificateDer::pem_file_iter(certificate).expect("a file");
    let chain = chain.collect::<Result<Vec<_>, _>>().expect("certificates");
    let key = PrivateKeyDer::from_pem_file(key).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a pair");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    serve(Some(TlsAcceptor::from(Arc::new(config)))).await
}

/// A token endpoint answers `/token` with one that is good for a minute. `/echo` repeats the
/// credential in its headers, `/leak` in its body, a byte at a time; `/events` sends events as it
/// is told to; `/ticking` sends a byte again and again; `/Early` answers before it has read;
/// `/endless` never ends; `/redirect` is one; `/large` answers 100 KiB; a gRPC call is
/// answered with its headers as the message, in JSON; everything else with what reached it, in JSON.
async fn serve(tls: Option<TlsAcceptor>) -> Upstream {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let requests = Arc::new(AtomicUsize::new(0));
    let answered = Arc::new(AtomicBool::new(false));
    let heard = Shared::<Vec<_>>::default();
    let hears = Arc::clone(&heard);
    let shutdown = Shutdown::new();
    let (counted, ending) = (Arc::clone(&requests), shutdown.clone());
    let upload_ended = Arc::new(Notify::new());
    let early = Early {
        ended: Arc::clone(&upload_ended),
        shutdown: shutdown.clone(),
    };
    let said = Arc::clone(&answered);
    let next_event = Arc::new(Notify::new());
    let next = Arc::clone(&next_event);
    shutdown.spawn("upstream", async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = ending.cancelled() => return,
            };
            let (stream, _) = accepted.expect("a connection");
            let (counted, over) = (Arc::clone(&counted), ending.clone());
            let (tls, said) = (tls.clone(), Arc::clone(&said));
            let (next, hears) = (Arc::clone(&next), Arc::clone(&hears));
            let early = early.clone();
            ending.spawn("upstream's connection", async move {
                let service = service_fn(move |request| {
                    counted.fetch_add(1, Ordering::Relaxed);
                    answer(
                        request,
                        Arc::clone(&said),
                        Arc::clone(&next),
                        early.clone(),
                        Arc::clone(&hears),
                    )
                });
                let connection = async {
                    let builder = auto::Builder::new(TokioExecutor::new());
                    // The tests look at what the gate says; connections end as they like.
                    match tls {
                        None => drop(
                            builder
                                .serve_connection(TokioIo::new(stream), service)
                                .await,
                        ),
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                let stream = TokioIo::new(stream);
                                drop(builder.serve_connection(stream, service).await);
                            }
                        }
                    }
                };
                tokio::select! {
                    () = connection => {}
                    () = over.cancelled() => {}
                }
            });
        }
    });
    Upstream {
        address,
        requests,
        heard,
        answered,
        upload_ended,
        next_event,
        shutdown,
    }
}

/// Reads on what was answered already.
#[derive(Clone)]
pub(crate) struct Early {
    pub(crate) ended: Arc<Notify>,
    pub(crate) shutdown: Shutdown,
}

impl Early {
    pub(crate) fn read(self, body: Incoming) {
        let Self { ended, shutdown } = self;
        let ending = shutdown.clone();
        shutdown.spawn("upload", async move {
            tokio::select! {
                read = body.collect() => drop(read),
                () = ending.cancelled() => return,
            }
            ended.notify_one();
        });
    }
}

/// Two server-sent events, the second when it may be sent, and no end.
fn events(next: Arc<Notify>) -> Response<Body> {
    let events = ["data: one\n\n", "data: two\n\n"].into_iter();
    let stream = futures_util::stream::unfold((0, events), move |(sent, mut events)| {
        let next = Arc::clone(&next);
        async move {
            if sent > 0 {
                next.notified().await;
            }
            let event = Bytes::from(events.next()?);
            Some((Ok::<_, Infallible>(Frame::data(event)), (sent + 1, events)))
        }
    });
    Response::builder()
        .header("content-type", "text/event-stream")
        .body(Body::new(StreamBody::new(Box::pin(stream))))
        .expect("a response")
}

/// A byte again and again, as a gRPC message or as it is.
fn ticking(by_grpc: bool, answered: Arc<AtomicBool>) -> Response<Body> {
    let ticks = tokio::time::interval(TICK);
    let stream = futures_util::stream::unfold(ticks, move |mut ticks| {
        let answered = Arc::clone(&answered);
        async move {
            ticks.tick().await;
            let tick = if answered.load(Ordering::SeqCst) {
                AFTER
            } else {
                BEFORE
            };
            let data = if by_grpc {
                keeper::frame(&[tick])
            } else {
                Bytes::copy_from_slice(&[tick])
            };
            Some((Ok::<_, Infallible>(Frame::data(data)), ticks))
        }
    });
    let kind = if by_grpc {
        "application/grpc"
    } else {
        "text/plain"
    };
    Response::builder()
        .header("content-type", kind)
        .body(Body::new(StreamBody::new(Box::pin(stream))))
        .expect("a response")
}

async fn answer(
    request: Request<Incoming>,
    answered: Arc<AtomicBool>,
    next: Arc<Notify>,
    early: Early,
    heard: Shared<Vec<serde_json::Value>>,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    if path.ends_with("/Early") {
        early.read(body);
        return Ok(keeper::unary(b""));
    }
    if path.ends_with("/ticking") || path.ends_with("/Ticking") {
        return Ok(ticking(path.ends_with("/Ticking"), answered));
    }
    if path.ends_with("/events") {
        return Ok(events(next));
    }
    if path.ends_with("/endless") || path.ends_with("/Endless") {
        return Ok(keeper::endless());
    }
    if path.ends_with("/redirect") {
        let response = Response::builder()
            .status(302)
            .header("location", "http://169.254.169.254/")
            .header("set-cookie", "a=b")
            .header("etag", "e");
        return Ok(response.body(Body::empty()).expect("a response"));
    }
    if path.ends_with("/unauthorized") {
        let response = Response::builder().status(401);
        return Ok(response.body(Body::empty()).expect("a response"));
    }
    if path.ends_with("/large") {
        let body = Full::new(Bytes::from(vec![b'x'; 100 * 1024]));
        return Ok(Response::new(Body::new(body)));
    }
    if path.ends_with("/echo") {
        let response = Response::builder().header("etag", head.headers["authorization"].clone());
        return Ok(response.body(Body::empty()).expect("a response"));
    }
    if path.ends_with("/leak") {
        let shown = head.headers["authorization"]
            .to_str()
            .expect("text")
            .to_owned();
        let bytes = format!("you sent {shown}, it seems").into_bytes();
        let frames = bytes
            .into_iter()
            .map(|byte| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![byte]))));
        let body = Body::new(StreamBody::new(tokio_stream::iter(frames)));
        let response = Response::builder().header("content-type", "text/plain");
        return Ok(response.body(body).expect("a response"));
    }
    let received = body.collect().await.map(|body| body.to_bytes());
    let received = received.unwrap_or_default();
    let headers: serde_json::Map<String, serde_json::Value> = head
        .headers
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value.into())
        })
        .collect();
    let mut said = serde_json::json!({
        "target": head.uri.path_and_query().map(ToString::to_string),
        "headers": headers,
        "bytes": received.len(),
        "body": String::from_utf8_lossy(&received),
        "hex": received.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
    });
    heard.lock().push(said.clone());
    if path.ends_with("/token") {
        let count = heard.lock().len();
        let token = serde_json::json!({
            "access_token": format!("access-token-{count}"), "token_type": "Bearer", "expires_in": 60,
        });
        return Ok(Response::new(Body::new(Full::new(Bytes::from(
            token.to_string(),
        )))));
    }
    // Whoever repeats a credential is not heard.
    if let Some(headers) = said["headers"].as_object_mut() {
        headers.remove("authorization");
    }
    said["target"] = path.clone().into();
    if let Some(query) = head.uri.query()
        && !query.contains("secret")
    {
        said["target"] = format!("{path}?{query}").into();
    }
    if head
        .headers
        .get("content-type")
        .is_some_and(|kind| kind == "application/grpc")
    {
        return Ok(keeper::unary(said.to_string().as_bytes()));
    }
    Ok(Response::builder()
        .header("content-type", "application/json")
        .header("x-secret", "of the upstream")
        .body(Body::new(Full::new(Bytes::from(said.to_string()))))
        .expect("a response"))
}

/// A policy with routes to it, of each kind.
pub(crate) fn policy(upstream: &Upstream) -> String {
    let address = upstream.address;
    format!(
        "
version: 1
routes:
- name: dict
  http: {{ methods: [GET, POST] }}
  operation: lookup
  tenants: [acme]
  upstream: {{ url: 'http://{address}/base' }}
  identity: {{ headers: {{ x-tenant: tenant, x-user: user, x-conversation: conversation }} }}
  forward: {{ response_headers: [etag], query: [word] }}
  credential: {{ header: authorization, prefix: 'Bearer ', file: key }}
  limits: {{ request_bytes: 1KiB, response_bytes: 64KiB, timeout: 5s }}
- name: few
  http: {{ methods: [GET] }}
  operation: few
  upstream: {{ url: 'http://{address}' }}
  rate: {{ per_second: 1, burst: 2 }}
- name: gone
  http: {{ methods: [GET] }}
  operation: gone
  upstream: {{ url: 'http://127.0.0.1:1' }}
- name: nowhere
  http: {{ methods: [GET] }}
  operation: gone
  upstream: {{ url: 'http://secret-upstream.invalid:81' }}
- name: gone-scores
  grpc: {{ methods: [scores.v1.ScoreService/Gone] }}
  operation: gone
  upstream: {{ url: 'http://127.0.0.1:1' }}
- name: quick
  http: {{ methods: [GET] }}
  operation: quick
  upstream: {{ url: 'http://{address}' }}
  limits: {{ timeout: 200ms }}
- name: scores
  grpc: {{ methods: [scores.v1.ScoreService/Score, scores.v1.ScoreService/Endless] }}
  operation: score
  upstream: {{ url: 'http://{address}' }}
  identity: {{ headers: {{ x-tenant: tenant }} }}
"
    )
}
