//! Query parameters that the gate writes.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What a value may hold as it is: the unreserved characters of RFC 3986, which no reader takes for anything else.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// `name=value`, escaped.
pub(crate) fn pair(name: &str, value: &str) -> String {
    format!("{name}={}", utf8_percent_encode(value, VALUE))
}

/// Writes a pair behind what is in the query of `target`.
pub(crate) fn append_pair(target: &mut String, pair: &str) {
    target.push(if target.contains('?') { '&' } else { '?' });
    target.push_str(pair);
}

/// Writes a parameter behind what is in the query of `target`.
pub(crate) fn append(target: &mut String, name: &str, value: &str) {
    append_pair(target, &pair(name, value));
}
