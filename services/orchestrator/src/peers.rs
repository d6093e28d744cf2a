//! The services that a sandbox's life needs: token, storage-sync, and its keeper through the gate.
//!
//! Each call has a limit of its own. What a peer says is cut to length before a row repeats it.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message as _;
use sandgate_api::sandbox::v1 as sandbox_pb;
use sandgate_api::sandbox::v1::attach_service_client::AttachServiceClient;
use sandgate_api::sandbox::v1::file_service_client::FileServiceClient;
use sandgate_api::storage::v1 as storage_pb;
use sandgate_api::storage::v1::workspace_service_client::WorkspaceServiceClient;
use sandgate_api::token::v1 as token_pb;
use sandgate_api::token::v1::revocation_service_client::RevocationServiceClient;
use sandgate_api::token::v1::token_service_client::TokenServiceClient;
use sandgate_api::{duration_to, timestamp_to};
use sandgate_rpc::{Channel, ChannelOptions, Target};
use sandgate_types::{InstanceId, PolicyRevision, VersionId};

pub(crate) use self::error::PeerError;
pub(crate) use self::probe::Probe;
use self::request::{limited, to_instance};
use crate::sandbox::{Run, Sandbox};
use crate::template::Template;

mod error;
mod probe;
mod request;

/// A short call between services.
const SHORT: Duration = Duration::from_secs(10);
/// What draining takes beside the grace of the processes.
const DRAIN_MARGIN: Duration = Duration::from_secs(10);

/// The secrets of a session on their way from token to keeper.
pub(crate) struct Session(token_pb::MintSessionResponse);

/// What a sync came to.
pub(crate) struct Stored {
    /// The version; `None` when the workspace has never held anything.
    pub(crate) version: Option<VersionId>,
    /// Entries that are in no version.
    pub(crate) skipped: u64,
}

/// The state of a workspace, as a start needs it.
#[derive(Clone)]
pub(crate) struct Head {
    /// The newest version.
    pub(crate) version: Option<VersionId>,
    /// The seed of the tenant's chunk boundaries.
    seed: Vec<u8>,
}

/// Channels to all of them.
#[derive(Clone)]
pub(crate) struct Peers {
    token: TokenServiceClient<Channel>,
    revocation: RevocationServiceClient<Channel>,
    storage: WorkspaceServiceClient<Channel>,
    attach: AttachServiceClient<Channel>,
    files: FileServiceClient<Channel>,
    probes: Vec<Probe>,
}

const TOKEN: &str = "token";
const STORAGE: &str = "storage-sync";
const KEEPER: &str = "the instance";

fn version(peer: &'static str, text: &str) -> Result<Option<VersionId>, PeerError> {
    if text.is_empty() {
        return Ok(None);
    }
    VersionId::parse("version", text)
        .map(Some)
        .map_err(|_| PeerError::strange(peer, "answered a version that is none"))
}

impl Peers {
    pub(crate) fn new(token: Target, storage: Target, gate: Target) -> Self {
        let token = Channel::new(token, ChannelOptions::default());
        let storage = Channel::new(storage, ChannelOptions::default());
        let gate = Channel::new(gate, ChannelOptions::default());
        let probe = |name, channel: &Channel| Probe::new(name, channel.clone());
        let probes = vec![
            probe("token", &token),
            probe("storage-sync", &storage),
            probe("auth-gateway", &gate),
        ];
        Self {
            probes,
            token: TokenServiceClient::new(token.clone()),
            revocation: RevocationServiceClient::new(token),
            storage: WorkspaceServiceClient::new(storage),
            attach: AttachServiceClient::new(gate.clone()),
            files: FileServiceClient::new(gate),
        }
    }

    pub(crate) fn probes(&self) -> Vec<Probe> {
        self.probes.clone()
    }

    /// Opens the session of a run.
    pub(crate) async fn mint(
        &self,
        sandbox: &Sandbox,
        run: &Run,
        template: &Template,
    ) -> Result<Session, PeerError> {
        let facts = &sandbox.facts;
        let request = token_pb::MintSessionRequest {
            session_id: run.session.as_str().to_owned(),
            tenant: facts.tenant.as_str().to_owned(),
            user: facts.user.as_str().to_owned(),
            conversation: facts.conversation.as_str().to_owned(),
            sandbox_id: facts.id.as_str().to_owned(),
            instance_id: run.instance.as_str().to_owned(),
            generation: sandbox.state.generation.get(),
            template_operations: template.operations.clone(),
            requested_operations: facts
                .operations
                .clone()
                .map(|names| token_pb::Operations { names }),
            policy_revision: PolicyRevision::CURRENT.get(),
            session_start: Some(timestamp_to(run.claimed_at)),
            session_max: Some(duration_to(template.session_max)),
        };
        let answer = self
            .token
            .clone()
            .mint_session(limited(request, SHORT))
            .await;
        Ok(Session(
            answer
                .map_err(|status| PeerError::new(TOKEN, status))?
                .into_inner(),
        ))
    }

