//! Places at which a test kills the process, to see what a restart makes of it.
//!
//! They exist with the feature `crash-points` only, which no shipped binary has.

use std::sync::OnceLock;

use crate::config::{Env as _, ProcessEnv};

/// Names the place at which this process dies.
const CRASH_POINT: &str = "SANDGATE_CRASH_POINT";

/// Aborts the process when it was told to die at this place, one of the service's `places`.
pub fn pass(name: &'static str, places: &[&str]) {
    debug_assert!(places.contains(&name), "{name} is not listed");
    if told() == Some(name) {
        tracing::warn!(name, "dying as told");
        std::process::abort();
    }
}

/// The place that a test named, if it named one.
fn told() -> Option<&'static str> {
    static NAMED: OnceLock<Option<String>> = OnceLock::new();
    NAMED
        .get_or_init(|| {
            let mut variables = ProcessEnv.variables().into_iter();
            variables
                .find(|(name, _)| name == CRASH_POINT)
                .and_then(|(_, value)| value.into_string().ok())
        })
        .as_deref()
}
