//! `cargo xtask ci`: everything beside the tests that guards main. Each check runs, whatever the others said.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use crate::command::{self, program};
use crate::machine::Machine;
use crate::stage::{Kind, Stages};
use crate::tools::Tools;
use crate::{bench, messages};

type Check = fn(&Machine, Duration) -> anyhow::Result<()>;

/// In the order of how soon they tell something.
const CHECKS: [(&str, Check); 9] = [
    ("fmt", fmt),
    ("messages", |machine, _| {
        messages::check(&machine.repository)
    }),
    ("buf", buf),
    ("clippy", clippy),
    ("doc", doc),
    ("deny", deny),
    ("machete", machete),
    ("helm", helm),
    ("benches", bench::small),
];

/// Runs all checks, or the named ones.
pub(crate) fn run(machine: &Machine, names: &[String]) -> anyhow::Result<()> {
    if let Some(unknown) = names
        .iter()
        .find(|name| CHECKS.iter().all(|(known, _)| known != name))
    {
        let known: Vec<&str> = CHECKS.iter().map(|(name, _)| *name).collect();
        anyhow::bail!(
            "no check is called {unknown:?}, there are: {}",
            known.join(", ")
        );
    }
    let mut stages = Stages::new(machine);
    let chosen = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    if names.is_empty() {
        stages.run("tools for checks", Kind::Tools, |left| {
            let tools = Tools::new(machine, left);
            tools.buf()?;
            tools.cargo_machete()?;
            tools.cargo_deny()?;
            if charts(machine)?.is_empty() {
                Ok(())
            } else {
                tools.helm().map(drop)
            }
        })?;
    }
    for (name, check) in CHECKS {
        if chosen(name) {
            stages.check(name, Kind::Build, |left| check(machine, left));
        }
    }
    stages.finish()
}

fn fmt(machine: &Machine, left: Duration) -> anyhow::Result<()> {
    command::run(
        command::cargo(&machine.repository).args(["fmt", "--all", "--check"]),
        left,
    )
}

fn clippy(machine: &Machine, left: Duration) -> anyhow::Result<()> {
    let mut cargo = command::cargo(&machine.repository);
    command::run(
        cargo.args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ]),
        left,
    )
}

fn doc(machine: &Machine, left: Duration) -> anyhow::Result<()> {
    let mut cargo = command::cargo(&machine.repository);
    cargo.env("RUSTDOCFLAGS", "-D warnings");
    command::run(
        cargo.args(["doc", "--workspace", "--no-deps", "--locked"]),
        left,
    )
}

/// Advisories are missing on purpose: their database is not reachable from every machine that guards main.
fn deny(machine: &Machine, left: Duration) -> anyhow::Result<()> {
    let deny = Tools::new(machine, left).cargo_deny()?;
    let mut deny = program(deny, &machine.repository);
    command::run(
        deny.args(["--locked", "check", "bans", "licenses", "sources"]),
        left,
    )
}

fn machete(machine: &Machine, left: Duration) -> anyhow::Result<()> {
    let machete = Tools::new(machine, left).cargo_machete()?;
    command::run(&mut program(machete, &machine.repository), left)
}

fn buf(machine: &Machine, left: Duration) -> anyhow::Result<()> {
    let buf = Tools::new(machine, left).buf()?;
    command::run(program(&buf, &machine.repository).arg("lint"), left)?;
    command::run(
        program(&buf, &machine.repository).args(["format", "--diff", "--exit-code"]),
        left,
    )
}

fn helm(machine: &Machine, left: Duration) -> anyhow::Result<()> {
    let charts = charts(machine)?;
    if charts.is_empty() {
        println!("there are no charts");
        return Ok(());
    }
    let helm = Tools::new(machine, left).helm()?;
    command::run(
        program(helm, &machine.repository)
            .args(["lint", "--strict"])
            .args(charts),
        left,
    )
}

fn charts(machine: &Machine) -> anyhow::Result<Vec<PathBuf>> {
    let folder: &Path = &machine.repository.join("charts");
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut charts = Vec::new();
    for entry in std::fs::read_dir(folder).context("list the charts")? {
        let chart = entry.context("list the charts")?.path();
        if chart.join("Chart.yaml").is_file() {
            charts.push(chart);
        }
    }
    charts.sort();
    Ok(charts)
}
