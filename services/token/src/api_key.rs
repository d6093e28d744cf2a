//! API keys: 256 random bits behind a public id, kept as a keyed hash.
//!
//! A key that is unknown, wrong or revoked is refused with the same words after the same work.

use std::time::Duration;

use sandgate_rpc::{Caller, Role};
use sandgate_types::{ApiKeyId, Malformed, TenantId, Timestamp, UserId, Violations};
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;

use crate::authority::{OutOfReach, Reach};
use crate::master_key::{MasterKey, gen_secret};
use crate::store::{Store, StoreError, StoredApiKey};

/// Begins every key, so that scanners of repositories find one that leaked.
const PREFIX: &str = "sgk_";
/// 256 bits in base64url.
const SECRET_CHARACTERS: usize = 43;
/// A letter and 25 characters.
const ID_CHARACTERS: usize = 26;
/// The longest description.
const DESCRIPTION_MAX: usize = 128;
/// Shorter ones would be over before a gate has looked twice; longer ones are keys that do not end.
const LIFETIME_MIN: Duration = Duration::from_secs(60);
const LIFETIME_MAX: Duration = Duration::from_secs(3_650 * 24 * 3_600);
/// How long a key may be good beside the one that follows it: a week, as whoever has to roll it out.
const OVERLAP_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Stands in for the id of a text that is no key, and is no id of one.
const NOBODY: &str = "k";

/// A key to make, as it was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// The tenant.
    pub tenant: TenantId,
    /// The user.
    pub user: Option<UserId>,
    /// The roles.
    pub roles: Vec<Role>,
    /// Whether it may name users.
    pub may_name_users: bool,
    /// What people call it.
    pub description: String,
    /// How long it is good; none for a key that does not end by itself.
    pub lifetime: Option<Duration>,
}

