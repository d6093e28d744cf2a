//! `cargo xtask test`: the binaries first, then what the tests need beside them, then the tests.
//!
//! `cargo test` alone builds no other package's binaries, so a story would run an old one or none.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

mod ordinary;

use crate::command;
use crate::machine::Machine;
use crate::postgres::Postgres;
use crate::stage::{Kind, Stages};
use crate::tools::Tools;
use crate::workspace::Workspace;

/// The features that compile in named crash points, and controls of a sandbox that can be left out. Binaries that
/// have them live in a folder of their own.
const FOR_TESTS: [&str; 2] = ["crash-points", "missing-controls"];
/// That folder.
const BREAKING: &str = "crash-points";

/// What the stories are told by their environment; `tests/src/config.rs` reads it.
struct Prepared {
    binaries: PathBuf,
    crashing_binaries: Option<PathBuf>,
    python: PathBuf,
    grpcurl: PathBuf,
    postgres: Postgres,
}

/// Runs the chore; `arguments` after `--` replace `--workspace` in the call of `cargo test`.
pub(crate) fn run(machine: &Machine, arguments: &[String]) -> anyhow::Result<()> {
    let selected = match arguments.split_first() {
        None => vec!["--workspace".to_owned()],
        Some((first, rest)) if first == "--" && !rest.is_empty() => rest.to_vec(),
        Some(_) => anyhow::bail!("usage: cargo xtask test [-- <arguments of cargo test>]"),
    };
    let mut stages = Stages::new(machine);
    let workspace = Workspace::read(&machine.repository)?;
    let (python, grpcurl, postgres) = stages.run("tools for tests", Kind::Tools, |left| {
        let tools = Tools::new(machine, left);
        Ok((tools.python()?, tools.grpcurl()?, tools.postgres()?))
    })?;
    let crashing_binaries = stages.run("binaries that crash on demand", Kind::Build, |left| {
        build_crashing(machine, &workspace, left)
    })?;
    let binaries = stages.run("binaries and tests", Kind::Build, |left| {
        build(machine, &workspace, left)
    })?;
    let postgres = stages.run("postgres", Kind::Tools, |left| {
        Postgres::start(machine, &postgres, left)
    })?;
    let prepared = Prepared {
        binaries,
        crashing_binaries,
        python,
        grpcurl,
        postgres,
    };
    stages.run("tests", Kind::Tests, |left| {
        let mut cargo = command::cargo(&machine.repository);
        // All of them, whatever the first says: a run is long, and one failure rarely comes alone.
        cargo
            .args(["test", "--no-fail-fast"])
            .args(&selected)
            .env("SANDGATE_BIN_DIR", &prepared.binaries)
            .env("SANDGATE_TEST_PYTHON", &prepared.python)
            .env("SANDGATE_TEST_GRPCURL", &prepared.grpcurl)
            .env("SANDGATE_TEST_POSTGRES", prepared.postgres.url());
        if let Some(folder) = &prepared.crashing_binaries {
            cargo.env("SANDGATE_CRASH_BIN_DIR", folder);
        }
        command::run(&mut cargo, left)
    })?;
    if !arguments.is_empty() {
        println!("only the named tests ran, and only as this user");
    } else if machine.is_root {
        stages.run("tests as an ordinary user", Kind::Tests, |left| {
            let breaking = prepared.crashing_binaries.as_deref();
            ordinary::run(machine, &workspace, &prepared.binaries, breaking, left)
        })?;
    } else {
        stages.skip("tests as root", "this is not root");
    }
    stages.finish()
}

/// Builds binaries and tests in one go: with the tests' dependencies in the same resolution, cargo compiles
/// each dependency once.
fn build(machine: &Machine, workspace: &Workspace, left: Duration) -> anyhow::Result<PathBuf> {
    let mut cargo = command::cargo(&machine.repository);
    command::run(
        cargo.args(["build", "--workspace", "--bins", "--tests"]),
        left,
    )?;
    Ok(workspace.target()?.join("debug"))
}

/// Builds the binaries with crash points and puts them aside, before the ordinary ones take their place.
fn build_crashing(
    machine: &Machine,
    workspace: &Workspace,
    left: Duration,
) -> anyhow::Result<Option<PathBuf>> {
    let features = FOR_TESTS
        .map(|feature| workspace.with_feature(feature))
        .concat();
    if features.is_empty() {
        println!("no package has a feature of {}", FOR_TESTS.join(", "));
        return Ok(None);
    }
    let mut cargo = command::cargo(&machine.repository);
    // One test beside the binaries: it brings the tests' dependencies into the resolution, see `build`.
    cargo.args([
        "build",
        "--workspace",
        "--bins",
        "--test",
        "architecture",
        "--features",
        &features.join(","),
    ]);
    command::run(&mut cargo, left)?;
    let target = workspace.target()?;
    let folder = target.join(BREAKING);
    std::fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    for binary in workspace.targets(None, "bin") {
        copy(&target.join("debug").join(&binary), &folder.join(&binary))?;
    }
    Ok(Some(folder))
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    // Removed first: a hard link from an earlier run would be written through.
    if to.exists() {
        std::fs::remove_file(to).with_context(|| format!("remove {}", to.display()))?;
    }
    std::fs::copy(from, to)
        .with_context(|| format!("copy {} to {}", from.display(), to.display()))?;
    Ok(())
}
