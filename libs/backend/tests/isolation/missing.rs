//! Each control is taken away in turn, and a probe must notice: else it would prove nothing. Where several
//! controls keep the same thing away, they go together, and the row says so.
//!
//! Only binaries of the tests can leave out a control, see the module `control` of `sandgate-spawn`.

use std::fs;

use sandgate_spawn::control::Control::{self, *};

use crate::battery::Probe::{self, *};
use crate::config;
use crate::world::{World, is_root, text};

/// What happens without some controls.
#[derive(Debug, Clone, Copy)]
enum Then {
    /// The probe tells of this escape.
    Escapes(Probe, &'static str),
    /// There is no sandbox, and the mesh says why.
    Refused(&'static str),
    /// This user never had the control, so the probe finds nothing new.
    Same(Probe),
}

use Then::{Escapes, Refused, Same};

/// Controls that are missing, and what follows: for root, and for an ordinary user.
type Row = (&'static [Control], Then, Then);

const fn both(controls: &'static [Control], then: Then) -> Row {
    (controls, then, then)
}

const NAMESPACES: &[Row] = &[
    both(&[NetworkNamespace], Refused("the sandbox is not closed")),
    // The trial of the ways out is the second control, before anything of the image runs.
    both(&[NetworkNamespace, Trial], Escapes(Network, "tcp4")),
    both(&[NetworkNamespace, Trial], Escapes(Network, "abstract")),
    both(&[NetworkNamespace, Trial], Escapes(Network, "outer")),
    both(&[ProcessNamespace], Escapes(Possessions, "other processes")),
    // A keeper's uid keeps root's sandboxes from signalling it; an ordinary user has one uid.
    (
        &[ProcessNamespace, KeeperUid],
        Escapes(Keeper, "signal a keeper"),
        Escapes(Keeper, "signal a keeper"),
    ),
    // Its memory has four locks; without a user namespace an ordinary user has no others either.
    (
        &[
            ProcessNamespace,
            OwnUid,
            UserNamespace,
            NoCapabilities,
            HiddenKeeper,
            Trial,
        ],
        Escapes(Keeper, "read a keeper"),
        Refused("make namespaces"),
    ),
    // Without the filter, which keeps them from an ordinary user's sandboxes as well.
    both(
        &[IpcNamespace, Filter, Trial],
        Escapes(Objects, "semaphores"),
    ),
    both(&[NamesNamespace], Escapes(Possessions, "names")),
    both(&[GroupNamespace], Escapes(Possessions, "control group")),
    // Root without a uid to give away: the one case in which a sandbox without a user namespace can be made.
    (
        &[UserNamespace, OwnUid],
        Escapes(Possessions, "Uid"),
        Refused("make namespaces"),
    ),
    // The kernel counts no processes of its root.
    (&[OwnUid], Escapes(Bomb, "forks"), Same(Bomb)),
];

const FILES: &[Row] = &[
    both(&[OldRoot], Escapes(Possessions, "mounts")),
    // Root's files are kept from another uid, too.
    both(&[OldRoot, OwnUid], Escapes(Files, "secret below a mount")),
    both(&[ReadOnly], Escapes(Possessions, "writable")),
    both(&[ReadOnly], Escapes(Files, "write /")),
    both(&[HiddenProc], Escapes(Possessions, "proc")),
    both(&[BoundedPlaces], Escapes(Disk, "/tmp")),
    both(&[BoundedPlaces], Escapes(Disk, "/workspace entries")),
    both(&[ClosedDescriptors], Escapes(Possessions, "descriptors")),
    both(&[EmptyEnvironment], Escapes(Possessions, "environment")),
];

const CALLS: &[Row] = &[
    // The trial notices some families by itself.
    both(&[FilterSockets, Trial], Escapes(Network, "socket uevent")),
    both(&[FilterKeyrings], Escapes(Calls, "keyctl")),
    both(&[OwnKeyring, FilterKeyrings], Escapes(Keyring, "key")),
    both(&[FilterContexts], Escapes(Calls, "io_setup")),
    both(&[FilterNamespaces], Escapes(Calls, "unshare NEWUSER")),
    // To mount takes a capability, which only a namespace gives.
    both(
        &[FilterNamespaces, FilterMounts],
        Escapes(Calls, "nested mount"),
    ),
    both(&[Filter, Trial], Escapes(Possessions, "Seccomp")),
    both(&[Filter, Trial], Escapes(Calls, "clone3")),
    // A filter needs what keeps privileges from being gained.
    both(
        &[NoNewPrivileges, Filter, Trial],
        Escapes(Possessions, "NoNewPrivs"),
    ),
    both(&[NoCapabilities], Escapes(Possessions, "CapBnd")),
    // Whoever is not 0 loses capabilities by executing anything.
    both(
        &[NoCapabilities, UidInside, Trial],
        Escapes(Network, "socket raw"),
    ),
    both(
        &[NoCapabilities, UidInside, Trial, FilterMounts],
        Escapes(Calls, "mount"),
    ),
    both(&[HiddenRunner], Escapes(Runner, "look at environ")),
];

const BOUNDS: &[Row] = &[
    both(&[BoundedProcesses], Escapes(Bomb, "forks")),
    both(&[BoundedDescriptors], Escapes(Possessions, "limit NOFILE")),
    both(&[BoundedMemory], Escapes(Memory, "killed")),
    both(&[BoundedWatchers], Escapes(Counters, "watchers end")),
    both(&[BoundedTerminals], Escapes(Counters, "terminals end")),
    both(&[BoundedBuffers], Escapes(Counters, "tcp_wmem")),
    // All connections together have a bound of their own in the first version of control groups alone: the second
    // counts them as memory, and without a group nothing is counted. An ordinary user has no group of the first.
    (
        &[BoundedBuffers],
        Escapes(Buffers, "buffers"),
        Same(Buffers),
    ),
];

fn every_loss_is_noticed(rows: &[Row]) {
    for (controls, for_root, for_others) in rows {
        let world = World::without(controls);
        match if is_root() { for_root } else { for_others } {
            Escapes(probe, name) => {
                let escapes = probe.escapes(&world);
                let found = escapes.contains(*name);
                assert!(found, "without {controls:?}: {name} in {escapes:?}");
            }
            Refused(why) => {
                let output = world.run(&["true"]);
                let said = text(&output.stderr);
                assert!(!output.status.success(), "without {controls:?}");
                assert!(said.contains(why), "without {controls:?}: {said}");
            }
            Same(probe) => {
                let escapes = probe.escapes(&world);
                assert!(escapes.is_empty(), "without {controls:?}: {escapes:?}");
            }
        }
    }
}

#[test]
fn a_namespace_or_a_uid_that_is_missing_is_noticed() {
    every_loss_is_noticed(NAMESPACES);
}

#[test]
fn what_keeps_files_away_and_is_missing_is_noticed() {
    every_loss_is_noticed(FILES);
}

#[test]
fn a_filter_or_a_privilege_that_is_left_is_noticed() {
    every_loss_is_noticed(CALLS);
}

#[test]
fn a_bound_that_is_missing_is_noticed() {
    every_loss_is_noticed(BOUNDS);
}

#[test]
fn each_control_is_taken_away_by_some_row() {
    let rows = [NAMESPACES, FILES, CALLS, BOUNDS].concat();
    for control in Control::ALL {
        let taken = rows.iter().any(|(controls, ..)| controls.contains(control));
        assert!(taken, "{control:?}");
    }
}

#[test]
fn no_shipped_binary_can_leave_out_a_control() {
    let knows = |folder: std::path::PathBuf| {
        let binary = fs::read(folder.join("sandgate")).expect("read the binary");
        binary
            .windows(b"SANDGATE_WITHOUT".len())
            .any(|bytes| bytes == b"SANDGATE_WITHOUT")
    };
    assert!(!knows(config::binaries()));
    assert!(knows(config::incomplete_binaries()), "the control");
}
