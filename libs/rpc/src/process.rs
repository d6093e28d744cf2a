//! A service as a process of its own, from its arguments to its exit code.

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use sandgate_types::{Violations, chain};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::{Loaded, ProcessEnv, Stop, load};
use crate::{Shutdown, until_told};

/// The last spans and metrics may take this long.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// What ends a process.
type Ended = Box<dyn Error + Send + Sync>;

/// Reads the settings of the process `name`, and does `work` until it ends by itself or has drained after it was
/// told to; `arguments` are those after the name. What went wrong is said in one line.
pub fn run_process<A, C, W, E>(
    name: &'static str,
    arguments: impl IntoIterator<Item = OsString>,
    work: impl FnOnce(Loaded<C>, Shutdown) -> W,
) -> ExitCode
where
    A: Parser + Serialize + DeserializeOwned + Default + TryInto<C, Error = Violations>,
    W: Future<Output = Result<(), E>>,
    E: Into<Ended>,
{
    let settings = load::<A>(name, arguments, &ProcessEnv).and_then(|loaded| {
        let Loaded { args, telemetry } = loaded;
        let args = args.try_into().map_err(Stop::from)?;
        Ok(Loaded { args, telemetry })
    });
    let settings = match settings {
        Ok(settings) => settings,
        Err(stop) => return stop.exit(),
    };
    match run(settings, work) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Said plainly: telemetry may be what failed. Whoever closed our output still gets the code.
            drop(writeln!(io::stderr(), "{name}: {}", chain(&*error)));
            ExitCode::FAILURE
        }
    }
}

fn run<C, W, E>(
    settings: Loaded<C>,
    work: impl FnOnce(Loaded<C>, Shutdown) -> W,
) -> Result<(), Ended>
where
    W: Future<Output = Result<(), E>>,
    E: Into<Ended>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let telemetry = sandgate_telemetry::init(&settings.telemetry)?;
        let shutdown = Shutdown::new();
        let work = Box::pin(work(settings, shutdown.clone()));
        let done = until_told(&shutdown, work).await;
        telemetry.flush(FLUSH_LIMIT).await;
        done?.map_err(Into::into)
    })
}
