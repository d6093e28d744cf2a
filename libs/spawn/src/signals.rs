//! Signals as a fresh process has them: whoever started the mesh may ignore or block some, and both outlive exec.

/// The highest number of a signal.
const LAST: libc::c_int = 64;
/// Bytes of the kernel's set of signals.
const SET_BYTES: libc::c_int = 8;
/// The kernel's `struct sigaction` in words, on every architecture at most; all zero is the default action.
const ACTION_WORDS: usize = 4;

/// Gives each signal its default action, and blocks none. Not by way of the C library, which keeps two signals
/// to itself and would leave them ignored.
pub(crate) fn default() {
    let action = [0u64; ACTION_WORDS];
    let nowhere: *mut libc::c_void = std::ptr::null_mut();
    for number in 1..=LAST {
        #[expect(unsafe_code, reason = "no safe binding of rt_sigaction")]
        // SAFETY: the kernel reads the structure, which is as large as any it knows and outlives the call, and
        // answers nothing. The default action is no handler of ours. What may not be changed is refused.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                number,
                action.as_ptr(),
                nowhere,
                SET_BYTES,
            );
        }
    }
    block(0);
}

/// A write that nobody reads is an error, as every program of ours has it, and no signal.
pub(crate) fn ignore_closed_pipes() {
    #[expect(unsafe_code, reason = "no safe binding of signal")]
    // SAFETY: ignoring is no handler of ours. The kernel refuses this for no signal that may be ignored.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
    }
}

/// Does something while this thread hears no signal.
pub(crate) fn without<T>(work: impl FnOnce() -> T) -> T {
    let before = block(u64::MAX);
    let done = work();
    block(before);
    done
}

/// Sets which signals this thread does not hear, one bit each; answers which it did not hear before.
fn block(signals: u64) -> u64 {
    let mut before = 0u64;
    #[expect(unsafe_code, reason = "no safe binding of rt_sigprocmask")]
    // SAFETY: the kernel reads and writes eight bytes each, which outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const signals,
            &raw mut before,
            SET_BYTES,
        );
    }
    before
}
