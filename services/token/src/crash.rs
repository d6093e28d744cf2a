//! Places at which a test kills the process, to see what a restart makes of it.
//!
//! They exist with the feature `crash-points` only, which no shipped binary has.

/// Every place that the life of a conversation passes, in its order. Tests go through them one by one.
#[cfg(feature = "crash-points")]
pub const CRASH_POINTS: &[&str] = &[
    "mint-decided",
    "mint-signed",
    "revoke-recorded",
    "revoke-committed",
    "revoke-noted",
];

/// Every place that only the making of keys passes.
#[cfg(feature = "crash-points")]
pub const CRASH_POINTS_OF_KEYS: &[&str] = &[
    "signing-key-recorded",
    "signing-key-committed",
    "api-key-recorded",
    "api-key-committed",
];

/// Aborts the process when it was told to die here.
macro_rules! crash_point {
    ($name:literal) => {
        #[cfg(feature = "crash-points")]
        $crate::crash::pass($name);
    };
}
pub(crate) use crash_point;

/// [`crash_point`], at a place that no conversation passes.
macro_rules! crash_point_of_keys {
    ($name:literal) => {
        #[cfg(feature = "crash-points")]
        $crate::crash::pass($name);
    };
}
pub(crate) use crash_point_of_keys;

#[cfg(feature = "crash-points")]
pub(crate) fn pass(name: &'static str) {
    debug_assert!(
        CRASH_POINTS.contains(&name) || CRASH_POINTS_OF_KEYS.contains(&name),
        "{name} is not listed"
    );
    if crate::config::crash_point() == Some(name) {
        tracing::warn!(name, "dying as told");
        std::process::abort();
    }
}
