//! Protobuf messages: decoded by the schema of their method, cleaned, and encoded anew.
//!
//! Decoding decides what a message means where its bytes leave a choice: the last of two values, two halves of a
//! message put together, members of a oneof, packed numbers or single ones. What goes on is one encoding of that, so
//! that no reader can decide otherwise. What the schema does not know (fields, and messages in an `Any`) means
//! something to somebody else only, and is dropped or refused.

mod clean;
mod place;

use prost::Message as _;
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};

pub use place::{Place, PlaceError};

/// A set of descriptors larger than this is that of another product.
pub const SCHEMA_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Messages inside of messages, as every decoder of prost bounds it; those of an `Any` count on.
const DEPTH_MAX: usize = 64;

/// The descriptors by which messages are read: a `FileDescriptorSet`, as `protoc --include_imports
/// --descriptor_set_out` and `buf build` write it.
#[derive(Debug, Clone)]
pub struct Schema(DescriptorPool);

/// Why bytes are no schema, or not of this method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// It is too large.
    #[error("must have at most {SCHEMA_MAX_BYTES} bytes")]
    Large,
    /// It is no set of descriptors, or one that lacks what it imports.
    #[error("must be a set of descriptors with all that it imports")]
    Form,
    /// The method is not in it.
    #[error("must describe the method")]
    Method,
}

impl Schema {
    /// Reads a set of descriptors.
    ///
    /// # Errors
    /// What it must be.
    pub fn read(bytes: &[u8]) -> Result<Self, SchemaError> {
        if bytes.len() > SCHEMA_MAX_BYTES {
            return Err(SchemaError::Large);
        }
        let pool = DescriptorPool::decode(bytes).map_err(|_| SchemaError::Form)?;
        Ok(Self(pool))
    }

    /// What a method, `/package.Service/Method`, is asked with.
    ///
    /// # Errors
    /// [`SchemaError::Method`], when it is not described.
    pub fn request_of(&self, path: &str) -> Result<Kind, SchemaError> {
        let named = path.trim_start_matches('/').split_once('/');
        let (service, method) = named.ok_or(SchemaError::Method)?;
        let service = self.0.get_service_by_name(service);
        let service = service.ok_or(SchemaError::Method)?;
        let mut methods = service.methods();
        let method = methods.find(|found| found.name() == method);
        Ok(Kind(method.ok_or(SchemaError::Method)?.input()))
    }
}

/// The kind of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kind(MessageDescriptor);

/// What becomes of fields that the schema does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// They do not go on.
    Drop,
    /// A message that has one does not go on.
    Refuse,
}

/// Why a message is refused. None of it repeats the message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is no message of this kind.
    #[error("must be a {0}")]
    Form(String),
    /// It has a field that the schema does not know.
    #[error("must not have fields that the schema does not know (in {0})")]
    Unknown(String),
    /// It has an `Any` of a kind that the schema does not know, or that is none.
    #[error("must not have an Any of a kind that the schema does not know")]
    Opaque,
    /// It is nested too deeply.
    #[error("must be nested at most {DEPTH_MAX} deep")]
    Deep,
}

/// Reads, cleans and writes messages of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewriter {
    kind: Kind,
    unknown: Unknown,
    places: Vec<Place>,
}

impl Rewriter {
    /// For messages of this kind, in which something is written at each of the places.
    #[must_use]
    pub fn new(kind: Kind, unknown: Unknown, places: Vec<Place>) -> Self {
        Self {
            kind,
            unknown,
            places,
        }
    }

    /// The message as it goes on, with the texts written at the places, in their order.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn rewrite<'t>(
        &self,
        message: &[u8],
        texts: impl IntoIterator<Item = &'t str>,
    ) -> Result<Vec<u8>, Refused> {
        let kind = &self.kind.0;
        let mut decoded = decode(kind, message)?;
        clean::clean(&mut decoded, self.unknown, 0)?;
        for (place, text) in self.places.iter().zip(texts) {
            place.set(&mut decoded, text)?;
        }
        Ok(decoded.encode_to_vec())
    }
}

fn decode(kind: &MessageDescriptor, message: &[u8]) -> Result<DynamicMessage, Refused> {
    DynamicMessage::decode(kind.clone(), message)
        .map_err(|_| Refused::Form(kind.full_name().to_owned()))
}

#[cfg(test)]
mod tests;
