//! The handshake of WebSocket (RFC 6455, section 4), strict on both of its sides.
//!
//! Each hop has a handshake of its own: who takes one proves by its key that it has read it, and no key crosses.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Version, request};

/// The name of the protocol, in `upgrade` and in `:protocol` (RFC 8441).
pub const WEBSOCKET: &str = "websocket";
/// The one version that there is.
const VERSION: &str = "13";
/// What is put behind a key (RFC 6455, section 1.3).
const MAGIC: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// A key is so many bytes, in base64.
const KEY_BYTES: usize = 16;

/// The key of a handshake, as its header carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSocketKey(HeaderValue);

impl WebSocketKey {
    /// A key of ours, to ask with.
    pub fn random(rng: &mut impl rand::Rng) -> Self {
        let bytes: [u8; KEY_BYTES] = rng.random();
        Self::of(&STANDARD.encode(bytes))
    }

    /// The key of whoever asks over HTTP/1.1; `None` when what it asks is no handshake that can be taken: another
    /// method or version, a body, another protocol beside, or a header twice.
    #[must_use]
    pub fn asked(head: &request::Parts) -> Option<Self> {
        let one = |name: &str| one(&head.headers, name);
        let switches = head.method == Method::GET
            && head.version == Version::HTTP_11
            && one("upgrade").is_some_and(|value| value.eq_ignore_ascii_case(WEBSOCKET))
            && one("connection").is_some_and(names_upgrade)
            && one("sec-websocket-version") == Some(VERSION);
        let bodiless = !head.headers.contains_key(header::CONTENT_LENGTH)
            && !head.headers.contains_key(header::TRANSFER_ENCODING)
            && !head.headers.contains_key(header::EXPECT);
        let key = one("sec-websocket-key")?;
        let bytes = STANDARD.decode(key).ok()?;
        (switches && bodiless && bytes.len() == KEY_BYTES).then(|| Self::of(key))
    }

    /// Writes what asks for a WebSocket by this key over HTTP/1.1.
    pub fn ask(&self, headers: &mut HeaderMap) {
        headers.insert(header::UPGRADE, HeaderValue::from_static(WEBSOCKET));
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        let version = HeaderValue::from_static(VERSION);
        headers.insert(header::SEC_WEBSOCKET_VERSION, version);
        headers.insert(header::SEC_WEBSOCKET_KEY, self.0.clone());
    }

    /// Whether an answer takes the WebSocket that was asked for by this key: switched to that and nothing else, and
    /// without an extension, of which none was offered.
    #[must_use]
    pub fn is_taken(&self, answer: &HeaderMap) -> bool {
        let one = |name: &str| one(answer, name);
        one("upgrade").is_some_and(|value| value.eq_ignore_ascii_case(WEBSOCKET))
            && one("connection").is_some_and(names_upgrade)
            && one("sec-websocket-accept") == self.accept().to_str().ok()
            && !answer.contains_key(header::SEC_WEBSOCKET_EXTENSIONS)
    }

    /// Writes what takes a WebSocket that was asked for by this key.
    pub fn take(&self, headers: &mut HeaderMap) {
        headers.insert(header::UPGRADE, HeaderValue::from_static(WEBSOCKET));
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, self.accept());
    }

    fn accept(&self) -> HeaderValue {
        let mut text = self.0.as_bytes().to_vec();
        text.extend_from_slice(MAGIC.as_bytes());
        // The protocol has it so; it proves that a handshake was read, and secures nothing.
        let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, &text);
        ascii(&STANDARD.encode(digest))
    }

    fn of(text: &str) -> Self {
        Self(ascii(text))
    }
}

/// Whether an extended CONNECT asks for a WebSocket of the one version, as far as its headers say.
#[must_use]
pub fn is_websocket_version(headers: &HeaderMap) -> bool {
    one(headers, "sec-websocket-version") == Some(VERSION)
}

/// Whether what an answer chose of the protocols above WebSocket was offered: one of them, or none.
#[must_use]
pub fn is_offered(offered: Option<&HeaderValue>, answer: &HeaderMap) -> bool {
    if !answer.contains_key(header::SEC_WEBSOCKET_PROTOCOL) {
        return true;
    }
    let Some(chosen) = one(answer, "sec-websocket-protocol") else {
        return false;
    };
    let offered = offered.and_then(|offered| offered.to_str().ok());
    offered.is_some_and(|offered| offered.split(',').any(|offer| offer.trim() == chosen))
}

