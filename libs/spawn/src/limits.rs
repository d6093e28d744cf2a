//! Limits of the kernel for every process of a sandbox, and how the runner's differ from those of the agent's.

use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::control::Control;
use crate::sandbox::Spec;

/// Locked memory: enough for programs that lock a page or two of secrets.
const LOCKED_BYTES: u64 = 64 * 1024;

/// Descriptors that the runner may have beyond those of the agent's processes.
///
/// The kernel refuses to send descriptors to whoever has this limit when more are under way between all processes
/// of the same user on the machine. So the agents' own sends must fail first, though each message of up to 253
/// that was let through by then still adds to the number, or agents would stop their own runner, and of an
/// ordinary user every runner and keeper.
pub const DESCRIPTORS_IN_RESERVE: u64 = 8 * 1024;

/// Sets them, soft and hard.
pub(crate) fn apply(spec: &Spec) -> io::Result<()> {
    let mut limits = vec![
        (Resource::Core, 0),
        (Resource::Memlock, LOCKED_BYTES),
        (Resource::Msgqueue, 0),
        (Resource::Rtprio, 0),
    ];
    if Control::BoundedProcesses.applies() {
        limits.push((Resource::Nproc, spec.processes));
    }
    if Control::BoundedDescriptors.applies() {
        let most = spec.descriptors.saturating_add(DESCRIPTORS_IN_RESERVE);
        limits.push((Resource::Nofile, most));
    }
    if let Some(bytes) = spec.address_space {
        limits.push((Resource::As, bytes));
    }
    for (resource, most) in limits {
        set(resource, most)?;
    }
    Ok(())
}

/// What a process of the agent may have, from what the runner has: without the reserve.
pub(crate) fn of_the_agent() -> Result<(), Errno> {
    if !Control::BoundedDescriptors.applies() {
        return Ok(());
    }
    let runner = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    set(
        Resource::Nofile,
        runner.saturating_sub(DESCRIPTORS_IN_RESERVE),
    )
}

/// As many descriptors as this process may have at all.
pub(crate) fn all_descriptors() -> Result<(), Errno> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, limit)
}

fn set(resource: Resource, most: u64) -> Result<(), Errno> {
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    setrlimit(resource, limit)
}
