//! Environments of starts: held in memory until an instance has them, never stored and never said.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use parking_lot::Mutex;
use sandgate_types::SandboxId;

/// Variables for every process of a sandbox. Their values are in no message and no log.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Environment(BTreeMap<String, String>);

impl Environment {
    pub(crate) fn new(variables: BTreeMap<String, String>) -> Self {
        Self(variables)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their names, in order.
    pub(crate) fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Environment({} variables)", self.0.len())
    }
}

/// Those that no keeper has taken yet.
#[derive(Debug, Default)]
pub(crate) struct Environments(Mutex<HashMap<SandboxId, Environment>>);

impl Environments {
    /// Keeps one, if there is anything in it.
    pub(crate) fn keep(&self, id: &SandboxId, environment: Environment) {
        if !environment.is_empty() {
            self.0.lock().insert(id.clone(), environment);
        }
    }

    /// Whether a sandbox's is here.
    pub(crate) fn holds(&self, id: &SandboxId) -> bool {
        self.0.lock().contains_key(id)
    }

    /// Whether a sandbox's is here, and is this one.
    pub(crate) fn holds_this(&self, id: &SandboxId, environment: &Environment) -> bool {
        self.0.lock().get(id) == Some(environment)
    }

    /// A sandbox's variables; none when it has none.
    pub(crate) fn variables(&self, id: &SandboxId) -> BTreeMap<String, String> {
        let held = self.0.lock().get(id).cloned();
        held.unwrap_or_default().0
    }

    /// Nobody waits for it any more.
    pub(crate) fn forget(&self, id: &SandboxId) {
        self.0.lock().remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_never_said() {
        let variables = BTreeMap::from([("NAME".to_owned(), "hunter2".to_owned())]);
        let said = format!("{:?}", Environment::new(variables));
        assert_eq!(said, "Environment(1 variables)");
    }
}