/// Why a key was not made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// Fields of the request.
    #[error(transparent)]
    Malformed(#[from] Violations),
    /// Another tenant's.
    #[error(transparent)]
    OutOfReach(#[from] OutOfReach),
    /// A role that the caller does not have.
    #[error("an operator cannot give a role that they do not have")]
    RoleNotHeld,
    /// The tenant does not exist.
    #[error("the tenant does not exist")]
    TenantUnknown,
    /// No randomness.
    #[error("make a secret")]
    Random(#[from] aws_lc_rs::error::Unspecified),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a presented key stands for nobody: one reason for all.
#[derive(Debug, thiserror::Error)]
pub enum AuthenticateError {
    /// It is unknown, wrong or revoked.
    #[error("the API key is not valid")]
    Invalid,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A fresh key: what is kept of it, and its text, shown once.
pub(crate) struct Fresh {
    /// The row.
    pub kept: StoredApiKey,
    /// The text.
    pub secret: SecretString,
}

/// Makes a key for `wanted`.
///
/// # Errors
/// When there is no randomness.
pub(crate) fn make(
    wanted: Wanted,
    id: ApiKeyId,
    master: &MasterKey,
    now: Timestamp,
) -> Result<Fresh, aws_lc_rs::error::Unspecified> {
    let secret = SecretString::from(format!("{PREFIX}{id}_{}", gen_secret()?));
    Ok(Fresh {
        kept: kept(wanted, id, &secret, master, now),
        secret,
    })
}

/// The row of a key whose text is there already.
///
/// # Errors
/// When the text is no key.
pub(crate) fn adopt(
    wanted: Wanted,
    secret: &SecretString,
    master: &MasterKey,
    now: Timestamp,
) -> Result<StoredApiKey, Malformed> {
    let refuse = || Malformed::new("api_key_file", "must hold an API key, or not exist");
    let (id, _) = split(secret.expose_secret()).ok_or_else(refuse)?;
    let id = ApiKeyId::parse("api_key_file", id)?;
    Ok(kept(wanted, id, secret, master, now))
}

fn kept(
    wanted: Wanted,
    id: ApiKeyId,
    secret: &SecretString,
    master: &MasterKey,
    now: Timestamp,
) -> StoredApiKey {
    let Wanted {
        tenant,
        user,
        roles,
        may_name_users,
        description,
        lifetime,
    } = wanted;
    StoredApiKey {
        secret_hash: master.hash_api_key(id.as_str(), secret.expose_secret()),
        id,
        tenant,
        user,
        roles,
        may_name_users,
        description,
        created_at: now,
        revoked_at: None,
        expires_at: lifetime.map(|lifetime| now.plus(lifetime)),
        lifetime,
    }
}

/// A key that follows another.
pub(crate) struct Following {
    /// The key before.
    pub before: StoredApiKey,
    /// How long that one is still good; none where it dies at once.
    pub overlap: Option<Duration>,
}

impl Following {
    /// Checks that the caller may have a key follow `before`, which is good at `now`.
    ///
    /// # Errors
    /// See [`RotateError`].
    pub(crate) fn permitted(
        caller: &Caller,
        before: Option<StoredApiKey>,
        overlap: Duration,
        now: Timestamp,
    ) -> Result<Self, RotateError> {
        if overlap > OVERLAP_MAX {
            return Err(Malformed::new("overlap", "must be at most 7 days").into());
        }
        let reach = Reach::of(Some(caller));
        let before = before.filter(|key| reach.covers(&key.tenant) && key.is_good(now));
        let before = before.ok_or(RotateError::Unknown)?;
        if !may_give(caller, &before.roles) {
            return Err(RotateError::RoleNotHeld);
        }
        let overlap = (overlap > Duration::ZERO).then_some(overlap);
        Ok(Self { before, overlap })
    }

    /// The new key.
    ///
    /// # Errors
    /// When there is no randomness.
    pub(crate) fn fresh(
        &self,
        id: ApiKeyId,
        master: &MasterKey,
        now: Timestamp,
    ) -> Result<Fresh, aws_lc_rs::error::Unspecified> {
        let before = &self.before;
        let wanted = Wanted {
            tenant: before.tenant.clone(),
            user: before.user.clone(),
            roles: before.roles.clone(),
            may_name_users: before.may_name_users,
            description: before.description.clone(),
            lifetime: before.lifetime,
        };
        make(wanted, id, master, now)
    }
}

/// Whether a caller may make keys with these roles: their own, or any as an administrator.
fn may_give(caller: &Caller, roles: &[Role]) -> bool {
    Reach::of(Some(caller)) == Reach::Mesh || roles.iter().all(|role| caller.roles.contains(role))
}

/// Why no key follows another.
#[derive(Debug, thiserror::Error)]
pub enum RotateError {
    /// A field of the request.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// It is not there, not the caller's, or not good any more.
    #[error("there is no such API key")]
    Unknown,
    /// It has a role that the caller does not have.
    #[error("an operator cannot give a role that they do not have")]
    RoleNotHeld,
}

/// A key that its caller may have made.
#[derive(Debug)]
pub(crate) struct Permitted(Wanted);

/// Creates a key on behalf of a caller who may.
///
/// # Errors
/// See [`CreateError`].
pub(crate) async fn create(
    store: &Store,
    master: &MasterKey,
    Permitted(wanted): Permitted,
    id: ApiKeyId,
    now: Timestamp,
) -> Result<Fresh, CreateError> {
    let fresh = make(wanted, id, master, now)?;
    if store.add_api_key(&fresh.kept).await? {
        Ok(fresh)
    } else {
        Err(CreateError::TenantUnknown)
    }
}

/// Whom a presented text stands for.
///
/// # Errors
/// [`AuthenticateError::Invalid`], the same for all that is wrong with it.
pub(crate) async fn authenticate(
    store: &Store,
    master: &MasterKey,
    presented: &SecretString,
    now: Timestamp,
) -> Result<StoredApiKey, AuthenticateError> {
    let text = presented.expose_secret();
    // A text that is no key goes the whole way too.
    let (id, whole) = split(text).unwrap_or((NOBODY, ""));
    let found = store.api_key(id).await?;
    let hash = master.hash_api_key(id, whole);
    let expected = found.as_ref().map_or(&[0; 32][..], |key| &key.secret_hash);
    let fits = bool::from(hash.ct_eq(expected));
    match found {
        Some(key) if fits && key.is_good(now) => Ok(key),
        Some(_) | None => Err(AuthenticateError::Invalid),
    }
}

/// Whether a text has the shape of an API key.
pub(crate) fn is_key(text: &str) -> bool {
    split(text).is_some()
}

/// The id within a key, and the whole; `None` when it is none.
fn split(text: &str) -> Option<(&str, &str)> {
    let rest = text.strip_prefix(PREFIX)?;
    let (id, secret) = rest.split_at_checked(ID_CHARACTERS)?;
    let secret = secret.strip_prefix('_')?;
    let shape = secret.len() == SECRET_CHARACTERS
        && secret
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        && ApiKeyId::parse("api_key_id", id).is_ok();
    shape.then_some((id, text))
}

impl Wanted {
    /// Checks that the caller may have this key made.
    ///
    /// # Errors
    /// See [`CreateError`].
    pub(crate) fn permitted(self, caller: &Caller) -> Result<Permitted, CreateError> {
        self.check()?;
        let reach = Reach::of(Some(caller));
        reach.check(&self.tenant)?;
        if may_give(caller, &self.roles) {
            Ok(Permitted(self))
        } else {
            Err(CreateError::RoleNotHeld)
        }
    }

    /// Checks what one field alone cannot say.
    fn check(&self) -> Result<(), Violations> {
        let mut violations = Violations::new();
        if self.roles.is_empty() {
            violations.push(Malformed::new("roles", "must not be empty"));
        }
        for (index, role) in self.roles.iter().enumerate() {
            let place = format!("roles[{index}]");
            match role {
                Role::Unspecified => violations.push(Malformed::new(place, "must be a role")),
                Role::Daemon => violations.push(Malformed::new(
                    place,
                    "must not be ROLE_DAEMON: tokens have it",
                )),
                Role::Caller | Role::Operator | Role::Admin
                    if self.roles[..index].contains(role) =>
                {
                    violations.push(Malformed::new(place, "must not repeat an entry"));
                }
                Role::Caller | Role::Operator | Role::Admin => {}
            }
        }
        if self.may_name_users && self.user.is_some() {
            violations.push(Malformed::new(
                "may_name_users",
                "must be false beside a user",
            ));
        }
        let lives = LIFETIME_MIN..=LIFETIME_MAX;
        if self
            .lifetime
            .is_some_and(|lifetime| !lives.contains(&lifetime))
        {
            let rule = "must be between 1 minute and 3,650 days";
            violations.push(Malformed::new("lifetime", rule));
        }
        let printable = self
            .description
            .chars()
            .all(|character| !character.is_control());
        if self.description.chars().count() > DESCRIPTION_MAX || !printable {
            let rule = format!("must be at most {DESCRIPTION_MAX} printable characters");
            violations.push(Malformed::new("description", rule));
        }
        violations.or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_shape_of_a_key_is_taken_apart() {
        let id = ApiKeyId::random(&mut rand::rng());
        let good = format!("sgk_{id}_{}", "a".repeat(43));
        assert_eq!(split(&good), Some((id.as_str(), good.as_str())));
        for text in [
            String::new(),
            "sgk_".to_owned(),
            good.replace("sgk_", "sgx_"),
            format!("{good}a"),
            good[..good.len() - 1].to_owned(),
            good.replace('a', "ä"),
            good.replace(&format!("{id}_"), &format!("{id}-")),
        ] {
            assert_eq!(split(&text), None, "{text}");
        }
    }

    #[test]
    fn a_key_needs_roles_that_a_key_can_have() {
        let wanted = |roles: &[Role]| Wanted {
            tenant: TenantId::parse("tenant", "acme").expect("valid"),
            user: Some(UserId::parse("user", "ann").expect("valid")),
            roles: roles.to_vec(),
            may_name_users: true,
            description: "tab\there".to_owned(),
            lifetime: None,
        };
        let fields = |roles: &[Role]| -> Vec<String> {
            let violations = wanted(roles).check().expect_err("refused");
            violations
                .iter()
                .map(|malformed| malformed.field().to_owned())
                .collect()
        };
        assert_eq!(fields(&[]), ["roles", "may_name_users", "description"]);
        let roles = [Role::Caller, Role::Daemon, Role::Caller, Role::Unspecified];
        assert_eq!(fields(&roles)[..3], ["roles[1]", "roles[2]", "roles[3]"]);
    }
}
