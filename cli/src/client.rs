//! A client of the mesh, over the Unix socket of its client listener.

use anyhow::{Context as _, ensure};
use sandgate_api::orchestrator::v1::sandbox_service_client::SandboxServiceClient;
use sandgate_api::sandbox::v1::file_service_client::FileServiceClient;
use sandgate_api::sandbox::v1::process_service_client::ProcessServiceClient;
use sandgate_api::storage::v1::workspace_service_client::WorkspaceServiceClient;
use sandgate_rpc::config::SecretFile;
use sandgate_rpc::{Channel, ChannelOptions, Target};
use secrecy::ExposeSecret as _;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::{Request, Status};

use crate::data_dir::{DataDir, Published};

/// The calls of the command line, each with the API key of this machine's user.
#[derive(Clone)]
pub(crate) struct Client {
    channel: Channel,
    key: Key,
    /// The mesh goes on after us.
    stays: bool,
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
            stays: published.pid != std::process::id(),
        })
    }

    /// Whether the mesh is another process's, and goes on after us.
    pub(crate) fn mesh_stays(&self) -> bool {
        self.stays
    }

    /// Creates, finds and ends sandboxes.
    pub(crate) fn sandboxes(&self) -> SandboxServiceClient<Keyed> {
        SandboxServiceClient::with_interceptor(self.channel.clone(), self.key.clone())
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
