//! Operations: what a session may call, by the names that routes ask for.

use std::collections::BTreeSet;
use std::fmt;

use sandgate_types::{Malformed, RouteName};

/// The most operations of one list; a token has to fit into a header.
pub const OPERATIONS_MAX: usize = 64;
/// What stands alone in a list that grants everything.
const ALL: &str = "*";

/// The name of an operation, a DNS label.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Operation(RouteName);

/// A set of operations, or all there are and will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operations {
    /// All.
    All,
    /// These.
    Only(BTreeSet<Operation>),
}

impl Operation {
    /// Reads a name from the request field or configuration key `field`.
    ///
    /// # Errors
    /// The field and the rule that the text breaks.
    pub fn parse(field: &str, text: &str) -> Result<Self, Malformed> {
        // Routes name operations, so both have the same alphabet.
        RouteName::parse(field, text).map(Self)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::borrow::Borrow<str> for Operation {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl Operations {
    /// None.
    pub const fn none() -> Self {
        Self::Only(BTreeSet::new())
    }

    /// Reads a list from the request field or configuration key `field`: names, or `*` alone.
    ///
    /// # Errors
    /// The field, when there are too many, one is no name, one is there twice or `*` is not alone.
    pub fn parse<T: AsRef<str>>(field: &str, names: &[T]) -> Result<Self, Malformed> {
        if names.len() > OPERATIONS_MAX {
            return Err(Malformed::new(
                field,
                format!("must have at most {OPERATIONS_MAX} entries"),
            ));
        }
        if let [only] = names
            && only.as_ref() == ALL
        {
            return Ok(Self::All);
        }
        let mut set = BTreeSet::new();
        for (index, name) in names.iter().enumerate() {
            let place = || format!("{field}[{index}]");
            if name.as_ref() == ALL {
                return Err(Malformed::new(
                    place(),
                    "must not be '*' beside other entries",
                ));
            }
            let operation = Operation::parse(field, name.as_ref())
                .or_else(|_| Operation::parse(&place(), name.as_ref()))?;
            if !set.insert(operation) {
                return Err(Malformed::new(place(), "must not repeat an entry"));
            }
        }
        Ok(Self::Only(set))
    }

    /// The list, sorted; `*` alone for all.
    pub fn to_list(&self) -> Vec<String> {
        self.names().map(str::to_owned).collect()
    }

    /// [`Operations::to_list`], name by name.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let (all, some) = match self {
            Self::All => (Some(ALL), None),
            Self::Only(set) => (None, Some(set)),
        };
        let some = some.into_iter().flatten().map(Operation::as_str);
        all.into_iter().chain(some)
    }

    /// Whether `operation` is among them.
    pub fn allow(&self, operation: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(set) => set.contains(operation),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::All => false,
            Self::Only(set) => set.is_empty(),
        }
    }

    /// What both have.
    #[must_use]
    pub fn intersect(self, other: &Self) -> Self {
        match (self, other) {
            (Self::All, rest) => rest.clone(),
            (rest, Self::All) => rest,
            (Self::Only(mut one), Self::Only(two)) => {
                one.retain(|operation| two.contains(operation));
                Self::Only(one)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Operations {
        Operations::parse("operations", names).expect("a list")
    }

    #[test]
    fn all_is_neutral_and_none_wins() {
        assert_eq!(
            Operations::All.intersect(&list(&["a", "b"])),
            list(&["a", "b"])
        );
        assert_eq!(
            list(&["a", "b"]).intersect(&list(&["b", "c"])),
            list(&["b"])
        );
        assert!(Operations::All.intersect(&Operations::none()).is_empty());
    }

    #[test]
    fn a_star_beside_others_a_repetition_and_a_wrong_name_are_refused_by_place() {
        for (names, place) in [
            (vec!["a", "*"], "operations[1]"),
            (vec!["a", "a"], "operations[1]"),
            (vec!["A"], "operations[0]"),
            (vec!["*", "*"], "operations[0]"),
        ] {
            assert_eq!(
                Operations::parse("operations", &names)
                    .expect_err("refused")
                    .field(),
                place
            );
        }
        let many: Vec<String> = (0..=OPERATIONS_MAX).map(|n| format!("o{n}")).collect();
        assert!(Operations::parse("operations", &many).is_err());
    }

    #[test]
    fn a_star_allows_what_nobody_thought_of() {
        assert!(list(&["*"]).allow("anything"));
        assert!(!list(&["a"]).allow("*"));
    }
}
