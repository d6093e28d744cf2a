//! Counters of the kernel that a whole machine, or all processes of one user, would share: each sandbox gets a
//! bound of its own, in the namespaces that own the counters.

use std::fs;
use std::io;

use crate::control::Control;

/// In the sandbox's own user namespace. The kernel counts them for the user outside as well, whose 128 instances
/// one sandbox would otherwise take; a bundler or a language server needs a handful.
const OF_THE_USER: [(&str, &str); 2] = [
    ("/proc/sys/user/max_inotify_instances", "32"),
    ("/proc/sys/user/max_inotify_watches", "8192"),
];

/// In the sandbox's own network namespace, which has a loopback device only: least, usual and most bytes that a
/// connection buffers unless its owner asks for more.
const OF_THE_NETWORK: [(&str, &str); 2] = [
    ("/proc/sys/net/ipv4/tcp_wmem", "4096 16384 262144"),
    ("/proc/sys/net/ipv4/tcp_rmem", "4096 131072 262144"),
];

/// Sets them, while we still own our namespaces. Without one of our own they would be the machine's.
pub(crate) fn bound() -> io::Result<()> {
    for (control, namespace, bounds) in [
        (
            Control::BoundedWatchers,
            Control::UserNamespace,
            OF_THE_USER,
        ),
        (
            Control::BoundedBuffers,
            Control::NetworkNamespace,
            OF_THE_NETWORK,
        ),
    ] {
        let applies = control.applies() && namespace.applies();
        for (file, most) in bounds.into_iter().filter(|_| applies) {
            fs::write(file, most)?;
        }
    }
    Ok(())
}
