//! The generated messages, clients and servers, the table of who may call what, and conversions to types.
//!
//! Everything generated is loose: each field optional or empty, ids as text. Validation happens once, in
//! each service's adapter, on the way to the types of `sandgate-types`.

mod convert;
mod method;

pub use convert::{duration_from, duration_to, timestamp_from, timestamp_to};
pub use method::{Access, METHODS, Method, find};

/// All protos of Sandgate and what they import, encoded as a `google.protobuf.FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));

macro_rules! package {
    ($(#[$doc:meta])* $name:ident, $path:literal) => {
        $(#[$doc])*
        #[allow(
            missing_docs,
            clippy::allow_attributes_without_reason,
            clippy::large_futures,
            clippy::wildcard_enum_match_arm,
            reason = "generated, so which of these it trips changes with the generator"
        )]
        pub mod $name {
            /// Version 1.
            pub mod v1 {
                tonic::include_proto!($path);
            }
        }
    };
}

package!(
    /// Records of decisions.
    audit, "sandgate.audit.v1"
);
package!(
    /// What the gate tells services.
    gateway, "sandgate.gateway.v1"
);
package!(
    /// Who may call an RPC.
    options, "sandgate.options.v1"
);
package!(
    /// The life of a sandbox.
    orchestrator, "sandgate.orchestrator.v1"
);
package!(
    /// What a sandbox itself serves.
    sandbox, "sandgate.sandbox.v1"
);
package!(
    /// Workspaces.
    storage, "sandgate.storage.v1"
);
package!(
    /// Tokens, revocations, keys.
    token, "sandgate.token.v1"
);
