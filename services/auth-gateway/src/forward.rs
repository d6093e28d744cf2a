//! Requests on their way to our own services and to sandboxes: bodies untouched, headers by list, the caller
//! stated by the gate.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Body as HttpBody;
use hyper::body::Incoming;
use sandgate_api::options::v1::DeadlineClass;
use tonic::body::Body;

use crate::error::Dialect;
use crate::guard::{Guarded, boxed};
use crate::headers;
use crate::refusal::Refusal;
use crate::streams::Open;

/// To the first answer of a short call and of a stream; beyond what the service itself allows.
const SHORT: Duration = Duration::from_secs(12);
/// To the answer of a long call; beyond what the service itself allows.
const LONG: Duration = Duration::from_secs(610);

/// How long the head of an answer may take, as a last resort: services answer DEADLINE_EXCEEDED by themselves.
pub(crate) fn head_limit(path: &str) -> Duration {
    let access = sandgate_api::find(path).and_then(|method| method.access.as_ref());
    match access.map(sandgate_api::Access::deadline) {
        Some(DeadlineClass::Long) => LONG,
        Some(DeadlineClass::Short | DeadlineClass::Stream | DeadlineClass::Unspecified) | None => {
            SHORT
        }
    }
}

/// The entry by which a request has one name in all logs.
const REQUEST_ID: HeaderName = HeaderName::from_static(sandgate_rpc::REQUEST_NAME_METADATA);

/// A call as it goes on to the mesh, with `caller` stated.
pub(crate) fn call_of(
    request: Request<Incoming>,
    caller: &[u8],
    id: &str,
    open: &Arc<Open>,
) -> Request<Body> {
    let (head, body) = request.into_parts();
    let mut headers = headers::toward_mesh(&head.headers, caller);
    // Ours is of letters, digits and a dash.
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    let mut call = Request::new(boxed(Guarded::new(body, open.cut()).holds(open)));
    *call.method_mut() = head.method;
    *call.uri_mut() = head.uri;
    *call.headers_mut() = headers;
    call
}

/// Waits for the head of an answer, and passes it on with its body under guard.
pub(crate) async fn answer_of<B, E>(
    answer: impl Future<Output = Result<Response<B>, E>>,
    limit: Duration,
    open: Arc<Open>,
) -> Result<Response<Body>, Refusal>
where
    B: HttpBody<Data = Bytes> + Unpin + Send + 'static,
    B::Error: std::fmt::Display,
    E: Into<Refusal>,
{
    let answered = tokio::select! {
        reason = open.cut().happened() => return Err(Refusal::Cut(reason)),
        answered = tokio::time::timeout(limit, answer) => answered,
    };
    let response = answered
        .map_err(|_| Refusal::DeadlineExceeded)?
        .map_err(Into::into)?;
    let (head, body) = response.into_parts();
    let cut = open.cut().clone();
    let guarded = Guarded::new(body, &cut)
        .trailers(|trailers: HeaderMap| headers::from_mesh(&trailers))
        .answers(Dialect::Grpc, open);
    let mut response = Response::new(boxed(guarded));
    *response.status_mut() = head.status;
    *response.headers_mut() = headers::from_mesh(&head.headers);
    Ok(response)
}
