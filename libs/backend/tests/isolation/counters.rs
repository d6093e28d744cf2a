//! What all of a machine would share: one sandbox cannot take all of it, nor see by it what others do.

use std::fs::File;

use crate::battery::{Escapes, Probe};
use crate::world::{World, text};

#[test]
fn one_sandbox_takes_few_of_what_the_machine_or_its_user_has_only_so_many_of() {
    let world = World::new();
    assert_eq!(Probe::Counters.escapes(&world), Escapes::new());
    // The control: whoever is outside takes more.
    let outside = world.outside(&["counters"]);
    assert_eq!(outside["terminals end"], "unbounded");
    assert_eq!(outside["watchers end"], "unbounded");
    assert_ne!(outside["tcp_wmem"], "262144");
}

#[test]
fn what_all_connections_of_a_sandbox_buffer_is_bounded_where_the_kernel_counts_it_apart() {
    let world = World::new();
    assert_eq!(Probe::Buffers.escapes(&world), Escapes::new());
    // The control: whoever is outside has twice as much buffered.
    assert_eq!(world.outside(&["buffers"])["buffers"], "unbounded");
}

#[test]
fn memory_that_nobody_counts_cannot_be_had() {
    let world = World::new();
    let found = world.inside(&["uncounted"]);
    let made = match found["bounded by"].as_str() {
        "group" => "done",
        _ => "EPERM",
    };
    for what in ["semaphores", "shared segment", "memory file"] {
        assert_eq!(found[what], made, "{what}");
    }
}

#[test]
fn descriptors_that_an_agent_leaves_under_way_stop_neither_its_own_runner_nor_another() {
    let world = World::new();
    // It serves once the kernel has refused it more, which is the control.
    let _sender = world.serving("first", &["under_way", "8192"]);
    for conversation in ["first", "second"] {
        let mut command = world.command(conversation, &["echo", "on"]);
        let output = command.output().expect("start sandgate");
        assert_eq!(text(&output.stdout), "on\n", "{}", text(&output.stderr));
    }
}

#[test]
fn the_files_of_the_machine_that_are_shown_have_locks_and_watches_of_their_own() {
    let world = World::new();
    // A lock belongs to the same thing as a watch, and its absence needs no waiting.
    let shown = ["/usr/bin/env", "/etc/ld.so.cache"];
    let files = shown.map(|path| File::open(path).expect("open"));
    for file in &files {
        file.lock().expect("lock");
    }
    let words = ["locks", shown[0], shown[1]];
    let (inside, outside) = (world.inside(&words), world.outside(&words));
    for path in shown {
        assert_eq!(inside[path], "done", "{path}");
        assert_eq!(outside[path], "EAGAIN", "{path}: the control");
    }
}

#[test]
fn the_runner_does_not_tell_where_our_binary_is() {
    let world = World::new();
    let output = world.run(&["cat", "/proc/1/cmdline"]);
    let line = text(&output.stdout);
    assert!(line.starts_with("sandboxd\0"), "{line:?}");
    assert!(!line.contains('/'), "{line:?}");
}
