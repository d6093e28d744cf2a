//! What can be asked about conversations: which there are, what files they have, and that they end.

use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;

use anyhow::Context as _;
use sandgate_api::orchestrator::v1 as orchestrator;
use sandgate_api::storage::v1 as storage;
use tonic::{Response, Status};

use crate::aftermath::not_synced;
use crate::args::{ConversationArgs, FilesArgs};
use crate::client::Client;
use crate::failure::visible;
use crate::report::{called, line, pass_on, print, short};

/// Where the files are in the sandbox; as a prefix it may be given, since a person copies it from there.
const WORKSPACE: &[u8] = b"/workspace/";

/// The answer of a call, or what a person should know of its refusal.
pub(crate) async fn answered<T>(
    client: &Client,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> anyhow::Result<T> {
    let answer = call.await.map_err(|status| told(client, &status))?;
    Ok(answer.into_inner())
}

fn told(client: &Client, status: &Status) -> anyhow::Error {
    anyhow::anyhow!(client.explain(status))
}

/// `sandgate ls`.
pub(crate) async fn ls(client: &Client) -> anyhow::Result<ExitCode> {
    let mut page_token = String::new();
    let mut headed = false;
    loop {
        let request = orchestrator::ListSandboxesRequest {
            page_token,
            ..Default::default()
        };
        let page = answered(client, client.sandboxes().list_sandboxes(request)).await?;
        // A refusal is not a table.
        if !headed {
            print(&format!(
                "{:<24} {:<12} {:<26} {}",
                "CONVERSATION", "PHASE", "SANDBOX", "FILES"
            ))?;
            headed = true;
        }
        for sandbox in page.sandboxes {
            let phase = sandbox
                .phase()
                .as_str_name()
                .trim_start_matches("PHASE_")
                .to_lowercase();
            // Whole, since calls want it whole.
            let (id, version) = (&sandbox.sandbox_id, short(&sandbox.workspace_version));
            print(&format!(
                "{:<24} {phase:<12} {id:<26} {version}",
                sandbox.conversation
            ))?;
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

async fn find(client: &Client, conversation: &str) -> anyhow::Result<orchestrator::Sandbox> {
    let request = orchestrator::ListSandboxesRequest {
        conversation: conversation.to_owned(),
        ..Default::default()
    };
    let page = answered(client, client.sandboxes().list_sandboxes(request)).await?;
    page.sandboxes.into_iter().next().with_context(|| {
        format!("conversation {conversation} has no sandbox; `sandgate ls` lists those that do")
    })
}

/// `sandgate suspend`.
pub(crate) async fn suspend(client: &Client, args: &ConversationArgs) -> anyhow::Result<ExitCode> {
    let sandbox_id = find(client, &args.conversation).await?.sandbox_id;
    let request = orchestrator::SuspendSandboxRequest { sandbox_id };
    let answer = answered(client, client.sandboxes().suspend_sandbox(request)).await?;
    let sandbox = answer.sandbox.unwrap_or_default();
    let files = if sandbox.workspace_version.is_empty() {
        "no files are stored".to_owned()
    } else {
        format!(
            "files stored as version {}",
            short(&sandbox.workspace_version)
        )
    };
    line(&format!("sandgate: suspended; {files}"));
    Ok(match not_stored(&sandbox) {
        Some(said) => {
            line(&said);
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    })
}

/// `sandgate rm`.
pub(crate) async fn rm(client: &Client, args: &ConversationArgs) -> anyhow::Result<ExitCode> {
    let sandbox_id = find(client, &args.conversation).await?.sandbox_id;
    let request = orchestrator::DeleteSandboxRequest { sandbox_id };
    let answer = answered(client, client.sandboxes().delete_sandbox(request)).await?;
    let sandbox = answer.sandbox.unwrap_or_default();
    let files = if sandbox.workspace_version.is_empty() {
        "no files of it are stored".to_owned()
    } else {
        format!(
            "its files are still there as version {}; `{} files {}` lists them",
            short(&sandbox.workspace_version),
            called(),
            args.conversation
        )
    };
    line(&format!("sandgate: deleted; {files}"));
    if let Some(said) = not_stored(&sandbox) {
        line(&said);
    }
    Ok(ExitCode::SUCCESS)
}

/// What is said of an end that did not store everything.
fn not_stored(sandbox: &orchestrator::Sandbox) -> Option<String> {
    not_synced(sandbox).map(|missing| format!("sandgate: not stored: {missing}"))
}

/// `sandgate files`.
pub(crate) async fn files(client: &Client, args: &FilesArgs) -> anyhow::Result<ExitCode> {
    let workspace = Some(storage::WorkspaceName {
        tenant: String::new(),
        user: String::new(),
        conversation: args.conversation.clone(),
    });
    if let Some(shown) = &args.path {
        let path = shown.as_bytes();
        let path = path.strip_prefix(WORKSPACE).unwrap_or(path).to_vec();
        let request = storage::ReadFileRequest {
            workspace,
            path,
            ..Default::default()
        };
        let shown = visible(shown.as_bytes());
        let about = || format!("{shown} of conversation {}", args.conversation);
        let mut pieces = answered(client, client.workspaces().read_file(request))
            .await
            .with_context(about)?;
        while let Some(piece) = pieces
            .message()
            .await
            .map_err(|status| told(client, &status))
            .with_context(about)?
        {
            pass_on(std::io::stdout().lock(), &piece.data)?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut page_token = String::new();
    loop {
        let request = storage::ListFilesRequest {
            workspace: workspace.clone(),
            page_token,
            ..Default::default()
        };
        let page = answered(client, client.workspaces().list_files(request)).await?;
        anyhow::ensure!(
            !page.version.is_empty(),
            "conversation {} has no stored files; `sandgate ls` lists those that have a sandbox",
            args.conversation
        );
        for entry in page.entries {
            let path = visible(&entry.path);
            let leads = match entry.link_target.as_slice() {
                [] => String::new(),
                target => format!(" -> {}", visible(target)),
            };
            print(&format!("{:>12}  {path}{leads}", entry.size))?;
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_end_did_not_store_is_said_and_what_it_stored_is_not() {
        let ended = |not_synced: &str| orchestrator::Sandbox {
            ending: Some(orchestrator::Ending {
                not_synced: not_synced.to_owned(),
                ..orchestrator::Ending::default()
            }),
            ..orchestrator::Sandbox::default()
        };
        assert_eq!(
            not_stored(&ended("3 entries\u{1b}[2J")).as_deref(),
            Some("sandgate: not stored: 3 entries\u{fffd}[2J")
        );
        assert_eq!(not_stored(&ended("")), None);
        assert_eq!(not_stored(&orchestrator::Sandbox::default()), None);
    }
}
