//! The compact form: a closed header, and content whose every byte follows from its meaning.
//!
//! A header is exactly `{"alg":…,"kid":…,"typ":…}`. After its checks the content is written anew and compared,
//! so that one meaning has one spelling and no other parser can read it differently.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::TokenRefusal;
use crate::fields::Fields;

/// The longest token: the largest set of operations and the longest names fit.
pub const TOKEN_MAX_BYTES: usize = 8 * 1024;
/// The longest id of a key.
pub const KEY_ID_MAX_BYTES: usize = 64;
/// A signature of 64 bytes; those of both algorithms have so many.
const SIGNATURE_CHARACTERS: usize = 86;
/// Content of names that are not unusually long fits.
const JSON_BYTES: usize = 768;

/// The algorithm that a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

impl Algorithm {
    /// The algorithm that the `alg` member names; none for any other.
    pub fn named(text: &str) -> Option<Self> {
        [Self::EdDsa, Self::Es256]
            .into_iter()
            .find(|algorithm| algorithm.as_str() == text)
    }

    /// The `alg` member.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
        }
    }
}

/// What a signed text is, by its `typ`, so that a ticket is never taken for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A session token.
    Token,
    /// A ticket for Attach.
    Ticket,
}

impl Kind {
    const fn typ(self) -> &'static str {
        match self {
            Self::Token => "sandgate-session+jwt",
            Self::Ticket => "sandgate-attach+jwt",
        }
    }
}

/// Something that has one spelling as a JSON object.
pub trait Content {
    /// What it is.
    const KIND: Kind;
    /// Its JSON.
    fn to_json(&self) -> String;
}

/// The headers of all that one key signs, encoded once.
#[derive(Debug, Clone)]
pub struct Headers {
    token: String,
    ticket: String,
}

impl Headers {
    /// Those of a key.
    ///
    /// `kid` is of the alphabet of [`is_key_id`], so nothing in a header needs escaping.
    pub fn new(algorithm: Algorithm, kid: &str) -> Self {
        let of = |kind| URL_SAFE_NO_PAD.encode(header(algorithm, kid, kind));
        Self {
            token: of(Kind::Token),
            ticket: of(Kind::Ticket),
        }
    }

    fn of(&self, kind: Kind) -> &str {
        match kind {
            Kind::Token => &self.token,
            Kind::Ticket => &self.ticket,
        }
    }
}

/// The text that a signature covers: header and content, each as base64url, with a dot between.
pub fn signing_input<C: Content>(headers: &Headers, content: &C) -> String {
    let (header, content) = (headers.of(C::KIND), content.to_json());
    let length = header.len() + content.len().div_ceil(3) * 4 + SIGNATURE_CHARACTERS + 2;
    let mut text = String::with_capacity(length);
    text.push_str(header);
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(content, &mut text);
    text
}

/// The whole: what was signed, and the signature.
pub fn assemble(mut signing_input: String, signature: &[u8]) -> String {
    signing_input.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut signing_input);
    signing_input
}

/// Whether `text` can be a key's id: 1 to 64 letters, digits, `-` and `_`.
pub fn is_key_id(text: &str) -> bool {
    (1..=KEY_ID_MAX_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn header(algorithm: Algorithm, kid: &str, kind: Kind) -> String {
    format!(
        r#"{{"alg":"{}","kid":"{kid}","typ":"{}"}}"#,
        algorithm.as_str(),
        kind.typ()
    )
}

/// A text taken apart, nothing checked but its shape.
pub(crate) struct Compact<'a> {
    pub(crate) signed: &'a str,
    pub(crate) header: Header,
    pub(crate) content: Vec<u8>,
    pub(crate) signature: Vec<u8>,
}

/// The header as it was found.
pub(crate) struct Header {
    pub(crate) algorithm: String,
    pub(crate) kid: String,
    json: Vec<u8>,
}

impl Header {
    fn read(json: Vec<u8>, kind: Kind) -> Result<Self, TokenRefusal> {
        let not_ours = |refusal| {
            if refusal == TokenRefusal::Malformed {
                refusal
            } else {
                TokenRefusal::HeaderNotOurs
            }
        };
        let mut fields = Fields::read(&json).map_err(not_ours)?;
        let algorithm = fields.text("alg").map_err(not_ours)?;
        // Told before what is missing beside it: `none` has no key.
        if ![Algorithm::EdDsa.as_str(), Algorithm::Es256.as_str()].contains(&algorithm.as_str()) {
            return Err(TokenRefusal::AlgorithmRefused);
        }
        let kid = fields.text("kid").map_err(not_ours)?;
        let typ = fields.text("typ").map_err(not_ours)?;
        fields.end().map_err(not_ours)?;
        if typ != kind.typ() || !is_key_id(&kid) {
            return Err(TokenRefusal::HeaderNotOurs);
        }
        Ok(Self {
            algorithm,
            kid,
            json,
        })
    }

    /// Whether this is the very header that our issuer writes for a key.
    pub(crate) fn is_for(&self, algorithm: Algorithm, kind: Kind) -> Result<(), TokenRefusal> {
        if self.algorithm != algorithm.as_str() {
            return Err(TokenRefusal::AlgorithmRefused);
        }
        if self.json != header(algorithm, &self.kid, kind).as_bytes() {
            return Err(TokenRefusal::NotCanonical);
        }
        Ok(())
    }
}

impl<'a> Compact<'a> {
    pub(crate) fn read(text: &'a str, kind: Kind) -> Result<Self, TokenRefusal> {
        if text.len() > TOKEN_MAX_BYTES {
            return Err(TokenRefusal::Malformed);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(TokenRefusal::Malformed)?;
        let (header, content) = signed.split_once('.').ok_or(TokenRefusal::Malformed)?;
        let decode = |part: &str| {
            URL_SAFE_NO_PAD
                .decode(part)
                .map_err(|_| TokenRefusal::Malformed)
        };
        Ok(Self {
            signed,
            header: Header::read(decode(header)?, kind)?,
            content: decode(content)?,
            signature: decode(signature)?,
        })
    }
}

/// Writes JSON of texts that need no escaping and whole numbers.
pub(crate) struct Json(String);

impl Json {
    pub(crate) fn new() -> Self {
        Self(String::with_capacity(JSON_BYTES))
    }

    fn name(&mut self, name: &str) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.quoted(name);
        self.0.push(':');
    }

    /// Quotes `text`. Every text of ours is of an alphabet that JSON leaves as it is.
    fn quoted(&mut self, text: &str) {
        debug_assert!(
            text.bytes()
                .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
        );
        self.0.push('"');
        self.0.push_str(text);
        self.0.push('"');
    }

    pub(crate) fn text(mut self, name: &str, text: &str) -> Self {
        self.name(name);
        self.quoted(text);
        self
    }

    pub(crate) fn number(mut self, name: &str, number: i64) -> Self {
        self.name(name);
        let _infallible = write!(self.0, "{number}");
        self
    }

    pub(crate) fn list<'a>(mut self, name: &str, texts: impl IntoIterator<Item = &'a str>) -> Self {
        self.name(name);
        self.0.push('[');
        for (index, text) in texts.into_iter().enumerate() {
            if index > 0 {
                self.0.push(',');
            }
            self.quoted(text);
        }
        self.0.push(']');
        self
    }

    pub(crate) fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}
