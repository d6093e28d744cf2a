//! What people get wrong when they start a mesh: each is told by what is wrong, the rule, and the next step, with an
//! exit code that is not zero, and nothing has changed.

mod conversations;
mod directory;
mod secrets;
mod settings;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;

use sandgate_e2e::mesh::Home;

/// Whatever else keeps a command from its work.
const EXIT_FAILURE: i32 = 1;

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// `sandgate` with these arguments is refused in words that have all of these.
fn is_refused(home: &Home, arguments: &[&str], words: &[&str]) {
    let output = home.sandgate(arguments).output().expect("start sandgate");
    let said = said(&output);
    assert_eq!(
        output.status.code(),
        Some(EXIT_FAILURE),
        "{arguments:?}: {said}"
    );
    for word in words {
        assert!(
            said.contains(word),
            "{arguments:?} does not say {word:?}: {said}"
        );
    }
}

/// The files of a data directory that hold its state, with their content.
fn state(home: &Home) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    read(&home.path().join("data"), &mut found);
    read(&home.path().join(".config"), &mut found);
    found
}

fn read(folder: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        // Who holds the lock is no state.
        let is_lock = ["lock", "services", "clients"]
            .iter()
            .any(|name| path.ends_with(name));
        if path.is_dir() {
            read(&path, found);
        } else if path.is_file() && !is_lock {
            found.insert(path.clone(), std::fs::read(&path).expect("a file of ours"));
        }
    }
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("chmod");
}

fn initialised() -> Home {
    let home = Home::new();
    let done = home.sandgate(["init"]).output().expect("start sandgate");
    assert!(done.status.success(), "{}", said(&done));
    home
}
