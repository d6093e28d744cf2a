//! The members of a JSON object as they were written: a parser that keeps duplicates, so that they can be
//! refused, and knows only the three types that our issuer emits.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::TokenRefusal;

/// More members than anything of ours has; bounds the search for duplicates.
const MEMBERS_MAX: usize = 32;

/// A value of a claim or header member.
#[derive(Debug)]
enum Value {
    Number(i64),
    Text(String),
    List(Vec<String>),
}

/// The members of one object, in their order.
#[derive(Debug)]
pub(crate) struct Fields(Vec<(String, Value)>);

impl Fields {
    /// Reads one object and nothing after it.
    pub(crate) fn read(json: &[u8]) -> Result<Self, TokenRefusal> {
        let fields: Self = serde_json::from_slice(json).map_err(|error| {
            if error.is_data() {
                TokenRefusal::ClaimMalformed
            } else {
                TokenRefusal::Malformed
            }
        })?;
        for (index, (name, _)) in fields.0.iter().enumerate() {
            if fields.0[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(TokenRefusal::ClaimDuplicate);
            }
        }
        Ok(fields)
    }

    fn take(&mut self, name: &str) -> Result<Value, TokenRefusal> {
        let index = self
            .0
            .iter()
            .position(|(field, _)| field == name)
            .ok_or(TokenRefusal::ClaimMissing)?;
        Ok(self.0.swap_remove(index).1)
    }

    pub(crate) fn text(&mut self, name: &str) -> Result<String, TokenRefusal> {
        match self.take(name)? {
            Value::Text(text) => Ok(text),
            Value::Number(_) | Value::List(_) => Err(TokenRefusal::ClaimMalformed),
        }
    }

    pub(crate) fn number(&mut self, name: &str) -> Result<i64, TokenRefusal> {
        match self.take(name)? {
            Value::Number(number) => Ok(number),
            Value::Text(_) | Value::List(_) => Err(TokenRefusal::ClaimMalformed),
        }
    }

    pub(crate) fn list(&mut self, name: &str) -> Result<Vec<String>, TokenRefusal> {
        match self.take(name)? {
            Value::List(list) => Ok(list),
            Value::Text(_) | Value::Number(_) => Err(TokenRefusal::ClaimMalformed),
        }
    }

    /// Refuses what nobody took.
    pub(crate) fn end(self) -> Result<(), TokenRefusal> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(TokenRefusal::ClaimUnknown)
        }
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    if fields.len() == MEMBERS_MAX {
                        return Err(A::Error::custom("too many members"));
                    }
                    fields.push(entry);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number, a text or a list of texts")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
                Ok(Value::Number(number))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
                i64::try_from(number).map(Value::Number).map_err(E::custom)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
                Ok(Value::Text(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Value::List(texts))
            }
        }
        deserializer.deserialize_any(Any)
    }
}
