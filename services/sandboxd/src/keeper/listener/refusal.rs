//! Why a request of the agent did not get through, in the protocol in which it came.

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use tonic::body::Body;

use crate::keeper::gate::GateError;

/// Why a request did not get through.
#[derive(Debug)]
pub(super) enum Refusal {
    NotAttached,
    Ending,
    Connect,
    Upgrade,
    Authority,
    Busy,
    Gate(GateError),
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::NotAttached | Self::Ending | Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Connect => StatusCode::METHOD_NOT_ALLOWED,
            Self::Upgrade => StatusCode::NOT_IMPLEMENTED,
            Self::Authority => StatusCode::BAD_REQUEST,
            Self::Gate(GateError::Absent) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Gate(GateError::Broken(_)) => StatusCode::BAD_GATEWAY,
            Self::Gate(GateError::Unaddressed(_)) => StatusCode::BAD_REQUEST,
        }
    }

    fn text(&self) -> &'static str {
        match self {
            Self::NotAttached => "the sandbox serves no conversation yet",
            Self::Ending => "the sandbox is ending and takes no more requests",
            Self::Connect => {
                "CONNECT is not served; name a route: http://127.0.0.1:4040/r/<route>/"
            }
            Self::Upgrade => {
                "no upgrade is served but the handshake of WebSocket 13, without a body"
            }
            Self::Authority => "the request names more than one host",
            Self::Busy => "too many requests are on their way; wait for some to end",
            Self::Gate(GateError::Absent) => {
                "the gate is not reachable at the moment; repeat the request"
            }
            Self::Gate(GateError::Broken(_)) => {
                "the connection to the gate broke during the request"
            }
            Self::Gate(GateError::Unaddressed(_)) => "the request has no path",
        }
    }

    /// The answer in the caller's protocol: gRPC clients read a status from the head.
    pub(super) fn answer(&self, grpc: bool) -> Response<Body> {
        let mut response = if grpc {
            let mut response = Response::new(Body::empty());
            let headers = response.headers_mut();
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/grpc"),
            );
            // UNAVAILABLE; the number is fixed by the protocol.
            headers.insert("grpc-status", HeaderValue::from_static("14"));
            headers.insert("grpc-message", HeaderValue::from_static(self.text()));
            return response;
        } else {
            Response::new(Body::new(http_body_util::Full::new(Bytes::from(format!(
                "{}\n",
                self.text()
            )))))
        };
        *response.status_mut() = self.status();
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        response
    }
}
