//! What is bound to a statement: text, numbers and bytes, each of which may be NULL.

use sandgate_types::Timestamp;

/// One bound value. A NULL has a type too, since Postgres asks for it.
#[derive(Clone, PartialEq, Eq)]
pub enum Value {
    /// TEXT.
    Text(Option<String>),
    /// BIGINT; times are microseconds.
    Integer(Option<i64>),
    /// BYTEA, or BLOB.
    Bytes(Option<Vec<u8>>),
}

/// Values may be secrets, so only their kind is shown.
impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "text",
            Self::Integer(_) => "integer",
            Self::Bytes(_) => "bytes",
        })
    }
}

/// Borrows a list of values for one statement: `params![id.as_str(), at, None::<i64>]`.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$($crate::Value::from($value)),*] as &[$crate::Value] };
}

macro_rules! from {
    ($($source:ty => $variant:ident, $convert:expr;)*) => {
        $(
            impl From<$source> for Value {
                fn from(value: $source) -> Self {
                    let convert: fn($source) -> _ = $convert;
                    Self::$variant(Some(convert(value)))
                }
            }
            impl From<Option<$source>> for Value {
                fn from(value: Option<$source>) -> Self {
                    let convert: fn($source) -> _ = $convert;
                    Self::$variant(value.map(convert))
                }
            }
        )*
    };
}

from! {
    &str => Text, str::to_owned;
    String => Text, |value| value;
    &String => Text, Clone::clone;
    i64 => Integer, |value| value;
    i32 => Integer, i64::from;
    u32 => Integer, i64::from;
    bool => Integer, i64::from;
    Timestamp => Integer, Timestamp::as_micros;
    Vec<u8> => Bytes, |value| value;
    &[u8] => Bytes, <[u8]>::to_vec;
    &Vec<u8> => Bytes, Clone::clone;
    [u8; 32] => Bytes, |value| value.to_vec();
    &[u8; 32] => Bytes, |value| value.to_vec();
}