/// The one value of a header, in visible ASCII.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        (Some(_), Some(_)) | (None, _) => None,
    }
}

/// Whether `connection` names the upgrade, and beside it nothing but keeping alive.
fn names_upgrade(connection: &str) -> bool {
    let mut names = connection.split(',').map(str::trim);
    let known = |name: &str| ["upgrade", "keep-alive"].contains(&name);
    let all = names.all(|name| known(&name.to_ascii_lowercase()));
    let mut names = connection.split(',').map(str::trim);
    all && names.any(|name| name.eq_ignore_ascii_case("upgrade"))
}

/// Base64 is of an alphabet that headers take.
fn ascii(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    /// The example of RFC 6455, section 1.3.
    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn head(change: impl FnOnce(&mut request::Parts)) -> request::Parts {
        let (mut head, ()) = Request::builder()
            .uri("/r/chat/x")
            .header("upgrade", "WebSocket")
            .header("connection", "keep-alive, Upgrade")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", KEY)
            .body(())
            .expect("a request")
            .into_parts();
        change(&mut head);
        head
    }

    #[test]
    fn a_key_is_answered_as_the_standard_shows() {
        let key = WebSocketKey::asked(&head(|_| {})).expect("a handshake");
        let mut answer = HeaderMap::new();
        key.take(&mut answer);
        assert_eq!(
            answer["sec-websocket-accept"],
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
        assert!(key.is_taken(&answer));
    }

    #[test]
    fn what_is_not_exactly_a_handshake_is_none() {
        let with = |name: &'static str, value: &'static str| {
            head(|head| {
                let value = HeaderValue::from_static(value);
                head.headers.insert(name, value);
            })
        };
        let twice = |name: &'static str, value: &'static str| {
            head(|head| {
                let value = HeaderValue::from_static(value);
                head.headers.append(name, value);
            })
        };
        for odd in [
            with("upgrade", "h2c"),
            with("upgrade", "websocket, h2c"),
            twice("upgrade", "h2c"),
            with("connection", "close"),
            with("connection", "upgrade, http2-settings"),
            with("sec-websocket-version", "8"),
            twice("sec-websocket-version", "13"),
            with("sec-websocket-key", "c2hvcnQ="),
            with("sec-websocket-key", "not base64"),
            twice("sec-websocket-key", KEY),
            with("content-length", "0"),
            with("transfer-encoding", "chunked"),
            with("expect", "100-continue"),
            head(|head| head.method = Method::POST),
            head(|head| head.version = Version::HTTP_10),
        ] {
            assert_eq!(WebSocketKey::asked(&odd), None, "{odd:?}");
        }
    }

    #[test]
    fn an_answer_takes_a_websocket_by_its_key_alone_and_without_an_extension() {
        let key = WebSocketKey::random(&mut rand::rng());
        let other = WebSocketKey::random(&mut rand::rng());
        let mut taken = HeaderMap::new();
        key.take(&mut taken);
        assert!(key.is_taken(&taken) && !other.is_taken(&taken));
        for (name, value) in [
            ("upgrade", "h2c"),
            ("connection", "close"),
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            ("sec-websocket-extensions", "permessage-deflate"),
        ] {
            let mut odd = taken.clone();
            odd.insert(name, HeaderValue::from_static(value));
            assert!(!key.is_taken(&odd), "{name}");
        }
    }

    #[test]
    fn only_a_protocol_that_was_offered_is_chosen() {
        let offered = HeaderValue::from_static("chat, graphql");
        let chosen = |name: &'static str| {
            HeaderMap::from_iter([(
                header::SEC_WEBSOCKET_PROTOCOL,
                HeaderValue::from_static(name),
            )])
        };
        assert!(is_offered(Some(&offered), &chosen("graphql")));
        assert!(is_offered(None, &HeaderMap::new()));
        assert!(!is_offered(Some(&offered), &chosen("soap")));
        assert!(!is_offered(None, &chosen("chat")));
        let mut both = chosen("chat");
        both.append("sec-websocket-protocol", HeaderValue::from_static("chat"));
        assert!(!is_offered(Some(&offered), &both));
    }
}
