//! API keys: whom a presented key stands for, remembered for a short while.
//!
//! The memory says only that token once said so. Whether the key is revoked is asked of the feed on every
//! call, and nothing is remembered while the feed is lost.

use std::sync::Arc;
use std::time::Duration;

use sandgate_rpc::{Caller, Channel, Principal, Role};
use sandgate_session::lease::Moment;
use sandgate_types::{ApiKeyId, TenantId, Timestamp, UserId};
use tokio::sync::Semaphore;

use crate::cache::{Cache, Digest};
use crate::refusal::Refusal;

/// How long an answer is remembered. A key's tenant, user and roles never change, so this bounds memory.
const KEPT: Duration = Duration::from_secs(60);
/// Keys that are remembered.
const ENTRIES_MAX: usize = 10_000;
/// Lookups at a time: a flood of wrong keys must not fill the connection to token.
const LOOKUPS_MAX: usize = 64;
/// What every key begins with.
const PREFIX: &str = "sgk_";
/// Keys are shorter; longer text is no key and not worth a lookup.
const KEY_MAX_BYTES: usize = 256;

/// Whom a key stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    /// The key.
    pub(crate) key: ApiKeyId,
    /// Its tenant.
    pub(crate) tenant: TenantId,
    /// Its user; none for an application key.
    pub(crate) user: Option<UserId>,
    /// Whether it may name users.
    pub(crate) may_name_users: bool,
    /// Its roles.
    pub(crate) roles: Vec<Role>,
    /// When it ends by itself, if it does.
    pub(crate) expires_at: Option<Timestamp>,
}

impl Holder {
    /// Itself, where it has not ended by then.
    fn good_at(&self, at: Timestamp) -> Result<Self, Refusal> {
        if self.expires_at.is_some_and(|end| end <= at) {
            Err(Refusal::KeyRefused)
        } else {
            Ok(self.clone())
        }
    }

    /// As services are told.
    pub(crate) fn caller(&self) -> Caller {
        Caller {
            tenant: Some(self.tenant.clone()),
            user: self.user.clone(),
            may_name_users: self.may_name_users,
            roles: self.roles.clone(),
            principal: Principal::ApiKey(self.key.clone()),
        }
    }
}

/// The keys that were presented lately.
#[derive(Debug)]
pub(crate) struct ApiKeys {
    token: Channel,
    known: Cache<(Holder, Moment)>,
    lookups: Semaphore,
}

impl ApiKeys {
    /// Asks token over `channel`; `key` is random, of this process.
    pub(crate) fn new(token: Channel, key: Digest) -> Self {
        Self {
            token,
            known: Cache::new(key, ENTRIES_MAX),
            lookups: Semaphore::new(LOOKUPS_MAX),
        }
    }

    /// Whom a presented key stands for at an instant.
    pub(crate) async fn holder(
        &self,
        secret: &str,
        now: Moment,
        at: Timestamp,
    ) -> Result<Holder, Refusal> {
        if !secret.starts_with(PREFIX) || secret.len() > KEY_MAX_BYTES {
            return Err(Refusal::KeyRefused);
        }
        let digest = self.known.digest(secret);
        if let Some(known) = self.known.get(&digest) {
            if now < known.1 {
                return known.0.good_at(at);
            }
            self.known.remove(&digest);
        }
        let Ok(_permit) = self.lookups.try_acquire() else {
            return Err(Refusal::KeysBusy);
        };
        let holder = crate::grpc::api_key::authenticate(self.token.clone(), secret).await?;
        self.known
            .insert(digest, Arc::new((holder.clone(), now.plus(KEPT))));
        holder.good_at(at)
    }

    /// Forgets everything.
    pub(crate) fn forget(&self) {
        self.known.clear();
    }
}
