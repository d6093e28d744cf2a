//! Why a value from outside was refused: the field, and the rule that it broke.

use std::fmt;

/// A value that broke a rule, named by its field.
///
/// The text states the rule and never repeats the value: a value from outside may be a secret, or an
/// attack on whoever reads the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {rule}")]
pub struct Malformed {
    field: String,
    rule: String,
}

impl Malformed {
    /// States that `field` (its path in the request, or its key in a file) broke `rule`, which reads on
    /// after the field's name: `"must not be empty"`.
    pub fn new(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            rule: rule.into(),
        }
    }

    /// The path of the field.
    pub fn field(&self) -> &str {
        &self.field
    }

    /// The rule that it broke.
    pub fn rule(&self) -> &str {
        &self.rule
    }

    /// The same refusal, seen from the message that holds the field.
    #[must_use]
    pub fn within(self, parent: &str) -> Self {
        Self {
            field: format!("{parent}.{}", self.field),
            rule: self.rule,
        }
    }
}

/// Every rule that one document or request broke, so that its author mends all of them in one go.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
pub struct Violations(Vec<Malformed>);

impl Violations {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes one more.
    pub fn push(&mut self, malformed: Malformed) {
        self.0.push(malformed);
    }

    /// Keeps the value, or notes why there is none.
    pub fn check<T>(&mut self, result: Result<T, Malformed>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(malformed) => {
                self.0.push(malformed);
                None
            }
        }
    }

    /// Each refusal, in the order in which it was noted.
    pub fn iter(&self) -> impl Iterator<Item = &Malformed> {
        self.0.iter()
    }

    /// Whether nothing was refused.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `value`, unless something was refused.
    ///
    /// # Errors
    /// All that was noted.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(self)
        }
    }
}

impl From<Malformed> for Violations {
    fn from(malformed: Malformed) -> Self {
        Self(vec![malformed])
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, malformed) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{malformed}")?;
        }
        Ok(())
    }
}
