//! As much of Rust's grammar as it takes to tell literals from comments and code.

use std::iter::Peekable;
use std::str::CharIndices;

/// A piece of source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// A name, keyword or number.
    Word(String),
    /// A string literal: the line it starts on and its text, escapes untouched.
    Text(usize, String),
    /// Any other character that is not space.
    Mark(char),
}

/// The tokens of a source that compiles.
pub(super) fn tokens(source: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut letters = source.char_indices().peekable();
    let mut lines = Lines {
        source,
        seen: 0,
        line: 1,
    };
    while let Some((at, letter)) = letters.next() {
        let rest = source.get(at..).unwrap_or_default();
        if rest.starts_with("//") {
            skip(&mut letters, at + rest.find('\n').unwrap_or(rest.len()));
        } else if rest.starts_with("/*") {
            skip(&mut letters, at + block_comment(rest));
        } else if let Some((text, length)) = string(rest) {
            tokens.push(Token::Text(lines.of(at), text.to_owned()));
            skip(&mut letters, at + length);
        } else if letter == '\'' {
            skip(&mut letters, at + quote(rest));
        } else if letter.is_alphanumeric() || letter == '_' {
            let length = rest
                .find(|c: char| !c.is_alphanumeric() && c != '_')
                .unwrap_or(rest.len());
            tokens.push(Token::Word(
                rest.get(..length).unwrap_or_default().to_owned(),
            ));
            skip(&mut letters, at + length);
        } else if !letter.is_whitespace() {
            tokens.push(Token::Mark(letter));
        }
    }
    tokens
}

struct Lines<'s> {
    source: &'s str,
    seen: usize,
    line: usize,
}

impl Lines<'_> {
    /// The line of this offset, which is past the last one asked for.
    fn of(&mut self, at: usize) -> usize {
        self.line += self
            .source
            .get(self.seen..at)
            .unwrap_or_default()
            .matches('\n')
            .count();
        self.seen = at;
        self.line
    }
}

fn skip(letters: &mut Peekable<CharIndices<'_>>, to: usize) {
    while letters.next_if(|(at, _)| *at < to).is_some() {}
}

/// The length of a block comment; they nest.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let bytes = rest.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes.get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            Some(_) | None => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    bytes.len()
}

/// The text and the whole length of a string literal, raw ones, byte ones and C ones included.
fn string(rest: &str) -> Option<(&str, usize)> {
    let prefix = rest.find(|c: char| !matches!(c, 'b' | 'c' | 'r'))?;
    if prefix > 2 {
        return None;
    }
    let (kind, body) = rest.split_at(prefix);
    let hashes = if kind.contains('r') {
        body.find(|c| c != '#')?
    } else {
        0
    };
    let text = body.get(hashes..)?.strip_prefix('"')?;
    let open = prefix + hashes + 1;
    if kind.contains('r') {
        let close = format!("\"{}", "#".repeat(hashes));
        let length = text.find(&close)?;
        return Some((text.get(..length)?, open + length + close.len()));
    }
    let mut escaped = false;
    for (at, letter) in text.char_indices() {
        match letter {
            '"' if !escaped => return Some((text.get(..at)?, open + at + 1)),
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    None
}

/// The length of a character literal, or 1 for the quote of a lifetime.
fn quote(rest: &str) -> usize {
    let mut letters = rest.char_indices().skip(1);
    match (letters.next(), letters.next()) {
        (Some((_, '\\')), Some(_)) => letters
            .find(|(_, letter)| *letter == '\'')
            .map_or(1, |(at, _)| at + 1),
        (Some(_), Some((at, '\''))) => at + 1,
        (Some(_) | None, Some(_) | None) => 1,
    }
}
