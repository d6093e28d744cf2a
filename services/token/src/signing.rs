//! Signing keys: made here, sealed at rest, never leaving this process.
//!
//! The newest key whose time has come signs; every key in the database verifies, so that tokens outlive the key change.

use std::fmt;

use aws_lc_rs::error::{KeyRejected, Unspecified};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sandgate_api::token::v1::JsonWebKey;
use sandgate_session::jwt::{Content, Headers, assemble, signing_input};
use sandgate_session::{Algorithm, KeySet, KeySetRefusal, Verifier};
use sandgate_types::Timestamp;

use crate::master_key::{MasterKey, SealError};
use crate::rotation::{SignsFrom, active};
use crate::store::StoredSigningKey;

/// Where signing keys are kept, as the associated data of what is sealed names it.
const TABLE: &str = "signing_keys";
/// Random bytes of a key's id.
const KEY_ID_BYTES: usize = 12;

/// Why the keys of the database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// There is none: the database was migrated and never begun.
    #[error("the database has no signing key: run `sandgate init`")]
    Empty,
    /// A key does not open.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A key is of an algorithm that we do not know.
    #[error("signing key {0} is of an unknown algorithm")]
    Algorithm(String),
    /// A key opened and is none.
    #[error("signing key {key_id} cannot be used")]
    Rejected {
        /// The key.
        key_id: String,
        /// What the library says.
        #[source]
        source: KeyRejected,
    },
    /// The private key is not that of the public one.
    #[error("signing key {0} has another public key than its row says")]
    Mismatch(String),
    /// The public keys make no set.
    #[error(transparent)]
    Set(#[from] KeySetRefusal),
}

enum Pair {
    Ed(Ed25519KeyPair),
    Es(EcdsaKeyPair),
}

/// A key that signs.
struct SigningKey {
    id: String,
    pair: Pair,
    headers: Headers,
    signs_from: Timestamp,
}

impl SignsFrom for SigningKey {
    fn signs_from(&self) -> Timestamp {
        self.signs_from
    }
}

/// All keys of the service, of which there is at least one.
pub(crate) struct Keyring {
    keys: Vec<SigningKey>,
    jwks: Vec<JsonWebKey>,
    verifier: Verifier,
}

/// Makes the first key and seals it; it signs from `now` on. See [`StoredSigningKey::following`] for another.
///
/// # Errors
/// When the library of cryptography refuses.
pub(crate) fn generate(
    master: &MasterKey,
    algorithm: Algorithm,
    now: Timestamp,
) -> Result<StoredSigningKey, SealError> {
    let mut id = [0; KEY_ID_BYTES];
    aws_lc_rs::rand::fill(&mut id)?;
    let key_id = URL_SAFE_NO_PAD.encode(id);
    let random = SystemRandom::new();
    let rejected = |_: KeyRejected| Unspecified;
    let (public_key, document) = match algorithm {
        Algorithm::EdDsa => {
            let document = Ed25519KeyPair::generate_pkcs8(&random)?;
            let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(rejected)?;
            (pair.public_key().as_ref().to_vec(), document)
        }
        Algorithm::Es256 => {
            let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?;
            let pair =
                EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref())
                    .map_err(rejected)?;
            (pair.public_key().as_ref().to_vec(), document)
        }
    };
    let sealed = master.seal(TABLE, &row(&key_id, algorithm.as_str()), document.as_ref())?;
    Ok(StoredSigningKey {
        key_id,
        algorithm: algorithm.as_str().to_owned(),
        public_key,
        sealed,
        created_at: now,
        ordinal: 1,
        signs_from: now,
    })
}

impl StoredSigningKey {
    /// The same key in the place behind `before`, signing from an instant on.
    pub(crate) fn following(self, before: &Self, signs_from: Timestamp) -> Self {
        Self {
            ordinal: before.ordinal + 1,
            signs_from,
            ..self
        }
    }
}

/// The id and the algorithm are both bound to what is sealed: neither column can be changed alone.
fn row(key_id: &str, algorithm: &str) -> String {
    format!("{key_id}/{algorithm}")
}

