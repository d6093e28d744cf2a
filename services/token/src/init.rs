//! Creates trust, once: the master key, the schema, the first signing key, the service root, the first tenant
//! and the first API key. Services never do; they are given files.
//!
//! There is one more occasion: a start that finds that the database has lost revocations revokes every API key, and
//! the next `init` makes the first one anew.
//!
//! Every step may be repeated. Files are written before the rows that depend on them, and a file that is there
//! is used and never overwritten, so a crash anywhere leaves what the next run completes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sandgate_db::{DatabaseUrl, OpenError};
use sandgate_rpc::Role;
use sandgate_rpc::config::SecretFile;
use sandgate_session::{Algorithm, Operations};
use sandgate_types::{ApiKeyId, Clock, Malformed, TenantId, Timestamp, UserId};
use secrecy::ExposeSecret as _;

use crate::api_key::{Fresh, Wanted, adopt, make};
use crate::certificates::{self, CertificateError, SERVICE_ROOT};
use crate::crash::crash_point;
use crate::master_key::{MasterKey, SealError, gen_secret, write_new};
use crate::records::{self, Act};
use crate::signing::{Keyring, KeyringError, generate};
use crate::store::{Beginning, Store, StoreError, StoredApiKey, StoredTenant};

/// The first tenant and user, and what the first key is called.
const TENANT: &str = "default";
const USER: &str = "local";
const DESCRIPTION: &str = "made by sandgate init";

/// What `init` is told.
#[derive(Debug, Clone)]
pub struct InitConfig {
    /// The database.
    pub database: DatabaseUrl,
    /// The master key; made when the database is empty and there is none.
    pub master_key_file: PathBuf,
    /// Where the first API key goes.
    pub api_key_file: PathBuf,
    /// Where the token service keeps its audit log: what is made here is on record first.
    pub audit_dir: PathBuf,
    /// Where certificates of services go, if they are wanted: `ca.pem`, `<service>.pem`, `<service>.key`.
    pub certificates: Option<PathBuf>,
}

/// What `init` did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Initialized {
    /// Trust was created, or the first API key was made anew.
    Begun,
    /// It was there.
    Unchanged,
}

