//! Answers that repeat the credential with which they were asked for: a net for what upstreams do by mistake, and no
//! guarantee against one that means to, which can spell a secret in ways that nobody lists.
//!
//! Looked for are the secret itself and what it is in base64, of either alphabet, wherever in other text it begins.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http_body::{Body as HttpBody, Frame};
use memchr::memmem;
use sandgate_policy::CredentialValue;

use crate::guard::{BodyError, Verdict};
use crate::refusal::Refusal;

/// How far into a body is looked. Upstreams that repeat what they were sent do so in errors and debugging pages, which
/// are short; to look at everything costs as much as to send it.
const BODY_MAX_BYTES: usize = 1024 * 1024;
/// Shorter secrets are found in text that has nothing to do with them.
const SECRET_MIN_BYTES: usize = 8;

/// What must not come back.
#[derive(Clone)]
pub(crate) struct Secrets(Arc<[Vec<u8>]>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Secrets {
    /// All spellings of a credential that are looked for.
    pub(crate) fn of(value: &CredentialValue) -> Self {
        let mut spellings = Vec::new();
        for secret in value.secrets().map(str::as_bytes) {
            if secret.len() < SECRET_MIN_BYTES {
                continue;
            }
            spellings.push(secret.to_vec());
            for before in 0..3 {
                for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
                    spellings.push(within_base64(secret, before, engine));
                }
            }
        }
        spellings.sort();
        spellings.dedup();
        Self(spellings.into())
    }

    /// Whether one of the headers repeats the credential.
    pub(crate) fn are_in(&self, headers: &HeaderMap) -> bool {
        headers
            .values()
            .any(|value| self.are_within(value.as_bytes()))
    }

    /// The headers that do not repeat it.
    pub(crate) fn taken_from(&self, headers: HeaderMap) -> HeaderMap {
        if !self.are_in(&headers) {
            return headers;
        }
        let clean = headers
            .iter()
            .filter(|(_, value)| !self.are_within(value.as_bytes()));
        clean
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    }

    fn are_within(&self, bytes: &[u8]) -> bool {
        let found = |spelling: &Vec<u8>| memmem::find(bytes, spelling).is_some();
        self.0.iter().any(found)
    }

    /// How many bytes at the end may be the beginning of what must not come back.
    fn begun(&self, bytes: &[u8]) -> usize {
        let longest = self.0.iter().map(Vec::len).max().unwrap_or(0);
        let most = bytes.len().min(longest.saturating_sub(1));
        let begins = |length: &usize| {
            let end = &bytes[bytes.len() - length..];
            self.0.iter().any(|spelling| spelling.starts_with(end))
        };
        (1..=most).rev().find(begins).unwrap_or(0)
    }
}

/// What of the base64 of a text depends on `secret` alone, where `before` bytes of a group of three stand before it.
fn within_base64(secret: &[u8], before: usize, engine: &base64::engine::GeneralPurpose) -> Vec<u8> {
    let text = [vec![0; before], secret.to_vec()].concat();
    let encoded = engine.encode(&text).into_bytes();
    // Characters that hold bits of the bytes before it, and of those behind it.
    let first = [0, 2, 3][before];
    let last = encoded.len() - usize::from(text.len() % 3 != 0);
    encoded[first..last].to_vec()
}

/// Whether the body of an answer with these headers is text that can be read as it comes.
pub(crate) fn is_plain_text(headers: &HeaderMap) -> bool {
    let encoded = headers.get_all(CONTENT_ENCODING).iter();
    if encoded.into_iter().any(|encoding| encoding != "identity") {
        return false;
    }
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let Some(kind) = kind else {
        // Nothing is said, as by servers that print what went wrong.
        return true;
    };
    let kind = kind
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let named = [
        "application/json",
        "application/javascript",
        "application/x-ndjson",
        "application/x-www-form-urlencoded",
        "application/xml",
    ];
    kind.starts_with("text/")
        || kind.ends_with("+json")
        || kind.ends_with("+xml")
        || named.contains(&kind.as_str())
}

/// A body that ends where it repeats a credential. Nothing of the repetition goes on: what may be its beginning waits
/// for what follows it.
pub(crate) struct Scanned<B> {
    inner: B,
    secrets: Secrets,
    verdict: Verdict,
    refusal: Refusal,
    held: BytesMut,
    left: usize,
    /// What comes behind the last data.
    last: Option<Frame<Bytes>>,
    ended: bool,
}

impl<B> Scanned<B> {
    /// Looks for `secrets` in `inner`; `verdict` hears of it as `refusal`.
    pub(crate) fn new(inner: B, secrets: Secrets, verdict: &Verdict, refusal: Refusal) -> Self {
        Self {
            inner,
            secrets,
            verdict: verdict.clone(),
            refusal,
            held: BytesMut::new(),
            left: BODY_MAX_BYTES,
            last: None,
            ended: false,
        }
    }

    /// What of `data` goes on now, behind what was held.
    fn pass(&mut self, data: Bytes) -> Result<Bytes, BodyError> {
        if self.left == 0 {
            return Ok(self.all_with(data));
        }
        self.left = self.left.saturating_sub(data.len());
        self.held.extend_from_slice(&data);
        if self.secrets.are_within(&self.held) {
            self.ended = true;
            self.verdict.set(&self.refusal);
            return Err(BodyError::refused(&self.refusal));
        }
        let whole = self.held.len() - self.secrets.begun(&self.held);
        Ok(self.held.split_to(whole).freeze())
    }

    fn all_with(&mut self, data: Bytes) -> Bytes {
        if self.held.is_empty() {
            return data;
        }
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(&data);
        all.freeze()
    }
}

