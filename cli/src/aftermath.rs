//! What became of a command that was lost from sight, and of its files: one line of what happened, whether the files are
//! stored, and what to do.

use std::time::Duration;

use sandgate_api::orchestrator::v1 as orchestrator;
use sandgate_api::sandbox::v1 as sandbox;
use tonic::{Code, Status};

use crate::client::Client;
use crate::failure::printable;
use crate::report::{Report, called, how, short};

/// The mesh answers by then, or not at all; a suspend syncs and takes longer than a look.
const LOOK_LIMIT: Duration = Duration::from_secs(60);

/// What was lost from sight.
pub(crate) struct Loss<'a> {
    /// The conversation.
    pub(crate) conversation: &'a str,
    /// Its sandbox.
    pub(crate) sandbox_id: &'a str,
    /// How the command ended, where that is known: then only its files are not.
    pub(crate) ended: Option<&'a sandbox::ProcessEnded>,
    /// By what it was lost, in words.
    pub(crate) cause: String,
}

/// What became of the sandbox.
#[derive(Debug)]
pub(crate) enum Aftermath {
    /// It was suspended, and this is what is stored.
    Suspended(Box<orchestrator::Sandbox>),
    /// It was deleted.
    Deleted,
    /// It could not go on.
    Failed,
    /// It runs, or may.
    Runs,
    /// Nobody answers any more.
    Silent,
}

impl Aftermath {
    /// Looks what became of it, and says so.
    pub(crate) async fn tell(client: &Client, report: &Report, loss: Loss<'_>) -> Self {
        let looking = Self::look(client, loss.sandbox_id);
        let looked = tokio::time::timeout(LOOK_LIMIT, looking).await;
        let aftermath = looked.unwrap_or(Self::Silent);
        let ends = client.mesh_ends().then(|| client.mesh());
        report.failure(&aftermath.said(&loss, ends, client.mesh()));
        aftermath
    }

    /// Whether nothing of the files is missing.
    pub(crate) fn all_stored(&self) -> bool {
        match self {
            Self::Suspended(sandbox) => not_synced(sandbox).is_none(),
            Self::Deleted | Self::Failed | Self::Runs | Self::Silent => false,
        }
    }

    async fn look(client: &Client, sandbox_id: &str) -> Self {
        let sandbox_id = sandbox_id.to_owned();
        let request = orchestrator::GetSandboxRequest {
            sandbox_id: sandbox_id.clone(),
        };
        let found = match client.sandboxes().get_sandbox(request).await {
            Ok(answer) => answer.into_inner().sandbox.unwrap_or_default(),
            Err(status) => return Self::of_refusal(&status),
        };
        match found.phase() {
            orchestrator::Phase::Suspending | orchestrator::Phase::Suspended => {}
            orchestrator::Phase::Deleting | orchestrator::Phase::Deleted => return Self::Deleted,
            orchestrator::Phase::Finished | orchestrator::Phase::Failed => return Self::Failed,
            orchestrator::Phase::Unspecified
            | orchestrator::Phase::Claiming
            | orchestrator::Phase::Attaching
            | orchestrator::Phase::Hydrating
            | orchestrator::Phase::Ready => return Self::Runs,
        }
        // It is being suspended anyhow; this answers once it is, even by a mesh that is about to end.
        let request = orchestrator::SuspendSandboxRequest { sandbox_id };
        match client.sandboxes().suspend_sandbox(request).await {
            Ok(answer) => {
                Self::Suspended(Box::new(answer.into_inner().sandbox.unwrap_or_default()))
            }
            Err(status) => Self::of_refusal(&status),
        }
    }

    fn of_refusal(status: &Status) -> Self {
        if status.code() == Code::NotFound {
            Self::Deleted
        } else {
            Self::Silent
        }
    }

