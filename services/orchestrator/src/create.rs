//! Create: one live sandbox for each conversation, whoever asks how often.

use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng as _;
use rand::rngs::StdRng;
use sandgate_types::{
    ConversationId, Generation, Labels, Malformed, RequestId, SandboxId, TemplateName, TenantId,
    UserId,
};

use crate::caller::Scope;
use crate::environment::Environment;
use crate::life::{ApplyError, Life};
use crate::quota::Exceeded;
use crate::records::{self, By};
use crate::sandbox::{Facts, Intent, Phase, Reason, Sandbox, State};
use crate::store::{Creation, Memo, RequestKey, StoreError};
use crate::template::Template;
use crate::wait::Wait;

/// The RPC under which request ids of creates are remembered.
const RPC: &str = "CreateSandbox";

/// A create, parsed.
#[derive(Debug, Clone)]
pub(crate) struct CreateRequest {
    pub(crate) tenant: TenantId,
    pub(crate) user: UserId,
    pub(crate) conversation: ConversationId,
    pub(crate) template: TemplateName,
    pub(crate) ttl: Option<Duration>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) labels: Labels,
    pub(crate) environment: Environment,
    pub(crate) operations: Option<Vec<String>>,
    pub(crate) wait: Wait,
    pub(crate) request: Option<RequestId>,
}

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CreateError {
    /// A value that this template, or any, does not take.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The conversation is another user's. What is there is not said.
    #[error("the conversation belongs to another user")]
    OwnedByAnother,
    /// The live sandbox is different.
    #[error("the live sandbox has another {0}")]
    Differs(&'static str),
    /// The last sandbox is on its way out.
    #[error("the sandbox of the conversation is ending")]
    Ending,
    /// The request id was used for something else.
    #[error("the request id was used for another request")]
    RequestReused,
    /// What the first request made is gone from memory.
    #[error("the sandbox of this request is gone")]
    Gone,
    /// A quota is in the way.
    #[error(transparent)]
    Exceeded(#[from] Exceeded),
    /// Beyond the rules.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl From<StoreError> for CreateError {
    fn from(error: StoreError) -> Self {
        Self::Apply(error.into())
    }
}

impl CreateRequest {
    /// The hash of what is asked for. Not in it: the id itself, when to answer, and the values of the
    /// environment, of which nothing is stored.
    fn content(&self) -> [u8; 32] {
        let Self {
            tenant,
            user,
            conversation,
            template,
            ttl,
            idle_timeout,
            labels,
            environment,
            operations,
            wait: _,
            request: _,
        } = self;
        let mut hasher = blake3::Hasher::new();
        let mut text = |part: &str| {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        };
        for part in [
            tenant.as_str(),
            user.as_str(),
            conversation.as_str(),
            template.as_str(),
        ] {
            text(part);
        }
        text(&format!("{ttl:?} {idle_timeout:?} {}", labels.len()));
        for (key, value) in labels {
            text(key.as_str());
            text(value);
        }
        let names = environment.names();
        text(&format!("{}", names.len()));
        for name in names {
            text(name);
        }
        text(&format!("{:?}", operations.as_ref().map(Vec::len)));
        for name in operations.iter().flatten() {
            text(name);
        }
        *hasher.finalize().as_bytes()
    }

    fn row(&self, life: &Life, template: &Template) -> Result<Sandbox, Malformed> {
        let ttl = self.ttl.unwrap_or(template.default_ttl);
        if ttl < Duration::from_secs(1) || ttl > template.max_ttl {
            let most = template.max_ttl.as_secs();
            return Err(Malformed::new(
                "ttl",
                format!("must be between 1s and {most}s"),
            ));
        }
        let now = life.clock.now();
        Ok(Sandbox {
            facts: Facts {
                id: SandboxId::random(&mut StdRng::from_os_rng()),
                tenant: self.tenant.clone(),
                user: self.user.clone(),
                conversation: self.conversation.clone(),
                template: self.template.clone(),
                labels: self.labels.clone(),
                created_at: now,
                ttl,
                idle_timeout: self.idle_timeout.unwrap_or(template.idle_timeout),
                memory: template.limits.memory.bytes(),
                operations: self.operations.clone(),
            },
            state: State {
                phase: Phase::Claiming,
                reason: Reason::None,
                message: String::new(),
                generation: Generation::FIRST,
                run: None,
                expires_at: now.plus(ttl),
                workspace: None,
                ending: None,
                bounds: Vec::new(),
                intent: Some(Intent::Start),
                awaits_environment: !self.environment.is_empty(),
                has_environment: !self.environment.is_empty(),
            },
            version: 1,
        })
    }

    /// In which field the live sandbox is not, or may not be, what is asked for.
    fn difference(&self, live: &Sandbox) -> Option<&'static str> {
        let facts = &live.facts;
        if facts.template != self.template {
            return Some("template");
        }
        if self.ttl.is_some_and(|wished| wished != facts.ttl) {
            return Some("ttl");
        }
        if self
            .idle_timeout
            .is_some_and(|wished| wished != facts.idle_timeout)
        {
            return Some("idle_timeout");
        }
        if !self.labels.is_empty() && self.labels != facts.labels {
            return Some("labels");
        }
        if self.operations.is_some() && self.operations != facts.operations {
            return Some("operations");
        }
        // Values are never stored, so nobody can say whether they are the same.
        if !self.environment.is_empty() {
            return Some("environment");
        }
        None
    }
}

impl Life {
    /// Creates, or finds. Answers the sandbox as it was when that was certain, and whether it was made.
    pub(crate) async fn create(
        self: &Arc<Self>,
        scope: &Scope,
        request: CreateRequest,
    ) -> Result<(Arc<Sandbox>, bool), CreateError> {
        let key = request.request.clone().map(|request| RequestKey {
            principal: scope.principal.clone(),
            rpc: RPC,
            request,
        });
        let content = request.content();
        let template = self.templates.get(&request.template);
        let template = template.ok_or_else(|| {
            Malformed::new(
                "template",
                "must name a template that ListTemplates answers",
            )
        })?;
        let row = request.row(self, template)?;
        // In memory before the row is: whoever finds the row leaves it to this create.
        let cell = self.hub.cell(&row.facts.id);
        let _alone = cell.begin_driving();
        self.environments
            .keep(&row.facts.id, request.environment.clone());
        let asked = key.as_ref().map(|key| (key, content));
        let entry = records::of_created(&row, &By::Principal(scope.principal.clone()));
        let creation = self.store.create(&row, &self.lease(), asked, entry).await;
        if !matches!(creation, Ok(Creation::Created(_))) {
            self.environments.forget(&row.facts.id);
            // A row that was written although the answer was lost is the reconciler's.
            let _asked = cell.stop_driving();
        }
        match creation? {
            Creation::Created(sandbox) => {
                let sandbox = Arc::new(sandbox);
                self.begin(&cell, &sandbox);
                Ok((sandbox, true))
            }
            Creation::Exceeds(exceeded) => Err(exceeded.into()),
            Creation::OwnedBy(_) => Err(CreateError::OwnedByAnother),
            Creation::Replayed(memo) => {
                let sandbox = self.replayed(&request, &memo, content).await?;
                Ok((sandbox, memo.created))
            }
            Creation::Live(live) => {
                let live = self.overlay(live);
                match live.state.phase {
                    // A suspend passes too, but what it leaves is found then; a delete leaves nothing.
                    Phase::Deleting | Phase::Finished | Phase::Failed => {
                        return Err(CreateError::Ending);
                    }
                    Phase::Claiming
                    | Phase::Attaching
                    | Phase::Hydrating
                    | Phase::Ready
                    | Phase::Suspending
                    | Phase::Suspended
                    | Phase::Deleted => {}
                }
                if let Some(field) = request.difference(&live) {
                    return Err(CreateError::Differs(field));
                }
                if let Some(key) = &key {
                    let memo = Memo {
                        content,
                        sandbox: live.facts.id.clone(),
                        created: false,
                    };
                    self.store.remember(key, &memo, self.clock.now()).await?;
                }
                Ok((live, false))
            }
        }
    }

    async fn replayed(
        self: &Arc<Self>,
        request: &CreateRequest,
        memo: &Memo,
        content: [u8; 32],
    ) -> Result<Arc<Sandbox>, CreateError> {
        if memo.content != content {
            return Err(CreateError::RequestReused);
        }
        let sandbox = self.get(&memo.sandbox).await?.ok_or(CreateError::Gone)?;
        // The process that took the first request may be gone, and its memory with it; here it is again.
        self.bring_again(&sandbox, &request.environment);
        Ok(sandbox)
    }
}
