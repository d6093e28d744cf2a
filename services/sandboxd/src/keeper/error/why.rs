//! Why the runner did not do something, in the words of who asked for it.

use sandgate_rpc::Fault;
use sandgate_types::Malformed;

use super::{SOON, ending, no_space, reason};
use crate::keeper::processes::{Launch, StartError};
use crate::keeper::runner::RunnerError;
use crate::protocol::Why;

/// What is shown of a name that a caller gave.
const SHOWN_MAX_BYTES: usize = 256;

/// What a launch names that may not be there.
#[derive(Debug)]
pub(crate) struct Named {
    program: String,
    cwd: String,
}

impl Named {
    /// Of this launch.
    pub(crate) fn by(launch: &Launch) -> Self {
        Self {
            program: shown(launch.argv.first().map(String::as_str).unwrap_or_default()),
            cwd: shown(&launch.cwd),
        }
    }
}

/// A name in quotes, without what would move a cursor.
fn shown(name: &str) -> String {
    let name = &name[..name.floor_char_boundary(SHOWN_MAX_BYTES)];
    format!("'{}'", name.escape_debug())
}

/// The key under which `ErrorInfo` says what is wrong with a program, for programs that tell it apart as shells do.
const PROGRAM: &str = "program";

/// Why a process was not started, with the program or folder that is the cause.
pub(crate) fn not_started(error: StartError, named: &Named) -> Fault {
    let Named { program, cwd } = named;
    let of_program =
        |what: &str, rule: String| Fault::from(Malformed::new("argv", rule)).meta(PROGRAM, what);
    match error {
        StartError::Runner(RunnerError::Failed(Why::ProgramMissing)) => of_program(
            "missing",
            format!("must name a program that exists, which {program} does not"),
        ),
        StartError::Runner(RunnerError::Failed(Why::ProgramIsDirectory)) => of_program(
            "directory",
            format!("must name a program, not a directory, as {program} is"),
        ),
        StartError::Runner(RunnerError::Failed(Why::ProgramNotExecutable)) => of_program(
            "not_executable",
            format!("must name a program that can be executed, which {program} cannot"),
        ),
        StartError::Runner(RunnerError::Failed(Why::CwdMissing)) => {
            Malformed::new("cwd", format!("must exist, which {cwd} does not")).into()
        }
        StartError::Runner(RunnerError::Failed(Why::CwdNotDirectory)) => {
            Malformed::new("cwd", format!("must be a directory, which {cwd} is not")).into()
        }
        other @ (StartError::Phase(_)
        | StartError::Crowded(_)
        | StartError::Runner(_)
        | StartError::Adopt(_)
        | StartError::Ending) => other.into(),
    }
}

impl From<RunnerError> for Fault {
    fn from(error: RunnerError) -> Self {
        refused_in("path", error)
    }
}

/// Why the runner did not do what was asked of the path in the request field `path`.
pub(crate) fn refused_in(path: &str, error: RunnerError) -> Fault {
    match error {
        RunnerError::Gone => ending(),
        RunnerError::Failed(why) => of_why(path, why),
        RunnerError::Senseless => Fault::internal(error),
    }
}

/// A refusal that the request's author can mend, in the field of that name; a path is in the field `path`.
pub(super) fn of_why(path: &str, why: Why) -> Fault {
    let field = |field: &str, rule: &str| Fault::from(Malformed::new(field, rule));
    match why {
        Why::NotFound => Fault::not_found(reason("NO_SUCH_FILE"), "nothing is at this path"),
        Why::AlreadyExists => {
            Fault::already_exists(reason("FILE_EXISTS"), "something is at this path already")
        }
        Why::Link => field(path, "must not lead through a symbolic link"),
        Why::Mount => field(path, "must not lead into another file system"),
        Why::IsDirectory => field(path, "must name a file, not a directory"),
        Why::NotDirectory => field(path, "must lead through directories only"),
        Why::IsRoot => field(path, "must not be the workspace itself"),
        Why::Special => field(path, "must not name a device, socket or pipe"),
        Why::BadPath => field(
            path,
            "must be relative, without empty, '.' or '..' components and without NUL",
        ),
        Why::IntoItself => field("target", "must not lie in what is moved"),
        Why::NotEmpty => {
            Fault::failed_precondition(reason("DIRECTORY_NOT_EMPTY"), "the directory is not empty")
                .precondition("EMPTY", "path", "set `recursive` to remove all below it")
        }
        Why::TooDeep => {
            Fault::failed_precondition(reason("TREE_TOO_DEEP"), "the tree is nested too deeply")
                .precondition("DEPTH", "path", "at most 256 levels")
        }
        Why::TooMany => Fault::failed_precondition(
            reason("TOO_MANY_ENTRIES"),
            "there are more entries than can be handled",
        )
        .precondition("ENTRIES", "path", "remove some of them"),
        Why::Denied => Fault::permission_denied(
            reason("FILE_PERMISSIONS"),
            "the file's own permissions forbid it",
        ),
        Why::NoSpace => no_space(),
        Why::ProgramMissing => field("argv", "must name a program that exists"),
        Why::ProgramIsDirectory => field("argv", "must name a program, not a directory"),
        Why::ProgramNotExecutable => field("argv", "must name a program that can be executed"),
        Why::CwdMissing => field("cwd", "must exist"),
        Why::CwdNotDirectory => field("cwd", "must be a directory"),
        Why::TooLong => field(
            "argv",
            "must fit, with the environment, into what the kernel takes",
        ),
        Why::Crowded => Fault::exhausted(
            reason("SANDBOX_FULL"),
            "the sandbox has no room for another process or file",
        )
        .quota(
            "processes",
            "the template's bounds on processes, memory and descriptors",
        ),
        Why::NoTerminal => {
            Fault::failed_precondition(reason("NO_TERMINALS"), "the sandbox has no terminals")
                .precondition("DEVPTS", "sandbox", "start the process without `pty`")
        }
        Why::Refused => Fault::unavailable(reason("PORT_CLOSED"), "nothing listens at this port")
            .retry_after(SOON),
        Why::Busy => Fault::exhausted(
            reason("TOO_MANY_TRANSFERS"),
            "too many transfers are on their way",
        )
        .retry_after(SOON),
        Why::Io | Why::BadRequest => Fault::internal(RunnerError::Failed(why)),
    }
}
