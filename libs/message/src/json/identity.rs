//! Writes claims at places of a tree, whatever was there.

use std::fmt;

use super::Json;
use super::parse::DEPTH_MAX;

/// A place in a text: a JSON Pointer (RFC 6901) of which a step may be `*`, for every item of a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pointer {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Member(String),
    Each,
}

/// Why a text is no pointer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PointerError {
    /// It is not of the form.
    #[error("must be a pointer like /metadata/user_id, with ~0 for ~ and ~1 for /")]
    Form,
    /// It leads deeper than any text.
    #[error("must have at most {} steps", DEPTH_MAX - 1)]
    Deep,
    /// It ends in a list's items, which are no members.
    #[error("must end in the name of a member")]
    End,
}

/// Why an identity cannot be written into a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unwritable {
    /// What should hold it is something else.
    #[error("must have an object, or a list where the pointer says *, on the way to {0}")]
    Shape(Pointer),
    /// A member stands beside its place that some readers take for it.
    #[error(
        "must not have a member beside {0} that differs from it by case, hyphens and underscores alone"
    )]
    Alias(Pointer),
}

impl Pointer {
    /// Reads a pointer.
    ///
    /// # Errors
    /// What it must be.
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        let rest = text.strip_prefix('/').ok_or(PointerError::Form)?;
        let mut steps = Vec::new();
        for step in rest.split('/') {
            steps.push(match step {
                "" => return Err(PointerError::Form),
                "*" => Step::Each,
                _ => Step::Member(unescaped(step)?),
            });
        }
        if steps.len() >= DEPTH_MAX {
            return Err(PointerError::Deep);
        }
        match steps.last() {
            Some(Step::Member(_)) => Ok(Self { steps }),
            Some(Step::Each) | None => Err(PointerError::End),
        }
    }

    /// Whether this leads to the other, or to something in it: two such cannot both be written.
    #[must_use]
    pub fn is_above(&self, other: &Self) -> bool {
        other.steps.starts_with(&self.steps)
    }
}

fn unescaped(step: &str) -> Result<String, PointerError> {
    let mut name = String::with_capacity(step.len());
    let mut characters = step.chars();
    while let Some(character) = characters.next() {
        name.push(match character {
            '~' => match characters.next() {
                Some('0') => '~',
                Some('1') => '/',
                Some(_) | None => return Err(PointerError::Form),
            },
            _ => character,
        });
    }
    Ok(name)
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for step in &self.steps {
            match step {
                Step::Member(name) => {
                    write!(f, "/{}", name.replace('~', "~0").replace('/', "~1"))?;
                }
                Step::Each => write!(f, "/*")?,
            }
        }
        Ok(())
    }
}

impl Json {
    /// Writes `text` at a place, over whatever is there. Objects on the way are made where nothing is; items of a
    /// list are those that there are.
    ///
    /// # Errors
    /// [`Unwritable`], when that would not be what every reader finds there; the tree is of no use then.
    pub fn set(&mut self, pointer: &Pointer, text: &str) -> Result<(), Unwritable> {
        set(self, &pointer.steps, pointer, text)
    }
}

fn set(json: &mut Json, steps: &[Step], pointer: &Pointer, text: &str) -> Result<(), Unwritable> {
    let shape = || Unwritable::Shape(pointer.clone());
    match (steps, json) {
        ([], json) => {
            *json = Json::Text(text.to_owned());
            Ok(())
        }
        ([Step::Each, rest @ ..], Json::List(items)) => items
            .iter_mut()
            .try_for_each(|item| set(item, rest, pointer, text)),
        ([Step::Member(name), rest @ ..], Json::Object(members)) => {
            let folded = folded(name);
            let is_alias =
                |(other, _): &(String, Json)| other != name && self::folded(other) == folded;
            if members.iter().any(is_alias) {
                return Err(Unwritable::Alias(pointer.clone()));
            }
            if let Some((_, value)) = members.iter_mut().find(|(other, _)| other == name) {
                return set(value, rest, pointer, text);
            }
            match rest.first() {
                // There are no items.
                Some(Step::Each) => Ok(()),
                Some(Step::Member(_)) | None => {
                    let mut value = Json::Object(Vec::new());
                    set(&mut value, rest, pointer, text)?;
                    members.push((name.clone(), value));
                    Ok(())
                }
            }
        }
        (
            [Step::Each, ..],
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Object(_),
        )
        | (
            [Step::Member(_), ..],
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::List(_),
        ) => Err(shape()),
    }
}

/// A name as the most forgiving reader compares it: some take any case (Go's, by Unicode's simple folding), those of
/// protobuf both `userId` and `user_id`.
fn folded(name: &str) -> String {
    name.chars()
        .filter(|character| !matches!(character, '_' | '-'))
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .collect()
}
