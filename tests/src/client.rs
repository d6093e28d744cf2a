//! A client of one conversation, over the gate's client listener.
//!
//! It comes back when it is told to, as any client should: a call that may help later is made again, and so is
//! one whose answer was lost.

mod exec;
mod keys;

use std::time::Duration;

use sandgate_api::orchestrator::v1 as orchestrator;
use sandgate_api::orchestrator::v1::sandbox_service_client::SandboxServiceClient;
use sandgate_api::sandbox::v1 as sandbox;
use sandgate_api::sandbox::v1::file_service_client::FileServiceClient;
use sandgate_api::storage::v1 as storage;
use sandgate_api::storage::v1::workspace_service_client::WorkspaceServiceClient;
use sandgate_api::token::v1 as token;
use sandgate_api::token::v1::token_service_client::TokenServiceClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

pub use exec::{Ran, Running};

/// One call; a service that was killed serves again well before.
const CALL_LIMIT: Duration = Duration::from_secs(20);
/// Between two looks at a sandbox.
const LOOK: Duration = Duration::from_millis(20);
/// A call with all its repetitions.
const PATIENCE: Duration = Duration::from_secs(60);
/// The pause before a repetition, where nobody says how long.
const PAUSE: Duration = Duration::from_millis(100);

/// A client of one conversation.
#[derive(Debug, Clone)]
pub struct Client {
    channel: Channel,
    key: String,
    conversation: String,
}

impl Client {
    /// A client that connects when it has to.
    ///
    /// # Panics
    /// When the address is none.
    pub fn new(address: &str, key: &str, conversation: &str) -> Self {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        Self {
            channel: endpoint.tcp_nodelay(true).connect_lazy(),
            key: format!("Bearer {key}"),
            conversation: conversation.to_owned(),
        }
    }