    /// The line. `ends` is the mesh, where it has begun to end.
    fn said(&self, loss: &Loss<'_>, ends: Option<u32>, mesh: u32) -> String {
        let Loss {
            conversation,
            sandbox_id: _,
            ended,
            cause,
        } = loss;
        let us = called();
        let again = format!("`{us} run --conversation {conversation} -- ls -l`");
        let read = format!("`{us} files {conversation}`");
        let command = match ended {
            Some(ended) => format!("the command: {}", how(ended)),
            None => "the command ended with it".to_owned(),
        };
        match self {
            Self::Suspended(sandbox) => {
                let who = match ends {
                    Some(mesh) => format!("the mesh (process {mesh}) was ended"),
                    None => "the sandbox was suspended by somebody else".to_owned(),
                };
                let files = match (not_synced(sandbox), sandbox.workspace_version.as_str()) {
                    (Some(missing), _) => {
                        format!("not all files are stored: {missing}; {again} shows which are")
                    }
                    (None, "") => "it has no files".to_owned(),
                    (None, version) => format!(
                        "its files are stored as version {}, and {again} finds them",
                        short(version)
                    ),
                };
                format!("{who} while this ran ({command}); {files}")
            }
            Self::Deleted => format!(
                "the sandbox was deleted by somebody else while this ran ({command}); {read} reads what was stored"
            ),
            Self::Failed => format!(
                "the sandbox could not go on: {cause} ({command}); what was written since the last sync is lost, and {again} starts it again with the rest"
            ),
            Self::Silent => format!(
                "the mesh (process {mesh}) does not answer any more: {cause}; if it is gone, so are the command and what it wrote since the last sync, and {again} starts another with the rest"
            ),
            Self::Runs if ended.is_some() => format!(
                "the files could not be stored: {cause}; `{us} suspend {conversation}` tries again and stops the sandbox"
            ),
            Self::Runs => format!(
                "{cause}; the command may still run, and its files are not stored yet: look with `{us} run --conversation {conversation} -- ps -ef`, or store them with `{us} suspend {conversation}`"
            ),
        }
    }
}

/// What an end did not store, in words.
pub(crate) fn not_synced(sandbox: &orchestrator::Sandbox) -> Option<String> {
    let not_synced = &sandbox.ending.as_ref()?.not_synced;
    (!not_synced.is_empty()).then(|| printable(not_synced))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(aftermath: &Aftermath, ended: Option<&sandbox::ProcessEnded>, ends: bool) -> String {
        let loss = Loss {
            conversation: "demo",
            sandbox_id: "s",
            ended,
            cause: "the connection ended".to_owned(),
        };
        aftermath.said(&loss, ends.then_some(7), 7)
    }

    fn has(said: &str, parts: &[&str]) {
        for part in parts {
            assert!(said.contains(part), "no {part:?}: {said}");
        }
    }

    fn suspended(not_synced: &str) -> Aftermath {
        Aftermath::Suspended(Box::new(orchestrator::Sandbox {
            workspace_version: "v12345678901".to_owned(),
            ending: Some(orchestrator::Ending {
                not_synced: not_synced.to_owned(),
                ..orchestrator::Ending::default()
            }),
            ..orchestrator::Sandbox::default()
        }))
    }

    #[test]
    fn a_command_that_is_lost_from_sight_is_said_to_run_and_how_to_look() {
        let said = said(&Aftermath::Runs, None, false);
        let next = ["may still run", "--conversation demo --", "suspend demo"];
        has(&said, &next);
        has(&said, &["the connection ended"]);
    }

    #[test]
    fn who_ended_the_sandbox_is_told_from_who_suspended_it() {
        let how = sandbox::ProcessEnded {
            how: Some(sandbox::process_ended::How::Signal(15)),
            ..sandbox::ProcessEnded::default()
        };
        let stored = ["signal 15", "stored as version v12345678,", "-- ls -l"];
        let ended = said(&suspended(""), Some(&how), true);
        has(&ended, &stored);
        has(&ended, &["process 7", "was ended"]);
        let by_others = said(&suspended(""), Some(&how), false);
        has(&by_others, &stored);
        has(&by_others, &["suspended by somebody else"]);
    }

    #[test]
    fn what_is_not_stored_is_never_said_to_be() {
        let part = suspended("3 entries\u{1b}[2J");
        has(
            &said(&part, None, true),
            &["not all files are stored: 3 entries\u{fffd}[2J"],
        );
        assert!(!part.all_stored());
        assert!(suspended("").all_stored());
        for lost in [
            Aftermath::Deleted,
            Aftermath::Failed,
            Aftermath::Runs,
            Aftermath::Silent,
        ] {
            assert!(!lost.all_stored(), "{lost:?}");
            assert!(
                !said(&lost, None, true).contains("are stored as"),
                "{lost:?}"
            );
        }
    }
}
