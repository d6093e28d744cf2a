//! Takes out of a message what its schema does not know, at every depth.

use std::borrow::Cow;

use prost::Message as _;
use prost_reflect::{DynamicMessage, MessageDescriptor, ReflectMessage as _, Value};

use super::{DEPTH_MAX, Refused, Unknown, decode};

const ANY: &str = "google.protobuf.Any";
/// The one spelling of where kinds of `Any` are named.
const PREFIX: &str = "type.googleapis.com/";

/// Cleans a message and all that is in it.
pub(super) fn clean(
    message: &mut DynamicMessage,
    unknown: Unknown,
    depth: usize,
) -> Result<(), Refused> {
    if depth >= DEPTH_MAX {
        return Err(Refused::Deep);
    }
    // Counted to the end: they are taken one by one.
    let unknown_fields = message.take_unknown_fields().count();
    if unknown_fields > 0 && unknown == Unknown::Refuse {
        let kind = message.descriptor().full_name().to_owned();
        return Err(Refused::Unknown(kind));
    }
    if is_any(&message.descriptor()) {
        return clean_any(message, unknown, depth);
    }
    for (_, value) in message.fields_mut() {
        clean_value(value, unknown, depth)?;
    }
    for (_, value) in message.extensions_mut() {
        clean_value(value, unknown, depth)?;
    }
    Ok(())
}

fn clean_value(value: &mut Value, unknown: Unknown, depth: usize) -> Result<(), Refused> {
    match value {
        Value::Message(message) => clean(message, unknown, depth + 1),
        Value::List(items) => items
            .iter_mut()
            .try_for_each(|item| clean_value(item, unknown, depth)),
        Value::Map(entries) => entries
            .values_mut()
            .try_for_each(|entry| clean_value(entry, unknown, depth)),
        Value::Bool(_)
        | Value::I32(_)
        | Value::I64(_)
        | Value::U32(_)
        | Value::U64(_)
        | Value::F32(_)
        | Value::F64(_)
        | Value::String(_)
        | Value::Bytes(_)
        | Value::EnumNumber(_) => Ok(()),
    }
}

/// Whether messages of this kind hold one of another.
pub(super) fn is_any(kind: &MessageDescriptor) -> bool {
    kind.full_name() == ANY
}

fn clean_any(any: &mut DynamicMessage, unknown: Unknown, depth: usize) -> Result<(), Refused> {
    let Some(mut held) = held(any)? else {
        return Ok(());
    };
    clean(&mut held, unknown, depth + 1)?;
    hold(any, &held);
    Ok(())
}

/// The message in an `Any`; none in an empty one.
pub(super) fn held(any: &DynamicMessage) -> Result<Option<DynamicMessage>, Refused> {
    let url = any.get_field_by_name("type_url");
    let url = url.as_deref().and_then(Value::as_str).unwrap_or_default();
    let bytes = any.get_field_by_name("value");
    let bytes: Cow<'_, [u8]> = match bytes.as_deref().and_then(Value::as_bytes) {
        Some(bytes) => Cow::Borrowed(bytes),
        None => Cow::Borrowed(&[]),
    };
    if url.is_empty() && bytes.is_empty() {
        return Ok(None);
    }
    let name = url.rsplit_once('/').map_or("", |(_, name)| name);
    let pool = any.descriptor().parent_pool().clone();
    let kind = pool.get_message_by_name(name).ok_or(Refused::Opaque)?;
    decode(&kind, &bytes).map(Some)
}

/// Puts a message into an `Any`.
pub(super) fn hold(any: &mut DynamicMessage, held: &DynamicMessage) {
    let url = format!("{PREFIX}{}", held.descriptor().full_name());
    any.set_field_by_name("type_url", Value::String(url));
    any.set_field_by_name("value", Value::Bytes(held.encode_to_vec().into()));
}
