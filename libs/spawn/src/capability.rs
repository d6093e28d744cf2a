//! Privileges are given up for good: no capability in any set, none to be gained by any program.

use std::io;

use rustix::thread::{
    CapabilitiesSecureBits, CapabilitySet, CapabilitySets, set_capabilities,
    set_capabilities_secure_bits, set_no_new_privs,
};

use crate::control::Control;

/// Capabilities are numbered from 0; the kernel says EINVAL behind its last.
const NUMBERS_MAX: u32 = 63;

/// Gives up everything. The order matters: the bounding set can be emptied only while we may.
pub(crate) fn drop_all() -> io::Result<()> {
    if Control::NoCapabilities.applies() {
        drop_capabilities()?;
    }
    if Control::NoNewPrivileges.applies() {
        set_no_new_privs(true)?;
    }
    Ok(())
}

fn drop_capabilities() -> io::Result<()> {
    let locked = CapabilitiesSecureBits::NO_ROOT
        | CapabilitiesSecureBits::NO_ROOT_LOCKED
        | CapabilitiesSecureBits::NO_SETUID_FIXUP
        | CapabilitiesSecureBits::NO_SETUID_FIXUP_LOCKED
        | CapabilitiesSecureBits::KEEP_CAPS_LOCKED
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
        | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED;
    for number in 0..=NUMBERS_MAX {
        if !drop_from_bounding_set(number)? {
            break;
        }
    }
    set_capabilities_secure_bits(locked)?;
    rustix::thread::clear_ambient_capability_set()?;
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none)?;
    Ok(())
}

/// `false` when the kernel has no capability of this number.
fn drop_from_bounding_set(number: u32) -> io::Result<bool> {
    #[expect(
        unsafe_code,
        reason = "the safe binding knows only the capabilities of its own day"
    )]
    // SAFETY: changes this thread's credentials, touches no memory.
    let done = unsafe { libc::prctl(libc::PR_CAPBSET_DROP, libc::c_ulong::from(number), 0, 0, 0) };
    if done == 0 {
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::EINVAL) {
        Ok(false)
    } else {
        Err(error)
    }
}

/// Leaves the session keyring of whoever started us for an empty one.
pub(crate) fn fresh_keyring() -> io::Result<()> {
    if !Control::OwnKeyring.applies() {
        return Ok(());
    }
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    let name: *const libc::c_char = std::ptr::null();
    #[expect(unsafe_code, reason = "no safe binding of keyctl")]
    // SAFETY: a null name asks for an anonymous keyring; nothing is read or written.
    let done = unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name) };
    if done >= 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    // A kernel without keyrings has none to inherit.
    if error.raw_os_error() == Some(libc::ENOSYS) {
        Ok(())
    } else {
        Err(error)
    }
}
