//! The one place that says gRPC status: why a call of the keeper's services was not served.

mod why;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sandgate_rpc::{Fault, Reason};
use tonic::Status;

use super::identity::Phase;
use super::instance::{AttachError, Unusable, WORKSPACE};
use super::peers::{PeerError, Trouble};
use super::process::StdinError;
use super::processes::StartError;
use super::ring::NotKept;
use super::runner::RunnerError;
use super::sync::SyncError;
use crate::protocol::Why;

use self::why::of_why;
pub(crate) use self::why::{Named, not_started, refused_in};

const DOMAIN: &str = "sandboxd";
/// When something that goes on now may have ended.
const SOON: Duration = Duration::from_secs(1);

const fn reason(code: &'static str) -> Reason {
    Reason::new(DOMAIN, code)
}

/// No process has this handle.
pub(crate) fn process_unknown() -> Fault {
    Fault::not_found(
        reason("PROCESS_UNKNOWN"),
        "no process has this id; ListProcesses names those that are known",
    )
}

/// The process has ended.
pub(crate) fn process_ended() -> Fault {
    Fault::failed_precondition(reason("PROCESS_ENDED"), "the process has ended").precondition(
        "PROCESS_RUNS",
        "process",
        "the process must run",
    )
}

/// The process has no terminal.
pub(crate) fn no_terminal() -> Fault {
    Fault::failed_precondition(
        reason("NO_TERMINAL"),
        "the process was started without a terminal",
    )
    .precondition("PROCESS_HAS_TERMINAL", "process", "start it with `pty`")
}

/// The rest of its output was given up.
pub(crate) fn output_forgotten() -> Fault {
    Fault::out_of_range(
        reason("OUTPUT_FORGOTTEN"),
        "the process ended so long ago that its output was given up",
    )
}

/// The port is not granted.
pub(crate) fn port_not_granted() -> Fault {
    Fault::permission_denied(
        reason("PORT_NOT_GRANTED"),
        "the template does not grant this port",
    )
}

/// The keeper is on its way out.
pub(crate) fn ending() -> Fault {
    Fault::unavailable(reason("ENDING"), "the sandbox is ending")
}

/// What the kernel says of a file in mid-transfer.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kinds are the standard library's, and grow"
)]
pub(crate) fn file_trouble(error: std::io::Error) -> Fault {
    match error.kind() {
        std::io::ErrorKind::StorageFull
        | std::io::ErrorKind::QuotaExceeded
        | std::io::ErrorKind::FileTooLarge => no_space(),
        _ => Fault::internal(error),
    }
}

fn no_space() -> Fault {
    Fault::exhausted(
        reason("DISK_FULL"),
        format!("{}; what was there stays", Why::NoSpace),
    )
    .quota(WORKSPACE, "the template's bound on its size")
}

impl From<AttachError> for Fault {
    fn from(error: AttachError) -> Self {
        let message = error.to_string();
        match error {
            AttachError::Ticket(_) | AttachError::Mismatch => {
                Self::failed_precondition(reason("TICKET_REFUSED"), message).precondition(
                    "TICKET",
                    "ticket",
                    "a fresh ticket for this instance, generation and session",
                )
            }
            AttachError::Again => Self::failed_precondition(reason("ATTACHED_BEFORE"), message)
                .precondition(
                    "SPARE",
                    "instance",
                    "an instance serves one conversation, once",
                ),
        }
    }
}

impl From<Unusable> for Fault {
    fn from(unusable: Unusable) -> Self {
        let message = unusable.to_string();
        match unusable {
            Unusable::Phase(phase) => phase_refuses(phase),
            Unusable::Hydrating => {
                Self::unavailable(reason("HYDRATING"), message).retry_after(SOON)
            }
            Unusable::NotHydrated => Self::failed_precondition(reason("NOT_HYDRATED"), message)
                .precondition(
                    "WORKSPACE",
                    "workspace",
                    "delete the sandbox and create it again",
                ),
        }
    }
}

