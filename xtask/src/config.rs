//! What the chores take from their environment.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Where tools are kept between runs.
///
/// # Errors
/// When neither XDG_CACHE_HOME nor HOME is set.
#[expect(
    clippy::disallowed_methods,
    reason = "this module is where the environment is read"
)]
pub(crate) fn cache() -> anyhow::Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .context("set HOME, where tools are cached")?;
    Ok(cache.join("sandgate-xtask"))
}

/// Where cargo puts what it builds.
#[expect(
    clippy::disallowed_methods,
    reason = "this module is where the environment is read"
)]
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository().join("target"), PathBuf::from)
}

/// The root of the repository.
pub(crate) fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
