//! The same promises for an ordinary user: isolation rests on other mechanisms there than for root.
//!
//! Root runs the chosen tests a second time under another uid, from a folder which that user can read;
//! where the sources and builds are, it usually cannot.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use super::copy;
use crate::command::{self, program};
use crate::machine::{self, Machine};
use crate::workspace::Workspace;

/// The integration tests, in whichever package, that hold for both kinds of user.
const FOR_BOTH: [&str; 2] = ["isolation", "run"];

/// Runs them as an ordinary user.
pub(super) fn run(
    machine: &Machine,
    workspace: &Workspace,
    binaries: &Path,
    breaking: Option<&Path>,
    left: Duration,
) -> anyhow::Result<()> {
    let (uid, gid) = machine::ordinary_user()?;
    let folder = tempfile::Builder::new()
        .prefix("sandgate-tests-")
        .tempdir()
        .context("make a folder for the tests")?;
    let open = |path: &Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755));
    open(folder.path()).context("let others read the tests")?;
    let home = folder.path().join("home");
    std::fs::create_dir(&home).context("make a home")?;
    std::os::unix::fs::chown(&home, Some(uid), Some(gid)).context("hand over the home")?;
    for binary in workspace.targets(None, "bin") {
        copy(&binaries.join(&binary), &folder.path().join(&binary))?;
    }
    let own_breaking = folder.path().join("breaking");
    if let Some(breaking) = breaking {
        std::fs::create_dir(&own_breaking).context("make a folder for binaries that break")?;
        open(&own_breaking).context("let others read them")?;
        copy(&breaking.join("sandgate"), &own_breaking.join("sandgate"))?;
    }
    for test in FOR_BOTH {
        for package in workspace.packages_with_test(test) {
            let file = folder.path().join(format!("{package}-{test}"));
            copy(&executable(machine, &package, test)?, &file)?;
            let mut tests = program(&file, &home);
            tests
                .uid(uid)
                .gid(gid)
                .env("HOME", &home)
                .env("TMPDIR", &home)
                .env("SANDGATE_BIN_DIR", folder.path())
                .env("SANDGATE_CRASH_BIN_DIR", &own_breaking);
            command::run(&mut tests, left)
                .with_context(|| format!("{package}: {test} as uid {uid}"))?;
        }
    }
    Ok(())
}

/// Where cargo put the program of this test.
fn executable(machine: &Machine, package: &str, test: &str) -> anyhow::Result<PathBuf> {
    let mut cargo = command::cargo(&machine.repository);
    // The whole workspace, as when all was built: fewer packages would resolve other features, and build again.
    cargo.args([
        "test",
        "--quiet",
        "--workspace",
        "--no-run",
        "--message-format=json",
        "--test",
        test,
    ]);
    let messages = command::output(&mut cargo)?;
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| {
            let id = message
                .get("package_id")
                .and_then(Value::as_str)
                .unwrap_or_default();
            id.contains(&format!("#{package}@"))
                && message
                    .pointer("/target/name")
                    .is_some_and(|name| name == test)
        })
        .find_map(|message| message.get("executable")?.as_str().map(PathBuf::from))
        .with_context(|| format!("find the program of {package}'s test {test}"))
}
