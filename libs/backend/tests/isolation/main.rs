//! What a sandbox of this machine is kept from, tried from inside. Each probe that must fail stands beside a
//! control that succeeds: the same text outside, or its neighbour inside. Run by root and by an ordinary user.

mod config;
mod network;
mod world;

use std::fs;
use std::process::Command;

use world::{World, processes, text, until};

#[test]
fn what_a_process_has_is_on_the_list() {
    let found = World::new().inside(&["possessions"]);
    let own: &[(&str, &str)] = &[
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
        ("processes", "1 2"),
        ("limit NPROC", "64"),
        ("limit NOFILE", "128"),
        ("limit CORE", "0"),
        ("names", "sandbox (none)"),
        (
            "proc",
            "cpuinfo filesystems loadavg meminfo mounts net self stat sys thread-self uptime version",
        ),
    ];
    for (name, value) in own {
        assert_eq!(found.get(*name).map(String::as_str), Some(*value), "{name}");
    }
    // An ordinary user cannot give up groups; they are shown as nobody's.
    let groups = &found["Groups"];
    assert!(
        groups
            .split(' ')
            .all(|group| ["", "65534"].contains(&group)),
        "{groups}"
    );
    for mount in found["writable"].split(' ') {
        let known = [
            "/workspace",
            "/home/agent",
            "/tmp",
            "/dev/shm",
            "/dev/pts",
            "/proc",
        ]
        .contains(&mount);
        assert!(known || is_device(mount), "{mount}");
    }
    for mount in found["setuid"].split_whitespace() {
        assert!(is_device(mount), "{mount}");
    }
    for mount in found["mounts"].split(' ') {
        let known = [
            "/", "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/dev",
        ]
        .contains(&mount);
        let below = ["/etc/", "/proc", "/dev/"]
            .iter()
            .any(|place| mount.starts_with(place));
        let ours = ["/workspace", "/home/agent", "/tmp"].contains(&mount);
        assert!(known || below || ours, "{mount}");
    }
}

fn is_device(mount: &str) -> bool {
    ["null", "zero", "full", "random", "urandom", "tty"]
        .iter()
        .any(|name| mount == format!("/dev/{name}"))
        // A hidden file of /proc is /dev/null itself.
        || mount.starts_with("/proc/")
}

#[test]
fn a_process_ignores_no_signal_whatever_its_mesh_does() {
    let world = World::new();
    let look = ["grep", "-E", "^Sig(Ign|Blk)", "/proc/self/status"];
    let mut arguments = vec!["run", "--conversation", "probe", "--"];
    arguments.extend(look);
    let before = ["sh", "-c", "trap '' HUP TERM USR1; exec \"$0\" \"$@\""];
    let output = world.sandgate(&before, &arguments).output().expect("start");
    let inside = text(&output.stdout);
    assert_eq!(inside.lines().count(), 2, "{}", text(&output.stderr));
    assert!(
        inside
            .lines()
            .all(|line| line.ends_with("\t0000000000000000")),
        "{inside}"
    );
    // The control: what is started from such a shell does ignore them.
    let mut shell = Command::new("sh");
    let outside = shell.args(&before[1..]).args(look).output().expect("start");
    assert!(
        text(&outside.stdout).contains("4201"),
        "{}",
        text(&outside.stdout)
    );
}

