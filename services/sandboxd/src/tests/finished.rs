//! What a process did, read to its end.

use sandgate_api::sandbox::v1 as pb;
use sandgate_api::sandbox::v1::process_event::Event;
use tonic::Status;

use super::harness::NEVER;

/// What a process did, all of it.
#[derive(Debug, Default)]
pub(super) struct Finished {
    pub(super) id: String,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    pub(super) end: Option<pb::ProcessEnded>,
    /// Why the stream ended, when not with the process.
    pub(super) status: Option<Status>,
}

impl Finished {
    pub(super) fn exit_code(&self) -> Option<i32> {
        match self.end.as_ref()?.how? {
            pb::process_ended::How::ExitCode(code) => Some(code),
            pb::process_ended::How::Signal(_) => None,
        }
    }

    pub(super) fn signal(&self) -> Option<i32> {
        match self.end.as_ref()?.how? {
            pb::process_ended::How::ExitCode(_) => None,
            pb::process_ended::How::Signal(signal) => Some(signal),
        }
    }

    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("text")
    }

    pub(super) fn see(&mut self, event: Event) {
        match event {
            Event::Started(started) => self.id = started.process_id,
            Event::Stdout(output) => self.stdout.extend(output.data),
            Event::Stderr(output) => self.stderr.extend(output.data),
            Event::Ended(end) => self.end = Some(end),
        }
    }
}

/// Reads a process's stream to its end.
pub(super) async fn finish(mut stream: tonic::Streaming<pb::RunProcessResponse>) -> Finished {
    let mut finished = Finished::default();
    let all = async {
        loop {
            match stream.message().await {
                Ok(Some(message)) => finished.see(
                    message
                        .event
                        .and_then(|event| event.event)
                        .expect("an event"),
                ),
                Ok(None) => return,
                Err(status) => {
                    finished.status = Some(status);
                    return;
                }
            }
        }
    };
    tokio::time::timeout(NEVER, all)
        .await
        .expect("the process ends");
    finished
}

/// The next event of a stream.
pub(super) async fn next(stream: &mut tonic::Streaming<pb::RunProcessResponse>) -> Event {
    let next = tokio::time::timeout(NEVER, stream.message())
        .await
        .expect("an event comes");
    next.expect("a message")
        .expect("not the end")
        .event
        .and_then(|event| event.event)
        .expect("an event")
}
