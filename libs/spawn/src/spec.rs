//! What a sandbox may use, and how that is said on a command line.

use std::ffi::OsString;

/// What a sandbox may use. Bytes and counts; each is enforced by the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Bytes of `/workspace`.
    pub workspace: u64,
    /// Bytes of `/home/agent`.
    pub home: u64,
    /// Bytes of `/tmp`.
    pub temporary: u64,
    /// Bytes of `/dev/shm`.
    pub shared_memory: u64,
    /// Processes and threads at a time.
    pub processes: u64,
    /// Descriptors of one process.
    pub descriptors: u64,
    /// Bytes of address space of one process, where nothing better bounds memory.
    pub address_space: Option<u64>,
}

impl Spec {
    /// The specification as arguments of a command line.
    pub fn to_arguments(&self) -> Vec<OsString> {
        let Self {
            workspace,
            home,
            temporary,
            shared_memory,
            processes,
            descriptors,
            address_space,
        } = self;
        [
            workspace,
            home,
            temporary,
            shared_memory,
            processes,
            descriptors,
            &address_space.unwrap_or(0),
        ]
        .into_iter()
        .map(|number| OsString::from(number.to_string()))
        .collect()
    }

    /// Reads what [`Self::to_arguments`] wrote; `None` for anything else.
    pub fn from_arguments(arguments: &[OsString]) -> Option<Self> {
        let numbers: Vec<u64> = arguments
            .iter()
            .map(|word| word.to_str()?.parse().ok())
            .collect::<Option<_>>()?;
        let [
            workspace,
            home,
            temporary,
            shared_memory,
            processes,
            descriptors,
            address_space,
        ] = <[u64; 7]>::try_from(numbers).ok()?;
        Some(Self {
            workspace,
            home,
            temporary,
            shared_memory,
            processes,
            descriptors,
            address_space: (address_space > 0).then_some(address_space),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_specification_survives_the_command_line() {
        let spec = Spec {
            workspace: 1,
            home: 2,
            temporary: 3,
            shared_memory: 4,
            processes: 5,
            descriptors: 6,
            address_space: None,
        };
        assert_eq!(
            Spec::from_arguments(&spec.to_arguments()),
            Some(spec.clone())
        );
        let bounded = Spec {
            address_space: Some(7),
            ..spec
        };
        assert_eq!(Spec::from_arguments(&bounded.to_arguments()), Some(bounded));
        assert_eq!(Spec::from_arguments(&["x".into()]), None);
    }
}
