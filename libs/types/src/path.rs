//! One spelling for paths and queries. What a second parser might read otherwise is refused, not repaired;
//! what every parser reads alike is written in the one way that RFC 3986 calls normal.

use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The longest path or query: proxies and servers agree on about this much.
const MAX_BYTES: usize = 8 * 1024;

/// What is odd about a path or a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Odd {
    /// It does not begin with a slash, or is none at all.
    #[error("must be a path that begins with /")]
    NoPath,
    /// It is too long.
    #[error("must have at most 8192 bytes")]
    Long,
    /// It has a dot segment, plain or escaped.
    #[error("must not have . or .. segments")]
    Dots,
    /// It has two slashes in a row.
    #[error("must not have empty segments")]
    Empty,
    /// It has an escaped slash, backslash, percent sign or control character, or an incomplete escape.
    #[error("must not escape slashes, backslashes, percent escapes or control characters")]
    Escape,
    /// It has a character that parsers disagree about.
    #[error("must not have backslashes, semicolons, spaces or characters outside of ASCII")]
    Character,
    /// It names a query parameter twice.
    #[error("must not name a parameter twice")]
    Twice,
}

/// The normal spelling of an absolute path.
///
/// # Errors
/// What is odd about it.
pub fn canonical(path: &str) -> Result<String, Odd> {
    if path.len() > MAX_BYTES {
        return Err(Odd::Long);
    }
    if !path.starts_with('/') {
        return Err(Odd::NoPath);
    }
    let mut normal = String::with_capacity(path.len());
    let mut segments = path[1..].split('/').peekable();
    while let Some(segment) = segments.next() {
        // An empty last segment is the slash at the end, which belongs to the path.
        if segment.is_empty() && segments.peek().is_some() {
            return Err(Odd::Empty);
        }
        let segment = normalize(segment, b"!$&'()*+,=:@")?;
        if segment == "." || segment == ".." {
            return Err(Odd::Dots);
        }
        normal.push('/');
        normal.push_str(&segment);
    }
    Ok(normal)
}

/// The normal spelling of a query whose parameters are all in `allowed`.
///
/// # Errors
/// What is odd about it, or the first parameter that may not cross.
pub fn canonical_query(query: &str, allowed: &BTreeSet<String>) -> Result<String, Unlisted> {
    if query.len() > MAX_BYTES {
        return Err(Unlisted::Odd(Odd::Long));
    }
    let mut normal = String::with_capacity(query.len());
    let mut seen = BTreeSet::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = normalize(name, b"").map_err(Unlisted::Odd)?;
        if !allowed.contains(&name) {
            return Err(Unlisted::Parameter);
        }
        if !seen.insert(name.clone()) {
            return Err(Unlisted::Odd(Odd::Twice));
        }
        let value = normalize_value(value).map_err(Unlisted::Odd)?;
        if !normal.is_empty() {
            normal.push('&');
        }
        normal.push_str(&name);
        if pair.contains('=') {
            normal.push('=');
            normal.push_str(&value);
        }
    }
    Ok(normal)
}

/// Why a query does not cross.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unlisted {
    /// It is odd.
    Odd(Odd),
    /// It has a parameter that is not listed.
    Parameter,
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Normalizes what may not have escapes that a second decoder would read again.
fn normalize(text: &str, literal: &[u8]) -> Result<String, Odd> {
    walk(text, literal, |byte| {
        byte < 0x20 || byte == 0x7f || b"/\\%.;".contains(&byte)
    })
}

/// Normalizes the value of a parameter, which may be any text; control characters may not.
fn normalize_value(text: &str) -> Result<String, Odd> {
    walk(text, b"!$'()*+,:@/?=", |byte| {
        (byte < 0x20 && !b"\t\n\r".contains(&byte)) || byte == 0x7f
    })
}