fn phase_refuses(phase: Phase) -> Fault {
    match phase {
        Phase::Spare | Phase::Attached => Fault::failed_precondition(
            reason("NOT_ATTACHED"),
            "the sandbox serves no conversation yet",
        )
        .precondition("ATTACHED", "instance", "wait until the sandbox is READY"),
        Phase::Draining => Fault::failed_precondition(
            reason("ENDING"),
            "the sandbox is ending and takes no more calls",
        )
        .precondition("LIVE", "sandbox", "resume it, or create another"),
    }
}

impl From<StartError> for Fault {
    fn from(error: StartError) -> Self {
        match error {
            StartError::Phase(phase) => phase_refuses(phase),
            StartError::Crowded(crowded) => {
                Self::exhausted(reason("TOO_MANY_PROCESSES"), crowded.to_string()).quota(
                    "processes",
                    "the processes that this service started and that run",
                )
            }
            StartError::Runner(error) => error.into(),
            StartError::Adopt(error) => Self::internal(error),
            StartError::Ending => ending(),
        }
    }
}

impl From<StdinError> for Fault {
    fn from(error: StdinError) -> Self {
        match error {
            StdinError::Closed => {
                Self::failed_precondition(reason("STDIN_CLOSED"), "standard input is closed")
                    .precondition("STDIN_OPEN", "process", "start it with `keep_stdin_open`")
            }
            StdinError::Io(error) => Self::internal(error),
        }
    }
}

impl From<NotKept> for Fault {
    fn from(NotKept { first, end }: NotKept) -> Self {
        Self::out_of_range(
            reason("OUTPUT_NOT_KEPT"),
            format!("output is kept from offset {first} to {end}"),
        )
        .meta("first_offset", first)
        .meta("end_offset", end)
    }
}

/// Why a sync stored nothing; several askers may share one reason.
pub(crate) fn not_synced(error: &Arc<SyncError>) -> Status {
    let fault = match &**error {
        SyncError::NotHydrated => Unusable::NotHydrated.into(),
        SyncError::Runner(RunnerError::Failed(why)) => of_why("path", *why),
        SyncError::Runner(RunnerError::Gone) | SyncError::Ending => ending(),
        SyncError::Runner(RunnerError::Senseless) | SyncError::Unread(_) => {
            Fault::internal(Arc::clone(error))
        }
        SyncError::TooMany(_) => of_why("path", Why::TooMany),
        SyncError::Store(said) => return not_stored(error, said),
        SyncError::Contended => Fault::aborted(reason("WORKSPACE_CONTENDED"), error.to_string()),
    };
    fault.into()
}

/// What the store said: passing trouble as such, and a refusal with the store's own reason.
fn not_stored(error: &Arc<SyncError>, said: &PeerError) -> Status {
    match said.trouble() {
        Trouble::Away => {
            let reason = reason("STORE_UNAVAILABLE");
            status(Fault::unavailable(reason, error.to_string()).retry_after(SOON))
        }
        Trouble::Busy | Trouble::Overtaken | Trouble::Refused => {
            let said = said.said();
            let details = Bytes::copy_from_slice(said.details());
            Status::with_details(said.code(), said.message(), details)
        }
        Trouble::Broken => status(Fault::internal(Arc::clone(error))),
    }
}

/// Shorter than `Status::from(Fault::from(…))` at every door.
pub(crate) fn status(error: impl Into<Fault>) -> Status {
    Status::from(error.into())
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn a_full_disk_is_a_quota_wherever_it_is_noticed() {
        let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
        assert_eq!(file_trouble(full).code(), Code::ResourceExhausted);
        assert_eq!(
            Fault::from(RunnerError::Failed(Why::NoSpace)).code(),
            Code::ResourceExhausted
        );
    }

    #[test]
    fn the_runners_own_trouble_says_nothing_of_itself() {
        assert_eq!(status(RunnerError::Senseless).message(), "internal");
        assert_eq!(status(RunnerError::Failed(Why::Io)).message(), "internal");
    }
}
