//! ProcessService.

pub(super) mod parse;

use std::sync::Arc;

use futures_util::stream;
use sandgate_api::sandbox::v1 as pb;
use sandgate_api::sandbox::v1::process_event::Event as Said;
use sandgate_api::sandbox::v1::process_service_server::ProcessService;
use sandgate_rpc::{Fault, page_size};
use sandgate_types::Malformed;
use tonic::{Request, Response, Status};

use self::parse::{STDIN_MAX_BYTES, parse, parse_size};
use super::{Answers, Reply, Services, answers};
use crate::keeper::error::{
    Named, no_terminal, not_started, output_forgotten, process_ended, process_unknown, status,
};
use crate::keeper::process::{End, Event, How, Process, Reader};
use crate::keeper::processes::Running;
use crate::keeper::ring::{Piece, Stream};
use crate::keeper::runner::Size;

/// The highest signal that can be sent.
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
        let named = Named::by(&launch);
        let Running {
            id,
            process,
            reader,
        } = self
            .instance
            .processes
            .start(launch)
            .await
            .map_err(|error| status(not_started(error, &named)))?;
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
        let after = after
            .as_deref()
            .map(read_place)
            .transpose()
            .map_err(status)?;
        let all = self.instance.processes.newest_first();
        // By the order of starts, so that it does not matter who was forgotten meanwhile.
        let start = after.map_or(0, |after| {
            all.partition_point(|(started, _, _)| *started >= after)
        });
        let page = &all[start..all.len().min(start.saturating_add(size))];
        let more = start + page.len() < all.len();
        let next = page
            .last()
            .filter(|_| more)
            .map(|(started, _, _)| self.pages.encode(LIST, &started.to_be_bytes()));
        let processes = page
            .iter()
            .map(|(_, id, process)| describe(id.as_str(), process))
            .collect();
        Ok(pb::ListProcessesResponse {
            processes,
            next_page_token: next.unwrap_or_default(),
        }
        .into())
    }
}

/// The place in the list behind which a page begins.
fn read_place(token: &[u8]) -> Result<u64, Malformed> {
    let bytes = <[u8; 8]>::try_from(token);
    bytes
        .map(u64::from_be_bytes)
        .map_err(|_| Malformed::new("page_token", "must come from the page before"))
}

impl Services {
    fn find(&self, id: &str) -> Result<Arc<Process>, Status> {
        self.instance
            .processes
            .find(id)
            .ok_or_else(|| status(process_unknown()))
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
