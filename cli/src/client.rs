//! A client of the mesh, over the Unix socket of its client listener.

use anyhow::{Context as _, ensure};
use sandgate_api::orchestrator::v1::quota_service_client::QuotaServiceClient;
use sandgate_api::orchestrator::v1::sandbox_service_client::SandboxServiceClient;
use sandgate_api::sandbox::v1::file_service_client::FileServiceClient;
use sandgate_api::sandbox::v1::process_service_client::ProcessServiceClient;
use sandgate_api::storage::v1::workspace_service_client::WorkspaceServiceClient;
use sandgate_api::token::v1::api_key_service_client::ApiKeyServiceClient;
use sandgate_api::token::v1::revocation_service_client::RevocationServiceClient;
use sandgate_api::token::v1::signing_key_service_client::SigningKeyServiceClient;
use sandgate_api::token::v1::tenant_service_client::TenantServiceClient;
use sandgate_rpc::config::SecretFile;
use sandgate_rpc::{Channel, ChannelOptions, Target};
use secrecy::ExposeSecret as _;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::{Code, Request, Status};

use crate::data_dir::{DataDir, Published};
use crate::failure::explain;

/// The calls of the command line, each with the API key of this machine's user.
#[derive(Clone)]
pub(crate) struct Client {
    channel: Channel,
    key: Key,
    data: DataDir,
    /// The process that is the mesh.
    mesh: u32,
}

/// Adds the API key to each request.
#[derive(Clone)]
pub(crate) struct Key {
    bearer: MetadataValue<Ascii>,
}

impl tonic::service::Interceptor for Key {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("authorization", self.bearer.clone());
        Ok(request)
    }
}

/// What the generated clients speak through.
pub(crate) type Keyed = InterceptedService<Channel, Key>;

impl Client {
    /// A client of the mesh that published itself, with the key of its data directory.
    pub(crate) fn new(data: &DataDir, published: &Published) -> anyhow::Result<Self> {
        let path = data.api_key();
        ensure!(path.exists(), crate::init::lost_api_key(data));
        let key = SecretFile::from(path.clone()).read("the API key")?;
        let mut bearer: MetadataValue<Ascii> = format!("Bearer {}", key.expose_secret())
            .parse()
            .with_context(|| format!("the API key in {} is not one", path.display()))?;
        bearer.set_sensitive(true);
        let target = Target::unix(published.socket.clone());
        Ok(Self {
            channel: Channel::new(target, ChannelOptions::default()),
            key: Key { bearer },
            data: data.clone(),
            mesh: published.pid,
        })
    }

    /// Whether the mesh is another process's, and goes on after us.
    pub(crate) fn mesh_stays(&self) -> bool {
        self.mesh != std::process::id()
    }

    /// The process that is the mesh.
    pub(crate) fn mesh(&self) -> u32 {
        self.mesh
    }

    /// Whether the mesh has begun to end.
    pub(crate) fn mesh_ends(&self) -> bool {
        !matches!(self.data.published(), Ok(Some(now)) if now.pid == self.mesh)
    }

    /// A refusal as words for a person. One of the API key names the file that it is from, which only we know.
    pub(crate) fn explain(&self, status: &Status) -> String {
        if status.code() == Code::Unauthenticated {
            crate::init::wrong_api_key(&self.data)
        } else {
            explain(status)
        }
    }

    /// Creates, finds and ends sandboxes.
    pub(crate) fn sandboxes(&self) -> SandboxServiceClient<Keyed> {
        SandboxServiceClient::with_interceptor(self.channel.clone(), self.key.clone())
    }

    /// Sets and shows quotas.
    pub(crate) fn quotas(&self) -> QuotaServiceClient<Keyed> {
        QuotaServiceClient::with_interceptor(self.channel.clone(), self.key.clone())
    }

    /// Creates and lists tenants.
    pub(crate) fn tenants(&self) -> TenantServiceClient<Keyed> {
        TenantServiceClient::with_interceptor(self.channel.clone(), self.key.clone())
    }

    /// Makes and ends API keys.
    pub(crate) fn api_keys(&self) -> ApiKeyServiceClient<Keyed> {
        ApiKeyServiceClient::with_interceptor(self.channel.clone(), self.key.clone())
    }

    /// Lists and changes the keys that sign.
    pub(crate) fn signing_keys(&self) -> SigningKeyServiceClient<Keyed> {
        SigningKeyServiceClient::with_interceptor(self.channel.clone(), self.key.clone())
    }

    /// Revokes sessions.
    pub(crate) fn revocations(&self) -> RevocationServiceClient<Keyed> {
        RevocationServiceClient::with_interceptor(self.channel.clone(), self.key.clone())
    }

    /// Runs processes in one.
    pub(crate) fn processes(&self) -> ProcessServiceClient<Keyed> {
        ProcessServiceClient::with_interceptor(self.channel.clone(), self.key.clone())
    }

    /// Syncs the files of one.
    pub(crate) fn files(&self) -> FileServiceClient<Keyed> {
        FileServiceClient::with_interceptor(self.channel.clone(), self.key.clone())
    }

    /// Reads stored files.
    pub(crate) fn workspaces(&self) -> WorkspaceServiceClient<Keyed> {
        WorkspaceServiceClient::with_interceptor(self.channel.clone(), self.key.clone())
    }
}
