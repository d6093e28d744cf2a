//! The templates' file as it is written; what it leaves out has a default here.

use std::time::Duration;

use sandgate_rpc::config::{Period, Size};
use sandgate_types::{ByteSize, Malformed, TemplateName, Violations};
use serde::Deserialize;

use super::{DEFAULT, Limits, SESSION_MAX, Template};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    version: u32,
    #[serde(default)]
    templates: Vec<Entry>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    #[serde(default)]
    description: String,
    #[serde(default = "pool_size")]
    pool_size: u32,
    #[serde(default = "default_ttl")]
    default_ttl: Period,
    #[serde(default = "session_max")]
    max_ttl: Period,
    #[serde(default = "idle_timeout")]
    idle_timeout: Period,
    #[serde(default = "operations")]
    operations: Vec<String>,
    #[serde(default = "ports")]
    ports: Vec<u16>,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default = "stop_grace")]
    stop_grace: Period,
    #[serde(default = "session_max")]
    session_max: Period,
    #[serde(default)]
    limits: LimitsEntry,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LimitsEntry {
    memory: Size,
    disk: Size,
    home: Size,
    tmp: Size,
    processes: u32,
    descriptors: u32,
    memory_bound: MemoryBound,
}

/// Which mechanisms may bound memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum MemoryBound {
    /// The best that the machine has.
    Best,
    /// Only one that prevents: a backend that has none refuses to start.
    Hard,
}

fn pool_size() -> u32 {
    2
}

/// A working day; a person who comes back the next one resumes.
fn default_ttl() -> Period {
    Period(Duration::from_secs(8 * 3600))
}

/// Longer than a coffee, shorter than lunch: what is idle holds memory that others wait for.
fn idle_timeout() -> Period {
    Period(Duration::from_secs(30 * 60))
}

/// Whatever the tenant is granted.
fn operations() -> Vec<String> {
    vec!["*".to_owned()]
}

/// What development servers listen on unless told otherwise.
fn ports() -> Vec<u16> {
    vec![3000, 5000, 8000, 8080, 8888]
}

/// Enough for a shell to pass SIGTERM on and for its children to flush.
fn stop_grace() -> Period {
    Period(Duration::from_secs(5))
}

fn session_max() -> Period {
    Period(SESSION_MAX)
}

impl Default for LimitsEntry {
    fn default() -> Self {
        Self {
            memory: Size(ByteSize::gib(2)),
            disk: Size(ByteSize::gib(1)),
            home: Size(ByteSize::mib(256)),
            tmp: Size(ByteSize::mib(256)),
            processes: 512,
            descriptors: 4096,
            memory_bound: MemoryBound::Best,
        }
    }
}

impl Default for File {
    fn default() -> Self {
        Self {
            version: 1,
            templates: Vec::new(),
        }
    }
}

impl Entry {
    fn built_in() -> Self {
        Self {
            name: DEFAULT.to_owned(),
            description: "a workspace, a shell and what this machine has installed".to_owned(),
            pool_size: pool_size(),
            default_ttl: default_ttl(),
            max_ttl: session_max(),
            idle_timeout: idle_timeout(),
            operations: operations(),
            ports: ports(),
            command: Vec::new(),
            stop_grace: stop_grace(),
            session_max: session_max(),
            limits: LimitsEntry::default(),
        }
    }
}

impl File {
    /// The templates of the file, and the built-in one unless the file has its own.
    pub(super) fn templates(self, violations: &mut Violations) -> Vec<Template> {
        let Self {
            version,
            mut templates,
        } = self;
        if version != 1 {
            violations.push(Malformed::new("version", "must be 1"));
        }
        if !templates.iter().any(|entry| entry.name == DEFAULT) {
            templates.push(Entry::built_in());
        }
        templates
            .into_iter()
            .enumerate()
            .filter_map(|(index, entry)| violations.check(template(index, entry)))
            .collect()
    }
}

fn template(index: usize, entry: Entry) -> Result<Template, Malformed> {
    let Entry {
        name,
        description,
        pool_size,
        default_ttl,
        max_ttl,
        idle_timeout,
        operations,
        ports,
        command,
        stop_grace,
        session_max,
        limits,
    } = entry;
    Ok(Template {
        name: TemplateName::parse(&format!("templates[{index}].name"), &name)?,
        description,
        pool_size,
        default_ttl: default_ttl.0,
        max_ttl: max_ttl.0,
        idle_timeout: idle_timeout.0,
        operations,
        ports,
        command,
        stop_grace: stop_grace.0,
        session_max: session_max.0,
        limits: Limits {
            memory: limits.memory.0,
            disk: limits.disk.0,
            home: limits.home.0,
            tmp: limits.tmp.0,
            processes: limits.processes,
            descriptors: limits.descriptors,
            memory_bound_hard: limits.memory_bound == MemoryBound::Hard,
        },
    })
}
