//! A sandbox as the orchestrator knows it: what it is for, which never changes, and where it is in its life.

mod words;

use std::time::Duration;

use sandgate_types::{
    ConversationId, Generation, InstanceId, Labels, SandboxId, SessionId, TemplateName, TenantId,
    Timestamp, UserId, VersionId,
};

/// The most that is kept of what a command said last; the keeper sends no more.
pub(crate) const LAST_OUTPUT_MAX_BYTES: usize = 64 * 1024;
/// The longest sentence of a peer that a row repeats.
pub(crate) const MESSAGE_MAX_BYTES: usize = 256;

/// A sandbox: one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sandbox {
    /// What it is for.
    pub(crate) facts: Facts,
    /// Where it is in its life.
    pub(crate) state: State,
    /// Raised at each write; what compare-and-swap compares.
    pub(crate) version: i64,
}

/// What a sandbox is for. Set by its create, unchanged until its row goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The sandbox.
    pub(crate) id: SandboxId,
    /// Whose it is.
    pub(crate) tenant: TenantId,
    /// Who owns the conversation.
    pub(crate) user: UserId,
    /// The conversation.
    pub(crate) conversation: ConversationId,
    /// What it was made of.
    pub(crate) template: TemplateName,
    /// What callers sort it by.
    pub(crate) labels: Labels,
    /// When it was created.
    pub(crate) created_at: Timestamp,
    /// The lifetime with which it was created; an extension moves its end and not this.
    pub(crate) ttl: Duration,
    /// After how long without activity it is suspended; zero means never.
    pub(crate) idle_timeout: Duration,
    /// The memory that its template gave it, in bytes; what a quota counts.
    pub(crate) memory: u64,
    /// The operations that were asked for; `None` means all that template and tenant allow.
    pub(crate) operations: Option<Vec<String>>,
}

/// Where a sandbox is in its life; what [`crate::lifecycle::step`] decides about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    /// The phase.
    pub(crate) phase: Phase,
    /// Why, where the phase alone does not say it.
    pub(crate) reason: Reason,
    /// What to do about it; empty when there is nothing to do.
    pub(crate) message: String,
    /// Which run is the current one. Raised for each, and never lowered.
    pub(crate) generation: Generation,
    /// The current run, once its instance is claimed.
    pub(crate) run: Option<Run>,
    /// When it ends unless it is extended.
    pub(crate) expires_at: Timestamp,
    /// The last version of its workspace that is known to be stored.
    pub(crate) workspace: Option<VersionId>,
    /// How it ended, once it has.
    pub(crate) ending: Option<Ending>,
    /// What bounds the current run.
    pub(crate) bounds: Vec<Bound>,
    /// The transition that was begun and is not finished.
    pub(crate) intent: Option<Intent>,
    /// Whether the start has an environment that no instance has taken yet. It is never stored: a process
    /// that holds it hands it to Attach, and then nobody has it but the keeper.
    pub(crate) awaits_environment: bool,
    /// Whether processes of the conversation have an environment, which each run has to be given again.
    pub(crate) has_environment: bool,
}

/// Where a sandbox is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Its row exists; an instance is being claimed.
    Claiming,
    /// An instance is claimed and is being given its identity.
    Attaching,
    /// It runs; its files are arriving.
    Hydrating,
    /// It runs, with its files.
    Ready,
    /// It is being suspended.
    Suspending,
    /// No instance; files and identity are kept.
    Suspended,
    /// It is being deleted.
    Deleting,
    /// It is deleted; this is its tombstone.
    Deleted,
    /// Its command ended by itself.
    Finished,
    /// It could not start, or was lost.
    Failed,
}

/// Why a sandbox is in its phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reason {
    /// The phase says it all.
    None,
    /// A caller asked for it.
    Requested,
    /// Its time was up.
    Expired,
    /// Nothing happened in it.
    Idle,
    /// The session reached its maximum.
    SessionMax,
    /// The backend restarted, and its instances died with it.
    BackendRestarted,
    /// The instance ended without being asked to.
    InstanceLost,
    /// The backend could not provide an instance in time.
    NoCapacity,
    /// The instance did not take its identity.
    AttachFailed,
    /// The workspace could not be brought in.
    HydrateFailed,
    /// The template's command ended.
    CommandEnded,
}

