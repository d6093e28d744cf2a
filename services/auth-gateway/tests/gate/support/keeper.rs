//! A sandbox's keeper: the other ends of a link. It answers calls of the gate and makes calls to it.

use std::convert::Infallible;
use std::os::unix::net::UnixStream as StdStream;
use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use sandgate_rpc::Shutdown;
use sandgate_session::link::InstanceLink;
use sandgate_types::InstanceId;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tonic::Status;
use tonic::body::Body;
use tonic_types::{ErrorDetails, StatusExt as _};

use super::upstream::Early;
use super::{Shared, soon};

/// What the gate asked: path, headers, message.
type Asked = (String, HeaderMap, Vec<u8>);

pub(crate) struct Keeper {
    call: SendRequest<Body>,
    pub(crate) asked: Shared<Vec<Asked>>,
    /// Rung when what was sent to `WriteFile` has ended, which is answered long before.
    pub(crate) upload_ended: Arc<Notify>,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) http: u16,
    pub(crate) headers: HeaderMap,
    /// The gRPC status; -1 without one.
    pub(crate) status: i32,
    pub(crate) body: Bytes,
    /// The one gRPC message.
    pub(crate) message: Vec<u8>,
    /// Whether the body broke off.
    pub(crate) broken: bool,
}

impl Answer {
    pub(crate) async fn of(response: Response<Incoming>) -> Self {
        let (head, mut body) = response.into_parts();
        let (mut bytes, mut trailers, mut broken) = (BytesMut::new(), HeaderMap::new(), false);
        while let Some(frame) = soon(body.frame()).await {
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => bytes.put(data),
                Ok(Err(frame)) => trailers = frame.into_trailers().expect("trailers"),
                Err(_) => {
                    broken = true;
                    break;
                }
            }
        }
        let status = trailers
            .get("grpc-status")
            .or(head.headers.get("grpc-status"))
            .map_or(-1, |status| {
                status.to_str().expect("ascii").parse().expect("a number")
            });
        let body = bytes.freeze();
        Self {
            http: head.status.as_u16(),
            headers: head.headers,
            status,
            message: body.get(5..).unwrap_or_default().to_vec(),
            body,
            broken,
        }
    }

    /// The details of the gRPC status, where the answer is nothing but a status.
    pub(crate) fn details(&self) -> ErrorDetails {
        let status = Status::from_header_map(&self.headers).expect("a status");
        status.get_error_details()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("json")
    }
}

/// A link, and the keeper's ends of it: the one that it serves, and the one by which it calls.
pub(crate) fn raw_pair(instance: InstanceId) -> (InstanceLink, (UnixStream, UnixStream)) {
    let (serve, our_serve) = StdStream::pair().expect("a pair");
    let (call, our_call) = StdStream::pair().expect("a pair");
    let link = InstanceLink {
        instance,
        serve: serve.into(),
        call: call.into(),
    };
    (link, (ours(our_serve), ours(our_call)))
}

/// A gRPC message as a body.
pub(crate) fn framed(message: &[u8]) -> Body {
    Body::new(Full::new(frame(message)))
}

pub(crate) fn frame(message: &[u8]) -> Bytes {
    let mut bytes = BytesMut::new();
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.len()).expect("small"));
    bytes.put_slice(message);
    bytes.freeze()
}

/// One message and then nothing, for ever: until somebody cuts it.
pub(crate) fn endless() -> Response<Body> {
    let first = tokio_stream::once(Ok::<_, std::io::Error>(Frame::data(frame(b"first"))));
    let stream = tokio_stream::StreamExt::chain(first, tokio_stream::pending());
    Response::builder()
        .header("content-type", "application/grpc")
        .body(Body::new(StreamBody::new(stream)))
        .expect("a response")
}

