//! The controls of a sandbox, by name. Every one of them is applied, always.
//!
//! A binary with the feature `missing-controls`, which no shipped one has, leaves out those that
//! `SANDGATE_WITHOUT` names in its environment. The isolation tests take each away in turn, to see that their
//! probes notice. Only the mount namespace is never left out, since the machine's own mounts would change.

macro_rules! controls {
    ($($(#[doc = $words:literal])+ $name:ident,)+) => {
        /// What keeps a sandbox from something.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Control {
            $($(#[doc = $words])+ $name,)+
        }

        impl Control {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),+];
        }
    };
}

controls! {
    /// A user namespace of its own.
    UserNamespace,
    /// A process namespace of its own.
    ProcessNamespace,
    /// A network namespace of its own.
    NetworkNamespace,
    /// A namespace of its own for System V objects and message queues.
    IpcNamespace,
    /// Names of its own for host and domain.
    NamesNamespace,
    /// A view of its own of control groups.
    GroupNamespace,
    /// A uid on the machine that is nobody else's. An ordinary user has one uid for all.
    OwnUid,
    /// A uid for the keeper that is not the sandbox's.
    KeeperUid,
    /// A uid inside that is not 0.
    UidInside,
    /// The machine's root is left.
    OldRoot,
    /// What is shown of the machine is read-only.
    ReadOnly,
    /// Most of `/proc` is hidden.
    HiddenProc,
    /// Every place that can be written has its size.
    BoundedPlaces,
    /// No descriptor is inherited: not by a daemon, the runner, or a process.
    ClosedDescriptors,
    /// No variable is inherited: not by a daemon, the runner, or a process.
    EmptyEnvironment,
    /// The session keyring of whoever started the mesh is left.
    OwnKeyring,
    /// No capability in any set.
    NoCapabilities,
    /// No privilege is gained by executing something.
    NoNewPrivileges,
    /// The filter of system calls.
    Filter,
    /// The filter's rule for families of sockets.
    FilterSockets,
    /// The filter's rule for keyrings.
    FilterKeyrings,
    /// The filter's rule for namespaces.
    FilterNamespaces,
    /// The filter's rule for mounts.
    FilterMounts,
    /// The filter's rule for contexts of asynchronous input and output, of which a machine has only so many.
    FilterContexts,
    /// The bound on processes.
    BoundedProcesses,
    /// The bound on descriptors.
    BoundedDescriptors,
    /// The bound on memory.
    BoundedMemory,
    /// The bounds on inotify, which the kernel counts for each user.
    BoundedWatchers,
    /// The bound on terminals, which the kernel counts for the machine.
    BoundedTerminals,
    /// The bounds on what connections buffer: each, and all of a sandbox where the kernel counts that.
    BoundedBuffers,
    /// The runner shows itself to no process.
    HiddenRunner,
    /// The keeper shows itself to no process.
    HiddenKeeper,
    /// A sandbox whose ways out are open is not used.
    Trial,
}

pub(crate) use choice::environment;

#[cfg(not(feature = "missing-controls"))]
mod choice {
    //! There is none.

    use std::ffi::CString;

    use super::Control;

    impl Control {
        /// Whether it is applied: always.
        pub const fn applies(self) -> bool {
            true
        }
    }

    /// The environment of a daemon: empty.
    pub(crate) fn environment() -> Vec<CString> {
        Vec::new()
    }
}

#[cfg(feature = "missing-controls")]
mod choice {
    //! What the environment names is left out.

    use std::ffi::{CString, OsString};
    use std::os::unix::ffi::OsStringExt as _;
    use std::sync::OnceLock;

    use super::Control;

    const WITHOUT: &str = "SANDGATE_WITHOUT";

    impl Control {
        /// Whether it is applied: unless the environment names it, by the name of its variant.
        pub fn applies(self) -> bool {
            let name = format!("{self:?}");
            !left_out()
                .to_str()
                .unwrap_or_default()
                .split(',')
                .any(|word| word == name)
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "for tests alone, and before there is a configuration"
    )]
    fn left_out() -> &'static OsString {
        static LEFT_OUT: OnceLock<OsString> = OnceLock::new();
        LEFT_OUT.get_or_init(|| std::env::var_os(WITHOUT).unwrap_or_default())
    }

    /// The environment of a daemon: what it is told of missing controls, or all that was inherited.
    pub(crate) fn environment() -> Vec<CString> {
        let inherited = std::env::vars_os()
            .filter(|(name, _)| name == WITHOUT || !Control::EmptyEnvironment.applies());
        inherited
            .filter_map(|(mut name, value)| {
                name.push("=");
                name.push(value);
                CString::new(name.into_vec()).ok()
            })
            .collect()
    }
}
