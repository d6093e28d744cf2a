//! Walks a YAML document and notes every problem by its path, where serde would stop at the first.

use std::collections::BTreeMap;

use sandgate_types::{Malformed, Violations};
use serde_yaml_ng::Value;

/// A mapping of the document, whose keys are taken one by one; what is left is unknown.
pub(crate) struct Section {
    path: String,
    values: BTreeMap<String, Value>,
}

impl Section {
    /// The mapping at `path`; anything else is noted.
    pub(crate) fn open(path: &str, value: Value, violations: &mut Violations) -> Option<Self> {
        let Value::Mapping(mapping) = value else {
            violations.push(Malformed::new(path, "must be a mapping of keys"));
            return None;
        };
        let mut values = BTreeMap::new();
        for (key, value) in mapping {
            match key {
                Value::String(key) => {
                    values.insert(key, value);
                }
                Value::Null
                | Value::Bool(_)
                | Value::Number(_)
                | Value::Sequence(_)
                | Value::Mapping(_)
                | Value::Tagged(_) => {
                    violations.push(Malformed::new(path, "must have keys that are text"));
                }
            }
        }
        Some(Self {
            path: path.to_owned(),
            values,
        })
    }

    /// The path of a key in here.
    pub(crate) fn path(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// Whether a key is there.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// Takes a value out.
    pub(crate) fn take(&mut self, key: &str) -> Option<Value> {
        self.values.remove(key)
    }

    /// Takes text out; another kind of value is noted.
    pub(crate) fn text(&mut self, key: &str, violations: &mut Violations) -> Option<String> {
        let value = self.take(key)?;
        text(&self.path(key), value, violations)
    }

    /// Takes text out that has to be there.
    pub(crate) fn required(&mut self, key: &str, violations: &mut Violations) -> Option<String> {
        if !self.values.contains_key(key) {
            violations.push(Malformed::new(self.path(key), "must be given"));
        }
        self.text(key, violations)
    }

    /// Takes a mapping out.
    pub(crate) fn section(&mut self, key: &str, violations: &mut Violations) -> Option<Self> {
        let value = self.take(key)?;
        Self::open(&self.path(key), value, violations)
    }

    /// Takes a list out, each value with its path.
    pub(crate) fn list(
        &mut self,
        key: &str,
        violations: &mut Violations,
    ) -> Option<Vec<(String, Value)>> {
        let value = self.take(key)?;
        let path = self.path(key);
        let Value::Sequence(values) = value else {
            violations.push(Malformed::new(path, "must be a list"));
            return None;
        };
        let numbered = values
            .into_iter()
            .enumerate()
            .map(|(index, value)| (format!("{path}[{index}]"), value));
        Some(numbered.collect())
    }

    /// Takes a list of text out, each with its path; none where the key is absent.
    pub(crate) fn texts(
        &mut self,
        key: &str,
        violations: &mut Violations,
    ) -> Vec<(String, String)> {
        let mut texts = Vec::new();
        for (path, value) in self.list(key, violations).unwrap_or_default() {
            if let Some(value) = text(&path, value, violations) {
                texts.push((path, value));
            }
        }
        texts
    }

    /// Takes a mapping of text out, each with its key.
    pub(crate) fn pairs(
        &mut self,
        key: &str,
        violations: &mut Violations,
    ) -> Vec<(String, String)> {
        let Some(section) = self.section(key, violations) else {
            return Vec::new();
        };
        let mut pairs = Vec::new();
        for (name, value) in section.values {
            let path = format!("{}.{name}", section.path);
            if let Some(value) = text(&path, value, violations) {
                pairs.push((name, value));
            }
        }
        pairs
    }

    /// Takes `true` or `false` out; `false` where the key is absent.
    pub(crate) fn flag(&mut self, key: &str, violations: &mut Violations) -> bool {
        let Some(value) = self.take(key) else {
            return false;
        };
        value.as_bool().unwrap_or_else(|| {
            violations.push(Malformed::new(self.path(key), "must be true or false"));
            false
        })
    }

    /// Takes a positive whole number out.
    pub(crate) fn number(&mut self, key: &str, violations: &mut Violations) -> Option<u32> {
        let value = self.take(key)?;
        let number = value
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| *number > 0);
        if number.is_none() {
            let rule = format!("must be a whole number from 1 to {}", u32::MAX);
            violations.push(Malformed::new(self.path(key), rule));
        }
        number
    }

    /// Notes what nobody took: keys that are planned and not built, and keys that are unknown.
    pub(crate) fn close(self, unbuilt: &[&str], violations: &mut Violations) {
        for key in self.values.keys() {
            let rule = if unbuilt.contains(&key.as_str()) {
                "is not built in this version of the gate, which refuses it rather than ignore it"
            } else {
                "is no key of the policy; see docs/policy.md"
            };
            let path = self.path(&shown(key));
            violations.push(Malformed::new(path, rule));
        }
    }
}

/// A key as it may stand in a message: cut to length, without what a terminal would obey.
fn shown(key: &str) -> String {
    key.chars()
        .filter(|character| !character.is_control())
        .take(64)
        .collect()
}

fn text(path: &str, value: Value, violations: &mut Violations) -> Option<String> {
    let Value::String(text) = value else {
        violations.push(Malformed::new(path, "must be text"));
        return None;
    };
    Some(text)
}
