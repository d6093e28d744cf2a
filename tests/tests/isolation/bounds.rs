//! What a sandbox may use ends at its bound: processes, memory, disk. The machine, the mesh and the sandbox go on.

use sandgate_e2e::client::Client;
use sandgate_e2e::mesh::Home;

use crate::{PYTHON, SHELL, inside, stdout};

#[test]
fn a_fork_bomb_ends_at_its_bound_and_the_sandbox_goes_on() {
    let home = Home::new();
    let bomb = "
import os, signal, time
children = []
try:
    while len(children) < 100000:
        child = os.fork()
        if child == 0:
            time.sleep(1000)
            os._exit(0)
        children.append(child)
except OSError:
    pass
print('bounded' if len(children) < 5000 else 'unbounded')
for child in children:
    os.kill(child, signal.SIGKILL)
";
    assert_eq!(inside(&home, &[PYTHON, "-c", bomb]), "bounded");
    assert_eq!(inside(&home, &["/bin/echo", "on"]), "on");
}

#[test]
fn a_fork_bomb_that_goes_on_keeps_no_file_from_being_stored_and_ends_with_its_sandbox() {
    let home = Home::new();
    let _up = home.up(&[]);
    // Whoever gets a process number keeps it, and four take each that becomes free, this command's own included.
    let bomb = "
import os, signal, sys
open('kept', 'w').write('kept')
ready, full = os.pipe()
if os.fork() == 0:
    for _ in range(2):
        os.fork()
    while True:
        try:
            if os.fork() == 0:
                signal.pause()
        except OSError:
            break
    os.write(full, b'x')
    while True:
        try:
            if os.fork() == 0:
                signal.pause()
        except OSError:
            pass
os.read(ready, 1)
print('full')
";
    let word = format!("bomb-{}", std::process::id());
    let set_off = home.run("probe", &[PYTHON, "-c", bomb, &word]);
    let said = String::from_utf8_lossy(&set_off.stderr).into_owned();
    assert_eq!(stdout(&set_off), "full", "{said}");
    assert!(said.contains("files stored as version"), "{said}");
    // It goes on: its processes are there, and there is no room for another.
    assert!(processes_called(&word) > 100);
    assert!(!home.run("probe", &["/bin/true"]).status.success());
    let stored = home.sandgate(["files", "probe", "kept"]).output();
    assert_eq!(stdout(&stored.expect("start sandgate")), "kept");
    let removed = home.sandgate(["rm", "probe"]).output();
    let removed = removed.expect("start sandgate");
    let said = String::from_utf8_lossy(&removed.stderr).into_owned();
    assert!(removed.status.success(), "{said}");
    assert_eq!(processes_called(&word), 0);
}

/// The processes of the machine that have this word as an argument.
fn processes_called(word: &str) -> usize {
    let all = std::fs::read_dir("/proc").expect("list processes");
    let lines = all.filter_map(|entry| std::fs::read(entry.ok()?.path().join("cmdline")).ok());
    let called = format!("\0{word}\0");
    // Who asked for it names it too, behind the program that is run inside.
    lines
        .filter(|line| line.starts_with(PYTHON.as_bytes()) && line.ends_with(called.as_bytes()))
        .count()
}

#[test]
fn memory_ends_at_its_bound_which_is_said_and_the_mesh_goes_on() {
    let home = Home::new();
    let eat = "
import sys
pieces = []
for _ in range(640):
    pieces.append(bytearray(b'x') * (16 << 20))
print('unbounded')
";
    let output = home.run("probe", &[PYTHON, "-c", eat]);
    assert!(!stdout(&output).contains("unbounded"));
    assert_ne!(output.status.code(), Some(0));
    let of_memory = "killed, since it used more memory than the template allows";
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains(of_memory), "{said}");
    // The control: the same signal, from somebody else.
    let output = home.run("probe", &[SHELL, "-c", "kill -KILL $$"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("ended by signal 9"), "{said}");
    assert_eq!(inside(&home, &["/bin/echo", "on"]), "on");
}

/// So small that it is full, and stored, in no time.
const SMALL: &str = "\
version: 1
templates:
  - name: default
    description: with little room
    limits: { disk: 32MiB, home: 32MiB }
";

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_the_sandboxs_own_trouble() {
    let home = Home::new();
    let templates = home.path().join("templates.yaml");
    std::fs::write(&templates, SMALL).expect("templates");
    let up = home.up(&["--templates", templates.to_str().expect("a plain path")]);
    let client = Client::new(&up.address, &up.key(), "probe");
    let sandbox = client.create("create").await.expect("created").sandbox_id;
    let shell = async |line: &str| {
        let ran = client.exec(&sandbox, &[SHELL, "-c", line]).await;
        ran.expect("it runs").stdout
    };
    for place in ["/home/agent", "/workspace"] {
        let fill = format!(
            "dd if=/dev/zero of={place}/big bs=1M count=4096 2>&1 | grep -c 'No space'; rm {place}/big"
        );
        assert_eq!(shell(&fill).await, "1\n");
        // What is removed gives its room back once it is not on its way to the store any more. A sync that is asked
        // for begins when the one before it has ended.
        client.sync(&sandbox).await.expect("synced");
        let write = format!("echo {place} > {place}/y && cat {place}/y");
        assert_eq!(shell(&write).await, format!("{place}\n"));
    }
    assert_eq!(inside(&home, &["/bin/cat", "y"]), "/workspace");
}
