//! From bytes to a tree, or to the rule that they break.

use super::Json;

/// Readers with a stack of their own stop not far behind it.
pub(super) const DEPTH_MAX: usize = 64;
/// Values of one text: a byte can be a value, and a value takes sixty in memory.
const VALUES_MAX: usize = 200_000;
/// Members of one object: each is compared with those before it by a sorted list.
const NAME_MAX_BYTES: usize = 4_096;

/// Why a text is refused. None of it repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is not UTF-8, or begins with a byte order mark.
    #[error("must be UTF-8 without a byte order mark")]
    Encoding,
    /// It is not JSON.
    #[error("must be JSON (byte {0})")]
    Grammar(usize),
    /// It goes on behind its end.
    #[error("must be one JSON value with nothing behind it (byte {0})")]
    Trailing(usize),
    /// A `\u` escape is half of a character.
    #[error("must not escape half of a character (byte {0})")]
    Surrogate(usize),
    /// An object has a member twice, escapes considered.
    #[error("must not have a member twice in one object (byte {0})")]
    Duplicate(usize),
    /// It is nested too deeply.
    #[error("must be nested at most {DEPTH_MAX} deep")]
    Deep,
    /// It has too many values.
    #[error("must have at most {VALUES_MAX} values")]
    Many,
    /// A member's name is too long.
    #[error("must have names of at most {NAME_MAX_BYTES} bytes (byte {0})")]
    Name(usize),
}

impl Json {
    /// Reads a text.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn parse(text: &[u8]) -> Result<Self, Refused> {
        let text = std::str::from_utf8(text).map_err(|_| Refused::Encoding)?;
        if text.starts_with('\u{feff}') {
            return Err(Refused::Encoding);
        }
        let mut reader = Reader {
            text,
            at: 0,
            values: 0,
        };
        reader.skip_space();
        let json = reader.value(0)?;
        reader.skip_space();
        if reader.at < text.len() {
            return Err(Refused::Trailing(reader.at));
        }
        Ok(json)
    }
}

struct Reader<'t> {
    text: &'t str,
    /// Always at the beginning of a character.
    at: usize,
    values: usize,
}

impl<'t> Reader<'t> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn grammar<T>(&self) -> Result<T, Refused> {
        Err(Refused::Grammar(self.at))
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Result<(), Refused> {
        if self.peek() != Some(byte) {
            return self.grammar();
        }
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &str, json: Json) -> Result<Json, Refused> {
        if !self.rest().starts_with(word) {
            return self.grammar();
        }
        self.at += word.len();
        Ok(json)
    }

    fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn value(&mut self, depth: usize) -> Result<Json, Refused> {
        if depth >= DEPTH_MAX {
            return Err(Refused::Deep);
        }
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(Refused::Many);
        }
        match self.peek() {
            Some(b'n') => self.word("null", Json::Null),
            Some(b't') => self.word("true", Json::Bool(true)),
            Some(b'f') => self.word("false", Json::Bool(false)),
            Some(b'"') => self.string().map(Json::Text),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'[') => self.list(depth),
            Some(b'{') => self.object(depth),
            Some(_) | None => self.grammar(),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Json, Refused> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Json::List(items));
        }
        loop {
            self.skip_space();
            items.push(self.value(depth + 1)?);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Json::List(items));
                }
                Some(_) | None => return self.grammar(),
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, Refused> {
        self.at += 1;
        let mut members: Vec<(String, Json)> = Vec::new();
        let mut names = std::collections::HashSet::new();
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Json::Object(members));
        }
        loop {
            self.skip_space();
            let at = self.at;
            if self.peek() != Some(b'"') {
                return self.grammar();
            }
            let name = self.string()?;
            if name.len() > NAME_MAX_BYTES {
                return Err(Refused::Name(at));
            }
            if !names.insert(name.clone()) {
                return Err(Refused::Duplicate(at));
            }
            self.skip_space();
            self.take(b':')?;
            self.skip_space();
            members.push((name, self.value(depth + 1)?));
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Json::Object(members));
                }
                Some(_) | None => return self.grammar(),
            }
        }
    }

    fn digits(&mut self) -> Result<(), Refused> {
        let from = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == from {
            return self.grammar();
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Json, Refused> {
        let from = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        let digits = self.text.get(from..self.at).unwrap_or_default();
        Ok(Json::Number(digits.to_owned()))
    }

    fn string(&mut self) -> Result<String, Refused> {
        self.take(b'"')?;
        let mut text = String::new();
        loop {
            let rest = self.rest();
            let plain = rest
                .bytes()
                .position(|byte| byte == b'"' || byte == b'\\' || byte < 0x20);
            let Some(plain) = plain else {
                self.at = self.text.len();
                return self.grammar();
            };
            text.push_str(rest.get(..plain).unwrap_or_default());
            self.at += plain;
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some(b'\\') => text.push(self.escape()?),
                Some(_) | None => return self.grammar(),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Refused> {
        let at = self.at;
        self.at += 1;
        let character = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                let first = self.hex()?;
                if !(0xd800..0xe000).contains(&first) {
                    return char::from_u32(first).ok_or(Refused::Surrogate(at));
                }
                // A pair of surrogates, the high one first, or nothing that every reader reads alike.
                if first >= 0xdc00 || !self.rest().starts_with("\\u") {
                    return Err(Refused::Surrogate(at));
                }
                self.at += 2;
                let second = self.hex()?;
                if !(0xdc00..0xe000).contains(&second) {
                    return Err(Refused::Surrogate(at));
                }
                let code = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return char::from_u32(code).ok_or(Refused::Surrogate(at));
            }
            Some(_) | None => return self.grammar(),
        };
        self.at += 1;
        Ok(character)
    }

    fn hex(&mut self) -> Result<u32, Refused> {
        let digits = self.rest().get(..4).unwrap_or_default();
        let is_hex = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let Some(code) = is_hex
            .then(|| u32::from_str_radix(digits, 16).ok())
            .flatten()
        else {
            return self.grammar();
        };
        self.at += 4;
        Ok(code)
    }
}
