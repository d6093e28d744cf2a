//! Names of span fields: OpenTelemetry's where it has one, ours below.
//!
//! Use them in braces (`{ RPC_METHOD } = …`), and declare late ones as `Empty` when the span is made:
//! tracing drops unknown fields silently.

/// The kind of a span: [`KIND_SERVER`] or [`KIND_CLIENT`].
pub const OTEL_KIND: &str = "otel.kind";
/// The span's name where it is not known when the code is written.
pub const OTEL_NAME: &str = "otel.name";
/// `OK` or `ERROR`, for whoever colours traces.
pub const OTEL_STATUS_CODE: &str = "otel.status_code";
/// Always [`RPC_SYSTEM_GRPC`] here.
pub const RPC_SYSTEM: &str = "rpc.system";
/// The full name of a gRPC service.
pub const RPC_SERVICE: &str = "rpc.service";
/// The name of a method in its service.
pub const RPC_METHOD: &str = "rpc.method";
/// The status as a number.
pub const RPC_GRPC_STATUS_CODE: &str = "rpc.grpc.status_code";
/// The method of an HTTP request.
pub const HTTP_REQUEST_METHOD: &str = "http.request.method";
/// The status of an HTTP answer.
pub const HTTP_RESPONSE_STATUS_CODE: &str = "http.response.status_code";

/// Whose request it is.
pub const TENANT: &str = "sandgate.tenant";
/// The sandbox that is asked for, or asks.
pub const SANDBOX: &str = "sandgate.sandbox";
/// The run of the sandbox.
pub const INSTANCE: &str = "sandgate.instance";
/// The id that answers and logs share.
pub const REQUEST_ID: &str = "sandgate.request_id";
/// The gate's route.
pub const ROUTE: &str = "sandgate.route";
/// What the gate decided.
pub const VERDICT: &str = "sandgate.verdict";

/// [`OTEL_KIND`] of a span that answers.
pub const KIND_SERVER: &str = "server";
/// [`OTEL_KIND`] of a span that asks.
pub const KIND_CLIENT: &str = "client";
/// The one [`RPC_SYSTEM`].
pub const RPC_SYSTEM_GRPC: &str = "grpc";
