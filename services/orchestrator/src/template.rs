//! Templates: what sandboxes can be made of. They come from one YAML file, read whole or refused whole.
//!
//! ```yaml
//! version: 1
//! templates:
//!   - name: default
//!     description: A workspace and a shell
//!     pool_size: 2
//!     default_ttl: 8h
//!     max_ttl: 24h
//!     idle_timeout: 30m
//!     operations: ["*"]
//!     ports: [8080]
//!     limits: { memory: 2GiB, disk: 1GiB, home: 256MiB, tmp: 256MiB, processes: 512, descriptors: 4096 }
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use sandgate_session::Operations;
use sandgate_types::{ByteSize, Malformed, TemplateName, Violations};

use self::file::File;

mod file;

/// A session ends after this at the latest, whatever a template says.
pub(crate) const SESSION_MAX: Duration = Duration::from_secs(24 * 3600);
/// The longest lifetime that a template may allow: what a duration on the wire carries.
const TTL_MAX: Duration = Duration::from_secs(366 * 24 * 3600);
/// The longest time that processes may have to stop; the keeper takes no more.
const STOP_GRACE_MAX: Duration = Duration::from_secs(60);
/// One pool must not take the machine.
const POOL_MAX: u32 = 1_000;
/// A file of templates is a page or two.
const FILE_MAX_BYTES: u64 = 1024 * 1024;
/// Ports of one template; an agent serves a handful.
const PORTS_MAX: usize = 64;
/// Words of a command, and bytes of each.
const COMMAND_MAX: usize = 64;
/// The template of a request that names none.
pub(crate) const DEFAULT: &str = "default";

/// A template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// Its name.
    pub name: TemplateName,
    /// What it is for.
    pub description: String,
    /// How many spares are kept.
    pub pool_size: u32,
    /// The lifetime of a sandbox whose request names none.
    pub default_ttl: Duration,
    /// The longest lifetime that a request may ask for.
    pub max_ttl: Duration,
    /// The idle timeout of a sandbox whose request names none; zero means never.
    pub idle_timeout: Duration,
    /// What its sandboxes may call, before the tenant's grants are taken off; `*` is all of those.
    pub operations: Vec<String>,
    /// Ports that clients may reach.
    pub ports: Vec<u16>,
    /// Its own command; empty when it has none.
    pub command: Vec<String>,
    /// How long processes have between SIGTERM and SIGKILL.
    pub stop_grace: Duration,
    /// How long one instance serves a conversation before it is suspended.
    pub session_max: Duration,
    /// What bounds an instance.
    pub limits: Limits,
}

/// The bounds of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Memory of all its processes.
    pub memory: ByteSize,
    /// Its `/workspace`.
    pub disk: ByteSize,
    /// Its `/home/agent`, which is not synced.
    pub home: ByteSize,
    /// Its `/tmp`.
    pub tmp: ByteSize,
    /// Its processes and threads.
    pub processes: u32,
    /// Descriptors of one process.
    pub descriptors: u32,
    /// Whether a memory bound that supervises instead of preventing is refused.
    pub memory_bound_hard: bool,
}

/// All templates, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Templates(BTreeMap<TemplateName, Template>);

impl Templates {
    /// The built-in `default` alone: two spares, 8 h of life and at most 24 h, suspended after 30 min without
    /// activity, everything that the tenant is granted, the ports that tools serve on by default.
    pub fn built_in() -> Self {
        Self::from_file(File::default()).unwrap_or_else(|_| Self(BTreeMap::new()))
    }

    /// Reads the file. A template that the file does not name is not there, but `default` always is.
    ///
    /// # Errors
    /// Every key that is wrong; nothing of the file is used then.
    pub fn load(path: &Path) -> Result<Self, Violations> {
        let refuse = |rule: String| Violations::from(Malformed::new("templates", rule));
        let facts = std::fs::metadata(path)
            .map_err(|error| refuse(format!("must name a file that can be read: {error}")))?;
        if facts.len() > FILE_MAX_BYTES {
            return Err(refuse(format!(
                "must name a file of at most {FILE_MAX_BYTES} bytes"
            )));
        }
        let text = std::fs::read_to_string(path)
            .map_err(|error| refuse(format!("must name a file of text: {error}")))?;
        Self::parse(&text)
    }

