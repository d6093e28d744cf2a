//! Settings of a process: defaults, then a YAML file, then the environment, then flags.
//!
//! A service declares one `Args`, where every field is an `Option` and has a flag and a variable:
//!
//! ```text
//! #[derive(Debug, Default, clap::Parser, serde::Serialize, serde::Deserialize)]
//! #[serde(deny_unknown_fields, default)]
//! pub struct Args {
//!     /// Where sessions are kept.
//!     #[arg(long, env = "SANDGATE_TOKEN_DATABASE")]
//!     pub database: Option<String>,
//!     /// How long a drain may take.
//!     #[arg(long, env = "SANDGATE_TOKEN_DRAIN_DELAY")]
//!     pub drain_delay: Option<Period>,
//! }
//! ```
//!
//! and turns it into its `Config` by `TryFrom`, with [`Violations`] for an error. `Args::default()` holds the
//! defaults, so `--print-config` shows them. [`load`] adds the settings that every process has: `--config`,
//! `--print-config`, `--log-format`, `--log-filter`, `--otlp-endpoint`.
//!
//! Unknown keys of the file and unknown variables with the process's prefix are problems, and all problems
//! are told at once: a setting that is accepted and ignored is a control that somebody believes in. Secrets
//! are never settings; a setting names the [`SecretFile`] that holds one.

mod command;
mod env;
mod held;
mod layers;
mod problem;
mod redact;
mod secret;
mod values;

use std::ffi::OsString;

use clap::Parser;
use sandgate_telemetry::Settings as Telemetry;
#[cfg(doc)]
use sandgate_types::Violations;
use serde::Serialize;
use serde::de::DeserializeOwned;

pub use env::{Env, ProcessEnv};
pub use held::HeldDirs;
pub use problem::{Problem, Problems, Stop};
pub use secret::SecretFile;
pub use values::{Period, Size, required};

/// What a process was told.
#[derive(Debug, Clone)]
pub struct Loaded<A> {
    /// The service's own settings, defaults filled in.
    pub args: A,
    /// What its logs, traces and metrics are like.
    pub telemetry: Telemetry,
}

/// Reads the settings of `process` (`sandgate-token`); `arguments` are those after its name.
///
/// The variables are `SANDGATE_<PROCESS>_<KEY>`, the process without `sandgate-`.
///
/// # Errors
/// [`Stop`], which says what to print and how to exit: help, version and the printed configuration are an
/// answer, and so are all problems at once.
pub fn load<A>(
    process: &'static str,
    arguments: impl IntoIterator<Item = OsString>,
    env: &dyn Env,
) -> Result<Loaded<A>, Stop>
where
    A: Parser + Serialize + DeserializeOwned + Default,
{
    layers::load(process, arguments.into_iter().collect(), env)
}

#[cfg(test)]
mod tests;
