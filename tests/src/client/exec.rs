//! Commands that a client runs in a sandbox.

use sandgate_api::sandbox::v1 as sandbox;
use sandgate_api::sandbox::v1::process_service_client::ProcessServiceClient;
use tonic::{Status, Streaming};

use super::Client;

/// How a command ended, and what it wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// Its exit code, if it exited.
    pub code: Option<i32>,
    /// What it wrote on standard output.
    pub stdout: String,
}

/// A command that runs.
#[derive(Debug)]
pub struct Running {
    events: Streaming<sandbox::RunProcessResponse>,
    stdout: Vec<u8>,
    ended: Option<Option<i32>>,
}

impl Running {
    /// Waits until it ends.
    ///
    /// # Errors
    /// What the mesh answered instead.
    pub async fn end(mut self) -> Result<Ran, Status> {
        loop {
            if let Some(code) = self.ended {
                let stdout = String::from_utf8_lossy(&self.stdout).into_owned();
                return Ok(Ran { code, stdout });
            }
            self.go_on().await?;
        }
    }

    async fn go_on(&mut self) -> Result<(), Status> {
        let message = self.events.message().await?;
        let message =
            message.ok_or_else(|| Status::unavailable("the stream ended before the command"))?;
        match message.event.and_then(|event| event.event) {
            Some(sandbox::process_event::Event::Stdout(output)) => {
                self.stdout.extend_from_slice(&output.data);
            }
            Some(sandbox::process_event::Event::Ended(ended)) => {
                self.ended = Some(match ended.how {
                    Some(sandbox::process_ended::How::ExitCode(code)) => Some(code),
                    Some(sandbox::process_ended::How::Signal(_)) | None => None,
                });
            }
            Some(
                sandbox::process_event::Event::Started(_)
                | sandbox::process_event::Event::Stderr(_),
            )
            | None => {}
        }
        Ok(())
    }
}

impl Client {
    /// Runs a command in it, to its end.
    ///
    /// # Errors
    /// What the mesh answered.
    pub async fn exec(&self, sandbox_id: &str, argv: &[&str]) -> Result<Ran, Status> {
        self.begin_exec(sandbox_id, argv).await?.end().await
    }

    /// Runs a command in it, until it has written something.
    ///
    /// # Errors
    /// What the mesh answered.
    pub async fn begin_exec(&self, sandbox_id: &str, argv: &[&str]) -> Result<Running, Status> {
        let request = sandbox::RunProcessRequest {
            argv: argv.iter().map(|&word| word.to_owned()).collect(),
            ..Default::default()
        };
        let events = ProcessServiceClient::new(self.channel.clone())
            .run_process(self.inside(sandbox_id, request))
            .await?
            .into_inner();
        let mut running = Running {
            events,
            stdout: Vec::new(),
            ended: None,
        };
        while running.stdout.is_empty() && running.ended.is_none() {
            running.go_on().await?;
        }
        Ok(running)
    }
}