    /// Makes a call until it is answered for good; `what` names it when it is not.
    ///
    /// # Panics
    /// When it is refused for good, or not answered in time.
    pub async fn insist<T>(
        &self,
        what: &str,
        mut call: impl AsyncFnMut(&Self) -> Result<T, Status>,
    ) -> T {
        let insisting = async {
            loop {
                match call(self).await {
                    Ok(answer) => return Ok(answer),
                    Err(status) => {
                        let Some(pause) = comes_back(&status) else {
                            return Err(status);
                        };
                        tokio::time::sleep(pause).await;
                    }
                }
            }
        };
        match tokio::time::timeout(PATIENCE, insisting).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(status)) => panic!("{what}: {status:?}"),
            Err(_) => {
                let last = call(self).await.err();
                panic!("{what}: not in {PATIENCE:?}; at last {last:?}")
            }
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(CALL_LIMIT);
        let key = self.key.parse().expect("a key is ASCII");
        request.metadata_mut().insert("authorization", key);
        request
    }

    fn inside<T>(&self, sandbox_id: &str, message: T) -> Request<T> {
        let mut request = self.request(message);
        let id = sandbox_id.parse().expect("an id is ASCII");
        request.metadata_mut().insert("x-sandbox-id", id);
        request
    }

    /// Creates or finds the sandbox, and waits until it is ready.
    ///
    /// # Errors
    /// What the mesh answered.
    pub async fn create(&self, request_id: &str) -> Result<orchestrator::Sandbox, Status> {
        let request = orchestrator::CreateSandboxRequest {
            conversation: self.conversation.clone(),
            wait: orchestrator::Wait::Ready.into(),
            request_id: request_id.to_owned(),
            ..Default::default()
        };
        let answer = SandboxServiceClient::new(self.channel.clone())
            .create_sandbox(self.request(request))
            .await?;
        one(answer.into_inner().sandbox)
    }

    /// Waits until a sandbox is in this phase.
    ///
    /// # Errors
    /// What the mesh answered.
    pub async fn until(
        &self,
        sandbox_id: &str,
        phase: orchestrator::Phase,
    ) -> Result<orchestrator::Sandbox, Status> {
        let mut last = None;
        let there = async {
            // A watch ends at READY, so what comes after is asked for.
            let mut look = tokio::time::interval(LOOK);
            loop {
                look.tick().await;
                let request = orchestrator::GetSandboxRequest {
                    sandbox_id: sandbox_id.to_owned(),
                };
                let answer = SandboxServiceClient::new(self.channel.clone())
                    .get_sandbox(self.request(request))
                    .await?;
                let sandbox = one(answer.into_inner().sandbox)?;
                if sandbox.phase() == phase {
                    return Ok(sandbox);
                }
                last = Some(sandbox.phase());
            }
        };
        match tokio::time::timeout(PATIENCE, there).await {
            Ok(found) => found,
            Err(_) => Err(Status::data_loss(format!("it was {last:?} at last"))),
        }
    }

    /// Every sandbox of the conversation that is on record.
    ///
    /// # Errors
    /// What the mesh answered.
    pub async fn list(&self) -> Result<Vec<orchestrator::Sandbox>, Status> {
        let request = orchestrator::ListSandboxesRequest {
            conversation: self.conversation.clone(),
            phases: (1..=10).collect(),
            ..Default::default()
        };
        let answer = SandboxServiceClient::new(self.channel.clone())
            .list_sandboxes(self.request(request))
            .await?;
        Ok(answer.into_inner().sandboxes)
    }

    /// Suspends it.
    ///
    /// # Errors
    /// What the mesh answered.
    pub async fn suspend(&self, sandbox_id: &str) -> Result<orchestrator::Sandbox, Status> {
        let request = orchestrator::SuspendSandboxRequest {
            sandbox_id: sandbox_id.to_owned(),
        };
        let answer = SandboxServiceClient::new(self.channel.clone())
            .suspend_sandbox(self.request(request))
            .await?;
        one(answer.into_inner().sandbox)
    }

    /// Resumes it, and waits until it is ready.
    ///
    /// # Errors
    /// What the mesh answered.
    pub async fn resume(&self, sandbox_id: &str) -> Result<orchestrator::Sandbox, Status> {
        let request = orchestrator::ResumeSandboxRequest {
            sandbox_id: sandbox_id.to_owned(),
            wait: orchestrator::Wait::Ready.into(),
            ..Default::default()
        };
        let answer = SandboxServiceClient::new(self.channel.clone())
            .resume_sandbox(self.request(request))
            .await?;
        one(answer.into_inner().sandbox)
    }

    /// Deletes it.
    ///
    /// # Errors
    /// What the mesh answered.
    pub async fn delete(&self, sandbox_id: &str) -> Result<orchestrator::Sandbox, Status> {
        let request = orchestrator::DeleteSandboxRequest {
            sandbox_id: sandbox_id.to_owned(),
        };
        let answer = SandboxServiceClient::new(self.channel.clone())
            .delete_sandbox(self.request(request))
            .await?;
        one(answer.into_inner().sandbox)
    }

    /// Has it store its files; answers the version.
    ///
    /// # Errors
    /// What the mesh answered.
    pub async fn sync(&self, sandbox_id: &str) -> Result<String, Status> {
        let request = self.inside(sandbox_id, sandbox::SyncFilesRequest {});
        let answer = FileServiceClient::new(self.channel.clone())
            .sync_files(request)
            .await?;
        Ok(answer.into_inner().version)
    }

    fn workspace(&self) -> storage::WorkspaceName {
        storage::WorkspaceName {
            conversation: self.conversation.clone(),
            ..Default::default()
        }
    }

    /// Writes a file into storage; no sandbox is asked.
    ///
    /// # Errors
    /// What the mesh answered.
    pub async fn store(&self, path: &str, content: &str, request_id: &str) -> Result<(), Status> {
        use storage::write_file_request::Part;
        let header = storage::WriteFileHeader {
            workspace: Some(self.workspace()),
            path: path.as_bytes().to_vec(),
            request_id: request_id.to_owned(),
            ..Default::default()
        };
        let parts = [
            Part::Header(header),
            Part::Data(content.as_bytes().to_vec()),
        ]
        .map(|part| storage::WriteFileRequest { part: Some(part) });
        let request = self.request(tokio_stream::iter(parts));
        WorkspaceServiceClient::new(self.channel.clone())
            .write_file(request)
            .await?;
        Ok(())
    }

    /// Reads a file from storage; no sandbox is asked.
    ///
    /// # Errors
    /// What the mesh answered.
    pub async fn stored(&self, path: &str) -> Result<String, Status> {
        let request = storage::ReadFileRequest {
            workspace: Some(self.workspace()),
            path: path.as_bytes().to_vec(),
            ..Default::default()
        };
        let mut pieces = WorkspaceServiceClient::new(self.channel.clone())
            .read_file(self.request(request))
            .await?
            .into_inner();
        let mut content = Vec::new();
        while let Some(piece) = pieces.message().await? {
            content.extend_from_slice(&piece.data);
        }
        Ok(String::from_utf8_lossy(&content).into_owned())
    }

    /// Why a token is refused; nothing when it is accepted.
    ///
    /// # Errors
    /// What the mesh answered.
    pub async fn refusal(&self, token: &str, audience: token::Audience) -> Result<String, Status> {
        let request = token::ValidateTokenRequest {
            token: token.to_owned(),
            audience: audience.into(),
        };
        let answer = TokenServiceClient::new(self.channel.clone())
            .validate_token(self.request(request))
            .await?;
        Ok(answer.into_inner().refusal)
    }
}

fn one(sandbox: Option<orchestrator::Sandbox>) -> Result<orchestrator::Sandbox, Status> {
    sandbox.ok_or_else(|| Status::data_loss("the answer has no sandbox"))
}

/// After which pause a call may be answered otherwise; nothing when it never is.
fn comes_back(status: &Status) -> Option<Duration> {
    let told = status
        .get_details_retry_info()
        .and_then(|info| info.retry_delay);
    let pause = match status.code() {
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::ResourceExhausted
        | Code::Aborted => Some(PAUSE),
        // A connection that broke in the middle of an answer.
        Code::Unknown | Code::Internal if std::error::Error::source(status).is_some() => {
            Some(PAUSE)
        }
        Code::Ok
        | Code::Unknown
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss
        | Code::Unauthenticated => None,
    };
    told.or(pause)
}
