//! Creates what a mesh needs before it can start: the master key, the databases, the first API key.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use sandgate_db::DatabaseUrl;
use sandgate_token::{InitConfig, InitError, Initialized};
use sandgate_types::{Clock as _, SystemClock};
use secrecy::SecretString;

use crate::args::InitArgs;
use crate::data_dir::{DataDir, Lock};
use crate::report::line;

/// The databases of the services.
#[derive(Debug, Clone)]
pub(crate) struct Databases {
    pub(crate) token: DatabaseUrl,
    pub(crate) orchestrator: DatabaseUrl,
    pub(crate) storage: DatabaseUrl,
}

impl Databases {
    /// Where they are, without secrets, in a word that is the same for the same place.
    pub(crate) fn place(&self) -> String {
        match self.orchestrator.file() {
            Some(_) => "sqlite".to_owned(),
            None => self.orchestrator.to_string(),
        }
    }
}

/// One Postgres with a schema for each service, or a SQLite file for each.
pub(crate) fn databases(
    data: &DataDir,
    url: Option<&str>,
    owner: Option<&str>,
) -> anyhow::Result<Databases> {
    match url {
        Some(url) => {
            let mut parsed = DatabaseUrl::parse(&SecretString::from(url.to_owned()))
                .context("read --database-url")?;
            if let Some(owner) = owner {
                let owner = DatabaseUrl::parse(&SecretString::from(owner.to_owned()));
                parsed = owner
                    .and_then(|owner| parsed.migrated_by(owner))
                    .context("read --database-owner-url")?;
            }
            Ok(Databases {
                token: parsed.clone(),
                orchestrator: parsed.clone(),
                storage: parsed,
            })
        }
        None => {
            ensure!(
                owner.is_none(),
                "--database-owner-url needs --database-url beside it"
            );
            let file = |name: &str| DatabaseUrl::sqlite(data.path().join(name));
            Ok(Databases {
                token: file("token.db"),
                orchestrator: file("orchestrator.db"),
                storage: file("storage-sync.db"),
            })
        }
    }
}

/// Creates what is missing and leaves what is there. Creates trust on an empty database only.
pub(crate) async fn init(
    data: &DataDir,
    lock: &Lock,
    databases: &Databases,
    certificates: Option<&Path>,
) -> anyhow::Result<Initialized> {
    data.is_of(databases)?;
    let clock = SystemClock;
    let config = InitConfig {
        database: databases.token.clone(),
        master_key_file: data.master_key().to_owned(),
        api_key_file: data.api_key(),
        audit_dir: data.path().join("audit/token"),
        certificates: certificates.map(Path::to_owned),
    };
    let done = sandgate_token::init(&config, Arc::new(clock))
        .await
        .map_err(|error| {
            // A person who has a data directory gives no paths of keys, and is told where it looks for one.
            let InitError::KeyMissing(path) = &error else {
                return error.into();
            };
            anyhow::anyhow!(
                "the database is not empty and its master key is not at {}, where this data directory's is: restore the file from its copy",
                path.display()
            )
        })
        .context("set up keys and tokens")?;
    sandgate_orchestrator::migrate(&databases.orchestrator, clock.now())
        .await
        .context("set up the orchestrator's database")?;
    sandgate_storage_sync::migrate(&databases.storage, &clock)
        .await
        .context("set up the files' database")?;
    data.remember(lock, databases)?;
    Ok(done)
}

/// `sandgate init`.
pub(crate) async fn command(data: &DataDir, args: &InitArgs) -> anyhow::Result<ExitCode> {
    // Services that wait for just this may be there.
    let lock = data.claim_or_name(data.claim_beside_services()?)?;
    let databases = databases(
        data,
        args.database_url.as_deref(),
        args.database_owner_url.as_deref(),
    )?;
    let done = init(data, &lock, &databases, args.certificates.as_deref()).await?;
    match done {
        Initialized::Begun => {
            line(&format!(
                "sandgate: the first API key is in {}",
                data.api_key().display()
            ));
            line(&format!(
                "sandgate: the master key is {}; keep a copy apart from the data",
                data.master_key().display()
            ));
            if let Some(folder) = &args.certificates {
                line(&format!(
                    "sandgate: certificates of the services are in {}",
                    folder.display()
                ));
            }
        }
        Initialized::Unchanged if !data.api_key().exists() => bail!(lost_api_key(data)),
        Initialized::Unchanged => line("sandgate: everything was there already"),
    }
    Ok(ExitCode::SUCCESS)
}

/// That the file of the API key is gone, and what to do.
pub(crate) fn lost_api_key(data: &DataDir) -> String {
    format!(
        "the API key is not in {}, and only its digest is kept elsewhere: restore the file from its copy (mode 0600), or put a key there that an administrator's key makes with TenantService/CreateApiKey",
        data.api_key().display()
    )
}

/// That the mesh does not take the API key, and what to do.
pub(crate) fn wrong_api_key(data: &DataDir) -> String {
    format!(
        "the API key in {} is unknown, wrong or revoked: restore the file from its copy (mode 0600), or put a key there that an administrator's key makes with TenantService/CreateApiKey",
        data.api_key().display()
    )
}
