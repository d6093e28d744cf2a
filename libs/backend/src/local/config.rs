//! What the backend of one machine is told.

use std::ffi::OsString;

use sandgate_spawn::sandbox::Spec;
use sandgate_types::{ByteSize, TemplateName};

/// Address space of one process for each byte of its memory bound, where only that can be limited: programs
/// reserve far more than they use. The bound itself is kept by the supervisor.
const ADDRESS_SPACE_FACTOR: u64 = 16;

/// The backend's settings.
#[derive(Debug, Clone)]
pub struct LocalConfig {
    /// What sandboxes can be made of.
    pub templates: Vec<LocalTemplate>,
    /// How sandboxd is called: a binary and its first arguments, to which `keeper`, `runner` or `sandbox` is added.
    pub sandboxd: Vec<OsString>,
    /// The first uid that root gives to sandboxes and keepers; two for each of the instances that may exist.
    pub first_uid: u32,
    /// The collector to which keepers send what they tell, as OTLP over gRPC. Nothing inside hears of it.
    pub otlp_endpoint: Option<String>,
}

/// What a sandbox is made of: the machine's own programs, and limits.
#[derive(Debug, Clone)]
pub struct LocalTemplate {
    /// Its name.
    pub name: TemplateName,
    /// How many spares are kept.
    pub pool_size: usize,
    /// What a sandbox may use.
    pub limits: Limits,
}

/// What a sandbox may use.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Memory of all processes together, beside what the writable places hold.
    pub memory: ByteSize,
    /// Whether memory must be bounded by a control group; else a supervisor may do.
    pub memory_bound_hard: bool,
    /// `/workspace`.
    pub disk: ByteSize,
    /// `/home/agent`.
    pub home: ByteSize,
    /// `/tmp`.
    pub tmp: ByteSize,
    /// Processes and threads.
    pub processes: u32,
    /// Descriptors of one process.
    pub descriptors: u32,
}

/// `/dev/shm`: what multi-process programs of the default image use.
pub(super) const SHARED_MEMORY: u64 = 64 * 1024 * 1024;

impl Limits {
    /// Bytes of the writable places together, which are memory too.
    pub(super) fn places(&self) -> u64 {
        self.disk.bytes() + self.home.bytes() + self.tmp.bytes() + SHARED_MEMORY
    }

    /// What the kernel is told.
    pub(super) fn spec(&self, supervised: bool) -> Spec {
        Spec {
            workspace: self.disk.bytes(),
            home: self.home.bytes(),
            temporary: self.tmp.bytes(),
            shared_memory: SHARED_MEMORY,
            processes: self.processes.into(),
            descriptors: self.descriptors.into(),
            address_space: supervised
                .then(|| self.memory.bytes().saturating_mul(ADDRESS_SPACE_FACTOR)),
        }
    }
}
