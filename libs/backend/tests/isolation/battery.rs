//! The probes, and what each must find in a sandbox. What is not as it must be is an escape, by the name of the
//! finding; a sandbox that lacks a control is judged here by the same words as one that has all.

use std::collections::BTreeSet;

use crate::network::Listeners;
use crate::world::{Findings, Objects, World};

/// The names of findings that are not as they must be.
pub(crate) type Escapes = BTreeSet<String>;

/// Places that are closed, and that can be written.
const CLOSED: [&str; 10] = [
    "/",
    "/usr",
    "/usr/bin",
    "/etc",
    "/dev",
    "/home",
    "/run",
    "/var",
    "/proc",
    "/etc/ssl/certs",
];
pub(crate) const OPEN: [&str; 4] = ["/workspace", "/home/agent", "/tmp", "/dev/shm"];

/// What is tried, in a sandbox of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Probe {
    Possessions,
    Files,
    Calls,
    Network,
    Runner,
    Keeper,
    Keyring,
    Objects,
    Bomb,
    Disk,
    Memory,
    Counters,
    Buffers,
}

impl Probe {
    /// Tries it in a sandbox of this world.
    pub(crate) fn escapes(self, world: &World) -> Escapes {
        match self {
            Self::Possessions => possessions(&world.inside(&["possessions"])),
            Self::Files => {
                let (secret, home) = world.secret();
                let mut words = vec!["files", &secret, &home];
                words.extend(CLOSED.into_iter().chain(OPEN));
                files(&world.inside(&words), &home)
            }
            Self::Calls => calls(&world.inside(&["calls"])),
            Self::Network => {
                let listeners = Listeners::new(world);
                network(&world.inside(&listeners.words()))
            }
            Self::Runner => runner(&world.inside(&["first_process"])),
            Self::Keeper => exactly(
                &world.inside(&["keeper"]),
                &[
                    ("keepers", "unseen"),
                    ("signal a keeper", "no"),
                    ("read a keeper", "no"),
                ],
            ),
            Self::Keyring => {
                let found = world.inside(&["keyring", World::KEY]);
                exactly(&found, &[("key", "EPERM")])
            }
            Self::Objects => {
                let objects = Objects::new(world);
                never_done(&world.inside(&["objects", objects.key()]))
            }
            Self::Bomb => bomb(&world.inside(&["bomb", "200"])),
            Self::Disk => disk(&world.inside(&["disk", "/workspace", "/home/agent", "/tmp"])),
            // Together 600 MiB; the bound is 256 MiB, or 376 with what the writable places may hold.
            Self::Memory => {
                let found = world.inside(&["memory", "200", "3"]);
                escapes([("killed", found["killed"] != "0")])
            }
            Self::Counters => exactly(
                &world.inside(&["counters"]),
                &[
                    ("terminals", "64"),
                    ("terminals end", "ENOSPC"),
                    ("watchers", "32"),
                    ("watchers end", "EMFILE"),
                    ("tcp_wmem", "262144"),
                    ("tcp_rmem", "262144"),
                ],
            ),
            Self::Buffers => {
                let found = world.inside(&["buffers"]);
                let holds = found["buffers"] != "unbounded" || found["counted apart"] == "no";
                escapes([("buffers", holds)])
            }
        }
    }
}

fn escapes<'a>(findings: impl IntoIterator<Item = (&'a str, bool)>) -> Escapes {
    let wrong = findings.into_iter().filter(|(_, holds)| !holds);
    wrong.map(|(name, _)| name.to_owned()).collect()
}

fn exactly(found: &Findings, wanted: &[(&str, &str)]) -> Escapes {
    let judged = wanted
        .iter()
        .map(|(name, value)| (*name, found.get(*name).is_some_and(|is| is == value)));
    escapes(judged)
}

fn never_done(found: &Findings) -> Escapes {
    escapes(found.iter().map(|(name, is)| (name.as_str(), is != "done")))
}