/// A gRPC answer with one message.
pub(crate) fn unary(message: &[u8]) -> Response<Body> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().expect("a header"));
    let frames = [Frame::data(frame(message)), Frame::trailers(trailers)];
    let stream = tokio_stream::iter(frames.map(Ok::<_, std::io::Error>));
    Response::builder()
        .header("content-type", "application/grpc")
        .body(Body::new(StreamBody::new(stream)))
        .expect("a response")
}

impl Keeper {
    /// The gate's ends, and a keeper with the others.
    pub(crate) async fn pair(instance: InstanceId, shutdown: &Shutdown) -> (InstanceLink, Self) {
        let (link, (our_serve, our_call)) = raw_pair(instance);
        let asked = Shared::<Vec<_>>::default();
        let remembered = Arc::clone(&asked);
        let upload_ended = Arc::new(Notify::new());
        let early = Early {
            ended: Arc::clone(&upload_ended),
            shutdown: shutdown.clone(),
        };
        let service =
            service_fn(move |request| answer(request, Arc::clone(&remembered), early.clone()));
        let stream = TokioIo::new(our_serve);
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(stream, service);
        let ending = shutdown.clone();
        shutdown.spawn("keeper", async move {
            tokio::select! {
                ended = server => drop(ended),
                () = ending.cancelled() => {}
            }
        });
        let stream = TokioIo::new(our_call);
        let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await;
        let (call, connection) = handshake.expect("http/2");
        let ending = shutdown.clone();
        shutdown.spawn("keeper's calls", async move {
            tokio::select! {
                ended = connection => drop(ended),
                () = ending.cancelled() => {}
            }
        });
        let keeper = Self {
            call,
            asked,
            upload_ended,
        };
        (link, keeper)
    }

    /// Sends a request to the gate and answers its head.
    pub(crate) async fn stream(&self, request: Request<Body>) -> Response<Incoming> {
        let mut call = self.call.clone();
        soon(call.send_request(request)).await.expect("an answer")
    }

    /// An HTTP request of the agent's, where what allows it may change on its way, which cuts it.
    pub(crate) async fn attempt(&self, target: &str, token: &str) -> Option<Answer> {
        let mut call = self.call.clone();
        let request = agent_request("GET", target, token);
        let answer = soon(call.send_request(request)).await.ok()?;
        Some(Answer::of(answer).await)
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        Answer::of(self.stream(request).await).await
    }

    /// An HTTP request of the agent's.
    pub(crate) async fn get(&self, target: &str, token: &str) -> Answer {
        self.send(agent_request("GET", target, token)).await
    }

    /// A gRPC call.
    pub(crate) async fn grpc(&self, path: &str, token: &str) -> Answer {
        self.send(grpc_request(path, token)).await
    }
}

pub(crate) fn agent_request(method: &str, target: &str, token: &str) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(format!("http://gate{target}"))
        .header("authorization", format!("Bearer {token}"))
        .body(Body::empty())
        .expect("a request")
}

pub(crate) fn grpc_request(path: &str, token: &str) -> Request<Body> {
    let mut request = super::client_request(path, Vec::new());
    let bearer = format!("Bearer {token}");
    request
        .headers_mut()
        .insert("authorization", bearer.parse().expect("a header"));
    request
}

fn ours(stream: StdStream) -> UnixStream {
    stream.set_nonblocking(true).expect("nonblocking");
    UnixStream::from_std(stream).expect("a stream")
}

async fn answer(
    request: Request<Incoming>,
    asked: Shared<Vec<Asked>>,
    early: Early,
) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    if path.ends_with("/WriteFile") {
        early.read(body);
        return Ok(unary(b""));
    }
    let body = body.collect().await.map(|body| body.to_bytes());
    let message = body
        .unwrap_or_default()
        .get(5..)
        .unwrap_or_default()
        .to_vec();
    asked.lock().push((path.clone(), head.headers, message));
    if path.ends_with("/WatchFiles") || path.ends_with("/RunProcess") {
        return Ok(endless());
    }
    Ok(unary(b""))
}
