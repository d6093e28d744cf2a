//! Where in a message a claim is written: fields by their names, through messages, lists, maps and `Any`.

use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind as FieldKind, MessageDescriptor, ReflectMessage as _,
    Value,
};

use super::clean::{held, hold, is_any};
use super::{DEPTH_MAX, Kind, Refused, Schema};

/// A place in messages of one kind: `header.caller.user`, `calls.user` in each item of a list and each value of a
/// map, `payload.[pkg.Order].user` in the message of an `Any`, where it is of that kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Field(FieldDescriptor),
    /// In the message of an `Any`, where it is of this kind.
    Held(MessageDescriptor),
}

/// Why a text is no place in messages of a kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// A field is not there.
    #[error("must name fields of the message: {1} has no field {0}")]
    Field(String, String),
    /// What follows is not in a message.
    #[error("must lead through messages only: {0} is none")]
    NoMessage(String),
    /// Behind an `Any` there is no kind, or one that the schema does not know.
    #[error("must name the kind of the message in an Any, like payload.[package.Message].user")]
    Any,
    /// It does not end in one text.
    #[error("must end in a string field that is not repeated: {0} is none")]
    NoText(String),
    /// It is too long.
    #[error("must have at most {DEPTH_MAX} steps")]
    Deep,
}

impl Place {
    /// Reads a place in messages of a kind.
    ///
    /// # Errors
    /// What it must be.
    pub fn parse(schema: &Schema, kind: &Kind, text: &str) -> Result<Self, PlaceError> {
        let mut steps = Vec::new();
        let mut inside = Some(kind.0.clone());
        let mut last = text.to_owned();
        for part in parts(text) {
            if steps.len() >= DEPTH_MAX {
                return Err(PlaceError::Deep);
            }
            let message = inside.ok_or_else(|| PlaceError::NoMessage(last.clone()))?;
            let named = part
                .strip_prefix('[')
                .and_then(|part| part.strip_suffix(']'));
            let step = if is_any(&message) {
                let name = named.ok_or(PlaceError::Any)?;
                let held = schema.0.get_message_by_name(name).ok_or(PlaceError::Any)?;
                inside = Some(held.clone());
                Step::Held(held)
            } else {
                let field = message.get_field_by_name(part);
                let field = field.ok_or_else(|| {
                    PlaceError::Field(part.to_owned(), message.full_name().to_owned())
                })?;
                inside = message_of(&field);
                Step::Field(field)
            };
            part.clone_into(&mut last);
            steps.push(step);
        }
        let ends_well = matches!(
            steps.last(),
            Some(Step::Field(field)) if field.kind() == FieldKind::String && !field.is_list()
        );
        if ends_well {
            Ok(Self { steps })
        } else {
            Err(PlaceError::NoText(last))
        }
    }

    /// Whether this leads to the other, or to something that holds it.
    #[must_use]
    pub fn is_above(&self, other: &Self) -> bool {
        other.steps.starts_with(&self.steps)
    }

    /// Writes `text` there. Messages on the way are made where none is, but for members of a oneof and what an
    /// `Any`, a list or a map does not hold: to make those would change what is asked.
    pub(super) fn set(&self, message: &mut DynamicMessage, text: &str) -> Result<(), Refused> {
        set(message, &self.steps, text)
    }
}

/// Splits at dots that are not within brackets.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut is_inside = false;
    text.split(move |character| {
        is_inside = match character {
            '[' => true,
            ']' => false,
            _ => is_inside,
        };
        character == '.' && !is_inside
    })
}

/// The kind of the messages in a field, in its list or in its map.
fn message_of(field: &FieldDescriptor) -> Option<MessageDescriptor> {
    let kind = field.kind();
    let message = kind.as_message()?;
    if field.is_map() {
        let value = message.map_entry_value_field();
        return value.kind().as_message().cloned();
    }
    Some(message.clone())
}

fn set(message: &mut DynamicMessage, steps: &[Step], text: &str) -> Result<(), Refused> {
    match steps {
        [] => Ok(()),
        [Step::Held(kind), rest @ ..] => {
            let Some(mut inner) = held(message)? else {
                return Ok(());
            };
            if inner.descriptor() == *kind {
                set(&mut inner, rest, text)?;
                hold(message, &inner);
            }
            Ok(())
        }
        [Step::Field(field), rest @ ..] => {
            // An optional field is in a oneof of its own, which nobody wrote.
            let is_choice = field
                .containing_oneof()
                .is_some_and(|oneof| !oneof.is_synthetic());
            if is_choice && !message.has_field(field) {
                return Ok(());
            }
            if rest.is_empty() {
                message.set_field(field, Value::String(text.to_owned()));
                return Ok(());
            }
            if matches!(rest, [Step::Held(_), ..]) && !message.has_field(field) {
                return Ok(());
            }
            match message.get_field_mut(field) {
                Value::List(items) => items.iter_mut().try_for_each(|item| into(item, rest, text)),
                Value::Map(entries) => entries
                    .values_mut()
                    .try_for_each(|entry| into(entry, rest, text)),
                single @ (Value::Message(_)
                | Value::Bool(_)
                | Value::I32(_)
                | Value::I64(_)
                | Value::U32(_)
                | Value::U64(_)
                | Value::F32(_)
                | Value::F64(_)
                | Value::String(_)
                | Value::Bytes(_)
                | Value::EnumNumber(_)) => into(single, rest, text),
            }
        }
    }
}

fn into(value: &mut Value, steps: &[Step], text: &str) -> Result<(), Refused> {
    if let Value::Message(inner) = value {
        set(inner, steps, text)
    } else {
        // `Place::parse` has seen that there are messages on the way.
        Err(Refused::Opaque)
    }
}
