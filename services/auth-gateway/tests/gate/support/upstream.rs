//! An upstream that says what reached it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use sandgate_rpc::Shutdown;
use tokio::net::TcpListener;
use tonic::body::Body;

use super::keeper;

pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    pub(crate) requests: Arc<AtomicUsize>,
    shutdown: Shutdown,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

/// Serves HTTP/1.1 and HTTP/2. `/endless` never ends; `/redirect` is one; `/large` answers 100 KiB; a gRPC call is
/// answered with its headers as the message, in JSON; everything else with what reached it, in JSON.
pub(crate) async fn start() -> Upstream {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let requests = Arc::new(AtomicUsize::new(0));
    let shutdown = Shutdown::new();
    let (counted, ending) = (Arc::clone(&requests), shutdown.clone());
    shutdown.spawn("upstream", async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = ending.cancelled() => return,
            };
            let (stream, _) = accepted.expect("a connection");
            let (counted, over) = (Arc::clone(&counted), ending.clone());
            ending.spawn("upstream's connection", async move {
                let service = service_fn(move |request| {
                    counted.fetch_add(1, Ordering::Relaxed);
                    answer(request)
                });
                let builder = auto::Builder::new(TokioExecutor::new());
                let connection = builder.serve_connection(TokioIo::new(stream), service);
                tokio::select! {
                    ended = connection => drop(ended),
                    () = over.cancelled() => {}
                }
            });
        }
    });
    Upstream {
        address,
        requests,
        shutdown,
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
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
    if path.ends_with("/large") {
        let body = Full::new(Bytes::from(vec![b'x'; 100 * 1024]));
        return Ok(Response::new(Body::new(body)));
    }
    let received = body.collect().await.map(|body| body.to_bytes().len());
    let headers: serde_json::Map<String, serde_json::Value> = head
        .headers
        .iter()
        .map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), value.into())
        })
        .collect();
    let said = serde_json::json!({
        "target": head.uri.path_and_query().map(ToString::to_string),
        "headers": headers,
        "bytes": received.unwrap_or(0),
    });
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
