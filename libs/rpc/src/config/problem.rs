//! Why a process does not start, all of it at once.

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

use sandgate_types::{Malformed, Violations};

/// sysexits(3): the command was used wrongly.
const USAGE: u8 = 64;

/// One thing that is wrong with a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where: a file and key, a variable, a flag, or the setting's name.
    pub place: String,
    /// What is wrong and what would be right. It reads on after the place.
    pub rule: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.place, self.rule)
    }
}

/// Everything that is wrong with a process's settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Notes one more.
    pub fn push(&mut self, place: impl Into<String>, rule: impl Into<String>) {
        self.0.push(Problem {
            place: place.into(),
            rule: rule.into(),
        });
    }

    /// Each of them, in the order of the layers.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if index == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<Violations> for Problems {
    fn from(violations: Violations) -> Self {
        let problem = |one: &Malformed| Problem {
            place: one.field().to_owned(),
            rule: one.rule().to_owned(),
        };
        Self(violations.iter().map(problem).collect())
    }
}

/// Why a process ends before it began.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// It was asked something, and this is the answer.
    Answered(String),
    /// Its settings are wrong.
    Refused(Problems),
}

impl Stop {
    /// Prints what there is to say and gives the exit code: 0 for an answer, 64 for problems.
    pub fn exit(self) -> ExitCode {
        let (said, code) = match self {
            Self::Answered(text) => (
                writeln!(std::io::stdout(), "{}", text.trim_end()),
                ExitCode::SUCCESS,
            ),
            Self::Refused(problems) => (
                writeln!(std::io::stderr(), "{problems}"),
                ExitCode::from(USAGE),
            ),
        };
        // Whoever closed our output does not want to read it; the code still tells.
        if said.is_ok() {
            code
        } else {
            ExitCode::from(USAGE)
        }
    }
}

impl From<Violations> for Stop {
    fn from(violations: Violations) -> Self {
        Self::Refused(violations.into())
    }
}

impl From<Malformed> for Stop {
    fn from(malformed: Malformed) -> Self {
        Self::Refused(Violations::from(malformed).into())
    }
}
