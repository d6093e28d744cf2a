//! Limits of the kernel for every process of a sandbox.

use std::io;

use rustix::process::{Resource, Rlimit, setrlimit};

use crate::control::Control;
use crate::sandbox::Spec;

/// Locked memory: enough for programs that lock a page or two of secrets.
const LOCKED_BYTES: u64 = 64 * 1024;

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
        limits.push((Resource::Nofile, spec.descriptors));
    }
    if let Some(bytes) = spec.address_space {
        limits.push((Resource::As, bytes));
    }
    for (resource, most) in limits {
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit)?;
    }
    Ok(())
}