/// One run of a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    /// The instance.
    pub(crate) instance: InstanceId,
    /// The session that serves the conversation in it.
    pub(crate) session: SessionId,
    /// When it was claimed, which is when the session starts.
    pub(crate) claimed_at: Timestamp,
    /// Whether it had to be started for this claim.
    pub(crate) cold: bool,
    /// Whether its workspace was ever complete; before that, its tree must not become a version.
    pub(crate) complete: bool,
    /// Whether the backend said that it is gone.
    pub(crate) gone: bool,
}

/// How a sandbox ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    /// When.
    pub(crate) at: Timestamp,
    /// The exit code of its command.
    pub(crate) exit_code: Option<i32>,
    /// The signal that ended its command.
    pub(crate) signal: Option<i32>,
    /// The last of its output.
    pub(crate) last_output: Vec<u8>,
    /// What could not be synced; empty when everything was.
    pub(crate) not_synced: String,
}

impl Ending {
    /// An end at `at` of which nothing more is known.
    pub(crate) fn at(at: Timestamp) -> Self {
        Self {
            at,
            exit_code: None,
            signal: None,
            last_output: Vec::new(),
            not_synced: String::new(),
        }
    }
}

/// A resource that is bounded.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Bound {
    /// Which resource.
    pub(crate) resource: String,
    /// The limit.
    pub(crate) limit: i64,
    /// What enforces it.
    pub(crate) mechanism: String,
}

/// A transition that was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Intent {
    /// To READY: claim, attach, hydrate.
    Start,
    /// To no instance: drain, sync, revoke, release, verify.
    End,
}

impl State {
    /// Whether the sandbox holds its conversation: another create finds it.
    ///
    /// A failed or finished sandbox holds it until its instance is known to be gone.
    pub(crate) fn is_live(&self) -> bool {
        match self.phase {
            Phase::Claiming
            | Phase::Attaching
            | Phase::Hydrating
            | Phase::Ready
            | Phase::Suspending
            | Phase::Suspended
            | Phase::Deleting => true,
            Phase::Deleted | Phase::Finished | Phase::Failed => self.intent.is_some(),
        }
    }

    /// Whether an instance is on its way to the conversation, or serves it.
    pub(crate) fn is_starting(&self) -> bool {
        self.intent == Some(Intent::Start)
    }

    /// How far a start has come; a state that is not yet written is newer than its row by this much.
    pub(crate) fn progress(&self) -> i64 {
        match (self.phase, self.is_starting()) {
            (Phase::Attaching, true) => 1,
            (Phase::Hydrating, true) => 2,
            (
                Phase::Claiming
                | Phase::Attaching
                | Phase::Hydrating
                | Phase::Ready
                | Phase::Suspending
                | Phase::Suspended
                | Phase::Deleting
                | Phase::Deleted
                | Phase::Finished
                | Phase::Failed,
                true | false,
            ) => 0,
        }
    }
}

impl Sandbox {
    /// What is shown as its revision: raised at every change, written or not.
    pub(crate) fn revision(&self) -> i64 {
        self.version
            .saturating_mul(4)
            .saturating_add(self.state.progress())
    }

    /// Whether `instance` in `generation` is its current run.
    pub(crate) fn is_current(&self, instance: &InstanceId, generation: Generation) -> bool {
        self.state.generation == generation
            && self
                .state
                .run
                .as_ref()
                .is_some_and(|run| run.instance == *instance)
    }
}

/// Cuts a peer's sentence to length, at a character, and leaves out what could move a terminal.
pub(crate) fn sentence(text: &str) -> String {
    let mut kept = String::new();
    for character in text.chars().filter(|character| !character.is_control()) {
        if kept.len() + character.len_utf8() > MESSAGE_MAX_BYTES {
            break;
        }
        kept.push(character);
    }
    kept
}
