//! The database that a data directory belongs to. Keys, revocations and rows are there; on another database they would
//! be made anew, and what was issued on the first would be worth nothing.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context as _, bail, ensure};

use super::layout::write_whole;
use super::{DataDir, Lock, Published};
use crate::args::RunMeshArgs;
use crate::init::{Databases, databases};

/// Where the database is that the directory was set up with.
pub(super) const FILE: &str = "database";

impl DataDir {
    /// Checks that these are the databases that the directory was set up with.
    pub(crate) fn is_of(&self, databases: &Databases) -> anyhow::Result<()> {
        let file = self.path.join(FILE);
        let known = match fs::read_to_string(&file) {
            Ok(known) => known,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("read {}", file.display())),
        };
        let (known, asked) = (known.trim(), databases.place());
        let path = self.path.display();
        ensure!(
            known == asked,
            "{path} belongs to the database {known}, not to {asked}; {}, or choose another directory with --data-dir",
            how_to_name(known)
        );
        Ok(())
    }

    /// Notes the databases that the directory was set up with.
    pub(crate) fn remember(&self, _lock: &Lock, databases: &Databases) -> anyhow::Result<()> {
        let file = self.path.join(FILE);
        if file.exists() {
            return Ok(());
        }
        write_whole(&file, format!("{}\n", databases.place()).as_bytes())
    }
}

fn how_to_name(place: &str) -> &'static str {
    if place == "sqlite" {
        "leave --database-url out"
    } else {
        "name it with --database-url (or SANDGATE_DATABASE_URL)"
    }
}

impl Published {
    /// Checks that the mesh is the one that these arguments ask for: they set up one that starts, and change none that
    /// runs.
    pub(crate) fn is_as_asked(&self, data: &DataDir, args: &RunMeshArgs) -> anyhow::Result<()> {
        let RunMeshArgs {
            policy,
            upstream_roots,
            templates,
            database_url,
            database_owner_url,
        } = args;
        self.same("policy", policy.as_deref(), self.policy.as_deref())?;
        let roots = self.upstream_roots.as_deref();
        self.same("upstream-roots", upstream_roots.as_deref(), roots)?;
        self.same("templates", templates.as_deref(), self.templates.as_deref())?;
        if database_url.is_some() || database_owner_url.is_some() {
            let asked = databases(data, database_url.as_deref(), database_owner_url.as_deref())?;
            if asked.place() != self.database {
                bail!(
                    "a mesh runs here (process {}) on the database {}; end it first, or leave --database-url out",
                    self.pid,
                    self.database
                );
            }
        }
        Ok(())
    }

    fn same(&self, flag: &str, asked: Option<&Path>, runs: Option<&Path>) -> anyhow::Result<()> {
        let Some(asked) = asked else {
            return Ok(());
        };
        let asked = std::path::absolute(asked).with_context(|| format!("resolve --{flag}"))?;
        let has = match runs {
            Some(runs) if runs == asked => return Ok(()),
            Some(runs) => format!("its {flag} is that of its start, {}", runs.display()),
            None => format!("it was started without --{flag}"),
        };
        bail!(
            "a mesh runs here (process {}) and {has}; leave --{flag} out, or end it and start `sandgate up --{flag} {}`",
            self.pid,
            asked.display()
        );
    }
}