/// Why there is no trust.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The key is gone and the database is not.
    #[error(
        "the database is not empty and its master key is not at {}: restore the file, or name another with --master-key-file",
        .0.display()
    )]
    KeyMissing(PathBuf),
    /// All API keys were revoked, and nobody has confirmed it yet.
    #[error(
        "the database had lost revocations, so every API key so far was revoked: move {} away, and run `sandgate init` for a new one",
        .0.display()
    )]
    ApiKeysRevoked(PathBuf),
    /// The key, or the file of the API key.
    #[error(transparent)]
    File(#[from] Malformed),
    /// A file cannot be written.
    #[error("write {}", path.display())]
    Write {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The database cannot be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database gave no answer.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The keys of the database do not open.
    #[error(transparent)]
    Keys(#[from] KeyringError),
    /// Something could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// Certificates.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    /// The machine has no randomness.
    #[error("make random bytes")]
    Random(#[from] aws_lc_rs::error::Unspecified),
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] sandgate_audit::OpenError),
    /// What is made could not be put on record.
    #[error(transparent)]
    Unrecorded(#[from] sandgate_audit::Refused),
    /// The root is not in the database.
    #[error("the database has no service root: it was made by another program")]
    NoRoot,
}

/// Creates what is missing.
///
/// # Errors
/// [`InitError`], which says what to do.
pub async fn init(config: &InitConfig, clock: Arc<dyn Clock>) -> Result<Initialized, InitError> {
    let database = &config.database;
    let now = clock.now();
    Store::migrate(database, now).await?;
    let store = Store::open(database).await?;
    let done = begin(config, &store, clock).await;
    store.close().await;
    done
}

/// Refuses when every API key has been revoked, as by a start that found that the database had lost revocations, and
/// the first one was not made anew since.
///
/// # Errors
/// [`InitError::ApiKeysRevoked`], or that the database gave no answer.
pub async fn check_api_keys(database: &DatabaseUrl, api_key_file: &Path) -> Result<(), InitError> {
    let store = Store::open(database).await?;
    let revoked = store.wants_first_api_key().await;
    store.close().await;
    if revoked? {
        return Err(InitError::ApiKeysRevoked(api_key_file.to_owned()));
    }
    Ok(())
}

async fn begin(
    config: &InitConfig,
    store: &Store,
    clock: Arc<dyn Clock>,
) -> Result<Initialized, InitError> {
    let now = clock.now();
    let InitConfig {
        database: _,
        master_key_file,
        api_key_file,
        audit_dir,
        certificates,
    } = config;
    let master = master_key(master_key_file, store.is_empty().await?)?;
    if api_key_file.exists() {
        master.is_none_of(std::slice::from_ref(api_key_file))?;
    }
    let mut done = Initialized::Unchanged;
    if store.is_empty().await? {
        let beginning = Beginning {
            incarnation: gen_secret()?,
            signing_key: generate(&master, Algorithm::EdDsa, now)?,
            root: certificates::make_root(&master, now)?,
            tenant: StoredTenant {
                tenant: TenantId::parse("tenant", TENANT)?,
                granted: Operations::All,
                created_at: now,
            },
            api_key: first_api_key(api_key_file, &master, now)?,
        };
        let log = records::open(audit_dir, Arc::clone(&clock))?;
        for act in [
            Act::MakeSigningKey,
            Act::MakeRoot,
            Act::MakeTenant,
            Act::MakeApiKey,
        ] {
            records::done(&log, act, Some(&beginning.tenant.tenant)).await?;
        }
        crash_point!("signing-key-recorded");
        let begun = store.begin(&beginning).await?;
        crash_point!("signing-key-committed");
        if begun {
            done = Initialized::Begun;
        }
    }
    // Whoever gives us another key than the database's hears of it here, not at the first call.
    Keyring::open(&master, &store.signing_keys().await?)?;
    if store.wants_first_api_key().await? {
        let revoked = || InitError::ApiKeysRevoked(api_key_file.clone());
        if api_key_file.exists() {
            return Err(revoked());
        }
        let log = records::open(audit_dir, Arc::clone(&clock))?;
        let fresh = new_api_key(&master, now)?;
        records::done(&log, Act::MakeApiKey, Some(&fresh.kept.tenant)).await?;
        match write_new(api_key_file, fresh.secret.expose_secret()) {
            // Another `init` was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(revoked()),
            written => written.map_err(|source| InitError::Write {
                path: api_key_file.clone(),
                source,
            })?,
        }
        if store.add_first_api_key(&fresh.kept).await? {
            done = Initialized::Begun;
        }
    }
    if let Some(folder) = certificates {
        let root = store.root(SERVICE_ROOT).await?.ok_or(InitError::NoRoot)?;
        certificates::write(folder, &root, &master, now)?;
    }
    Ok(done)
}

fn master_key(path: &Path, empty: bool) -> Result<MasterKey, InitError> {
    if !path.exists() {
        if !empty {
            return Err(InitError::KeyMissing(path.to_owned()));
        }
        let failed = |source| InitError::Write {
            path: path.to_owned(),
            source,
        };
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        match MasterKey::generate(path) {
            // Another `init` was faster; its key is the key.
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed(error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(MasterKey::read(&SecretFile::from(path.to_owned()))?)
}

/// The first key: the one whose file a run before wrote, or a new one.
fn first_api_key(
    path: &Path,
    master: &MasterKey,
    now: Timestamp,
) -> Result<StoredApiKey, InitError> {
    let fresh = new_api_key(master, now)?;
    match write_new(path, fresh.secret.expose_secret()) {
        Ok(()) => Ok(fresh.kept),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let secret = SecretFile::from(path.to_owned()).read("api_key_file")?;
            Ok(adopt(first()?, &secret, master, now)?)
        }
        Err(source) => Err(InitError::Write {
            path: path.to_owned(),
            source,
        }),
    }
}

fn new_api_key(master: &MasterKey, now: Timestamp) -> Result<Fresh, InitError> {
    let id = ApiKeyId::random(&mut rand::rng());
    Ok(make(first()?, id, master, now)?)
}

/// Whose the first key is, and what it may.
fn first() -> Result<Wanted, Malformed> {
    Ok(Wanted {
        tenant: TenantId::parse("tenant", TENANT)?,
        user: Some(UserId::parse("user", USER)?),
        roles: vec![Role::Caller, Role::Operator, Role::Admin],
        may_name_users: false,
        description: DESCRIPTION.to_owned(),
        lifetime: None,
    })
}
