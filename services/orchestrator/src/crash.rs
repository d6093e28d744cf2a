//! Places at which a test kills the process, to see what a restart makes of it.
//!
//! They exist with the feature `crash-points` only, which no shipped binary has.

/// Every place, in the order of a life. Tests go through them one by one.
#[cfg(feature = "crash-points")]
pub const CRASH_POINTS: &[&str] = &[
    "create-recorded",
    "create-claimed",
    "create-published",
    "create-minted",
    "create-attached",
    "create-running",
    "create-ready",
    "end-recorded",
    "end-withdrawn",
    "end-drained",
    "end-agent-revoked",
    "end-synced",
    "end-revoked",
    "end-released",
    "end-verified",
    "end-written",
];

/// Aborts the process when it was told to die here.
macro_rules! crash_point {
    ($name:literal) => {
        #[cfg(feature = "crash-points")]
        sandgate_rpc::crash::pass($name, $crate::crash::CRASH_POINTS);
    };
}
pub(crate) use crash_point;
