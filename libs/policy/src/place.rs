//! On which line of a document a path stands, so that whoever wrote it finds it.
//!
//! The parser knows lines only while it reads, and tells them with its errors. So the document is read again, along
//! the path, up to an error that is raised on purpose where the path ends.

use std::fmt;

use sandgate_types::{Malformed, Violations};
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

/// Problems that are placed; each costs a reading of the document, and nobody mends more in one go.
const PLACED_MAX: usize = 16;
/// What is larger is not read again for a line.
const DOCUMENT_MAX_BYTES: usize = 1024 * 1024;

/// Adds the line to each of the first problems.
pub fn with_lines(violations: &Violations, text: &str) -> Violations {
    let mut placed = Violations::new();
    for (index, problem) in violations.iter().enumerate() {
        let line = (index < PLACED_MAX && text.len() <= DOCUMENT_MAX_BYTES)
            .then(|| line_of(text, problem.field()))
            .flatten();
        placed.push(match line {
            Some(line) => {
                let rule = format!("{} (line {line})", problem.rule());
                Malformed::new(problem.field(), rule)
            }
            None => problem.clone(),
        });
    }
    placed
}

/// The line of a path like `routes[1].upstream.url`, or of as much of it as is there.
fn line_of(text: &str, path: &str) -> Option<usize> {
    let steps = steps_of(path);
    (1..=steps.len()).rev().find_map(|length| {
        let walk = Walk {
            steps: steps.get(..length)?,
        };
        let stopped = walk.deserialize(serde_yaml_ng::Deserializer::from_str(text));
        Some(stopped.err()?.location()?.line())
    })
}

enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

fn steps_of(path: &str) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let (key, indices) = part.split_once('[').unwrap_or((part, ""));
        steps.push(Step::Key(key));
        let indices = indices.split('[').map(|index| index.trim_end_matches(']'));
        steps.extend(indices.filter_map(|index| index.parse().ok().map(Step::Index)));
    }
    steps
}

/// Reads along the steps and fails where they end; it succeeds where they lead nowhere.
struct Walk<'a> {
    steps: &'a [Step<'a>],
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("the end of the path")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((Step::Key(wanted), rest)) = self.steps.split_first() else {
            return Err(A::Error::custom("here"));
        };
        let key = Key {
            wanted,
            is_last: rest.is_empty(),
        };
        while let Some(is_it) = map.next_key_seed(&key)? {
            if is_it {
                map.next_value_seed(Walk { steps: rest })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Some((Step::Index(wanted), rest)) = self.steps.split_first() else {
            return Err(A::Error::custom("here"));
        };
        for _ in 0..*wanted {
            if list.next_element::<IgnoredAny>()?.is_none() {
                return Ok(());
            }
        }
        list.next_element_seed(Walk { steps: rest })?;
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// Tells whether a key is the wanted one, and fails at it where the path ends with it.
struct Key<'a> {
    wanted: &'a str,
    is_last: bool,
}

impl<'de> DeserializeSeed<'de> for &Key<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for &Key<'_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> Result<bool, E> {
        let is_it = key == self.wanted;
        if is_it && self.is_last {
            Err(E::custom("here"))
        } else {
            Ok(is_it)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
version: 1
routes:
- name: a
  http: { methods: [GET,
      POST] }
-
  name: b
  upstream:
    url: x
  12: number
";

    #[test]
    fn a_path_stands_where_its_key_is_written() {
        for (path, line) in [
            ("version", Some(1)),
            ("routes", Some(2)),
            ("routes[0]", Some(3)),
            ("routes[0].http.methods[1]", Some(5)),
            ("routes[1].name", Some(7)),
            ("routes[1].upstream.url", Some(9)),
            // What is missing is where it belongs.
            ("routes[1].upstream.tls_name", Some(8)),
            ("routes[0].operation", Some(3)),
            ("routes[7].operation", Some(2)),
            ("policy", None),
            ("", None),
        ] {
            assert_eq!(line_of(TEXT, path), line, "{path}");
        }
    }
}
