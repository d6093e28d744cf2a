//! `cargo xtask bench [name…]`: the benches of `tests/bench`, which measure against a peer in the same run.
//!
//! A bench is a `[[bench]]` target of the crate `sandgate-e2e` with a `main` of its own. What it says goes
//! to standard error; on standard output it prints one JSON object for each bar that it measured, with the
//! members of [`MEMBERS`]. It succeeds when every answer that it got was right: whether the bar was met is
//! in `ok`, and judged here. Called with `--small`, it runs in seconds and only its answers count.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::command;
use crate::machine::Machine;
use crate::tools::Tools;
use crate::workspace::Workspace;

const PACKAGE: &str = "sandgate-e2e";
const MEMBERS: [&str; 7] = ["bar", "ratio", "want", "ok", "unit", "peer", "runs"];

/// Runs the named benches, or all, on release builds, and prints the bars last.
///
/// # Errors
/// A bench failed, printed what is no bar, or did not meet one.
pub(crate) fn run(machine: &Machine, names: &[String]) -> anyhow::Result<()> {
    let workspace = Workspace::read(&machine.repository)?;
    let benches = chosen(&workspace, names)?;
    let peers = Peers::install(machine, Duration::MAX)?;
    let mut build = command::cargo(&machine.repository);
    command::run(
        build.args(["build", "--release", "--workspace", "--bins", "--locked"]),
        Duration::MAX,
    )?;
    let mut bars = Vec::new();
    for bench in benches {
        println!("\n=== {bench}");
        let mut cargo = command::cargo(&machine.repository);
        cargo.args([
            "bench",
            "--quiet",
            "--locked",
            "--package",
            PACKAGE,
            "--bench",
            &bench,
        ]);
        peers.tell(&mut cargo);
        cargo
            .env("SANDGATE_BIN_DIR", workspace.target()?.join("release"))
            .stderr(Stdio::inherit());
        bars.extend(bars_of(&bench, &command::output(&mut cargo)?)?);
    }
    println!();
    let mut missed = Vec::new();
    for bar in bars {
        println!("{bar}");
        if bar.get("ok") != Some(&Value::Bool(true)) {
            missed.push(
                bar.get("bar")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned(),
            );
        }
    }
    if missed.is_empty() {
        Ok(())
    } else {
        bail!("not met: {}", missed.join(", "))
    }
}

/// Runs each bench once, small, on the build that the tests use; a bar that is missed there means nothing.
///
/// # Errors
/// A bench got a wrong answer, or printed what is no bar.
pub(crate) fn small(machine: &Machine, left: Duration) -> anyhow::Result<()> {
    let workspace = Workspace::read(&machine.repository)?;
    let benches = chosen(&workspace, &[])?;
    if benches.is_empty() {
        println!("there are no benches");
        return Ok(());
    }
    let peers = Peers::install(machine, left)?;
    let mut build = command::cargo(&machine.repository);
    command::run(
        build.args(["build", "--workspace", "--bins", "--tests", "--locked"]),
        left,
    )?;
    for bench in benches {
        let mut cargo = command::cargo(&machine.repository);
        cargo.args([
            "test",
            "--quiet",
            "--locked",
            // As above: fewer packages would resolve other features, and build all again.
            "--workspace",
            "--bench",
            &bench,
            "--",
            "--small",
        ]);
        peers.tell(&mut cargo);
        cargo
            .env("SANDGATE_BIN_DIR", workspace.target()?.join("debug"))
            .stderr(Stdio::inherit());
        let bars = bars_of(&bench, &command::output(&mut cargo)?)?;
        println!("{bench}: right answers, {} bars measured", bars.len());
    }
    Ok(())
}

/// The programs of others that benches measure against.
struct Peers {
    haproxy: PathBuf,
    envoy: PathBuf,
}

impl Peers {
    fn install(machine: &Machine, left: Duration) -> anyhow::Result<Self> {
        let tools = Tools::new(machine, left);
        Ok(Self {
            haproxy: tools.haproxy()?,
            envoy: tools.envoy()?,
        })
    }

    /// Tells a bench where they are.
    fn tell(&self, bench: &mut Command) {
        bench
            .env("SANDGATE_BENCH_HAPROXY", &self.haproxy)
            .env("SANDGATE_BENCH_ENVOY", &self.envoy);
    }
}

fn chosen(workspace: &Workspace, names: &[String]) -> anyhow::Result<Vec<String>> {
    let known = workspace.targets(Some(PACKAGE), "bench");
    if names.is_empty() {
        return Ok(known);
    }
    match names.iter().find(|name| !known.contains(name)) {
        Some(unknown) => bail!(
            "no bench is called {unknown:?}, there are: {}",
            known.join(", ")
        ),
        None => Ok(names.to_vec()),
    }
}

/// The bars among the lines that a bench printed.
fn bars_of(bench: &str, output: &str) -> anyhow::Result<Vec<Value>> {
    let mut bars = Vec::new();
    for line in output.lines().filter(|line| !line.trim().is_empty()) {
        let bar: Value = serde_json::from_str(line)
            .with_context(|| format!("{bench} printed no JSON: {line:?}"))?;
        let lacking: Vec<&str> = MEMBERS
            .into_iter()
            .filter(|member| bar.get(member).is_none())
            .collect();
        if !lacking.is_empty() {
            bail!(
                "{bench} printed a bar without {}: {line}",
                lacking.join(", ")
            );
        }
        bars.push(bar);
    }
    Ok(bars)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_with_all_members_is_read_and_one_without_is_named() {
        let whole = r#"{"bar":"exec","ratio":1.2,"want":1.5,"ok":true,"unit":"x","peer":"spawn","runs":200}"#;
        assert_eq!(bars_of("exec", whole).expect("a bar").len(), 1);
        let error = bars_of("exec", r#"{"bar":"exec","ratio":1.2}"#).expect_err("no bar");
        assert!(
            error.to_string().contains("want, ok, unit, peer, runs"),
            "{error}"
        );
    }
}
