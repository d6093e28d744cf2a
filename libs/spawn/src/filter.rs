//! The system calls of a sandbox: an allow-list no wider than containerd's default.
//!
//! What is not named fails with EPERM; `clone3` with ENOSYS, since its flags lie in memory that a filter cannot
//! read, and every library falls back to `clone`. Source of the list: containerd's default profile
//! (contrib/seccomp/seccomp_default.go), without what it grants by capability.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter,
};

use crate::control::Control;

macro_rules! calls {
    ($($name:ident)*) => { &[$(libc::$name),*] };
}

/// On every architecture.
#[rustfmt::skip]
const COMMON: &[libc::c_long] = calls![
    SYS_accept SYS_accept4 SYS_bind SYS_brk SYS_capget SYS_capset SYS_chdir SYS_clock_getres SYS_clock_gettime
    SYS_clock_nanosleep SYS_close SYS_close_range SYS_connect SYS_copy_file_range SYS_dup SYS_dup3 SYS_epoll_create1
    SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2 SYS_eventfd2 SYS_execve SYS_execveat SYS_exit SYS_exit_group
    SYS_faccessat SYS_faccessat2 SYS_fadvise64 SYS_fallocate SYS_fchdir SYS_fchmod SYS_fchmodat SYS_fchown
    SYS_fchownat SYS_fcntl SYS_fdatasync SYS_fgetxattr SYS_flistxattr SYS_flock SYS_fremovexattr SYS_fsetxattr
    SYS_fstat SYS_fstatfs SYS_fsync SYS_ftruncate SYS_futex SYS_getcpu SYS_getcwd SYS_getdents64 SYS_getegid
    SYS_geteuid SYS_getgid SYS_getgroups SYS_getitimer SYS_getpeername SYS_getpgid SYS_getpid SYS_getppid
    SYS_getpriority SYS_getrandom SYS_getresgid SYS_getresuid SYS_getrlimit SYS_get_robust_list SYS_getrusage
    SYS_getsid SYS_getsockname SYS_getsockopt SYS_gettid SYS_gettimeofday SYS_getuid SYS_getxattr
    SYS_inotify_add_watch SYS_inotify_init1 SYS_inotify_rm_watch
    SYS_ioprio_get SYS_ioprio_set SYS_kill SYS_landlock_add_rule
    SYS_landlock_create_ruleset SYS_landlock_restrict_self SYS_lgetxattr SYS_linkat SYS_listen SYS_listxattr
    SYS_llistxattr SYS_lremovexattr SYS_lseek SYS_lsetxattr SYS_madvise SYS_membarrier SYS_memfd_create SYS_mincore
    SYS_mkdirat SYS_mlock SYS_mlock2 SYS_mlockall SYS_mmap SYS_mprotect SYS_mremap SYS_msync SYS_munlock
    SYS_munlockall SYS_munmap SYS_name_to_handle_at SYS_nanosleep SYS_newfstatat SYS_openat SYS_openat2
    SYS_pidfd_open SYS_pidfd_send_signal SYS_pipe2 SYS_ppoll SYS_prctl SYS_pread64 SYS_preadv SYS_preadv2
    SYS_prlimit64 SYS_pselect6 SYS_pwrite64 SYS_pwritev SYS_pwritev2 SYS_read SYS_readahead SYS_readlinkat SYS_readv
    SYS_recvfrom SYS_recvmmsg SYS_recvmsg SYS_removexattr SYS_renameat SYS_renameat2 SYS_restart_syscall SYS_rseq
    SYS_rt_sigaction SYS_rt_sigpending SYS_rt_sigprocmask SYS_rt_sigqueueinfo SYS_rt_sigreturn SYS_rt_sigsuspend
    SYS_rt_sigtimedwait SYS_rt_tgsigqueueinfo SYS_sched_getaffinity SYS_sched_getattr SYS_sched_getparam
    SYS_sched_get_priority_max SYS_sched_get_priority_min SYS_sched_getscheduler SYS_sched_rr_get_interval
    SYS_sched_setaffinity SYS_sched_setattr SYS_sched_setparam SYS_sched_setscheduler SYS_sched_yield SYS_seccomp
    SYS_semctl SYS_semget SYS_semop SYS_semtimedop SYS_sendfile SYS_sendmmsg SYS_sendmsg SYS_sendto SYS_setfsgid
    SYS_setfsuid SYS_setgid SYS_setgroups SYS_setitimer SYS_setpgid SYS_setpriority SYS_setregid SYS_setresgid
    SYS_setresuid SYS_setreuid SYS_setrlimit SYS_set_robust_list SYS_setsid SYS_setsockopt SYS_set_tid_address
    SYS_setuid SYS_setxattr SYS_shmat SYS_shmctl SYS_shmdt SYS_shmget SYS_shutdown SYS_sigaltstack SYS_signalfd4
    SYS_socketpair SYS_splice SYS_statfs SYS_statx SYS_symlinkat SYS_sync SYS_sync_file_range SYS_syncfs
    SYS_sysinfo SYS_tee SYS_tgkill SYS_timer_create SYS_timer_delete SYS_timerfd_create SYS_timerfd_gettime
    SYS_timerfd_settime SYS_timer_getoverrun SYS_timer_gettime SYS_timer_settime SYS_times SYS_tkill SYS_truncate
    SYS_umask SYS_uname SYS_unlinkat SYS_utimensat SYS_vmsplice SYS_wait4 SYS_waitid SYS_write SYS_writev
    SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev SYS_clone3
];