    /// Reads the text of such a file.
    ///
    /// # Errors
    /// As [`Templates::load`].
    pub fn parse(text: &str) -> Result<Self, Violations> {
        let file: File = serde_yaml_ng::from_str(text).map_err(|error| {
            Violations::from(Malformed::new(
                "templates",
                format!("must be as documented, see docs/operations.md: {error}"),
            ))
        })?;
        Self::from_file(file)
    }

    fn from_file(file: File) -> Result<Self, Violations> {
        let mut violations = Violations::new();
        let mut templates = BTreeMap::new();
        for (index, template) in file.templates(&mut violations).into_iter().enumerate() {
            check(&format!("templates[{index}]"), &template, &mut violations);
            if templates.insert(template.name.clone(), template).is_some() {
                violations.push(Malformed::new(
                    format!("templates[{index}].name"),
                    "must not repeat a template",
                ));
            }
        }
        violations.or(Self(templates))
    }

    /// The template of this name.
    pub fn get(&self, name: &TemplateName) -> Option<&Template> {
        self.0.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Template> {
        self.0.values()
    }
}

fn check(place: &str, template: &Template, violations: &mut Violations) {
    let Template {
        name: _,
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
    } = template;
    let second = Duration::from_secs(1);
    let mut rule = |key: &str, holds: bool, rule: String| {
        if !holds {
            violations.push(Malformed::new(format!("{place}.{key}"), rule));
        }
    };
    rule(
        "description",
        description.len() <= 256,
        "must have at most 256 bytes".into(),
    );
    rule(
        "pool_size",
        *pool_size <= POOL_MAX,
        format!("must be at most {POOL_MAX}"),
    );
    rule(
        "max_ttl",
        (second..=TTL_MAX).contains(max_ttl),
        "must be between 1s and 366 days".into(),
    );
    rule(
        "default_ttl",
        (second..=*max_ttl).contains(default_ttl),
        "must be between 1s and max_ttl".into(),
    );
    rule(
        "idle_timeout",
        *idle_timeout <= TTL_MAX,
        "must be at most 366 days".into(),
    );
    rule(
        "stop_grace",
        *stop_grace <= STOP_GRACE_MAX,
        "must be at most 60s".into(),
    );
    rule(
        "session_max",
        (second..=SESSION_MAX).contains(session_max),
        "must be between 1s and 24h".into(),
    );
    rule(
        "ports",
        ports.len() <= PORTS_MAX && !ports.contains(&0),
        format!("must be at most {PORTS_MAX} ports from 1 to 65535"),
    );
    rule(
        "command",
        command.len() <= COMMAND_MAX
            && command
                .iter()
                .all(|word| word.len() <= 4096 && !word.contains('\0'))
            && command.first().is_none_or(|program| !program.is_empty()),
        format!(
            "must be at most {COMMAND_MAX} words of at most 4096 bytes, the first one not empty"
        ),
    );
    rule(
        "limits.memory",
        limits.memory >= ByteSize::mib(16),
        "must be at least 16MiB".into(),
    );
    rule(
        "limits.disk",
        limits.disk >= ByteSize::mib(1),
        "must be at least 1MiB".into(),
    );
    rule(
        "limits.home",
        limits.home >= ByteSize::mib(1),
        "must be at least 1MiB".into(),
    );
    rule(
        "limits.tmp",
        limits.tmp >= ByteSize::mib(1),
        "must be at least 1MiB".into(),
    );
    rule(
        "limits.processes",
        (8..=65_536).contains(&limits.processes),
        "must be between 8 and 65536".into(),
    );
    rule(
        "limits.descriptors",
        (64..=1_048_576).contains(&limits.descriptors),
        "must be between 64 and 1048576".into(),
    );
    if let Err(malformed) = Operations::parse("operations", operations) {
        violations.push(malformed.within(place));
    }
}

#[cfg(test)]
mod tests;
