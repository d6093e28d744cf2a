//! What a printed configuration leaves out.
//!
//! Settings name files and hold no secrets, but people put a password into a URL all the same.

use serde_yaml_ng::{Mapping, Value};

const REDACTED: &str = "***redacted***";

/// The mapping, with passwords of URLs and values of secret-sounding keys gone.
pub(super) fn mapping(mapping: Mapping) -> Mapping {
    mapping
        .into_iter()
        .map(|(key, value)| {
            let value = entry(&key, value);
            (key, value)
        })
        .collect()
}

fn entry(key: &Value, value: Value) -> Value {
    let name = key.as_str().unwrap_or_default();
    let sounds_secret = ["password", "secret", "token", "key"]
        .iter()
        .any(|word| name.ends_with(word));
    match value {
        Value::String(_) if sounds_secret => Value::String(REDACTED.to_owned()),
        Value::String(text) => Value::String(url(&text)),
        Value::Sequence(values) => {
            Value::Sequence(values.into_iter().map(|value| entry(key, value)).collect())
        }
        Value::Mapping(inner) => Value::Mapping(self::mapping(inner)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Tagged(_) => value,
    }
}

/// The text, without the password if it is a URL that has one: between the first `:` of the part before
/// the last `@` of the authority, and that `@`.
fn url(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return text.to_owned();
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    // A password with a slash in it ends what a parser calls the authority; so look as far as the last `@`.
    let end = authority.rfind('@').or_else(|| rest.rfind('@'));
    let rest = match end.and_then(|end| rest.split_at_checked(end)) {
        Some((who, at)) => match who.split_once(':') {
            Some((user, _)) => format!("{user}:{REDACTED}{at}"),
            None => rest.to_owned(),
        },
        None => rest.to_owned(),
    };
    let (address, query) = rest
        .split_once('?')
        .map_or((rest.as_str(), None), |(address, query)| {
            (address, Some(query))
        });
    let query = query.map(|query| {
        query
            .split('&')
            .map(parameter)
            .collect::<Vec<_>>()
            .join("&")
    });
    match query {
        Some(query) => format!("{scheme}://{address}?{query}"),
        None => format!("{scheme}://{address}"),
    }
}

fn parameter(text: &str) -> String {
    match text.split_once('=') {
        Some((name, _)) if name.ends_with("password") => format!("{name}={REDACTED}"),
        Some(_) | None => text.to_owned(),
    }
}
