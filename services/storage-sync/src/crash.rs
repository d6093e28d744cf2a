//! Places at which a test kills the process, to see what a restart makes of it.
//!
//! They exist with the feature `crash-points` only, which no shipped binary has.

/// Every place, in the order of a sync and of a write. Tests go through them one by one.
#[cfg(feature = "crash-points")]
pub const CRASH_POINTS: &[&str] = &[
    "sync-chunks-stored",
    "sync-pages-stored",
    "sync-head-moved",
    "write-chunks-stored",
    "write-pages-stored",
    "write-head-moved",
];

/// Aborts the process when it was told to die here.
macro_rules! crash_point {
    ($name:literal) => {
        #[cfg(feature = "crash-points")]
        sandgate_rpc::crash::pass($name, $crate::crash::CRASH_POINTS);
    };
}
pub(crate) use crash_point;
