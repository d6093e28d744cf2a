//! Bounds the memory of a sandbox where no control group does: looks ten times a second, and kills the largest
//! process. It sees what processes hold, and nothing of what the kernel holds for them, as in the buffers of sockets
//! and pipes; the name of this mechanism says so.

use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::kills::Kills;

/// How often it looks.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The most processes that one look counts; more than any template allows would be an error of ours.
const PROCESSES_MAX: usize = 65_536;

/// Kills the largest process of a sandbox when all together use more than `bytes`.
pub(super) fn supervise(first: Pid, bytes: u64, kills: &Kills) {
    let all = descendants(first);
    // Cheap, and never less than the exact sum, in which shared pages count once.
    let resident = all.iter().filter_map(|pid| resident_bytes(*pid));
    if resident.fold(0, u64::saturating_add) <= bytes {
        return;
    }
    let mut largest = None;
    let mut sum = 0u64;
    for pid in all {
        let used = proportional_bytes(pid).unwrap_or(0);
        sum = sum.saturating_add(used);
        if pid != first && largest.is_none_or(|(most, _)| used > most) {
            largest = Some((used, pid));
        }
    }
    if sum > bytes
        && let Some((_, pid)) = largest
    {
        kills.add();
        // Who ended meanwhile needs no killing; a number is not reused within a look.
        if kill_process(pid, Signal::KILL).is_ok() {
            tracing::info!("a process was killed, since its sandbox used more memory than it may");
        }
    }
}

/// The children of a process, whichever of its threads started them; none when it is gone.
pub(super) fn children(pid: Pid) -> Vec<Pid> {
    let threads = fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero()));
    let mut found = Vec::new();
    for thread in threads.into_iter().flatten().flatten() {
        let listed = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        let numbers = listed.split_whitespace();
        found.extend(numbers.filter_map(|word| Pid::from_raw(word.parse().ok()?)));
    }
    found
}

fn descendants(first: Pid) -> Vec<Pid> {
    let mut found = vec![first];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied()
        && found.len() < PROCESSES_MAX
    {
        found.extend(children(pid));
        next += 1;
    }
    found
}

/// What a process has in memory, shared or not.
fn resident_bytes(pid: Pid) -> Option<u64> {
    bytes_in(pid, "status", "VmRSS:")
}

/// What a process uses, with shared pages divided among those who share them.
fn proportional_bytes(pid: Pid) -> Option<u64> {
    bytes_in(pid, "smaps_rollup", "Pss:")
}

fn bytes_in(pid: Pid, file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{}/{file}", pid.as_raw_nonzero())).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_memory_is_counted() {
        let pid = rustix::process::getpid();
        let (exact, most) = (proportional_bytes(pid), resident_bytes(pid));
        assert!(exact.expect("readable") > 1024);
        assert!(exact <= most);
        assert!(descendants(pid).contains(&pid));
    }

    #[test]
    fn the_child_of_any_thread_is_a_child() {
        let started = std::thread::spawn(|| {
            let mut child = std::process::Command::new("cat")
                .stdin(std::process::Stdio::piped())
                .spawn()
                .expect("start");
            let pid = Pid::from_raw(i32::try_from(child.id()).expect("a number"));
            let seen = children(rustix::process::getpid()).contains(&pid.expect("a number"));
            drop(child.stdin.take());
            child.wait().expect("it ends with its input");
            seen
        });
        assert!(started.join().expect("the thread"));
    }
}