/// The older calls that x86-64 still has.
#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const OLDER: &[libc::c_long] = calls![
    SYS_access SYS_alarm SYS_arch_prctl SYS_chmod SYS_chown SYS_creat SYS_dup2 SYS_epoll_create SYS_epoll_wait
    SYS_eventfd SYS_fork SYS_futimesat SYS_getdents SYS_getpgrp SYS_inotify_init SYS_lchown SYS_link SYS_lstat
    SYS_mkdir SYS_modify_ldt SYS_open SYS_pause SYS_pipe SYS_poll SYS_readlink SYS_rename SYS_rmdir SYS_select
    SYS_signalfd SYS_stat SYS_symlink SYS_time SYS_unlink SYS_utime SYS_utimes SYS_vfork
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[libc::c_long] = &[];

/// What holds memory that no process shows as its own, so that a supervisor could not count it.
#[rustfmt::skip]
const UNCOUNTED: &[libc::c_long] = calls![
    SYS_memfd_create SYS_semctl SYS_semget SYS_semop SYS_semtimedop SYS_shmat SYS_shmctl SYS_shmdt SYS_shmget
];

/// What is kept from a sandbox, by what it would be used for; all of it by not being on the lists above.
#[rustfmt::skip]
const GROUPS: [(Control, &[libc::c_long]); 5] = [
    (Control::FilterSockets, calls![SYS_socket]),
    (Control::FilterKeyrings, calls![SYS_keyctl SYS_add_key SYS_request_key]),
    (Control::FilterNamespaces, calls![SYS_unshare SYS_setns SYS_clone]),
    (Control::FilterMounts, calls![SYS_mount SYS_umount2 SYS_open_tree SYS_move_mount SYS_pivot_root SYS_chroot]),
    (Control::FilterContexts, calls![SYS_io_setup]),
];

/// Every flag of `clone` that makes a namespace.
const NAMESPACES: u64 = 0x7e02_0080;
/// Personalities that change nothing of security: Linux, and asking for the present one.
const PERSONALITIES: [u64; 3] = [0x0, 0x8, 0xffff_ffff];
/// Fakes input of a terminal.
const TIOCSTI: u64 = 0x5412;
/// Pastes from a virtual console.
const TIOCLINUX: u64 = 0x541c;

/// Why a filter cannot be made or applied.
#[derive(Debug, thiserror::Error)]
#[error("the system call filter: {0}")]
struct FilterError(String);

/// Two programs: the allow-list, and the one answer that differs.
pub(crate) struct Filter(BpfProgram, BpfProgram);