    /// Asks which version a workspace begins with.
    pub(crate) async fn head(&self, sandbox: &Sandbox) -> Result<Head, PeerError> {
        let facts = &sandbox.facts;
        let request = storage_pb::GetWorkspaceRequest {
            workspace: Some(storage_pb::WorkspaceName {
                tenant: facts.tenant.as_str().to_owned(),
                user: facts.user.as_str().to_owned(),
                conversation: facts.conversation.as_str().to_owned(),
            }),
        };
        let answer = self
            .storage
            .clone()
            .get_workspace(limited(request, SHORT))
            .await;
        let storage_pb::GetWorkspaceResponse {
            head,
            chunking_seed,
        } = answer
            .map_err(|status| PeerError::new(STORAGE, status))?
            .into_inner();
        Ok(Head {
            version: version(STORAGE, &head.map(|head| head.version).unwrap_or_default())?,
            seed: chunking_seed,
        })
    }

    /// Gives an instance its identity.
    pub(crate) async fn attach(
        &self,
        sandbox: &Sandbox,
        run: &Run,
        template: &Template,
        session: Session,
        head: Head,
        environment: BTreeMap<String, String>,
    ) -> Result<(), PeerError> {
        let token_pb::MintSessionResponse { tokens, ticket } = session.0;
        let tokens = tokens.ok_or_else(|| PeerError::strange(TOKEN, "answered no tokens"))?;
        let request = sandbox_pb::AttachRequest {
            ticket,
            session_id: run.session.as_str().to_owned(),
            sandbox_id: sandbox.facts.id.as_str().to_owned(),
            generation: sandbox.state.generation.get(),
            agent_token: tokens.agent_token,
            daemon_token: tokens.daemon_token,
            tokens_expire_at: tokens.expires_at,
            environment: environment.into_iter().collect(),
            workspace_version: head
                .version
                .map(|version| version.as_str().to_owned())
                .unwrap_or_default(),
            chunking_seed: head.seed,
            command: template.command.clone(),
            ports: template.ports.iter().copied().map(u32::from).collect(),
            // The gate knows which routes the token may use, and fills them in.
            routes: Vec::new(),
        };
        debug_assert!(request.encoded_len() < sandgate_rpc::MESSAGE_MAX_BYTES);
        let request = to_instance(&run.instance, request, SHORT)?;
        self.attach
            .clone()
            .attach(request)
            .await
            .map_err(|status| PeerError::new(KEEPER, status))?;
        Ok(())
    }

    /// Stops what runs in an instance.
    pub(crate) async fn drain(
        &self,
        instance: &InstanceId,
        grace: Duration,
    ) -> Result<(), PeerError> {
        let message = sandbox_pb::DrainRequest {
            grace: Some(duration_to(grace)),
        };
        let request = to_instance(instance, message, grace + DRAIN_MARGIN)?;
        self.attach
            .clone()
            .drain(request)
            .await
            .map_err(|status| PeerError::new(KEEPER, status))?;
        Ok(())
    }

    /// Has an instance store what it has not stored yet.
    pub(crate) async fn sync(
        &self,
        instance: &InstanceId,
        limit: Duration,
    ) -> Result<Stored, PeerError> {
        let request = to_instance(instance, sandbox_pb::SyncFilesRequest {}, limit)?;
        let answer = self.files.clone().sync_files(request).await;
        let sandbox_pb::SyncFilesResponse {
            version: stored,
            skipped,
        } = answer
            .map_err(|status| PeerError::new(KEEPER, status))?
            .into_inner();
        Ok(Stored {
            version: version(KEEPER, &stored)?,
            skipped,
        })
    }

    /// Revokes the agent's token of an instance; its daemon may still sync.
    pub(crate) async fn revoke_agent(
        &self,
        sandbox: &Sandbox,
        instance: &InstanceId,
    ) -> Result<(), PeerError> {
        let scope =
            token_pb::revocation_target::Scope::AgentOfInstanceId(instance.as_str().to_owned());
        self.revoke(sandbox, scope, "the sandbox is ending").await
    }

    /// Revokes an instance, for ever.
    pub(crate) async fn revoke_instance(
        &self,
        sandbox: &Sandbox,
        instance: &InstanceId,
    ) -> Result<(), PeerError> {
        let scope = token_pb::revocation_target::Scope::InstanceId(instance.as_str().to_owned());
        self.revoke(sandbox, scope, "the instance is released")
            .await
    }

    async fn revoke(
        &self,
        sandbox: &Sandbox,
        scope: token_pb::revocation_target::Scope,
        reason: &str,
    ) -> Result<(), PeerError> {
        let request = token_pb::RevokeRequest {
            target: Some(token_pb::RevocationTarget {
                tenant: sandbox.facts.tenant.as_str().to_owned(),
                scope: Some(scope),
            }),
            reason: reason.to_owned(),
        };
        self.revocation
            .clone()
            .revoke(limited(request, SHORT))
            .await
            .map_err(|status| PeerError::new(TOKEN, status))?;
        Ok(())
    }
}