fn possessions(found: &Findings) -> Escapes {
    let mut wrong = exactly(
        found,
        &[
            ("Uid", "1000 1000 1000 1000"),
            ("Gid", "1000 1000 1000 1000"),
            ("Umask", "0022"),
            ("CapInh", "0000000000000000"),
            ("CapPrm", "0000000000000000"),
            ("CapEff", "0000000000000000"),
            ("CapBnd", "0000000000000000"),
            ("CapAmb", "0000000000000000"),
            ("SigBlk", "0000000000000000"),
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
            ("descriptors", "0 1 2"),
            ("environment", "HOME LANG LOGNAME PATH SANDGATE_URL USER"),
            ("session", "own"),
            ("other processes", ""),
            ("control group", "/"),
            ("limit NPROC", "64"),
            ("limit NOFILE", "128"),
            ("limit CORE", "0"),
            ("names", "sandbox (none)"),
            (
                "proc",
                "cpuinfo filesystems loadavg meminfo mounts net self stat sys thread-self uptime version",
            ),
        ],
    );
    let all = |name: &str, is_known: fn(&str) -> bool| found[name].split_whitespace().all(is_known);
    wrong.extend(escapes([
        // An ordinary user cannot give up groups; they are shown as nobody's.
        ("Groups", all("Groups", |group| group == "65534")),
        (
            "writable",
            all("writable", |mount| {
                OPEN.contains(&mount) || ["/dev/pts", "/proc"].contains(&mount) || is_device(mount)
            }),
        ),
        ("setuid", all("setuid", is_device)),
        ("mounts", all("mounts", is_ours)),
    ]));
    wrong
}

fn is_device(mount: &str) -> bool {
    ["null", "zero", "full", "random", "urandom", "tty"]
        .iter()
        .any(|name| mount == format!("/dev/{name}"))
        // A hidden file of /proc is /dev/null itself.
        || mount.starts_with("/proc/")
}

fn is_ours(mount: &str) -> bool {
    let known = [
        "/", "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/dev",
    ];
    let below = ["/etc/", "/proc", "/dev/"];
    known.contains(&mount)
        || OPEN.contains(&mount)
        || below.iter().any(|place| mount.starts_with(place))
}

fn files(found: &Findings, home: &str) -> Escapes {
    let home = format!("write {home}");
    let mut wrong = exactly(
        found,
        &[
            ("secret", "ENOENT"),
            ("secret below a mount", ""),
            ("shadow", "ENOENT"),
            (&home, "ENOENT"),
        ],
    );
    for place in OPEN {
        for name in [format!("write {place}"), format!("remove {place}")] {
            wrong.extend(exactly(found, &[(&name, "done")]));
        }
    }
    for name in ["write sysctl", "write binary", "chmod root", "device"] {
        wrong.extend(escapes([(name, found[name] != "done")]));
    }
    for place in CLOSED {
        let name = format!("write {place}");
        wrong.extend(escapes([(name.as_str(), found[&name] != "done")]));
    }
    wrong
}

fn calls(found: &Findings) -> Escapes {
    let judged = found.iter().map(|(name, answer)| {
        let wanted = match name.as_str() {
            "getpid" => "done",
            "clone3" => "ENOSYS",
            // Nobody but the agent exists inside, so there is nobody to become.
            "setuid" => "EINVAL",
            _ => "EPERM",
        };
        (name.as_str(), answer == wanted)
    });
    escapes(judged)
}

fn network(found: &Findings) -> Escapes {
    let ways = Listeners::WAYS.map(|way| (way, found[way].starts_with("closed ")));
    let mut wrong = escapes(ways);
    wrong.extend(exactly(
        found,
        &[
            ("interfaces", "lo"),
            ("socket unix", "done"),
            ("socket route", "done"),
        ],
    ));
    for family in ["raw", "packet", "vsock", "alg", "audit", "uevent"] {
        let name = format!("socket {family}");
        wrong.extend(exactly(found, &[(&name, "EPERM")]));
    }
    wrong
}

fn runner(found: &Findings) -> Escapes {
    let judged = found.iter().map(|(name, answer)| {
        let holds = match name.as_str() {
            "the runner lives" | "trace our own" => answer == "done",
            "look at our own fd" => answer == "seen",
            _ => ["EPERM", "EACCES"].contains(&answer.as_str()),
        };
        (name.as_str(), holds)
    });
    escapes(judged)
}

fn bomb(found: &Findings) -> Escapes {
    let children: usize = found["children"].parse().expect("a number");
    let mut wrong = exactly(found, &[("forks", "EAGAIN"), ("descriptors", "EMFILE")]);
    wrong.extend(escapes([("children", (32..64).contains(&children))]));
    wrong
}

fn disk(found: &Findings) -> Escapes {
    let mut wrong = Escapes::new();
    for (place, most) in [("/workspace", 32), ("/home/agent", 8), ("/tmp", 16)] {
        let (entries, after) = (format!("{place} entries"), format!("{place} after"));
        wrong.extend(exactly(
            found,
            &[(place, "ENOSPC"), (&entries, "ENOSPC"), (&after, "usable")],
        ));
        let name = format!("{place} MiB");
        let written: u64 = found[&name].parse().expect("a number");
        let holds = (most / 2..=most).contains(&written);
        wrong.extend(escapes([(name.as_str(), holds)]));
    }
    wrong
}
