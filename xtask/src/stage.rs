//! Stages, each with a name, a time and a budget.
//!
//! The budgets are per kind of work and a run of `.ci/run` has one over all: where it runs, a run of ninety
//! minutes is cut. A stage that is over its budget fails even when all it ran had succeeded, so that a
//! suite cannot grow into the limit unseen.

use std::time::{Duration, Instant, SystemTime};

use anyhow::bail;

use crate::machine::Machine;

/// The whole of `.ci/run`, cold, on two cores.
const TOTAL: Duration = minutes(85);

/// A monotonic clock; the one place of this crate that asks for the time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "chores measure real time")]
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    #[expect(clippy::disallowed_methods, reason = "chores measure real time")]
    pub(crate) fn elapsed(self) -> Duration {
        Instant::now().duration_since(self.0)
    }
}

/// What a stage spends its time on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Installs what the machine lacks.
    Tools,
    /// Compiles and reads the sources: builds, lints, documentation.
    Build,
    /// Runs tests.
    Tests,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Tools, Self::Build, Self::Tests];

    fn name(self) -> &'static str {
        match self {
            Self::Tools => "tools",
            Self::Build => "build",
            Self::Tests => "tests",
        }
    }

    const fn budget(self) -> Duration {
        match self {
            Self::Tools | Self::Tests => minutes(25),
            Self::Build => minutes(20),
        }
    }
}

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

/// The stages of one chore, in the order in which they ran.
#[derive(Debug)]
pub(crate) struct Stages<'a> {
    machine: &'a Machine,
    done: Vec<(String, Kind, Duration)>,
    failed: Vec<String>,
}

impl<'a> Stages<'a> {
    pub(crate) fn new(machine: &'a Machine) -> Self {
        Self {
            machine,
            done: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// Runs a stage that later ones need. It is handed what is left of its budget.
    ///
    /// # Errors
    /// It failed, or took longer than its kind may.
    pub(crate) fn run<T>(
        &mut self,
        name: &str,
        kind: Kind,
        work: impl FnOnce(Duration) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        println!("\n=== {name}");
        let began = Clock::start();
        let outcome = work(kind.budget().saturating_sub(self.spent(kind)));
        let took = began.elapsed();
        println!(
            "=== {name}: {} in {:.1} s",
            if outcome.is_ok() { "done" } else { "FAILED" },
            took.as_secs_f64()
        );
        self.done.push((name.to_owned(), kind, took));
        let value = outcome.map_err(|error| error.context(format!("stage {name:?} failed")))?;
        if self.spent(kind) > kind.budget() {
            bail!(
                "stage {name:?} exceeds the budget of {:?} for {}",
                kind.budget(),
                kind.name()
            );
        }
        Ok(value)
    }

    /// Runs a stage that no other needs: a failure is told at the end, after all others ran.
    pub(crate) fn check(
        &mut self,
        name: &str,
        kind: Kind,
        work: impl FnOnce(Duration) -> anyhow::Result<()>,
    ) {
        if let Err(error) = self.run(name, kind, work) {
            println!("{error:#}");
            self.failed.push(name.to_owned());
        }
    }

    /// Notes that a stage was left out. In CI that is a failure.
    pub(crate) fn skip(&mut self, name: &str, why: &str) {
        println!("\n=== {name}: SKIPPED, {why}");
        if self.machine.ci {
            self.failed.push(format!("{name} (skipped: {why})"));
        }
    }

    fn spent(&self, kind: Kind) -> Duration {
        self.done
            .iter()
            .filter(|(_, of, _)| *of == kind)
            .map(|(_, _, took)| *took)
            .sum()
    }

    /// Prints where the time went, and gives the verdict.
    ///
    /// # Errors
    /// A check failed or was skipped in CI, or the run is over its total.
    #[expect(
        clippy::disallowed_methods,
        reason = "a run of two processes is measured by the wall clock"
    )]
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        println!("\n=== where the time went");
        for (name, kind, took) in &self.done {
            println!("{:>8.1} s  {:6} {name}", took.as_secs_f64(), kind.name());
        }
        for kind in Kind::ALL {
            println!(
                "{:>8.1} s  of {:.0} for {}",
                self.spent(kind).as_secs_f64(),
                kind.budget().as_secs_f64(),
                kind.name()
            );
        }
        if let Some(began) = self.machine.run_began {
            let total = SystemTime::now().duration_since(began).unwrap_or_default();
            println!(
                "{:>8.1} s  of {:.0} for the whole run",
                total.as_secs_f64(),
                TOTAL.as_secs_f64()
            );
            if total > TOTAL {
                bail!("the run exceeds its budget of {TOTAL:?}");
            }
        }
        if self.failed.is_empty() {
            Ok(())
        } else {
            bail!("failed: {}", self.failed.join(", "))
        }
    }
}
