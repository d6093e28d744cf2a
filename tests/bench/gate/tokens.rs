//! Tokens for the peers, with the claims of ours, signed as each of them can verify.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use hyper::header::HeaderValue;

/// What a peer needs to verify, and what clients show it.
pub(crate) struct Tokens {
    /// The secret of HS256.
    pub(crate) secret: String,
    /// The public key of ES256, as PEM.
    pub(crate) public_key: PathBuf,
    /// The same as a key set.
    pub(crate) jwks: String,
    /// Tokens by HS256.
    pub(crate) hs256: Vec<HeaderValue>,
    /// Tokens by ES256.
    pub(crate) es256: Vec<HeaderValue>,
}

/// The algorithm and the point of a P-256 public key, up to the point itself (RFC 5480).
const SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

impl Tokens {
    /// Makes so many of each.
    ///
    /// # Errors
    /// When the public key cannot be written.
    pub(crate) fn make(folder: &Path, count: usize) -> anyhow::Result<Self> {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).context("make a key")?;
        let point = key.public_key().as_ref();
        let der = [SPKI.as_slice(), point].concat();
        let public_key = folder.join("es256.pem");
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(der)
        );
        std::fs::write(&public_key, pem)?;
        // An uncompressed point: a four, and two coordinates.
        let (x, y) = point.get(1..).unwrap_or_default().split_at(32);
        let jwks = serde_json::json!({"keys": [{
            "kty": "EC", "crv": "P-256", "alg": "ES256", "kid": "k", "use": "sig",
            "x": URL_SAFE_NO_PAD.encode(x), "y": URL_SAFE_NO_PAD.encode(y),
        }]})
        .to_string();
        let secret = "a-secret-of-the-bench-longer-than-thirty-two-bytes".to_owned();
        let mac = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let random = SystemRandom::new();
        let mut hs256 = Vec::with_capacity(count);
        let mut es256 = Vec::with_capacity(count);
        for number in 0..count {
            let signed = body("HS256", number);
            let tag = hmac::sign(&mac, signed.as_bytes());
            hs256.push(bearer(&signed, tag.as_ref())?);
            let signed = body("ES256", number);
            let signature = key
                .sign(&random, signed.as_bytes())
                .context("sign a token")?;
            es256.push(bearer(&signed, signature.as_ref())?);
        }
        Ok(Self {
            secret,
            public_key,
            jwks,
            hs256,
            es256,
        })
    }
}

fn bearer(signed: &str, signature: &[u8]) -> anyhow::Result<HeaderValue> {
    let text = format!("Bearer {signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    HeaderValue::try_from(text).context("a token is a header's value")
}

fn body(algorithm: &str, number: usize) -> String {
    let now = std::time::UNIX_EPOCH
        .elapsed()
        .map_or(0, |since| since.as_secs());
    let header = serde_json::json!({"alg": algorithm, "kid": "k", "typ": "JWT"}).to_string();
    let claims = serde_json::json!({
        "iss": "sandgate", "aud": "sandgate-agent", "sub": format!("s{number:025}"),
        "exp": now + 900, "nbf": now, "iat": now, "jti": format!("t{number:025}"),
        "tenant": "default", "user": "ann", "conversation": format!("conversation-{number:08}"),
        "session": format!("e{number:025}"), "session_start_us": now * 1_000_000,
        "session_end_us": (now + 86_400) * 1_000_000, "instance": format!("i{number:025}"),
        "generation": 1, "agent_operations": ["search", "mail-read", "mail-send", "files"],
        "policy_revision": 1,
    })
    .to_string();
    format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    )
}
