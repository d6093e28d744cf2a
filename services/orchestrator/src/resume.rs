//! Resume: another run of a suspended sandbox, with the environment that its first one had.

use std::sync::Arc;

use sandgate_types::{Malformed, RequestId, SandboxId};

use crate::caller::Scope;
use crate::environment::Environment;
use crate::life::{ApplyError, Asked, Life};
use crate::lifecycle::{Event, Refusal};
use crate::records::By;
use crate::sandbox::Sandbox;
use crate::store::{Memo, RequestKey};

/// The RPC under which request ids of resumes are remembered.
const RPC: &str = "ResumeSandbox";

/// A resume, parsed, of a sandbox that the caller may see.
#[derive(Debug, Clone)]
pub(crate) struct ResumeRequest {
    pub(crate) sandbox: SandboxId,
    pub(crate) environment: Environment,
    pub(crate) request: Option<RequestId>,
}

/// Why a sandbox is not resumed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ResumeError {
    /// The request id was used for something else.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The sandbox runs already, and not by this request.
    #[error("the sandbox runs already, and its environment cannot be compared")]
    Runs,
    /// Beyond the rules.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl ResumeRequest {
    /// The hash of what is asked for, without the values of the environment, of which nothing is stored.
    fn content(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for part in [self.sandbox.as_str()]
            .into_iter()
            .chain(self.environment.names())
        {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

impl Life {
    /// Begins another run, or answers the one that is there.
    pub(crate) async fn resume(
        self: &Arc<Self>,
        scope: &Scope,
        request: ResumeRequest,
    ) -> Result<Arc<Sandbox>, ResumeError> {
        let id = &request.sandbox;
        let content = request.content();
        let key = request.request.clone().map(|request| RequestKey {
            principal: scope.principal.clone(),
            rpc: RPC,
            request,
        });
        if let Some(key) = &key
            && let Some(memo) = self.store.recall(key).await.map_err(ApplyError::from)?
        {
            if memo.content != content {
                return Err(Malformed::new(
                    "request_id",
                    "must not repeat that of a request with other content",
                )
                .into());
            }
            let sandbox = self.get(id).await.map_err(ApplyError::from)?;
            let sandbox = sandbox.ok_or(ApplyError::Unknown)?;
            self.bring_again(&sandbox, &request.environment);
            return Ok(sandbox);
        }
        let memo = Memo {
            content,
            sandbox: id.clone(),
            created: false,
        };
        let asked = Asked {
            by: By::Principal(scope.principal.clone()),
            request: key.map(|key| (key, memo)),
        };
        let event = Event::Resume(request.environment.clone());
        match self.apply_asked(id, event, &asked, |_| true).await {
            Err(ApplyError::Refused(Refusal::Runs)) => {}
            applied => return Ok(applied?),
        }
        // It runs, or is about to. A start that waits for its environment takes it, whoever brings it; one that
        // has the same one needs nothing more.
        let sandbox = self.get(id).await.map_err(ApplyError::from)?;
        let sandbox = sandbox.ok_or(ApplyError::Unknown)?;
        let brought = self.bring_again(&sandbox, &request.environment);
        if brought || self.environments.holds_this(id, &request.environment) {
            self.remember(&asked).await.map_err(ApplyError::from)?;
            Ok(sandbox)
        } else {
            Err(ResumeError::Runs)
        }
    }

    /// Gives a start what it waits for since the process that held it is gone. Says whether it did.
    pub(crate) fn bring_again(
        self: &Arc<Self>,
        sandbox: &Arc<Sandbox>,
        environment: &Environment,
    ) -> bool {
        let id = &sandbox.facts.id;
        let waits = sandbox.state.awaits_environment && sandbox.state.is_starting();
        if !waits || environment.is_empty() || self.environments.holds(id) {
            return false;
        }
        self.environments.keep(id, environment.clone());
        let cell = self.hub.cell(id);
        if cell.view().is_none() {
            cell.show(sandbox);
        }
        self.drive(&cell, id);
        true
    }
}
