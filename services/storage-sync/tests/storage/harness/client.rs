//! What a client of a workspace without a sandbox does, over the wire.

use sandgate_api::storage::v1 as pb;
use tonic::Status;

use super::Workspaces;

/// The workspace of the caller's conversation `c`.
pub(crate) fn own() -> Option<pb::WorkspaceName> {
    of("c")
}

pub(crate) fn of(conversation: &str) -> Option<pb::WorkspaceName> {
    Some(pb::WorkspaceName {
        conversation: conversation.to_owned(),
        ..Default::default()
    })
}

pub(crate) fn header(path: &[u8], request_id: &str) -> pb::WriteFileHeader {
    pb::WriteFileHeader {
        workspace: own(),
        path: path.to_vec(),
        request_id: request_id.to_owned(),
        ..Default::default()
    }
}

pub(crate) async fn write(
    client: &mut Workspaces,
    header: pb::WriteFileHeader,
    content: &[u8],
) -> Result<pb::Version, Status> {
    use pb::write_file_request::Part;
    let mut messages = vec![pb::WriteFileRequest {
        part: Some(Part::Header(header)),
    }];
    messages.extend(content.chunks(300_000).map(|data| pb::WriteFileRequest {
        part: Some(Part::Data(data.to_vec())),
    }));
    let answer = client.write_file(tokio_stream::iter(messages)).await?;
    Ok(answer.into_inner().version.expect("a version"))
}

/// The version of a file that must be written, on whatever the head is.
pub(crate) async fn written(client: &mut Workspaces, path: &[u8], content: &[u8]) -> pb::Version {
    write(client, header(path, ""), content)
        .await
        .expect("written")
}

pub(crate) async fn read(
    client: &mut Workspaces,
    request: pb::ReadFileRequest,
) -> Result<(pb::Entry, Vec<u8>), Status> {
    let mut stream = client.read_file(request).await?.into_inner();
    let (mut entry, mut content) = (None, Vec::new());
    while let Some(pb::ReadFileResponse { entry: first, data }) = stream.message().await? {
        assert!(data.len() <= 1024 * 1024);
        entry = entry.or(first);
        content.extend(data);
    }
    Ok((entry.expect("the entry comes first"), content))
}

pub(crate) fn reading(path: &[u8]) -> pb::ReadFileRequest {
    pb::ReadFileRequest {
        workspace: own(),
        path: path.to_vec(),
        ..Default::default()
    }
}

pub(crate) fn listing(path: &[u8]) -> pb::ListFilesRequest {
    pb::ListFilesRequest {
        workspace: own(),
        path: path.to_vec(),
        ..Default::default()
    }
}

pub(crate) fn paths(response: &pb::ListFilesResponse) -> Vec<&[u8]> {
    response
        .entries
        .iter()
        .map(|entry| entry.path.as_slice())
        .collect()
}