fn walk(text: &str, literal: &[u8], refused: impl Fn(u8) -> bool) -> Result<String, Odd> {
    let mut normal = String::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let (high, low) = (bytes.next(), bytes.next());
            let byte = escaped(high, low).filter(|byte| !refused(*byte));
            let byte = byte.ok_or(Odd::Escape)?;
            if is_unreserved(byte) {
                normal.push(char::from(byte));
            } else {
                // Writing to a String does not fail.
                write!(normal, "%{byte:02X}").map_err(|_| Odd::Escape)?;
            }
        } else if is_unreserved(byte) || literal.contains(&byte) {
            normal.push(char::from(byte));
        } else {
            return Err(Odd::Character);
        }
    }
    Ok(normal)
}

fn escaped(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_paths_stay_and_unreserved_escapes_are_undone() {
        for (path, normal) in [
            ("/", "/"),
            ("/a", "/a"),
            ("/a/b/", "/a/b/"),
            ("/v1/models:generate", "/v1/models:generate"),
            ("/%41%7e", "/A~"),
            ("/%c3%a4", "/%C3%A4"),
            ("/a%20b", "/a%20b"),
            ("/...", "/..."),
        ] {
            assert_eq!(canonical(path).as_deref(), Ok(normal), "{path}");
        }
    }

    #[test]
    fn paths_that_another_parser_reads_otherwise_are_refused() {
        for path in [
            "",
            "a",
            "*",
            "//",
            "//a",
            "/a//b",
            "/a//",
            "/./a",
            "/../a",
            "/a/..",
            "/a/.",
            "/%2e%2e/a",
            "/.%2e/a",
            "/a%2fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%0a",
            "/a%252fb",
            "/a;b",
            "/..;/a",
            "/a b",
            "/a%",
            "/a%4",
            "/a%zz",
            "/ä",
            "/a?b",
            "/a#b",
            "http://a/b",
        ] {
            assert!(canonical(path).is_err(), "{path}");
        }
        assert_eq!(
            canonical(&format!("/{}", "a".repeat(MAX_BYTES))),
            Err(Odd::Long)
        );
    }

    #[test]
    fn a_query_crosses_by_the_names_that_are_listed_once_each() {
        let allowed = BTreeSet::from(["word".to_owned(), "q".to_owned()]);
        assert_eq!(
            canonical_query("word=a+b%2f%41&q", &allowed).as_deref(),
            Ok("word=a+b%2FA&q")
        );
        assert_eq!(
            canonical_query("w%6frd=1", &allowed).as_deref(),
            Ok("word=1")
        );
        assert_eq!(
            canonical_query("user=1", &allowed),
            Err(Unlisted::Parameter)
        );
        assert_eq!(
            canonical_query("q=1&%71=2", &allowed),
            Err(Unlisted::Odd(Odd::Twice))
        );
        for query in ["q=%00", "q=\\", "q=a;user=b", "q=%"] {
            assert!(
                matches!(canonical_query(query, &allowed), Err(Unlisted::Odd(_))),
                "{query}"
            );
        }
    }

    proptest! {
        #[test]
        fn the_normal_spelling_is_its_own_and_climbs_nowhere(path in "/[a-zA-Z0-9./%~;\\\\ -]{0,24}") {
            if let Ok(normal) = canonical(&path) {
                prop_assert_eq!(canonical(&normal), Ok(normal.clone()));
                let climbs = normal.split('/').any(|segment| segment == "." || segment == "..");
                prop_assert!(!climbs, "{}", normal);
                prop_assert!(!normal.contains("//"), "{}", normal);
                prop_assert!(!normal.to_ascii_lowercase().contains("%2f"), "{}", normal);
            }
        }

        #[test]
        fn a_normal_query_names_listed_parameters_only(query in "[a-c=&%246;+]{0,24}") {
            let allowed = BTreeSet::from(["a".to_owned(), "b".to_owned()]);
            if let Ok(normal) = canonical_query(&query, &allowed) {
                prop_assert_eq!(canonical_query(&normal, &allowed), Ok(normal.clone()));
                for pair in normal.split('&').filter(|pair| !pair.is_empty()) {
                    let name = pair.split('=').next().unwrap_or_default();
                    prop_assert!(allowed.contains(name), "{}", normal);
                }
            }
        }
    }
}
