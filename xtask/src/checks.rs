//! `cargo xtask ci`: everything that guards main beside the tests.

use std::process::Command;

use crate::stage::{self, BUILD, TESTS, TOOLS, stage};
use crate::{config, tools};

/// Runs the checks, the quick ones first.
///
/// # Errors
/// What failed.
pub(crate) fn run() -> anyhow::Result<()> {
    let cargo = |arguments: &[&str]| {
        stage::run(
            Command::new("cargo")
                .args(arguments)
                .current_dir(config::repository()),
        )
    };
    stage("format", TESTS, || cargo(&["fmt", "--all", "--check"]))?;
    stage("clippy", BUILD, || {
        cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ])
    })?;
    stage("documentation", BUILD, || {
        let mut doc = Command::new("cargo");
        doc.args(["doc", "--workspace", "--no-deps", "--locked"])
            .env("RUSTDOCFLAGS", "-D warnings");
        stage::run(doc.current_dir(config::repository()))
    })?;
    let deny = stage("cargo-deny", TOOLS, tools::cargo_deny)?;
    stage("dependencies", TESTS, || {
        let mut check = Command::new(&deny);
        check.args(["--workspace", "check", "bans", "licenses", "sources"]);
        stage::run(check.current_dir(config::repository()))
    })?;
    let machete = stage("cargo-machete", TOOLS, tools::cargo_machete)?;
    stage("unused dependencies", TESTS, || {
        stage::run(
            Command::new(&machete)
                .arg("--with-metadata")
                .current_dir(config::repository()),
        )
    })?;
    let buf = stage("buf", TOOLS, tools::buf)?;
    stage("protos", TESTS, || {
        stage::run(
            Command::new(&buf)
                .arg("lint")
                .current_dir(config::repository()),
        )?;
        stage::run(
            Command::new(&buf)
                .args(["format", "--diff", "--exit-code"])
                .current_dir(config::repository()),
        )
    })
}