impl<B> HttpBody for Scanned<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        loop {
            if this.ended {
                return Poll::Ready(this.last.take().map(Ok));
            }
            let frame = match ready!(Pin::new(&mut this.inner).poll_frame(context)) {
                Some(Ok(frame)) => frame.into_data(),
                Some(Err(error)) => {
                    this.ended = true;
                    tracing::debug!(%error, "an answer broke off");
                    return Poll::Ready(Some(Err(BodyError::Broken)));
                }
                None => Err(Frame::trailers(HeaderMap::new())),
            };
            match frame {
                Ok(data) => {
                    let passed = this.pass(data)?;
                    if !passed.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(passed))));
                    }
                }
                Err(last) => {
                    this.ended = true;
                    let empty = last.trailers_ref().is_none_or(HeaderMap::is_empty);
                    this.last = (!empty).then_some(last);
                    let held = std::mem::take(&mut this.held).freeze();
                    if !held.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(held))));
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        (self.ended && self.last.is_none()) || (self.held.is_empty() && self.inner.is_end_stream())
    }
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};
    use proptest::prelude::*;
    use sandgate_policy::CredentialPlace;
    use sandgate_types::RouteName;
    use secrecy::SecretString;

    use super::*;

    fn secrets(secret: &str) -> Secrets {
        let place = CredentialPlace::Query("key".to_owned());
        let value = place.value(SecretString::from(secret.to_owned()));
        Secrets::of(&value.expect("a value"))
    }

    /// What goes on of a body that comes in these pieces, and whether it ends by itself.
    fn passed(secrets: &Secrets, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let name = RouteName::parse("route", "llm").expect("a name");
        let refusal = Refusal::CredentialEchoed(name);
        let body = tonic::body::Body::empty();
        let mut scanned = Scanned::new(body, secrets.clone(), &Verdict::default(), refusal);
        let mut on = Vec::new();
        for piece in pieces {
            match scanned.pass(Bytes::copy_from_slice(piece)) {
                Ok(bytes) => on.extend_from_slice(&bytes),
                Err(_) => return (on, false),
            }
        }
        on.extend_from_slice(&scanned.held);
        (on, true)
    }

    proptest! {
        /// However it is cut, a body without the secret goes on as it came.
        #[test]
        fn what_does_not_repeat_the_secret_goes_on_unchanged(
            body in proptest::collection::vec("[ab-]{0,12}", 0..20),
        ) {
            let secrets = secrets("secret-a-b-a");
            let pieces: Vec<&[u8]> = body.iter().map(|piece| piece.as_bytes()).collect();
            let (on, whole) = passed(&secrets, &pieces);
            prop_assert!(whole);
            prop_assert_eq!(on, body.concat().into_bytes());
        }

        /// Wherever it stands, in whatever spelling, and however it is cut: not a byte of it goes on.
        #[test]
        fn what_repeats_the_secret_ends_before_it(
            before in "[a-z ]{0,20}", behind in "[a-z ]{0,20}",
            secret in "[!-~]{8,40}", spelling in 0usize..3, cuts in proptest::collection::vec(1usize..8, 0..80),
        ) {
            let text = match spelling {
                0 => format!("{before}{secret}{behind}"),
                1 => STANDARD.encode(format!("{before}{secret}{behind}")),
                _ => URL_SAFE.encode(format!("{before}{secret}{behind}")),
            };
            let mut rest = text.as_bytes();
            let mut pieces = Vec::new();
            for cut in cuts {
                let (piece, left) = rest.split_at(cut.min(rest.len()));
                pieces.push(piece);
                rest = left;
            }
            pieces.push(rest);
            let (on, whole) = passed(&secrets(&secret), &pieces);
            prop_assert!(!whole, "{} went through", text);
            if spelling == 0 {
                prop_assert!(on.len() <= before.len() + secret.len());
                prop_assert!(before.as_bytes().starts_with(&on) || before.contains(&secret));
            }
        }
    }

    #[test]
    fn headers_that_repeat_the_secret_are_left_out_and_others_stay() {
        let secrets = secrets("longer-one");
        let mut trailers = HeaderMap::new();
        for (name, value) in [
            ("grpc-status", "16"),
            ("grpc-message", "you sent Bearer longer-one"),
            ("x-sent", &STANDARD.encode("Bearer longer-one")),
        ] {
            trailers.insert(name, value.parse().expect("a header"));
        }
        assert!(secrets.are_in(&trailers));
        let left = secrets.taken_from(trailers);
        assert_eq!(left.len(), 1);
        assert_eq!(left["grpc-status"], "16");
        assert_eq!(secrets.taken_from(left.clone()), left);
    }

    #[test]
    fn short_secrets_are_not_looked_for() {
        assert!(passed(&secrets("short"), &[b"short"]).1);
        assert!(!passed(&secrets("longer-one"), &[b"a longer-one b"]).1);
    }

    #[test]
    fn only_text_that_is_not_encoded_again_is_read() {
        for (kind, encoding, read) in [
            (Some("text/html; charset=utf-8"), None, true),
            (Some("application/problem+json"), None, true),
            (None, Some("identity"), true),
            (Some("text/plain"), Some("gzip"), false),
            (Some("application/octet-stream"), None, false),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(kind) = kind {
                headers.insert(CONTENT_TYPE, kind.parse().expect("a header"));
            }
            if let Some(encoding) = encoding {
                headers.insert(CONTENT_ENCODING, encoding.parse().expect("a header"));
            }
            assert_eq!(is_plain_text(&headers), read, "{kind:?} {encoding:?}");
        }
    }
}
