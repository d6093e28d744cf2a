//! The environment, behind a trait: tests pass a map.

use std::collections::BTreeMap;
use std::ffi::OsString;

/// Named values that a process was started with.
pub trait Env {
    /// All of them.
    fn variables(&self) -> Vec<(String, OsString)>;
}

/// The environment of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessEnv;

impl Env for ProcessEnv {
    fn variables(&self) -> Vec<(String, OsString)> {
        // A name that is not text is none of ours.
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
            .collect()
    }
}

impl Env for BTreeMap<&str, &str> {
    fn variables(&self) -> Vec<(String, OsString)> {
        self.iter()
            .map(|(name, value)| ((*name).to_owned(), OsString::from(value)))
            .collect()
    }
}
