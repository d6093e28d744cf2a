//! Names, times and bounds that every part of Sandgate agrees on.
//!
//! A value of a type in here is valid: it was parsed once, at the door, and nobody checks it again.
//! The crate does no I/O and knows no protocol, so that everything may depend on it.

mod chain;
mod clock;
mod id;
mod malformed;
mod name;
pub mod path;
mod size;
mod timestamp;

pub use chain::chain;
pub use clock::{Clock, SystemClock};
pub use id::{
    ApiKeyId, AuditEventId, InstanceId, LinkId, SandboxId, SessionId, TokenId, UploadId, VersionId,
};
pub use malformed::{Malformed, Violations};
pub use name::{
    ConversationId, Generation, LABEL_COUNT_MAX, LABEL_VALUE_MAX_BYTES, LabelKey, Labels,
    NAME_MAX_BYTES, PolicyRevision, REQUEST_ID_MAX_BYTES, RequestId, RouteName, TemplateName,
    TenantId, UserId, WorkspaceId,
};
pub use size::{ByteSize, parse_duration};
pub use timestamp::Timestamp;
