//! What a sandbox of this machine is kept from, tried from inside. Each probe that must fail stands beside a
//! control that succeeds: the same text outside, or its neighbour inside. Run by root and by an ordinary user.

mod battery;
mod config;
mod counters;
mod missing;
mod neighbours;
mod network;
mod world;

use std::process::Command;

use battery::{Escapes, Probe};
use network::Listeners;
use world::{Objects, PROBE, PYTHON, World, processes, text, until};

#[test]
fn what_a_process_has_is_on_the_list() {
    let world = World::new();
    assert_eq!(Probe::Possessions.escapes(&world), Escapes::new());
    // The control: who starts a mesh has a descriptor and a variable that a sandbox must not get.
    let shell = "ls /proc/self/fd; env";
    let outside = world.alike(&["sh", "-c", shell]);
    let lines: Vec<&str> = outside.lines().collect();
    assert!(lines.contains(&"9"), "{outside}");
    assert!(lines.contains(&"CANARY_OF_THE_HOST=canary"), "{outside}");
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
    let outside = text(&outside.stdout);
    let ignored = outside
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    // Whoever started the test may have it ignore others as well.
    let of_the_trap = 0x4201;
    assert!(
        ignored.is_some_and(|ignored| ignored & of_the_trap == of_the_trap),
        "{outside}"
    );
}

#[test]
fn no_file_of_the_machine_is_read_or_written() {
    let world = World::new();
    let (secret, home) = world.secret();
    let outside = world.outside(&["files", &secret, &home]);
    assert_eq!(outside["secret"], "hostsecret");
    assert_eq!(outside[&format!("write {home}")], "done");
    assert_eq!(Probe::Files.escapes(&world), Escapes::new());
}

#[test]
fn no_privileged_call_works() {
    let world = World::new();
    let outside = world.outside(&["calls"]);
    // The controls: the same calls where nothing filters them, those that need no privilege.
    for name in ["unshare NEWUSER", "nested mount", "keyctl", "getpid"] {
        assert_eq!(outside[name], "done", "{name}");
    }
    assert_eq!(Probe::Calls.escapes(&world), Escapes::new());
}

#[test]
fn the_runner_is_out_of_the_agents_reach() {
    assert_eq!(Probe::Runner.escapes(&World::new()), Escapes::new());
}

#[test]
fn the_keeper_is_out_of_the_agents_reach() {
    let world = World::new();
    let _mesh = world.serving("other", &["stay"]);
    assert_eq!(world.outside(&["keeper"])["keepers"], "seen");
    assert_eq!(Probe::Keeper.escapes(&world), Escapes::new());
}

#[test]
fn the_keyring_of_who_started_the_mesh_is_not_inherited() {
    let world = World::new();
    let outside = world.alike(&[PYTHON, "-c", PROBE, "keyring", World::KEY]);
    assert_eq!(outside, "key\tdone\n");
    assert_eq!(Probe::Keyring.escapes(&world), Escapes::new());
}

#[test]
fn objects_of_the_machine_are_not_found() {
    let world = World::new();
    let objects = Objects::new(&world);
    let outside = world.outside(&["objects", objects.key()]);
    assert_eq!(outside["semaphores"], "done");
    assert_eq!(outside["shared segment"], "done");
    assert_eq!(Probe::Objects.escapes(&world), Escapes::new());
}

#[test]
fn nothing_that_listens_on_the_machine_is_reached() {
    let world = World::new();
    let listeners = Listeners::new(&world);
    let outside = world.outside(&listeners.words());
    for way in Listeners::WAYS {
        assert_eq!(outside[way], "reached", "{way}: the control");
    }
    // That the kernel has these families at all is seen outside, as far as this user may.
    assert_eq!(outside["socket uevent"], "done");
    assert_eq!(Probe::Network.escapes(&world), Escapes::new());
}

#[test]
fn processes_and_descriptors_are_bounded() {
    let world = World::new();
    assert_eq!(Probe::Bomb.escapes(&world), Escapes::new());
    assert_eq!(world.outside(&["bomb", "100"])["forks"], "unbounded");
}

#[test]
fn every_place_that_can_be_written_is_bounded_in_bytes_and_entries() {
    let world = World::new();
    assert_eq!(Probe::Disk.escapes(&world), Escapes::new());
    let shared = world.inside(&["disk", "/dev/shm"]);
    assert_eq!(shared["/dev/shm"], "ENOSPC");
    assert_eq!(shared["/dev/shm entries"], "ENOSPC");
}

#[test]
fn memory_is_bounded_over_all_processes_and_the_sandbox_lives_on() {
    let world = World::new();
    assert_eq!(Probe::Memory.escapes(&world), Escapes::new());
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
