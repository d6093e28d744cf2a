//! All revocations so far, found by kind in one look each.

use std::collections::{HashMap, HashSet};

use aws_lc_rs::digest::{Context, SHA256};
use sandgate_types::{
    ApiKeyId, ConversationId, InstanceId, SandboxId, TenantId, Timestamp, TokenId, UserId,
};

use super::{RevocationScope, RevocationTarget};
use crate::{Audience, Claims};

/// The length of the running hash.
pub const RUNNING_HASH_BYTES: usize = 32;

/// That a revocation is not the next one: something between was lost, and a snapshot is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("revocation {found} follows {head}")]
pub struct FeedGap {
    /// The number of the newest revocation before.
    pub head: i64,
    /// The number that came.
    pub found: i64,
}

/// All revocations so far: numbers from 1 without gaps.
#[derive(Debug, Clone, Default)]
pub struct RevocationSet {
    head: i64,
    hash: [u8; RUNNING_HASH_BYTES],
    tenants: HashMap<TenantId, OfTenant>,
    api_keys: HashSet<ApiKeyId>,
}

#[derive(Debug, Clone, Default)]
struct OfTenant {
    whole: bool,
    sessions_before: Option<Timestamp>,
    tokens: HashSet<TokenId>,
    agents: HashSet<InstanceId>,
    instances: HashSet<InstanceId>,
    sandboxes: HashSet<SandboxId>,
    conversations: HashSet<ConversationId>,
    users: HashSet<UserId>,
}

impl RevocationSet {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds the next revocation.
    ///
    /// # Errors
    /// [`FeedGap`] when it is not the next one; then nothing has changed.
    pub fn apply(&mut self, sequence: i64, target: &RevocationTarget) -> Result<(), FeedGap> {
        if self.head.checked_add(1) != Some(sequence) {
            return Err(FeedGap {
                head: self.head,
                found: sequence,
            });
        }
        self.head = sequence;
        self.hash = next_hash(&self.hash, sequence, target);
        match target {
            RevocationTarget::ApiKey(id) => {
                self.api_keys.insert(id.clone());
            }
            RevocationTarget::Sessions { tenant, scope } => {
                self.tenants.entry(tenant.clone()).or_default().add(scope);
            }
        }
        Ok(())
    }

    /// Whether anything matches a token with these claims.
    pub fn matches(&self, claims: &Claims) -> bool {
        self.tenants
            .get(&claims.tenant)
            .is_some_and(|tenant| tenant.matches(claims))
    }

    /// Whether the API key is revoked.
    pub fn matches_api_key(&self, id: &ApiKeyId) -> bool {
        self.api_keys.contains(id)
    }

    /// The number of the newest revocation; 0 when there is none.
    pub fn head(&self) -> i64 {
        self.head
    }

    /// A hash over all of them in their order.
    pub fn running_hash(&self) -> [u8; RUNNING_HASH_BYTES] {
        self.hash
    }

    /// Whether this is the feed that a heartbeat describes.
    pub fn agrees_with(&self, head: i64, running_hash: &[u8]) -> bool {
        self.head == head && self.hash == running_hash
    }
}

impl OfTenant {
    fn add(&mut self, scope: &RevocationScope) {
        match scope {
            RevocationScope::Token(id) => drop(self.tokens.insert(id.clone())),
            RevocationScope::AgentOfInstance(id) => drop(self.agents.insert(id.clone())),
            RevocationScope::Instance(id) => drop(self.instances.insert(id.clone())),
            RevocationScope::Sandbox(id) => drop(self.sandboxes.insert(id.clone())),
            RevocationScope::Conversation(name) => drop(self.conversations.insert(name.clone())),
            RevocationScope::User(name) => drop(self.users.insert(name.clone())),
            RevocationScope::WholeTenant => self.whole = true,
            RevocationScope::SessionsBefore(at) => {
                self.sessions_before = self.sessions_before.max(Some(*at))
            }
        }
    }

    fn matches(&self, claims: &Claims) -> bool {
        self.whole
            || self.instances.contains(&claims.instance)
            || (claims.audience == Audience::Agent && self.agents.contains(&claims.instance))
            || self.sandboxes.contains(&claims.sandbox)
            || self.conversations.contains(&claims.conversation)
            || self.users.contains(&claims.user)
            || self.tokens.contains(&claims.token)
            || self
                .sessions_before
                .is_some_and(|at| claims.session_start < at)
    }
}

/// Each part behind its length, so that two revocations never hash the same bytes.
fn next_hash(
    before: &[u8; RUNNING_HASH_BYTES],
    sequence: i64,
    target: &RevocationTarget,
) -> [u8; RUNNING_HASH_BYTES] {
    let (kind, tenant, value) = target.to_parts();
    let mut context = Context::new(&SHA256);
    context.update(before);
    context.update(&sequence.to_be_bytes());
    for part in [kind, tenant, &value] {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part.as_bytes());
    }
    let mut hash = [0; RUNNING_HASH_BYTES];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

#[cfg(test)]
mod tests;
