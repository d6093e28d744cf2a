//! The one name that a request has at every hop: in logs, traces, audit records, and in the answer.
//!
//! The gate names what comes from outside, and takes no name from there. A service takes the name that the mesh
//! gives, or makes one for a call that has none; it answers it as `x-request-id`, and whatever it calls on behalf
//! of the request gets it too. A name is bounded and of a small alphabet, so any reader may repeat it.

use std::future::Future;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use sandgate_types::LinkId;

/// The entry by which a request's name goes from hop to hop.
pub const REQUEST_NAME_METADATA: &str = "sandgate-request-id";
/// The entry of an answer that says it to whoever asked.
const ANSWERED: HeaderName = HeaderName::from_static("x-request-id");
/// An id of ours, a dash and a number fit twice.
const NAME_MAX_BYTES: usize = 64;

tokio::task_local! {
    static CURRENT: RequestName;
}

/// The name of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestName(Arc<str>);

impl RequestName {
    /// The name, if it is one: 1 to 64 of `a` to `z`, `0` to `9` and `-`.
    pub fn parse(text: &str) -> Option<Self> {
        let is_short = (1..=NAME_MAX_BYTES).contains(&text.len());
        let is_plain = text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        (is_short && is_plain).then(|| Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// That of the request for which the current task works, if it works for one.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(Self::clone).ok()
    }

    /// The name that the sender of these headers gave its call, or a new one. What is malformed or doubled
    /// counts as absent.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut named = headers.get_all(REQUEST_NAME_METADATA).iter();
        let name = match (named.next(), named.next()) {
            (Some(name), None) => name.to_str().ok().and_then(Self::parse),
            (Some(_), Some(_)) | (None, _) => None,
        };
        name.unwrap_or_else(|| Self(LinkId::random(&mut rand::rng()).as_str().into()))
    }

    /// Runs `work` under this name: calls that it makes through our channels carry it.
    pub(crate) async fn scope<T>(self, work: impl Future<Output = T>) -> T {
        CURRENT.scope(self, work).await
    }

    /// Does `work` under this name.
    pub(crate) fn in_scope<T>(&self, work: impl FnOnce() -> T) -> T {
        CURRENT.sync_scope(self.clone(), work)
    }

    /// Says the name to whoever asked.
    pub fn answer(&self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::from_str(&self.0) {
            headers.insert(ANSWERED, value);
        }
    }

    /// Gives the name to a call that is made for the request.
    pub(crate) fn pass_on(&self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::from_str(&self.0) {
            headers.insert(HeaderName::from_static(REQUEST_NAME_METADATA), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_of_a_small_alphabet() {
        assert!(RequestName::parse("l0abc-17").is_some());
        for text in ["", "A", "a b", "a\n", "ä", &"a".repeat(NAME_MAX_BYTES + 1)] {
            assert_eq!(RequestName::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn what_is_malformed_or_doubled_counts_as_absent() {
        let mut headers = HeaderMap::new();
        headers.append(REQUEST_NAME_METADATA, HeaderValue::from_static("r-1"));
        assert_eq!(RequestName::of(&headers).as_str(), "r-1");
        headers.append(REQUEST_NAME_METADATA, HeaderValue::from_static("r-2"));
        let made = RequestName::of(&headers);
        assert!(!["r-1", "r-2"].contains(&made.as_str()));
        assert_ne!(made, RequestName::of(&headers));
    }
}
