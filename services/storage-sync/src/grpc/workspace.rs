//! `WorkspaceService`: workspaces without a sandbox.

use futures_util::stream;
use sandgate_api::storage::v1 as pb;
use sandgate_api::storage::v1::workspace_service_server::WorkspaceService;
use sandgate_rpc::{Caller, Fault, PageToken, Peer, page_size};
use sandgate_types::{Malformed, VersionId};
use sandgate_workspace::TreePath;
use sandgate_workspace::tree::MODE_MASK;
use tonic::{Request, Response, Status};

use super::decode::{named, optional_request, optional_version, version_to};
use super::file::{Reading, content_of, split_position};
use super::{Late, Reply, Streaming, recorder};
use crate::browse;
use crate::error::not_recorded;
use crate::version::Memo;
use crate::workspace::{Asker, Workspace};
use crate::write::{self, FileToWrite};

/// What a file gets whose writer names no mode.
const DEFAULT_MODE: u32 = 0o644;

/// Serves `WorkspaceService`.
#[derive(Debug, Clone)]
pub(crate) struct Workspaces {
    storage: Late,
    pages: PageToken,
}

impl Workspaces {
    /// Over the storage, once it is found; `pages` signs page tokens.
    pub(crate) fn new(storage: Late, pages: PageToken) -> Self {
        Self { storage, pages }
    }
}

fn asker<T>(request: &Request<T>) -> Result<Asker, Fault> {
    let caller = request.extensions().get::<Caller>();
    Ok(Asker::of(&Peer::of(request), caller)?)
}

fn workspace(asker: &Asker, name: Option<pb::WorkspaceName>) -> Result<Workspace, Fault> {
    Ok(asker.workspace(&named(name)?)?)
}

/// Who asked for which list: what a page token is bound to.
fn receiver(asker: &Asker, list: &str, workspace: &Workspace, path: &TreePath) -> String {
    format!("{}/{list}/{}/{path}", asker.scope(), workspace.id())
}

fn memo(asker: &Asker, method: &str, request_id: &str) -> Result<Option<Memo>, Malformed> {
    let request = optional_request("request_id", request_id)?;
    let scope = format!("{}/{method}", asker.scope());
    Ok(request.map(|request| Memo {
        scope,
        request,
        fingerprint: [0; 32],
    }))
}

#[tonic::async_trait]
impl WorkspaceService for Workspaces {
    async fn get_workspace(
        &self,
        request: Request<pb::GetWorkspaceRequest>,
    ) -> Reply<pb::GetWorkspaceResponse> {
        let asker = asker(&request)?;
        let pb::GetWorkspaceRequest { workspace: name } = request.into_inner();
        let workspace = workspace(&asker, name)?;
        let storage = self.storage.get()?;
        let head = storage
            .store
            .head(&workspace.id())
            .await
            .map_err(Fault::from)?;
        let mut chunking_seed = Vec::new();
        if asker.is_service() {
            let (_, seed) = storage
                .tenant(&workspace.tenant)
                .await
                .map_err(Fault::from)?;
            chunking_seed = seed.as_bytes().to_vec();
        }
        let head = head.as_ref().map(version_to);
        Ok(Response::new(pb::GetWorkspaceResponse {
            head,
            chunking_seed,
        }))
    }

    async fn list_versions(
        &self,
        request: Request<pb::ListVersionsRequest>,
    ) -> Reply<pb::ListVersionsResponse> {
        let asker = asker(&request)?;
        let pb::ListVersionsRequest {
            workspace: name,
            page_size: size,
            page_token,
        } = request.into_inner();
        let workspace = workspace(&asker, name)?;
        let size = page_size(size).map_err(Fault::from)?;
        let receiver = receiver(&asker, "versions", &workspace, &TreePath::root());
        let after = self
            .pages
            .decode(&receiver, &page_token)
            .map_err(Fault::from)?;
        let before = match after {
            None => i64::MAX,
            Some(number) => i64::from_be_bytes(number.try_into().map_err(|_| {
                Fault::from(Malformed::new("page_token", "must be a next_page_token"))
            })?),
        };
        let storage = self.storage.get()?;
        let found = storage
            .store
            .versions(&workspace.id(), before, size + 1)
            .await;
        let mut found = found.map_err(Fault::from)?;
        let more = found.len() > size;
        found.truncate(size);
        let next_page_token = match found.last() {
            Some(last) if more => self.pages.encode(&receiver, &last.number.to_be_bytes()),
            Some(_) | None => String::new(),
        };
        let versions = found.iter().map(version_to).collect();
        Ok(Response::new(pb::ListVersionsResponse {
            versions,
            next_page_token,
        }))
    }

