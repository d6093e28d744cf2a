//! Reads the small values of a policy: header names, methods, sizes, times.

use std::time::Duration;

use http::{HeaderName, Method};
use sandgate_types::{ByteSize, Malformed, Violations, parse_duration};

use crate::document::Section;
use crate::headers;
use crate::route::Lower;

/// A route that waits longer than a session may last waits for nobody.
const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);
/// A connection that takes longer is worth nothing to whoever waits for an answer.
const CONNECT_TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Larger bodies than this are a mistake in units.
const BYTES_MAX: ByteSize = ByteSize::gib(1024);

/// Reads the name of a header that a policy may speak of.
pub(crate) fn header(path: &str, text: &str) -> Result<HeaderName, Malformed> {
    if text != text.to_ascii_lowercase() || text.contains('_') {
        let rule = "must be a header's name in lower case, without underscores";
        return Err(Malformed::new(path, rule));
    }
    let name = HeaderName::try_from(text)
        .map_err(|_| Malformed::new(path, "must be the name of a header"))?;
    if matches!(name.as_str(), "cookie" | "set-cookie") {
        let rule =
            "must not be cookies: lists of cookies are not built in this version of the gate";
        return Err(Malformed::new(path, rule));
    }
    if headers::is_reserved(&name) {
        let rule = "must not be a header that belongs to the connection, to tracing or to Sandgate";
        return Err(Malformed::new(path, rule));
    }
    Ok(name)
}

/// Reads the name of a header that the gate itself writes toward an upstream.
pub(crate) fn written_header(path: &str, text: &str) -> Result<HeaderName, Malformed> {
    // Its own credential is the one thing that may be called `authorization`.
    if text == "authorization" {
        return Ok(http::header::AUTHORIZATION);
    }
    header(path, text)
}

/// Reads a list of headers.
pub(crate) fn headers_of(
    section: &mut Section,
    key: &str,
    violations: &mut Violations,
) -> std::collections::BTreeSet<Lower> {
    let mut names = std::collections::BTreeSet::new();
    for (path, text) in section.texts(key, violations) {
        if let Some(name) = violations.check(header(&path, &text)) {
            names.insert(Lower::of(&name));
        }
    }
    names
}

/// The HTTP methods that a route may serve.
pub(crate) const SERVED: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

/// Reads an HTTP method that a route may serve.
pub(crate) fn method(path: &str, text: &str) -> Result<Method, Malformed> {
    SERVED
        .into_iter()
        .find(|method| method.as_str() == text)
        .ok_or_else(|| {
            Malformed::new(
                path,
                "must be GET, HEAD, POST, PUT, PATCH, DELETE or OPTIONS",
            )
        })
}

/// Reads a gRPC method, `package.Service/Method`, and answers its path.
pub(crate) fn grpc_method(path: &str, text: &str) -> Result<String, Malformed> {
    let identifier = |text: &str| {
        !text.is_empty()
            && !text.starts_with(|first: char| first.is_ascii_digit())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let valid = text.split_once('/').is_some_and(|(service, method)| {
        service.split('.').all(identifier) && identifier(method) && text.len() <= 256
    });
    if !valid {
        let rule = "must be a method like package.Service/Method";
        return Err(Malformed::new(path, rule));
    }
    let own = ["sandgate.", "grpc.reflection.", "grpc.health."];
    if own.iter().any(|own| text.starts_with(own)) {
        let rule = "must not be a method of Sandgate itself, of health or of reflection";
        return Err(Malformed::new(path, rule));
    }
    Ok(format!("/{text}"))
}

/// Reads the name of a query parameter, which has one spelling in a request.
pub(crate) fn query_name(path: &str, text: &str) -> Result<String, Malformed> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~".contains(&byte);
    if text.is_empty() || !text.bytes().all(plain) {
        let rule = "must consist of letters, digits and -_~";
        return Err(Malformed::new(path, rule));
    }
    Ok(text.to_owned())
}

/// Reads the name of an operation.
pub(crate) fn operation(path: &str, text: &str) -> Result<String, Malformed> {
    // The same alphabet as a route's name, and for the same reasons.
    sandgate_types::RouteName::parse(path, text).map(|name| name.as_str().to_owned())
}

/// Reads a number of bytes.
pub(crate) fn bytes(path: &str, text: &str) -> Result<ByteSize, Malformed> {
    let size: ByteSize = text
        .parse()
        .map_err(|malformed: Malformed| Malformed::new(path, malformed.rule()))?;
    if size.bytes() == 0 || size > BYTES_MAX {
        return Err(Malformed::new(path, "must be from 1B to 1TiB"));
    }
    Ok(size)
}

/// Reads a time limit.
pub(crate) fn timeout(path: &str, text: &str) -> Result<Duration, Malformed> {
    let duration = parse_duration(path, text)?;
    if duration.is_zero() || duration > TIMEOUT_MAX {
        return Err(Malformed::new(path, "must be from 1ms to 24h"));
    }
    Ok(duration)
}

/// Reads how long a connection may take.
pub(crate) fn connect_timeout(path: &str, text: &str) -> Result<Duration, Malformed> {
    let duration = parse_duration(path, text)?;
    if duration.is_zero() || duration > CONNECT_TIMEOUT_MAX {
        return Err(Malformed::new(path, "must be from 1ms to 60s"));
    }
    Ok(duration)
}
