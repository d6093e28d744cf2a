//! What this machine is: the one place that reads the environment.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};

/// The facts that chores depend on.
#[derive(Debug)]
pub(crate) struct Machine {
    /// The root of the repository.
    pub(crate) repository: PathBuf,
    /// Where tools stay between runs, keyed by their versions.
    pub(crate) cache: PathBuf,
    /// In CI nothing is skipped.
    pub(crate) ci: bool,
    /// When the whole run of `.ci/run` began, if this is part of one.
    pub(crate) run_began: Option<SystemTime>,
    /// Whether this process is root.
    pub(crate) is_root: bool,
    /// The folders of `PATH`.
    path: Vec<PathBuf>,
}

impl Machine {
    /// Looks once, at the start.
    #[expect(
        clippy::disallowed_methods,
        reason = "this module is where the environment is read"
    )]
    pub(crate) fn look() -> anyhow::Result<Self> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let home = std::env::var_os("HOME")
            .map(PathBuf::from)
            .unwrap_or_else(|| "/tmp".into());
        let cache =
            std::env::var_os("XDG_CACHE_HOME").map_or_else(|| home.join(".cache"), PathBuf::from);
        let began = std::env::var("SANDGATE_CI_BEGAN").ok();
        Ok(Self {
            repository: repository.canonicalize().context("find the repository")?,
            cache: cache.join("sandgate-xtask"),
            ci: std::env::var_os("CI").is_some_and(|ci| ci == "true"),
            run_began: began
                .map(|text| {
                    text.parse()
                        .map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
                })
                .transpose()
                .context("read SANDGATE_CI_BEGAN, seconds since 1970")?,
            is_root: std::fs::metadata("/proc/self")
                .context("ask who this process is")?
                .uid()
                == 0,
            path: std::env::var_os("PATH")
                .map_or_else(Vec::new, |path| std::env::split_paths(&path).collect()),
        })
    }

    /// The program of this name on `PATH`.
    pub(crate) fn find(&self, program: &str) -> Option<PathBuf> {
        self.path
            .iter()
            .map(|folder| folder.join(program))
            .find(|file| file.is_file())
    }
}

/// Somebody other than root: uid and gid of a user with a name, which Postgres wants its user to have.
pub(crate) fn ordinary_user() -> anyhow::Result<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd").context("read the users of this machine")?;
    for wanted in ["postgres", "nobody"] {
        for line in users.lines() {
            let fields: Vec<&str> = line.split(':').collect();
            if let [name, _, uid, gid, ..] = fields.as_slice()
                && *name == wanted
            {
                return Ok((
                    uid.parse().context("read a uid")?,
                    gid.parse().context("read a gid")?,
                ));
            }
        }
    }
    bail!("this machine has neither a user `postgres` nor `nobody` to be when one must not be root")
}
