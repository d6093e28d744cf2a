//! The backends that agents ask through the gate: one speaks HTTP, one gRPC. Both answer with the identity
//! headers that reached them, so that a story sees what the gate wrote.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

/// The messages of the gRPC backend.
#[allow(
    missing_docs,
    clippy::allow_attributes_without_reason,
    clippy::large_futures,
    reason = "generated, so which of these it trips changes with the generator"
)]
pub mod scores {
    tonic::include_proto!("scores.v1");
}

use scores::score_service_server::{ScoreService, ScoreServiceServer};

/// A backend that serves until it is dropped.
#[derive(Debug)]
pub struct Backend {
    /// Where it listens.
    pub address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
    reached: Reached,
}

/// The headers of every call.
type Reached = Arc<Mutex<Vec<hyper::HeaderMap>>>;

impl Backend {
    /// With which headers each call reached the backend, the credential among them, which no answer may repeat.
    ///
    /// # Panics
    /// When a call panicked.
    pub fn reached(&self) -> Vec<hyper::HeaderMap> {
        self.reached.lock().expect("no panic").clone()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The identity headers of a request: those that tests and the gate's policy use.
fn identity(headers: &hyper::HeaderMap) -> HashMap<String, String> {
    ["x-tenant", "x-user", "x-conversation", "authorization"]
        .into_iter()
        .filter_map(|name| {
            Some((
                name.to_owned(),
                headers.get(name)?.to_str().ok()?.to_owned(),
            ))
        })
        .collect()
}

/// Serves `GET /define?word=…` with JSON.
///
/// # Panics
/// When no port is free.
#[expect(
    clippy::disallowed_methods,
    reason = "the task ends with the backend, which aborts it"
)]
pub async fn http() -> Backend {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let reached = Reached::default();
    let remembered = Arc::clone(&reached);
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let remembered = Arc::clone(&remembered);
            tokio::spawn(async move {
                let service = hyper::service::service_fn(move |request| {
                    let headers = hyper::Request::headers(&request).clone();
                    remembered.lock().expect("no panic").push(headers);
                    define(request)
                });
                let connection = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                // A client that hangs up is none of the backend's business.
                if connection
                    .serve_connection(TokioIo::new(stream), service)
                    .await
                    .is_err()
                {}
            });
        }
    });
    Backend {
        address,
        task,
        reached,
    }
}

async fn define(
    request: hyper::Request<Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, Infallible> {
    let word = request
        .uri()
        .query()
        .and_then(|query| query.strip_prefix("word="))
        .unwrap_or_default();
    let answer = serde_json::json!({
        "path": request.uri().path(),
        "definition": format!("what is called {word}"),
        "identity": identity(request.headers()),
    });
    Ok(hyper::Response::builder()
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(answer.to_string())))
        .expect("a valid answer"))
}

/// Serves `scores.v1.ScoreService`.
///
/// # Panics
/// When no port is free.
#[expect(
    clippy::disallowed_methods,
    reason = "the task ends with the backend, which aborts it"
)]
pub async fn grpc() -> Backend {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let reached = Reached::default();
    let scores = Scores(Arc::clone(&reached));
    let task = tokio::spawn(async move {
        tonic::transport::Server::builder()
            .add_service(ScoreServiceServer::new(scores))
            .serve_with_incoming(TcpListenerStream::new(listener))
            .await
            .expect("serve");
    });
    Backend {
        address,
        task,
        reached,
    }
}

fn score(word: &str) -> i64 {
    word.bytes().map(i64::from).sum()
}

struct Scores(Reached);

#[tonic::async_trait]
impl ScoreService for Scores {
    async fn score(
        &self,
        request: Request<scores::ScoreRequest>,
    ) -> Result<Response<scores::ScoreResponse>, Status> {
        let headers: &hyper::HeaderMap = request.metadata().as_ref();
        let mut reached = self.0.lock().expect("no panic");
        reached.push(headers.clone());
        let identity = identity(headers);
        Ok(Response::new(scores::ScoreResponse {
            score: score(&request.get_ref().word),
            identity,
        }))
    }

    type TotalsStream = Pin<Box<dyn Stream<Item = Result<scores::TotalsResponse, Status>> + Send>>;

    async fn totals(
        &self,
        request: Request<Streaming<scores::TotalsRequest>>,
    ) -> Result<Response<Self::TotalsStream>, Status> {
        let mut total = 0;
        let totals = request.into_inner().map(move |message| {
            total += score(&message?.word);
            Ok(scores::TotalsResponse { total })
        });
        Ok(Response::new(Box::pin(totals)))
    }
}
