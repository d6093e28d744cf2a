//! Which processes hold a lock, as the kernel tells it.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::Context as _;

/// The names and numbers of the processes that hold a lock on this file; none where the kernel hides them.
pub(super) fn holders(file: &File) -> anyhow::Result<Vec<String>> {
    let inode = file
        .metadata()
        .context("look at a lock of the data directory")?
        .ino()
        .to_string();
    // `1: FLOCK  ADVISORY  READ 4242 fd:01:1234 0 EOF`: the number of the process, then device and inode.
    let locks = fs::read_to_string("/proc/locks").unwrap_or_default();
    let mut found: Vec<String> = locks
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip_while(|word| *word != "FLOCK");
            let pid = words.nth(3)?;
            let place = words.next()?;
            let on_it = place.rsplit(':').next() == Some(inode.as_str());
            on_it.then(|| format!("{} (process {pid})", name(pid)))
        })
        .collect();
    found.sort();
    found.dedup();
    Ok(found)
}

/// How a process was called: `sandgate-token`, or `sandgate token`.
fn name(pid: &str) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut words = line.split(|byte| *byte == 0).map(String::from_utf8_lossy);
    let program = words.next().unwrap_or_default();
    let program = Path::new(program.as_ref())
        .file_name()
        .map_or_else(|| "a service".into(), |name| name.to_string_lossy());
    match words.next().filter(|_| program == "sandgate") {
        Some(service) => format!("{program} {service}"),
        None => program.into_owned(),
    }
}