impl Filter {
    /// Compiles the filter, which allocates, before privileges are given up. Where memory is `counted` process by
    /// process, what escapes the count is left out.
    pub(crate) fn compile(counted: bool) -> io::Result<Self> {
        let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(failed)?;
        let allow = compile(
            rules(counted).map_err(failed)?,
            SeccompAction::Errno(libc::EPERM as u32),
            SeccompAction::Allow,
            arch,
        )?;
        let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
        let fall_back = compile(
            clone3,
            SeccompAction::Allow,
            SeccompAction::Errno(libc::ENOSYS as u32),
            arch,
        )?;
        Ok(Self(allow, fall_back))
    }

    /// Applies it to this thread and everything that it starts, for good.
    pub(crate) fn apply(&self) -> io::Result<()> {
        if !Control::Filter.applies() {
            return Ok(());
        }
        apply_filter(&self.1).map_err(failed)?;
        apply_filter(&self.0).map_err(failed)
    }
}

fn failed(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(FilterError(error.to_string()))
}

fn compile(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    otherwise: SeccompAction,
    matched: SeccompAction,
    arch: TargetArch,
) -> io::Result<BpfProgram> {
    let filter = SeccompFilter::new(rules, otherwise, matched, arch).map_err(failed)?;
    BpfProgram::try_from(filter).map_err(failed)
}

fn rules(counted: bool) -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = COMMON
        .iter()
        .chain(OLDER)
        .filter(|number| !(counted && UNCOUNTED.contains(number)))
        .map(|number| (*number, Vec::new()))
        .collect();
    let argument = |index, operation, value| {
        SeccompCondition::new(index, SeccompCmpArgLen::Dword, operation, value)
    };
    let family =
        |number: libc::c_int| argument(0, SeccompCmpOp::Eq, u64::from(number.unsigned_abs()));
    rules.insert(
        libc::SYS_socket,
        vec![
            SeccompRule::new(vec![family(libc::AF_UNIX)?])?,
            SeccompRule::new(vec![family(libc::AF_INET)?])?,
            SeccompRule::new(vec![family(libc::AF_INET6)?])?,
            // NETLINK_ROUTE is protocol 0.
            SeccompRule::new(vec![
                family(libc::AF_NETLINK)?,
                argument(2, SeccompCmpOp::Eq, 0)?,
            ])?,
        ],
    );
    let no_namespace = argument(0, SeccompCmpOp::MaskedEq(NAMESPACES), 0)?;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![no_namespace])?]);
    rules.insert(
        libc::SYS_ioctl,
        vec![SeccompRule::new(vec![
            argument(1, SeccompCmpOp::Ne, TIOCSTI)?,
            argument(1, SeccompCmpOp::Ne, TIOCLINUX)?,
        ])?],
    );
    let mut personalities = Vec::new();
    for value in PERSONALITIES {
        personalities.push(SeccompRule::new(vec![argument(
            0,
            SeccompCmpOp::Eq,
            value,
        )?])?);
    }
    rules.insert(libc::SYS_personality, personalities);
    for (control, calls) in GROUPS {
        if !control.applies() {
            rules.extend(calls.iter().map(|number| (*number, Vec::new())));
        }
    }
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_the_machine_or_nests_sandboxes_is_not_on_the_list() {
        let rules = rules(false).expect("rules");
        for call in [
            libc::SYS_mount,
            libc::SYS_umount2,
            libc::SYS_pivot_root,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_bpf,
            libc::SYS_keyctl,
            libc::SYS_add_key,
            libc::SYS_request_key,
            libc::SYS_io_uring_setup,
            libc::SYS_perf_event_open,
            libc::SYS_userfaultfd,
            libc::SYS_init_module,
            libc::SYS_kexec_load,
            libc::SYS_open_by_handle_at,
            libc::SYS_mknodat,
            libc::SYS_fsopen,
            libc::SYS_move_mount,
        ] {
            assert!(!rules.contains_key(&call), "{call}");
        }
    }

    #[test]
    fn memory_without_an_owner_is_not_made_where_owners_are_counted() {
        for call in UNCOUNTED {
            assert!(rules(false).expect("rules").contains_key(call), "{call}");
            assert!(!rules(true).expect("rules").contains_key(call), "{call}");
        }
    }

    #[test]
    fn the_filter_compiles() {
        for counted in [true, false] {
            Filter::compile(counted).expect("a program");
        }
    }
}
