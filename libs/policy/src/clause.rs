//! What of a policy refuses a request.

use sandgate_types::RouteName;
use sandgate_types::path::Odd;

/// A clause of the policy that refuses, or a request that no policy can allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// The route, where the session could use it.
    pub route: Option<RouteName>,
    /// What refuses.
    pub clause: Clause,
}

/// What of a policy refuses a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clause {
    /// No route that this session may use has this name or method.
    Route,
    /// The HTTP method is not served: CONNECT, TRACE or an extension.
    Protocol,
    /// The connection cannot be switched to another protocol.
    Upgrade,
    /// The route takes no WebSockets.
    WebSocket,
    /// What asks for a WebSocket is no handshake of the one version.
    Handshake,
    /// The path is odd.
    Path(Odd),
    /// The path is outside of the route's prefix.
    PathPrefix,
    /// The route does not serve this HTTP method.
    Methods,
    /// The query is odd.
    Query(Odd),
    /// A parameter is not in the route's list.
    QueryUnlisted,
    /// A gRPC call to an HTTP route.
    GrpcOnHttp,
    /// A call of gRPC-Web.
    GrpcWeb,
    /// A plain request to a gRPC method.
    HttpOnGrpc,
    /// A header that may be there once is there twice.
    HeaderTwice,
    /// The declared length is over the route's limit.
    RequestBytes,
    /// The body is of a kind that cannot be decided on.
    BodyType,
}

impl Clause {
    /// The part of the route, as the policy spells it; empty where it is not of the policy.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Route => "routes",
            Self::Protocol
            | Self::Upgrade
            | Self::Handshake
            | Self::GrpcWeb
            | Self::HeaderTwice => "",
            Self::WebSocket => "http.websocket",
            Self::Path(_) | Self::PathPrefix => "http.path_prefix",
            Self::Methods => "http.methods",
            Self::Query(_) | Self::QueryUnlisted => "forward.query",
            Self::GrpcOnHttp => "http",
            Self::HttpOnGrpc => "grpc",
            Self::RequestBytes => "limits.request_bytes",
            Self::BodyType => "identity.json",
        }
    }

    /// The constant by which programs, audit and tests know it.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Route => "ROUTE_UNKNOWN",
            Self::Protocol => "PROTOCOL_REFUSED",
            Self::Upgrade => "UPGRADE_REFUSED",
            Self::WebSocket => "WEBSOCKET_NOT_ALLOWED",
            Self::Handshake => "HANDSHAKE_REFUSED",
            Self::Path(_) => "PATH_REFUSED",
            Self::PathPrefix => "PATH_OUTSIDE",
            Self::Methods => "METHOD_NOT_ALLOWED",
            Self::Query(_) => "QUERY_REFUSED",
            Self::QueryUnlisted => "QUERY_UNLISTED",
            Self::GrpcOnHttp | Self::HttpOnGrpc => "PROTOCOL_MISMATCH",
            Self::GrpcWeb => "GRPC_WEB_REFUSED",
            Self::HeaderTwice => "HEADER_REPEATED",
            Self::RequestBytes => "REQUEST_TOO_LARGE",
            Self::BodyType => "BODY_TYPE_REFUSED",
        }
    }

    /// What a caller reads.
    pub fn message(self) -> String {
        match self {
            Self::Route => {
                "there is no route of this name or method that the session may use".into()
            }
            Self::Protocol => "CONNECT, TRACE and methods unknown to HTTP are not served".into(),
            Self::Upgrade => "the connection is not switched to another protocol".into(),
            Self::WebSocket => "the route takes no WebSockets; http.websocket allows them".into(),
            Self::Handshake => {
                "this is no handshake of WebSocket 13 without extensions and body".into()
            }
            Self::Path(odd) => format!("the path {odd}"),
            Self::PathPrefix => "the path is outside of the route's prefix".into(),
            Self::Methods => "the route does not serve this method".into(),
            Self::Query(odd) => format!("the query {odd}"),
            Self::QueryUnlisted => "a query parameter is not in the route's list".into(),
            Self::GrpcOnHttp => {
                "this is an HTTP route; gRPC methods are called on the listener's bare address"
                    .into()
            }
            Self::HttpOnGrpc => "this is a gRPC method; call it by gRPC".into(),
            Self::GrpcWeb => {
                "gRPC-Web is not served; call gRPC methods by gRPC over HTTP/2, on the same address"
                    .into()
            }
            Self::HeaderTwice => "a header that may be there once is there twice".into(),
            Self::RequestBytes => "the body is larger than the route takes".into(),
            Self::BodyType => {
                "the route takes bodies of application/json in UTF-8, without a content-encoding"
                    .into()
            }
        }
    }
}
