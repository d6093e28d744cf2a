//! Places at which a test kills the process, to see what a restart makes of it.
//!
//! They exist with the feature `crash-points` only, which no shipped binary has.

/// Every place, in the order of a life: those of the making of keys first, then those that the life of a conversation
/// passes. Tests go through them one by one.
#[cfg(feature = "crash-points")]
pub const CRASH_POINTS: &[&str] = &[
    "signing-key-recorded",
    "signing-key-committed",
    "api-key-recorded",
    "api-key-committed",
    "mint-decided",
    "mint-signed",
    "revoke-recorded",
    "revoke-committed",
    "revoke-noted",
];

/// Aborts the process when it was told to die here.
macro_rules! crash_point {
    ($name:literal) => {
        #[cfg(feature = "crash-points")]
        sandgate_rpc::crash::pass($name, $crate::crash::CRASH_POINTS);
    };
}
pub(crate) use crash_point;
