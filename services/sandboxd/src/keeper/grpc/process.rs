//! ProcessService.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream;
use sandgate_api::sandbox::v1 as pb;
use sandgate_api::sandbox::v1::process_event::Event as Said;
use sandgate_api::sandbox::v1::process_service_server::ProcessService;
use sandgate_rpc::{Fault, page_size};
use sandgate_types::{Malformed, Violations};
use tonic::{Request, Response, Status};

use super::{Answers, Reply, Services, answers};
use crate::keeper::environment::Environment;
use crate::keeper::error::{no_terminal, output_forgotten, process_ended, process_unknown, status};
use crate::keeper::instance::WORKSPACE;
use crate::keeper::process::{End, Event, How, Process, Reader};
use crate::keeper::processes::{Launch, Running};
use crate::keeper::ring::{Piece, Stream};
use crate::keeper::runner::Size;

/// The published limits of a process to start.
const ARGUMENTS_MAX: usize = 1024;
const ARGUMENTS_MAX_BYTES: usize = 128 * 1024;
const STDIN_MAX_BYTES: usize = 1024 * 1024;
const PATH_MAX_BYTES: usize = 4096;
const TERMINAL_MAX: u32 = 1000;
const SIGNAL_MAX: i32 = 31;
/// To whom page tokens of the list belong: a keeper has one list.
const LIST: &str = "processes";

#[tonic::async_trait]
impl ProcessService for Services {
    type RunProcessStream = Answers<pb::RunProcessResponse>;
    type AttachProcessStream = Answers<pb::AttachProcessResponse>;

    async fn run_process(
        &self,
        request: Request<pb::RunProcessRequest>,
    ) -> Reply<Self::RunProcessStream> {
        let launch = parse(request.into_inner()).map_err(status)?;
        self.instance.usable().await.map_err(status)?;
        let Running {
            id,
            process,
            reader,
        } = self
            .instance
            .processes
            .start(launch)
            .await
            .map_err(status)?;
        let started = pb::ProcessStarted {
            process_id: id.as_str().to_owned(),
            pid: process.pid,
        };
        let events = events(Some(Said::Started(started)), reader, |event| {
            pb::RunProcessResponse { event: Some(event) }
        });
        Ok(events)
    }

    async fn attach_process(
        &self,
        request: Request<pb::AttachProcessRequest>,
    ) -> Reply<Self::AttachProcessStream> {
        let pb::AttachProcessRequest { process_id, offset } = request.into_inner();
        let reader = self.find(&process_id)?.read_from(offset).map_err(status)?;
        Ok(events(None, reader, |event| pb::AttachProcessResponse {
            event: Some(event),
        }))
    }

    async fn write_stdin(
        &self,
        request: Request<pb::WriteStdinRequest>,
    ) -> Reply<pb::WriteStdinResponse> {
        let pb::WriteStdinRequest {
            process_id,
            data,
            close,
        } = request.into_inner();
        if data.len() > STDIN_MAX_BYTES {
            return Err(status(Malformed::new("data", "must have at most 1 MiB")));
        }
        self.find(&process_id)?
            .write_stdin(&data, close)
            .await
            .map_err(status)?;
        Ok(pb::WriteStdinResponse {}.into())
    }

    async fn signal_process(
        &self,
        request: Request<pb::SignalProcessRequest>,
    ) -> Reply<pb::SignalProcessResponse> {
        let pb::SignalProcessRequest {
            process_id,
            signal,
            group,
        } = request.into_inner();
        if !(1..=SIGNAL_MAX).contains(&signal) {
            return Err(status(Malformed::new("signal", "must be 1 to 31")));
        }
        let process = self.find(&process_id)?;
        if self
            .instance
            .processes
            .signal(&process, signal, group)
            .await
            .map_err(status)?
        {
            Ok(pb::SignalProcessResponse {}.into())
        } else {
            Err(status(process_ended()))
        }
    }

    async fn resize_pty(
        &self,
        request: Request<pb::ResizePtyRequest>,
    ) -> Reply<pb::ResizePtyResponse> {
        let pb::ResizePtyRequest { process_id, size } = request.into_inner();
        let size = size
            .ok_or_else(|| Malformed::new("size", "must be set"))
            .and_then(|size| parse_size("size", size));
        let Size { rows, columns } = size.map_err(status)?;
        match self.find(&process_id)?.resize(rows, columns) {
            Some(Ok(())) => Ok(pb::ResizePtyResponse {}.into()),
            Some(Err(error)) => Err(status(Fault::internal(error))),
            None => Err(status(no_terminal())),
        }
    }

