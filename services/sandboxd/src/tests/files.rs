//! Files of the workspace.
#![expect(
    clippy::disallowed_methods,
    reason = "a test is a process of its own; what it spawns ends with its runtime"
)]

use sandgate_api::sandbox::v1 as pb;
use sandgate_api::sandbox::v1::write_file_request::Part;
use tokio_stream::Iter;
use tonic::Status;

use super::harness::{NEVER, Sandbox};

/// The messages that write a file, with its parents.
pub(super) fn upload(path: &str, content: &[u8]) -> Iter<std::vec::IntoIter<pb::WriteFileRequest>> {
    let header = pb::WriteFileHeader {
        path: path.as_bytes().to_vec(),
        mode: 0o600,
        make_parents: true,
    };
    let mut parts = vec![Part::Header(header)];
    parts.extend(
        content
            .chunks(1 << 20)
            .map(|piece| Part::Data(piece.to_vec())),
    );
    let parts: Vec<_> = parts
        .into_iter()
        .map(|part| pb::WriteFileRequest { part: Some(part) })
        .collect();
    tokio_stream::iter(parts)
}

async fn read(
    sandbox: &Sandbox,
    path: &str,
    offset: u64,
    length: u64,
) -> Result<(pb::FileInfo, Vec<u8>), Status> {
    let request = pb::ReadFileRequest {
        path: path.as_bytes().to_vec(),
        offset,
        length,
    };
    let mut stream = sandbox.files().read_file(request).await?.into_inner();
    let (mut info, mut bytes) = (None, Vec::new());
    while let Some(piece) = stream.message().await? {
        assert_eq!(
            piece.info.is_some(),
            info.is_none(),
            "only the first message says what is read"
        );
        assert!(piece.data.len() <= 64 * 1024);
        info = info.or(piece.info);
        bytes.extend(piece.data);
    }
    Ok((info.expect("what is read"), bytes))
}

#[tokio::test]
async fn a_file_is_written_whole_and_read_by_range() {
    let sandbox = Sandbox::attached().await;
    let content: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let written = sandbox
        .files()
        .write_file(upload("a/b/c", &content))
        .await
        .expect("written")
        .into_inner();
    let info = written.info.expect("what was written");
    assert_eq!(
        (info.path.as_slice(), info.size, info.mode),
        (&b"a/b/c"[..], content.len() as u64, 0o600)
    );
    let (info, all) = read(&sandbox, "a/b/c", 0, 0).await.expect("read");
    assert_eq!((info.size, all), (content.len() as u64, content.clone()));
    assert_eq!(
        read(&sandbox, "a/b/c", 100_000, 70_000)
            .await
            .expect("read")
            .1,
        content[100_000..170_000]
    );
    assert_eq!(
        read(&sandbox, "a/b/c", u64::MAX, 10).await.expect("read").1,
        b""
    );
    assert_eq!(
        read(&sandbox, "a/b/c", 1_199_999, 10)
            .await
            .expect("read")
            .1
            .len(),
        1
    );
}

#[tokio::test]
async fn a_write_that_is_broken_off_leaves_the_old_content_and_nothing_else() {
    let sandbox = Sandbox::attached().await;
    sandbox
        .files()
        .write_file(upload("a", b"old"))
        .await
        .expect("written");
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let mut files = sandbox.files();
    let writing = tokio::spawn(async move {
        files
            .write_file(tokio_stream::wrappers::ReceiverStream::new(receiver))
            .await
    });
    let header = pb::WriteFileHeader {
        path: b"a".to_vec(),
        mode: 0,
        make_parents: false,
    };
    for part in [Part::Header(header), Part::Data(b"half".to_vec())] {
        sender
            .send(pb::WriteFileRequest { part: Some(part) })
            .await
            .expect("sent");
    }
    let begun = async {
        while std::fs::read_dir(sandbox.workspace())
            .expect("a folder")
            .count()
            < 2
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(NEVER, begun)
        .await
        .expect("begun under another name");
    writing.abort();
    let gone = async {
        while std::fs::read_dir(sandbox.workspace())
            .expect("a folder")
            .count()
            > 1
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(NEVER, gone).await.expect("given up");
    assert_eq!(std::fs::read(sandbox.at("a")).expect("there"), b"old");
}

#[tokio::test]
async fn names_of_any_bytes_are_kept_and_a_listing_goes_on_where_it_stopped() {
    let sandbox = Sandbox::attached().await;
    let longest = "y".repeat(255);
    let mut names = vec!["a\nb".to_owned(), "\u{1b}[31m".to_owned(), longest];
    names.extend((0..20).map(|number| format!("{number:03}")));
    for name in &names {
        sandbox
            .files()
            .write_file(upload(name, b""))
            .await
            .expect("written");
    }
    std::os::unix::fs::symlink("/nowhere", sandbox.at("link")).expect("a link");
    names.push("link".to_owned());
    names.sort();
    let mut token = String::new();
    let mut seen = Vec::new();
    loop {
        let request = pb::ListDirectoryRequest {
            path: Vec::new(),
            page_size: 7,
            page_token: token,
        };
        let page = sandbox
            .files()
            .list_directory(request)
            .await
            .expect("a page")
            .into_inner();
        seen.extend(page.files);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let paths: Vec<String> = seen
        .iter()
        .map(|info| String::from_utf8(info.path.clone()).expect("text"))
        .collect();
    assert_eq!(paths, names);
    let link = seen
        .iter()
        .find(|info| info.path == b"link")
        .expect("the link");
    assert_eq!(
        (link.kind(), link.link_target.as_slice()),
        (pb::FileKind::Symlink, &b"/nowhere"[..])
    );
}

#[tokio::test]
async fn a_thousand_long_names_are_one_page() {
    let sandbox = Sandbox::attached().await;
    for number in 0..1001 {
        std::fs::write(sandbox.at(&format!("{number:0>200}")), "").expect("a file");
    }
    let request = pb::ListDirectoryRequest {
        path: Vec::new(),
        page_size: 5000,
        page_token: String::new(),
    };
    let page = sandbox
        .files()
        .list_directory(request)
        .await
        .expect("a page")
        .into_inner();
    assert_eq!(page.files.len(), 1000, "more than 1,000 is taken for 1,000");
    let request = pb::ListDirectoryRequest {
        path: Vec::new(),
        page_size: 0,
        page_token: page.next_page_token,
    };
    assert_eq!(
        sandbox
            .files()
            .list_directory(request)
            .await
            .expect("the rest")
            .into_inner()
            .files
            .len(),
        1
    );
}
