//! `cargo xtask test`: the binaries first, since `cargo test` builds no other package's, then every test.

use std::process::Command;

use crate::stage::{self, BUILD, TESTS, TOOLS, stage};
use crate::{config, tools};

/// Runs every test.
///
/// # Errors
/// What failed.
pub(crate) fn run() -> anyhow::Result<()> {
    let grpcurl = stage("tools for the tests", TOOLS, tools::grpcurl)?;
    let python = stage("Python for the tests", TOOLS, tools::python)?;
    stage("build", BUILD, || {
        let mut build = Command::new("cargo");
        stage::run(
            build
                .args(["build", "--workspace", "--bins", "--locked"])
                .current_dir(config::repository()),
        )
    })?;
    stage("tests", TESTS, || {
        let mut test = Command::new("cargo");
        test.args(["test", "--workspace", "--locked"])
            .current_dir(config::repository())
            .env("SANDGATE_BIN_DIR", config::target().join("debug"))
            .env("SANDGATE_TEST_GRPCURL", &grpcurl)
            .env("SANDGATE_TEST_PYTHON", &python);
        stage::run(&mut test)
    })
}