    async fn list_processes(
        &self,
        request: Request<pb::ListProcessesRequest>,
    ) -> Reply<pb::ListProcessesResponse> {
        let pb::ListProcessesRequest {
            page_size: size,
            page_token,
        } = request.into_inner();
        let size = page_size(size).map_err(status)?;
        let after = self.pages.decode(LIST, &page_token).map_err(status)?;
        let all = self.instance.processes.newest_first();
        let start = match after {
            // Who was forgotten meanwhile was the oldest, so nothing follows.
            Some(after) => all
                .iter()
                .position(|(id, _)| id.as_str().as_bytes() == after)
                .map_or(all.len(), |at| at + 1),
            None => 0,
        };
        let page = &all[start..all.len().min(start.saturating_add(size))];
        let more = start + page.len() < all.len();
        let next = page
            .last()
            .filter(|_| more)
            .map(|(id, _)| self.pages.encode(LIST, id.as_str().as_bytes()));
        let processes = page
            .iter()
            .map(|(id, process)| describe(id.as_str(), process))
            .collect();
        Ok(pb::ListProcessesResponse {
            processes,
            next_page_token: next.unwrap_or_default(),
        }
        .into())
    }
}

impl Services {
    fn find(&self, id: &str) -> Result<Arc<Process>, Status> {
        self.instance
            .processes
            .find(id)
            .ok_or_else(|| status(process_unknown()))
    }
}

/// Reads a program and its arguments from the request field `field`.
pub(super) fn parse_argv(field: &str, argv: Vec<String>) -> Result<Vec<String>, Malformed> {
    let bytes: usize = argv.iter().map(String::len).sum();
    if argv.is_empty() || argv.len() > ARGUMENTS_MAX || bytes > ARGUMENTS_MAX_BYTES {
        return Err(Malformed::new(
            field,
            "must be 1 to 1,024 arguments of together at most 128 KiB",
        ));
    }
    if argv.iter().any(|argument| argument.contains('\0')) {
        return Err(Malformed::new(field, "must not contain NUL"));
    }
    Ok(argv)
}

fn parse(request: pb::RunProcessRequest) -> Result<Launch, Violations> {
    let pb::RunProcessRequest {
        argv,
        environment,
        cwd,
        stdin,
        keep_stdin_open,
        pty,
        timeout,
    } = request;
    let mut violations = Violations::new();
    let argv = violations.check(parse_argv("argv", argv));
    let environment = violations.check(Environment::parse("environment", environment));
    let cwd = violations.check(parse_cwd(cwd));
    if stdin.len() > STDIN_MAX_BYTES {
        violations.push(Malformed::new("stdin", "must have at most 1 MiB"));
    }
    let terminal = violations.check(pty.map(|size| parse_size("pty", size)).transpose());
    let timeout = violations.check(timeout.map(|timeout| parse_timeout(&timeout)).transpose());
    match (argv, environment, cwd, terminal, timeout) {
        (Some(argv), Some(environment), Some(cwd), Some(terminal), Some(timeout)) => {
            violations.or(Launch {
                argv,
                environment,
                cwd,
                terminal,
                stdin,
                keep_stdin_open,
                timeout,
            })
        }
        _ => Err(violations),
    }
}

fn parse_cwd(cwd: String) -> Result<String, Malformed> {
    if cwd.is_empty() {
        return Ok(WORKSPACE.to_owned());
    }
    if !cwd.starts_with('/') || cwd.contains('\0') || cwd.len() > PATH_MAX_BYTES {
        return Err(Malformed::new(
            "cwd",
            "must be an absolute path of at most 4,096 bytes without NUL",
        ));
    }
    Ok(cwd)
}

fn parse_size(field: &str, size: pb::PtySize) -> Result<Size, Malformed> {
    let pb::PtySize { rows, columns } = size;
    let number = |count: u32| {
        u16::try_from(count)
            .ok()
            .filter(|count| (1..=TERMINAL_MAX).contains(&u32::from(*count)))
    };
    match (number(rows), number(columns)) {
        (Some(rows), Some(columns)) => Ok(Size { rows, columns }),
        _ => Err(Malformed::new(
            field,
            "must have 1 to 1,000 rows and columns",
        )),
    }
}