    async fn list_files(
        &self,
        request: Request<pb::ListFilesRequest>,
    ) -> Reply<pb::ListFilesResponse> {
        let asker = asker(&request)?;
        let pb::ListFilesRequest {
            workspace: name,
            version,
            path,
            page_size: size,
            page_token,
        } = request.into_inner();
        let workspace = workspace(&asker, name)?;
        let mut version = optional_version("version", &version).map_err(Fault::from)?;
        let path = TreePath::parse_or_root("path", &path).map_err(Fault::from)?;
        let size = page_size(size).map_err(Fault::from)?;
        // Bound to the version that was asked for; what a token goes on with is the version that was listed.
        let mut receiver = receiver(&asker, "files", &workspace, &path);
        receiver.push('/');
        receiver.push_str(version.as_ref().map(VersionId::as_str).unwrap_or_default());
        let position = self
            .pages
            .decode(&receiver, &page_token)
            .map_err(Fault::from)?;
        let mut after = None;
        if let Some(position) = position {
            let (listed, last) = split_position(&position).map_err(Fault::from)?;
            version = Some(listed);
            after = Some(last);
        }
        let storage = self.storage.get()?;
        let of = version.as_ref();
        let listing = browse::list(&storage, &workspace, of, &path, after.as_deref(), size).await;
        let browse::Listing {
            version,
            entries,
            more,
        } = listing.map_err(Fault::from)?;
        let version = version.map(|id| id.as_str().to_owned()).unwrap_or_default();
        let next_page_token = match entries.last() {
            Some(last) if more => {
                let position = [version.as_bytes(), b"/", last.path.as_bytes()].concat();
                self.pages.encode(&receiver, &position)
            }
            Some(_) | None => String::new(),
        };
        let entries = entries
            .iter()
            .map(sandgate_workspace::Entry::to_wire_without_content);
        let entries = entries.collect();
        Ok(Response::new(pb::ListFilesResponse {
            entries,
            next_page_token,
            version,
        }))
    }

    type ReadFileStream = Streaming<pb::ReadFileResponse>;

    async fn read_file(
        &self,
        request: Request<pb::ReadFileRequest>,
    ) -> Reply<Self::ReadFileStream> {
        let asker = asker(&request)?;
        let pb::ReadFileRequest {
            workspace: name,
            version,
            path,
            offset,
            length,
        } = request.into_inner();
        let workspace = workspace(&asker, name)?;
        let version = optional_version("version", &version).map_err(Fault::from)?;
        let path = TreePath::parse("path", &path).map_err(Fault::from)?;
        let length = (length > 0).then_some(length);
        let storage = self.storage.get()?;
        let of = version.as_ref();
        let read = browse::read(&storage, &workspace, of, &path, offset, length).await;
        let (entry, content) = read.map_err(Fault::from)?;
        let state = Reading::new(entry.to_wire_without_content(), content);
        let stream = stream::try_unfold(state, |mut state| async move {
            let message = state.next().await?;
            Ok::<_, Status>(message.map(|message| (message, state)))
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn write_file(
        &self,
        request: Request<tonic::Streaming<pb::WriteFileRequest>>,
    ) -> Reply<pb::WriteFileResponse> {
        let asker = asker(&request)?;
        let recorder = recorder(&request)?;
        let mut messages = request.into_inner();
        let first = messages.message().await?.and_then(|message| message.part);
        let Some(pb::write_file_request::Part::Header(header)) = first else {
            let rule = "must be the first message";
            return Err(Fault::from(Malformed::new("header", rule)).into());
        };
        let pb::WriteFileHeader {
            workspace: name,
            path,
            mode,
            expected_version,
            request_id,
        } = header;
        let workspace = workspace(&asker, name)?;
        let field = |malformed: Malformed| Fault::from(malformed.within("header"));
        let path = TreePath::parse("path", &path).map_err(field)?;
        if mode > MODE_MASK {
            let rule = "must be permission bits, 0 to 0777; 0 means 0644";
            return Err(field(Malformed::new("mode", rule)).into());
        }
        let mode = if mode == 0 { DEFAULT_MODE } else { mode };
        let expected = optional_version("expected_version", &expected_version).map_err(field)?;
        let memo = memo(&asker, "WriteFile", &request_id).map_err(field)?;
        let storage = self.storage.get()?;
        recorder.about(workspace.tenant.as_str(), "");
        recorder.allowed_and_kept().await.map_err(not_recorded)?;
        let file = FileToWrite {
            path,
            mode,
            expected,
            memo,
        };
        let content = stream::unfold(messages, |mut messages| async move {
            let next = content_of(messages.message().await)?;
            Some((next, messages))
        });
        let version = write::write_file(&storage, &workspace, file, content).await;
        let version = Some(version_to(&version.map_err(Fault::from)?));
        Ok(Response::new(pb::WriteFileResponse { version }))
    }

    async fn restore_version(
        &self,
        request: Request<pb::RestoreVersionRequest>,
    ) -> Reply<pb::RestoreVersionResponse> {
        let asker = asker(&request)?;
        let recorder = recorder(&request)?;
        let pb::RestoreVersionRequest {
            workspace: name,
            version,
            request_id,
        } = request.into_inner();
        let workspace = workspace(&asker, name)?;
        let version = VersionId::parse("version", &version).map_err(Fault::from)?;
        let memo = memo(&asker, "RestoreVersion", &request_id).map_err(Fault::from)?;
        let storage = self.storage.get()?;
        recorder.about(workspace.tenant.as_str(), "");
        recorder.allowed_and_kept().await.map_err(not_recorded)?;
        let restored = write::restore(&storage, &workspace, &version, memo).await;
        let version = Some(version_to(&restored.map_err(Fault::from)?));
        Ok(Response::new(pb::RestoreVersionResponse { version }))
    }
}
