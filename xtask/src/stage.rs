//! Stages of a chore: each prints what it took, and fails when it took more than its budget.
//!
//! The budgets add up to less than the 85 minutes in which all that guards main must be done on two cores.

use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

/// Installing tools that a fresh machine lacks.
pub(crate) const TOOLS: Duration = Duration::from_secs(25 * 60);
/// Building, from an empty target directory.
pub(crate) const BUILD: Duration = Duration::from_secs(20 * 60);
/// Running tests or checks.
pub(crate) const TESTS: Duration = Duration::from_secs(25 * 60);

/// Runs one stage.
///
/// # Errors
/// What the stage answers, or that it went over its budget.
#[expect(clippy::disallowed_methods, reason = "a chore measures itself")]
pub(crate) fn stage<T>(
    name: &str,
    budget: Duration,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    say(&format!("\n== {name}"));
    let started = Instant::now();
    let done = work().with_context(|| name.to_owned())?;
    let took = started.elapsed();
    say(&format!(
        "== {name}: {:.1} s of {} s",
        took.as_secs_f64(),
        budget.as_secs()
    ));
    ensure!(
        took <= budget,
        "{name} took {:.0} s, more than its budget of {} s",
        took.as_secs_f64(),
        budget.as_secs()
    );
    Ok(done)
}

/// Runs a command to its end.
///
/// # Errors
/// When it cannot be started, or fails.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    say(&format!("$ {command:?}"));
    let status = command
        .status()
        .with_context(|| format!("start {command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

/// Prints a line.
pub(crate) fn say(text: &str) {
    // A reader that went away is no reason to stop.
    writeln!(std::io::stdout().lock(), "{}", text.trim_end()).unwrap_or_default();
}