#[test]
fn no_file_of_the_machine_is_read_or_written() {
    let world = World::new();
    let secret = world.path().join("secret");
    fs::write(&secret, "hostsecret").expect("write");
    let secret = secret.to_str().expect("a name");
    let home = world.path().to_str().expect("a name");
    assert_eq!(
        world.outside(&["files", secret, home])["secret"],
        "hostsecret"
    );
    assert_eq!(
        world.outside(&["files", secret, home])[&format!("write {home}")],
        "done"
    );

    let closed = [
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
    let open = ["/workspace", "/home/agent", "/tmp", "/dev/shm"];
    let mut words = vec!["files", secret, home];
    words.extend(closed);
    words.extend(open);
    let found = world.inside(&words);
    for name in ["secret", "shadow"] {
        assert_eq!(found[name], "ENOENT", "{name}");
    }
    for place in closed {
        assert_ne!(found[&format!("write {place}")], "done", "{place}");
    }
    for place in open {
        assert_eq!(found[&format!("write {place}")], "done", "{place}");
        assert_eq!(found[&format!("remove {place}")], "done", "{place}");
    }
    for name in ["write sysctl", "write binary", "chmod root", "device"] {
        assert_ne!(found[name], "done", "{name}");
    }
    assert_eq!(found[&format!("write {home}")], "ENOENT");
}

#[test]
fn no_privileged_call_works() {
    let world = World::new();
    let outside = world.outside(&["calls"]);
    // The controls: the same calls where nothing filters them, those that need no privilege.
    for name in ["unshare NEWUSER", "keyctl", "getpid"] {
        assert_eq!(outside[name], "done", "{name}");
    }
    let inside = world.inside(&["calls"]);
    assert_eq!(inside["getpid"], "done");
    for (name, answer) in inside.iter().filter(|(name, _)| *name != "getpid") {
        let expected = match name.as_str() {
            "clone3" => "ENOSYS",
            // Nobody but the agent exists inside, so there is nobody to become.
            "setuid" => "EINVAL",
            _ => "EPERM",
        };
        assert_eq!(answer, expected, "{name}");
    }
}

#[test]
fn the_runner_is_out_of_the_agents_reach() {
    let found = World::new().inside(&["first_process"]);
    for (name, answer) in &found {
        match name.as_str() {
            "the runner lives" | "trace our own" => assert_eq!(answer, "done", "{name}"),
            "look at our own fd" => assert_eq!(answer, "seen"),
            _ => assert!(
                ["EPERM", "EACCES"].contains(&answer.as_str()),
                "{name}: {answer}"
            ),
        }
    }
}

#[test]
fn processes_and_descriptors_are_bounded() {
    let world = World::new();
    let found = world.inside(&["bomb", "1000"]);
    assert_eq!(found["forks"], "EAGAIN");
    assert_eq!(found["descriptors"], "EMFILE");
    let children: usize = found["children"].parse().expect("a number");
    assert!((32..64).contains(&children), "{children}");
    assert_eq!(world.outside(&["bomb", "100"])["forks"], "unbounded");
}

#[test]
fn every_place_that_can_be_written_is_bounded_in_bytes_and_entries() {
    let found = World::new().inside(&["disk", "/workspace", "/home/agent", "/tmp", "/dev/shm"]);
    for (place, most) in [
        ("/workspace", 32),
        ("/home/agent", 8),
        ("/tmp", 16),
        ("/dev/shm", 64),
    ] {
        assert_eq!(found[place], "ENOSPC", "{place}");
        assert_eq!(found[&format!("{place} entries")], "ENOSPC", "{place}");
        assert_eq!(found[&format!("{place} after")], "usable");
        let written: u64 = found[&format!("{place} MiB")].parse().expect("a number");
        assert!(
            (most / 2..=most).contains(&written),
            "{place}: {written} MiB"
        );
    }
}

#[test]
fn memory_is_bounded_over_all_processes_and_the_sandbox_lives_on() {
    let world = World::new();
    // Together 1.5 GiB; the bound is 256 MiB, or 376 with what the writable places may hold.
    let killed: u64 = world.inside(&["memory", "500", "3"])["killed"]
        .parse()
        .expect("a number");
    assert!(killed > 0);
    assert_eq!(world.inside(&["memory", "20", "3"])["killed"], "0");
}

#[test]
fn a_machine_that_cannot_isolate_is_refused_with_what_to_enable() {
    let world = World::new();
    let output = world
        .sandgate(
            &[
                "unshare",
                "-Ur",
                "sh",
                "-c",
                "echo 0 > /proc/sys/user/max_user_namespaces; exec \"$0\" \"$@\"",
            ],
            &["run", "--conversation", "probe", "--", "true"],
        )
        .output()
        .expect("start unshare");
    assert!(!output.status.success());
    let said = text(&output.stderr);
    assert!(said.contains("user.max_user_namespaces"), "{said}");
}

#[test]
fn everything_is_gone_after_the_end_and_after_a_crash() {
    let world = World::new();
    let word = format!("86{}", std::process::id());
    // By the end of its sandbox: what a command left behind goes with it.
    let background =
        format!("setsid sleep {word} & while ! grep -q {word} /proc/*/cmdline; do :; done");
    let mut mesh = world.begin(&["sh", "-c", &background]);
    let ended = mesh.id();
    assert!(mesh.wait().expect("it was ours").success());
    assert_eq!(processes(&word), 0);
    assert_eq!(groups_of(ended), 0);

    // By a crash: the control sees the process from outside first.
    let mut mesh = world.begin(&["sleep", &word]);
    let crashed = mesh.id();
    until("the start", || processes(&word) == 1);
    mesh.kill().expect("it runs");
    mesh.wait().expect("it was ours");
    until("the end of the sandbox", || processes(&word) == 0);
    // The kernel ends processes; the groups that it keeps are removed by whoever starts next.
    assert!(world.run(&["true"]).status.success());
    until("the end of its groups", || groups_of(crashed) == 0);
}

/// The control groups that a mesh made.
fn groups_of(mesh: u32) -> usize {
    let found = Command::new("find")
        .args(["/sys/fs/cgroup", "-type", "d", "-name"])
        .arg(format!("sandgate-{mesh}-*"))
        .output()
        .expect("find");
    text(&found.stdout).lines().count()
}
