//! FileService.

mod read;
mod rename;
mod wire;

use std::io::Write as _;

use futures_util::stream;
use sandgate_api::sandbox::v1 as pb;
use sandgate_api::sandbox::v1::file_service_server::FileService;
use sandgate_api::sandbox::v1::watch_files_response::Event;
use sandgate_api::sandbox::v1::write_file_request::Part;
use sandgate_rpc::page_size;
use sandgate_types::Malformed;
use tonic::{Request, Status, Streaming};

use self::wire::{describe, info_of, mode_of, next_change, path_of, path_or_root};
use super::{Answers, Reply, Services, answers};
use crate::keeper::error::{file_trouble, not_synced, refused_in, status};
use crate::keeper::identity::Phase;
use crate::keeper::instance::Unusable;
use crate::protocol::Info;

/// The published limit of a piece that is written.
const WRITE_MAX_BYTES: usize = 1024 * 1024;
/// Permission bits where a request names none.
const FILE_MODE: u32 = 0o644;
const DIRECTORY_MODE: u32 = 0o755;

#[tonic::async_trait]
impl FileService for Services {
    type ReadFileStream = Answers<pb::ReadFileResponse>;
    type WatchFilesStream = Answers<pb::WatchFilesResponse>;

    async fn read_file(
        &self,
        request: Request<pb::ReadFileRequest>,
    ) -> Reply<Self::ReadFileStream> {
        let pb::ReadFileRequest {
            path,
            offset,
            length,
        } = request.into_inner();
        let path = path_of("path", path)?;
        self.usable().await?;
        let file = self
            .instance
            .runner
            .open(path.clone())
            .await
            .map_err(status)?;
        let info = describe(path, &file).map_err(|error| status(file_trouble(error)))?;
        let end = if length == 0 {
            u64::MAX
        } else {
            offset.saturating_add(length)
        };
        let pieces = read::pieces(info, file, offset..end);
        Ok(answers(pieces))
    }

    async fn write_file(
        &self,
        request: Request<Streaming<pb::WriteFileRequest>>,
    ) -> Reply<pb::WriteFileResponse> {
        let mut parts = request.into_inner();
        let Some(Part::Header(header)) = parts.message().await?.and_then(|first| first.part) else {
            return Err(status(Malformed::new("header", "must come first")));
        };
        let pb::WriteFileHeader {
            path,
            mode,
            make_parents,
        } = header;
        let (path, mode) = (
            path_of("header.path", path)?,
            mode_of("header.mode", mode, FILE_MODE)?,
        );
        self.usable().await?;
        let mut file = self
            .instance
            .runner
            .create(path, make_parents)
            .await
            .map_err(|error| status(refused_in("header.path", error)))?;
        while let Some(pb::WriteFileRequest { part }) = parts.message().await? {
            let Some(Part::Data(data)) = part else {
                return Err(status(Malformed::new(
                    "data",
                    "must follow the header, alone",
                )));
            };
            if data.len() > WRITE_MAX_BYTES {
                return Err(status(Malformed::new("data", "must have at most 1 MiB")));
            }
            file.file()
                .write_all(&data)
                .map_err(|error| status(file_trouble(error)))?;
        }
        let info = file.commit(mode).await.map_err(status)?;
        self.instance.activity.touch();
        Ok(pb::WriteFileResponse {
            info: Some(info_of(info)),
        }
        .into())
    }

    async fn list_directory(
        &self,
        request: Request<pb::ListDirectoryRequest>,
    ) -> Reply<pb::ListDirectoryResponse> {
        let pb::ListDirectoryRequest {
            path,
            page_size: size,
            page_token,
        } = request.into_inner();
        let path = path_or_root("path", path)?;
        let size = page_size(size).map_err(status)?;
        let receiver = format!("files {}", path.escape_ascii());
        let mut after = self
            .pages
            .decode(&receiver, &page_token)
            .map_err(status)?
            .unwrap_or_default();
        self.usable().await?;
        let mut files = Vec::new();
        let mut more = true;
        while more && files.len() < size {
            let wanted = u32::try_from(size - files.len()).unwrap_or(u32::MAX);
            let listing = self
                .instance
                .runner
                .list(path.clone(), after.clone(), wanted)
                .await
                .map_err(status)?;
            // The runner may say anything; a list that does not move on would never end.
            let Some(last) = listing.entries.last().filter(|last| last.path > after) else {
                break;
            };
            after.clone_from(&last.path);
            more = listing.more;
            let below = |name: &[u8]| {
                if path.is_empty() {
                    name.to_vec()
                } else {
                    [&path, &b"/"[..], name].concat()
                }
            };
            let entries = listing.entries.into_iter().take(size - files.len());
            files.extend(entries.map(|info| {
                info_of(Info {
                    path: below(&info.path),
                    ..info
                })
            }));
        }
        let next_page_token = if more && !files.is_empty() {
            self.pages.encode(&receiver, &after)
        } else {
            String::new()
        };
        Ok(pb::ListDirectoryResponse {
            files,
            next_page_token,
        }
        .into())
    }

