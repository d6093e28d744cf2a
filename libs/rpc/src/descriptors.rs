//! How many descriptors this process may have: every connection takes one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of descriptors as far as this process may, and answers what it is then. The usual limit is
/// for programs that wait by `select`; those started later have their own where they are bounded.
pub fn raise_descriptor_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let raised = Rlimit {
            current: maximum,
            maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::debug!(%error, "the limit of descriptors stays as it was");
        }
    }
    descriptor_limit()
}

/// How many descriptors this process may have.
pub fn descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_as_many_as_it_may_have() {
        let raised = raise_descriptor_limit();
        let most = getrlimit(Resource::Nofile).maximum;
        assert_eq!(raised, most.unwrap_or(u64::MAX));
        assert_eq!(descriptor_limit(), raised);
    }
}
