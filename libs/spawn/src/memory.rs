//! Memory that a daemon does not use any more, given back to the kernel.

/// Gives back what the allocator holds and nobody uses, as after a burst of work; otherwise it keeps that for a next
/// burst that may never come. Does nothing where the C library has no such call.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "no safe binding of malloc_trim")]
        // SAFETY: it takes no pointer, and the allocator takes its own locks.
        let _any_was_given = unsafe { libc::malloc_trim(0) };
    }
}