impl SigningKey {
    fn open(master: &MasterKey, stored: &StoredSigningKey) -> Result<Self, KeyringError> {
        let StoredSigningKey {
            key_id,
            algorithm,
            public_key,
            sealed,
            created_at: _,
            ordinal: _,
            signs_from,
        } = stored;
        let secret = master.open(TABLE, &row(key_id, algorithm), sealed)?;
        let rejected = |source| KeyringError::Rejected {
            key_id: key_id.clone(),
            source,
        };
        let unknown = || KeyringError::Algorithm(key_id.clone());
        let algorithm = Algorithm::named(algorithm).ok_or_else(unknown)?;
        let (pair, own) = match algorithm {
            Algorithm::EdDsa => {
                let pair = Ed25519KeyPair::from_pkcs8(&secret).map_err(rejected)?;
                let own = pair.public_key().as_ref().to_vec();
                (Pair::Ed(pair), own)
            }
            Algorithm::Es256 => {
                let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &secret)
                    .map_err(rejected)?;
                let own = pair.public_key().as_ref().to_vec();
                (Pair::Es(pair), own)
            }
        };
        if own != *public_key {
            return Err(KeyringError::Mismatch(key_id.clone()));
        }
        Ok(Self {
            id: key_id.clone(),
            pair,
            headers: Headers::new(algorithm, key_id),
            signs_from: *signs_from,
        })
    }

    fn jwk(&self) -> JsonWebKey {
        let (kty, crv, x, y) = match &self.pair {
            Pair::Ed(pair) => (
                "OKP",
                "Ed25519",
                URL_SAFE_NO_PAD.encode(pair.public_key()),
                String::new(),
            ),
            Pair::Es(pair) => {
                // SEC 1: a byte that says uncompressed, then both coordinates.
                let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
                (
                    "EC",
                    "P-256",
                    URL_SAFE_NO_PAD.encode(x),
                    URL_SAFE_NO_PAD.encode(y),
                )
            }
        };
        JsonWebKey {
            kid: self.id.clone(),
            kty: kty.to_owned(),
            crv: crv.to_owned(),
            x,
            y,
            alg: self.algorithm().as_str().to_owned(),
        }
    }

    fn algorithm(&self) -> Algorithm {
        match &self.pair {
            Pair::Ed(_) => Algorithm::EdDsa,
            Pair::Es(_) => Algorithm::Es256,
        }
    }

    fn sign<C: Content>(&self, content: &C) -> Result<String, Unspecified> {
        let input = signing_input(&self.headers, content);
        let signature = match &self.pair {
            Pair::Ed(pair) => pair.try_sign(input.as_bytes())?,
            Pair::Es(pair) => pair.sign(&SystemRandom::new(), input.as_bytes())?,
        };
        Ok(assemble(input, signature.as_ref()))
    }
}

impl Keyring {
    /// Opens all keys, in the order of their ordinals. One that does not open is an error, not a smaller set: its tokens would die unseen.
    ///
    /// # Errors
    /// See [`KeyringError`].
    pub(crate) fn open(
        master: &MasterKey,
        stored: &[StoredSigningKey],
    ) -> Result<Self, KeyringError> {
        let mut keys = Vec::with_capacity(stored.len());
        for key in stored {
            keys.push(SigningKey::open(master, key)?);
        }
        let jwks: Vec<JsonWebKey> = keys.iter().map(SigningKey::jwk).collect();
        if keys.is_empty() {
            return Err(KeyringError::Empty);
        }
        let verifier = Verifier::new(KeySet::from_wire(&jwks)?);
        Ok(Self {
            keys,
            jwks,
            verifier,
        })
    }

    /// Signs with the newest key whose time has come at `now`.
    ///
    /// # Errors
    /// When the library of cryptography refuses.
    pub(crate) fn sign<C: Content>(
        &self,
        content: &C,
        now: Timestamp,
    ) -> Result<String, Unspecified> {
        self.keys[active(&self.keys, now)].sign(content)
    }

    /// Whether it is of these rows.
    pub(crate) fn is_of(&self, stored: &[StoredSigningKey]) -> bool {
        let own = self.keys.iter().map(|key| (&key.id, key.signs_from));
        own.eq(stored.iter().map(|key| (&key.key_id, key.signs_from)))
    }

    /// The public keys.
    pub(crate) fn jwks(&self) -> &[JsonWebKey] {
        &self.jwks
    }

    /// Verifies by these keys.
    pub(crate) fn verifier(&self) -> &Verifier {
        &self.verifier
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.keys.iter().map(|key| &key.id))
            .finish()
    }
}

#[cfg(test)]
mod tests;
