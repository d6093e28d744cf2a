//! Runs other programs, within what is left of a budget.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::stage::Clock;

/// How often a running program is looked at; far below what any stage takes.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// `cargo`, without what the cargo that runs us put into the environment for us alone: build scripts that
/// watch those variables would otherwise rebuild with every change of who called.
pub(crate) fn cargo(repository: &Path) -> Command {
    let mut command = program("cargo", repository);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if [
            "CARGO_PKG_",
            "CARGO_MANIFEST_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
        ]
        .iter()
        .any(|ours| text.starts_with(ours))
        {
            command.env_remove(&name);
        }
    }
    command.env_remove("LD_LIBRARY_PATH").env_remove("CARGO");
    command
}

/// A program in this folder, without a terminal to ask questions on.
pub(crate) fn program(name: impl AsRef<OsStr>, folder: &Path) -> Command {
    let mut command = Command::new(name);
    command.current_dir(folder).stdin(Stdio::null());
    command
}

/// Runs the command to its end, its output going where ours goes.
///
/// # Errors
/// It failed, could not be started, or was still running when `left` was over, and was killed.
pub(crate) fn run(command: &mut Command, left: Duration) -> anyhow::Result<()> {
    let line = line(command);
    println!("$ {line}");
    let status = wait(command, left).with_context(|| line.clone())?;
    if status.success() {
        Ok(())
    } else {
        bail!("{line}: {status}")
    }
}

fn wait(command: &mut Command, left: Duration) -> anyhow::Result<ExitStatus> {
    let began = Clock::start();
    let mut child = command.spawn().context("start")?;
    loop {
        if let Some(status) = child.try_wait().context("wait")? {
            return Ok(status);
        }
        if began.elapsed() > left {
            child.kill().context("kill")?;
            child.wait().context("wait")?;
            bail!("killed: still running when its stage's budget was over");
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// What the command printed on its standard output.
///
/// # Errors
/// It failed or could not be started; the text is what it said on standard error.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let line = line(command);
    let output = command.output().with_context(|| format!("start {line}"))?;
    if !output.status.success() {
        bail!(
            "{line}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
    }
    String::from_utf8(output.stdout).with_context(|| format!("read the output of {line}"))
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