fn parse_timeout(timeout: &prost_types::Duration) -> Result<Duration, Malformed> {
    let timeout = sandgate_api::duration_from("timeout", timeout)?;
    if timeout.is_zero() {
        Err(Malformed::new("timeout", "must be more than 0"))
    } else {
        Ok(timeout)
    }
}

/// What a reader sees, as the messages of a stream. Dropping it ends nothing but the reading.
fn events<T: Send + 'static>(
    first: Option<Said>,
    reader: Reader,
    wrap: fn(pb::ProcessEvent) -> T,
) -> Response<Answers<T>> {
    let events = stream::unfold((first, Some(reader)), move |(first, reader)| async move {
        let mut reader = reader?;
        let said = match first {
            Some(first) => Ok((first, Some(reader))),
            None => match reader.next().await {
                Event::Output(piece) => Ok((output(piece), Some(reader))),
                Event::Ended(end) => Ok((Said::Ended(ended(end)), None)),
                Event::Forgotten => Err(status(output_forgotten())),
            },
        };
        match said {
            Ok((event, reader)) => Some((
                Ok(wrap(pb::ProcessEvent { event: Some(event) })),
                (None, reader),
            )),
            Err(status) => Some((Err(status), (None, None))),
        }
    });
    answers(events)
}

fn output(piece: Piece) -> Said {
    let Piece {
        stream,
        offset,
        data,
    } = piece;
    let output = pb::Output { offset, data };
    match stream {
        Stream::Stdout => Said::Stdout(output),
        Stream::Stderr => Said::Stderr(output),
    }
}

fn ended(end: End) -> pb::ProcessEnded {
    let End {
        how,
        timed_out,
        out_of_memory,
    } = end;
    let how = match how {
        How::Exited(code) => pb::process_ended::How::ExitCode(code),
        How::Signalled(signal) => pb::process_ended::How::Signal(signal),
    };
    pb::ProcessEnded {
        how: Some(how),
        timed_out,
        out_of_memory,
    }
}

fn describe(id: &str, process: &Process) -> pb::Process {
    pb::Process {
        process_id: id.to_owned(),
        pid: process.pid,
        program: process.program.clone(),
        started_at: Some(sandgate_api::timestamp_to(process.started_at)),
        ended: process.end().map(ended),
        output_bytes: process.output_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(argv: &[&str]) -> pb::RunProcessRequest {
        pb::RunProcessRequest {
            argv: argv.iter().map(|text| (*text).to_owned()).collect(),
            ..Default::default()
        }
    }

    fn fields(request: pb::RunProcessRequest) -> Vec<String> {
        let violations = parse(request).expect_err("refused");
        violations
            .iter()
            .map(|malformed| malformed.field().to_owned())
            .collect()
    }

    #[test]
    fn what_cannot_be_started_is_refused_by_every_field_at_once() {
        assert_eq!(fields(request(&[])), ["argv"]);
        assert_eq!(fields(request(&["a\0b"])), ["argv"]);
        assert_eq!(fields(request(&["x"; ARGUMENTS_MAX + 1])), ["argv"]);
        assert_eq!(
            fields(request(&[&"x".repeat(ARGUMENTS_MAX_BYTES + 1)])),
            ["argv"]
        );
        let wrong = pb::RunProcessRequest {
            environment: [(String::new(), String::new())].into(),
            cwd: "relative".to_owned(),
            stdin: vec![0; STDIN_MAX_BYTES + 1],
            pty: Some(pb::PtySize {
                rows: 0,
                columns: 1001,
            }),
            timeout: Some(prost_types::Duration {
                seconds: 0,
                nanos: 0,
            }),
            ..request(&["true"])
        };
        assert_eq!(
            fields(wrong),
            ["environment", "cwd", "stdin", "pty", "timeout"]
        );
    }

    #[test]
    fn a_process_starts_in_the_workspace_unless_it_says_where() {
        assert_eq!(parse(request(&["true"])).expect("valid").cwd, "/workspace");
        let elsewhere = pb::RunProcessRequest {
            cwd: "/tmp".to_owned(),
            ..request(&["true"])
        };
        assert_eq!(parse(elsewhere).expect("valid").cwd, "/tmp");
    }
}
