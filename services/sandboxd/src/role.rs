//! What the binary does: one of its roles, by its first argument.

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use sandgate_spawn::control::Control;
use sandgate_spawn::inherited;
use sandgate_spawn::sandbox::{Spec, become_first_process};
use sandgate_telemetry::{LogFormat, Settings};
use sandgate_types::{SystemClock, chain};

use crate::{keeper, runner};

/// The runner's end of its connection to the keeper; the keeper's socket to the backend.
const FIRST: i32 = 3;
/// The keeper's end of its connection to the runner.
const SECOND: i32 = 4;
/// Where the keeper reads how many processes were killed for memory.
const THIRD: i32 = 5;
/// Where the keeper sends its spans and metrics.
const OTLP_ENDPOINT: &str = "--otlp-endpoint";
/// The last of them may take this long; the backend waits longer for the end.
const FLUSH_LIMIT: Duration = Duration::from_millis(500);
/// As sysexits has it.
const USAGE: u8 = 64;
const VERSION: &str = concat!("sandboxd ", env!("CARGO_PKG_VERSION"), "\n");
const HELP: &str = "\
usage: sandboxd keeper [--otlp-endpoint <url>] | sandbox <limits>

Started by a sandbox backend, with sockets in descriptor 3 (and 4, and a count in 5); of no use by hand.
  keeper   outside of the sandbox: identity, the link to the gate, the agent's local listener
  sandbox  makes the sandbox and waits for its end; its child in there is the runner: processes and files
";

/// Plays the role that the arguments name, and returns when its sockets are closed.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let words: Vec<OsString> = arguments.collect();
    let (role, rest) = match &*words {
        [role, rest @ ..] => (role.to_str().unwrap_or_default(), rest),
        [] => ("", &[][..]),
    };
    if role == "sandbox" {
        return sandbox(rest);
    }
    let ended = match (role, rest) {
        ("keeper", []) => keep(None),
        ("keeper", [flag, endpoint]) if flag == OTLP_ENDPOINT => keep(endpoint.to_str()),
        ("--help" | "-h" | "help", []) => return say(io::stdout(), HELP, ExitCode::SUCCESS),
        ("--version" | "-V", []) => return say(io::stdout(), VERSION, ExitCode::SUCCESS),
        _ => return say(io::stderr(), HELP, ExitCode::from(USAGE)),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => say(
            io::stderr(),
            &format!("sandboxd {role}: {}\n", chain(&*error)),
            ExitCode::FAILURE,
        ),
    }
}

fn sandbox(words: &[OsString]) -> ExitCode {
    let Some(spec) = Spec::from_arguments(words) else {
        return say(io::stderr(), HELP, ExitCode::from(USAGE));
    };
    // What goes wrong inside is nobody's to hear there; that it has ended is seen from outside.
    let runner = || {
        let served = inherited::take(FIRST).and_then(runner::serve);
        u8::from(served.is_err())
    };
    match become_first_process(&spec, runner) {
        Ok(code) => ExitCode::from(code),
        Err(error) => say(io::stderr(), &format!("{error}\n"), ExitCode::FAILURE),
    }
}

fn keep(otlp_endpoint: Option<&str>) -> Result<(), Box<dyn std::error::Error>> {
    // What holds tokens shows its memory to nobody, core dumps included.
    if Control::HiddenKeeper.applies() {
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    let (control, runner) = (inherited::take(FIRST)?, inherited::take(SECOND)?);
    let kills = inherited::take(THIRD).ok();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let settings = Settings {
            service: "sandboxd",
            format: LogFormat::Text,
            filter: "warn".to_owned(),
            otlp: otlp_endpoint.map(str::to_owned),
        };
        let telemetry = sandgate_telemetry::init(&settings)?;
        let served = keeper::serve(control, runner, kills, Arc::new(SystemClock)).await;
        telemetry.flush(FLUSH_LIMIT).await;
        served.map_err(|error: keeper::KeeperError| error.into())
    })
}

fn say(mut to: impl io::Write, text: &str, code: ExitCode) -> ExitCode {
    // Nobody is left to tell that nobody could be told.
    let _unheard = to.write_all(text.as_bytes());
    code
}
