//! The public keys: a closed list, each for one algorithm, none of which ever changes its meaning.

use std::collections::HashMap;
use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sandgate_api::token::v1::JsonWebKey;

use crate::Algorithm;
use crate::jwt::is_key_id;

/// The most keys of a set: the current one, the next one and those whose tokens still live.
pub const KEYS_MAX: usize = 16;
/// Bytes of an Ed25519 key and of each P-256 coordinate.
const COORDINATE_BYTES: usize = 32;

/// Why a key set is refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeySetRefusal {
    /// It is empty, so nothing could be verified.
    #[error("the key set is empty")]
    Empty,
    /// It is too large.
    #[error("the key set has more than {KEYS_MAX} keys")]
    TooMany,
    /// A key is none of the two kinds, or no point of its curve.
    #[error("key {0} of the set cannot be used")]
    Unusable(usize),
    /// Two keys have one id, or a known id got another key.
    #[error("the id of key {0} of the set is already another key's")]
    IdTaken(usize),
}

/// A key as it verifies.
pub(crate) struct Key {
    pub(crate) algorithm: Algorithm,
    bytes: Vec<u8>,
    parsed: ParsedPublicKey,
}

/// The keys by which tokens and tickets are verified.
pub struct KeySet(HashMap<String, Key>);

impl Key {
    fn from_wire(wire: &JsonWebKey) -> Option<Self> {
        let JsonWebKey {
            kid: _,
            kty,
            crv,
            x,
            y,
            alg,
        } = wire;
        let coordinate = |text: &str| {
            URL_SAFE_NO_PAD
                .decode(text)
                .ok()
                .filter(|bytes| bytes.len() == COORDINATE_BYTES)
        };
        let (algorithm, bytes): (Algorithm, Vec<u8>) =
            match (kty.as_str(), crv.as_str(), alg.as_str()) {
                ("OKP", "Ed25519", "EdDSA") if y.is_empty() => (Algorithm::EdDsa, coordinate(x)?),
                // Uncompressed, by SEC 1 section 2.3.3.
                ("EC", "P-256", "ES256") => (
                    Algorithm::Es256,
                    [vec![4], coordinate(x)?, coordinate(y)?].concat(),
                ),
                _ => return None,
            };
        let verification: &'static dyn VerificationAlgorithm = match algorithm {
            Algorithm::EdDsa => &ED25519,
            Algorithm::Es256 => &ECDSA_P256_SHA256_FIXED,
        };
        let parsed = ParsedPublicKey::new(verification, &bytes).ok()?;
        Some(Self {
            algorithm,
            bytes,
            parsed,
        })
    }

    pub(crate) fn verifies(&self, signed: &str, signature: &[u8]) -> bool {
        self.parsed.verify_sig(signed.as_bytes(), signature).is_ok()
    }
}

impl KeySet {
    /// Takes the keys of `TokenService.GetJwks`.
    ///
    /// # Errors
    /// Why the set is refused; a set is taken whole or not at all.
    pub fn from_wire(keys: &[JsonWebKey]) -> Result<Self, KeySetRefusal> {
        if keys.is_empty() {
            return Err(KeySetRefusal::Empty);
        }
        if keys.len() > KEYS_MAX {
            return Err(KeySetRefusal::TooMany);
        }
        let mut set = HashMap::with_capacity(keys.len());
        for (index, wire) in keys.iter().enumerate() {
            let key = Key::from_wire(wire)
                .filter(|_| is_key_id(&wire.kid))
                .ok_or(KeySetRefusal::Unusable(index))?;
            if set.insert(wire.kid.clone(), key).is_some() {
                return Err(KeySetRefusal::IdTaken(index));
            }
        }
        Ok(Self(set))
    }

    /// Takes a newer set in the place of this one, in which no id that both have may mean another key.
    ///
    /// # Errors
    /// Why the newer set is refused; then this one goes on.
    pub fn succeeded_by(&self, keys: &[JsonWebKey]) -> Result<Self, KeySetRefusal> {
        let next = Self::from_wire(keys)?;
        for (index, wire) in keys.iter().enumerate() {
            let changed = match (self.0.get(&wire.kid), next.0.get(&wire.kid)) {
                (Some(old), Some(new)) => old.bytes != new.bytes || old.algorithm != new.algorithm,
                (None, _) | (_, None) => false,
            };
            if changed {
                return Err(KeySetRefusal::IdTaken(index));
            }
        }
        Ok(next)
    }

    /// Whether `kid` is in the list.
    pub fn lists(&self, kid: &str) -> bool {
        self.0.contains_key(kid)
    }

    pub(crate) fn get(&self, kid: &str) -> Option<&Key> {
        self.0.get(kid)
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
