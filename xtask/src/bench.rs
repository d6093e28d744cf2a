//! `cargo xtask bench`: measures what the design sets a number for.

use std::process::Command;

use crate::config;
use crate::stage;

/// Runs the named benches, or all.
///
/// # Errors
/// When one fails, or there is none of that name.
pub(crate) fn run(names: &[&str]) -> anyhow::Result<()> {
    let mut bench = Command::new("cargo");
    bench.args(["bench", "--package", "sandgate-e2e", "--locked"]);
    for name in names {
        bench.args(["--bench", name]);
    }
    stage::run(bench.current_dir(config::repository()))
}