    async fn stat_file(
        &self,
        request: Request<pb::StatFileRequest>,
    ) -> Reply<pb::StatFileResponse> {
        let pb::StatFileRequest { path } = request.into_inner();
        let path = path_or_root("path", path)?;
        self.usable().await?;
        let info = self.instance.runner.stat(path).await.map_err(status)?;
        Ok(pb::StatFileResponse {
            info: Some(info_of(info)),
        }
        .into())
    }

    async fn make_directory(
        &self,
        request: Request<pb::MakeDirectoryRequest>,
    ) -> Reply<pb::MakeDirectoryResponse> {
        let pb::MakeDirectoryRequest {
            path,
            mode,
            make_parents,
        } = request.into_inner();
        let (path, mode) = (
            path_of("path", path)?,
            mode_of("mode", mode, DIRECTORY_MODE)?,
        );
        self.usable().await?;
        self.instance
            .runner
            .make_directory(path, mode, make_parents)
            .await
            .map_err(status)?;
        self.instance.activity.touch();
        Ok(pb::MakeDirectoryResponse {}.into())
    }

    async fn move_file(
        &self,
        request: Request<pb::MoveFileRequest>,
    ) -> Reply<pb::MoveFileResponse> {
        let pb::MoveFileRequest {
            source,
            target,
            replace,
        } = request.into_inner();
        let (source, target) = (path_of("source", source)?, path_of("target", target)?);
        self.usable().await?;
        self.rename(source, target, replace).await?;
        self.instance.activity.touch();
        Ok(pb::MoveFileResponse {}.into())
    }

    async fn remove_file(
        &self,
        request: Request<pb::RemoveFileRequest>,
    ) -> Reply<pb::RemoveFileResponse> {
        let pb::RemoveFileRequest { path, recursive } = request.into_inner();
        let path = path_of("path", path)?;
        self.usable().await?;
        self.instance
            .runner
            .remove(path, recursive)
            .await
            .map_err(status)?;
        self.instance.activity.touch();
        Ok(pb::RemoveFileResponse {}.into())
    }

    async fn watch_files(
        &self,
        request: Request<pb::WatchFilesRequest>,
    ) -> Reply<Self::WatchFilesStream> {
        let pb::WatchFilesRequest { path, recursive } = request.into_inner();
        let path = path_or_root("path", path)?;
        self.usable().await?;
        let watch = self
            .instance
            .runner
            .watch(path, recursive)
            .await
            .map_err(status)?;
        let started = Some(Event::Started(pb::WatchStarted {}));
        let changes = stream::unfold((started, Some(watch)), |(first, watch)| async move {
            let mut watch = watch?;
            let event = match first {
                Some(first) => Ok(first),
                None => next_change(&mut watch).await,
            };
            match event {
                Ok(event) => Some((
                    Ok(pb::WatchFilesResponse { event: Some(event) }),
                    (None, Some(watch)),
                )),
                Err(status) => Some((Err(status), (None, None))),
            }
        });
        Ok(answers(changes))
    }

    async fn sync_files(
        &self,
        request: Request<pb::SyncFilesRequest>,
    ) -> Reply<pb::SyncFilesResponse> {
        let pb::SyncFilesRequest {} = request.into_inner();
        // Also while the sandbox ends: the last sync comes then.
        if self.instance.identity.phase() == Phase::Spare {
            return Err(status(Unusable::Phase(Phase::Spare)));
        }
        let synced = self
            .instance
            .syncer
            .sync()
            .await
            .map_err(|error| not_synced(&error))?;
        Ok(pb::SyncFilesResponse {
            version: synced.version,
            skipped: synced.left_out.count(),
        }
        .into())
    }
}

impl Services {
    async fn usable(&self) -> Result<(), Status> {
        self.instance.usable().await.map_err(status)
    }
}
