//! JSON bodies: one tree for each text, or none.
//!
//! The grammar is that of RFC 8259 with what it leaves to readers decided: a member is named once in its object, text
//! is UTF-8 without a byte order mark, escapes are of whole characters, numbers keep their digits. So whoever reads
//! what [`Json::write`] wrote sees what was decided on, whether they take the first or the last of two members, and
//! whatever they make of what is no JSON.

mod identity;
mod parse;

pub use identity::{Pointer, PointerError, Unwritable};
pub use parse::Refused;

/// A JSON text. Members keep their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Json {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, by its digits as they came.
    Number(String),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Json>),
    /// An object; no two members have one name.
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Writes the text, without white space.
    #[must_use]
    pub fn write(&self) -> String {
        let mut text = String::new();
        self.write_to(&mut text);
        text
    }

    // As deep as `parse::DEPTH_MAX` at most: nothing else makes trees.
    fn write_to(&self, to: &mut String) {
        match self {
            Self::Null => to.push_str("null"),
            Self::Bool(true) => to.push_str("true"),
            Self::Bool(false) => to.push_str("false"),
            Self::Number(digits) => to.push_str(digits),
            Self::Text(text) => write_text(text, to),
            Self::List(items) => {
                to.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        to.push(',');
                    }
                    item.write_to(to);
                }
                to.push(']');
            }
            Self::Object(members) => {
                to.push('{');
                for (index, (name, value)) in members.iter().enumerate() {
                    if index > 0 {
                        to.push(',');
                    }
                    write_text(name, to);
                    to.push(':');
                    value.write_to(to);
                }
                to.push('}');
            }
        }
    }
}

fn write_text(text: &str, to: &mut String) {
    to.push('"');
    for character in text.chars() {
        match character {
            '"' => to.push_str("\\\""),
            '\\' => to.push_str("\\\\"),
            // Line ends to readers that take JSON for JavaScript.
            '\u{2028}' => to.push_str("\\u2028"),
            '\u{2029}' => to.push_str("\\u2029"),
            '\u{0}'..='\u{1f}' | '\u{7f}' => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                let code = character as usize;
                to.push_str("\\u00");
                to.push(char::from(HEX[code >> 4 & 15]));
                to.push(char::from(HEX[code & 15]));
            }
            _ => to.push(character),
        }
    }
    to.push('"');
}

#[cfg(test)]
mod tests;
