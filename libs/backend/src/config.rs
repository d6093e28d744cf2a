//! How a machine is told to run sandboxes.

use std::ffi::OsString;
use std::path::PathBuf;

use sandgate_types::{ByteSize, TemplateName};

/// Host uids of sandboxes when root runs them, from this number on: beyond what people and packages use.
pub const UID_BASE: u32 = 2_000_000;
/// How many host uids the range has; each instance takes two.
pub const UID_COUNT: u32 = 10_000;

/// The configuration of [`LocalBackend`](crate::LocalBackend).
#[derive(Debug, Clone)]
pub struct LocalConfig {
    /// What can be run.
    pub templates: Vec<LocalTemplate>,
    /// The program of keeper and runner, and what comes before the role in its arguments.
    pub sandboxd: Vec<OsString>,
    /// Names this backend among others on the machine; what it creates outside of itself has a name made from it.
    pub state_dir: PathBuf,
    /// Host uids for sandboxes, used when root runs the backend.
    pub uids: UidRange,
    /// What each keeper is told in its `Hello`.
    pub hello: Hello,
}

/// What a keeper needs to judge tickets and tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// The issuer that tickets must name.
    pub issuer: String,
}

/// Consecutive host uids that belong to nobody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UidRange {
    /// The first.
    pub base: u32,
    /// How many.
    pub count: u32,
}

impl Default for UidRange {
    fn default() -> Self {
        Self {
            base: UID_BASE,
            count: UID_COUNT,
        }
    }
}

/// One kind of sandbox. The system that it sees is the machine's own, read-only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalTemplate {
    /// Its name.
    pub name: TemplateName,
    /// How many spares to keep.
    pub pool_size: u32,
    /// What an instance may use at most.
    pub limits: Limits,
}

/// What an instance may use at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory of all its processes together.
    pub memory: ByteSize,
    /// Bytes in `/workspace`.
    pub disk: ByteSize,
    /// Bytes in `/tmp`, `/home/agent` and `/dev/shm` together.
    pub tmp: ByteSize,
    /// Processes and threads, without the runner.
    pub processes: u32,
    /// Open descriptors of each process.
    pub descriptors: u32,
    /// Refuse a machine where memory can be bounded only by watching it.
    pub memory_bound_hard: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: ByteSize::gib(2),
            disk: ByteSize::gib(1),
            tmp: ByteSize::mib(512),
            processes: 512,
            descriptors: 4096,
            memory_bound_hard: false,
        }
    }
}
