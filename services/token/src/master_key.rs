//! The master key: what seals signing keys and roots, and keys the hashes of API keys.
//!
//! It is read from a file that nobody else can read and is never itself used as a key: each purpose has one
//! that is derived from it. What is sealed is bound to its row, so that a row that was moved does not open.

mod apart;

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sandgate_rpc::config::SecretFile;
use sandgate_types::Malformed;
use secrecy::ExposeSecret as _;
use zeroize::Zeroizing;

/// The least that a key may have, and what is generated.
const KEY_BYTES: usize = 32;
/// Random bytes repeat less: of 32, fewer than 16 different ones come once in 10^13 keys.
const DIFFERENT_BYTES_MIN: usize = 16;
const FIELD: &str = "master_key_file";

/// What the master key is good for.
pub(crate) struct MasterKey {
    id: String,
    /// What the key was derived from, to be compared with other secrets of ours.
    bytes: Zeroizing<Vec<u8>>,
    sealing: LessSafeKey,
    hashing: hmac::Key,
}

/// What was sealed does not open.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// It was sealed under another master key.
    #[error(
        "{what} was sealed under master key {sealed_under}, and this one is {ours}: restore the key file"
    )]
    OtherKey {
        /// The row.
        what: String,
        /// The id of the key under which it was sealed.
        sealed_under: String,
        /// The id of the key that we have.
        ours: String,
    },
    /// It was changed, or belongs to another row.
    #[error("{0} does not open: its row was changed")]
    Changed(String),
    /// The library refused.
    #[error("the library of cryptography refused")]
    Library(#[from] aws_lc_rs::error::Unspecified),
}

/// A sealed value and under which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sealed {
    /// The id of the master key.
    pub master_key_id: String,
    /// Nonce, ciphertext and tag.
    pub bytes: Vec<u8>,
}

struct Bytes(usize);

impl KeyType for Bytes {
    fn len(&self) -> usize {
        self.0
    }
}

/// Makes a secret of 256 random bits, as text.
///
/// # Errors
/// When the machine has no randomness.
pub fn gen_secret() -> Result<String, aws_lc_rs::error::Unspecified> {
    let mut bytes = Zeroizing::new([0; KEY_BYTES]);
    aws_lc_rs::rand::fill(&mut *bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(*bytes))
}

impl MasterKey {
    /// Reads the key.
    ///
    /// # Errors
    /// What is wrong with the file or the key; the key is never in the message.
    pub(crate) fn read(file: &SecretFile) -> Result<Self, Malformed> {
        let text = file.read(FIELD)?;
        let refuse =
            |rule: &str| Malformed::new(FIELD, format!("{rule} ({})", file.path().display()));
        if crate::api_key::is_key(text.expose_secret()) {
            return Err(refuse(
                "must be no API key: make one with `sandgate gen-secret`",
            ));
        }
        let bytes = Zeroizing::new(
            URL_SAFE_NO_PAD
                .decode(text.expose_secret().trim_end_matches('='))
                .map_err(|_| {
                    refuse("must hold base64url text, as `sandgate gen-secret` prints it")
                })?,
        );
        if bytes.len() < KEY_BYTES {
            return Err(refuse(
                "must hold a key of at least 32 bytes: make one with `sandgate gen-secret`",
            ));
        }
        if is_patterned(&bytes) {
            return Err(refuse(
                "must hold a random key, not a pattern: make one with `sandgate gen-secret`",
            ));
        }
        Self::derive(&bytes)
            .map_err(|_| refuse("must hold a key that the library of cryptography takes"))
    }

    /// Makes a key in a new file, mode 0600. A file that is there is never touched.
    ///
    /// # Errors
    /// `AlreadyExists` included.
    pub(crate) fn generate(path: &Path) -> io::Result<()> {
        let text = Zeroizing::new(gen_secret().map_err(|_| io::Error::other("no randomness"))?);
        write_new(path, &text)
    }

    fn derive(bytes: &[u8]) -> Result<Self, aws_lc_rs::error::Unspecified> {
        let root = Salt::new(HKDF_SHA256, b"sandgate master key v1").extract(bytes);
        let derived = |purpose: &'static [u8], length: usize| {
            let mut key = Zeroizing::new(vec![0; length]);
            root.expand(&[purpose], Bytes(length))?.fill(&mut key)?;
            Ok::<_, aws_lc_rs::error::Unspecified>(key)
        };
        let id = derived(b"id", 9)?;
        let sealing = UnboundKey::new(&AES_256_GCM, &derived(b"seal", KEY_BYTES)?)?;
        Ok(Self {
            id: URL_SAFE_NO_PAD.encode(&*id),
            bytes: Zeroizing::new(bytes.to_vec()),
            sealing: LessSafeKey::new(sealing),
            hashing: hmac::Key::new(hmac::HMAC_SHA256, &derived(b"api keys", KEY_BYTES)?),
        })
    }

    /// Seals `secret` for the row `row` of `table`.
    ///
    /// # Errors
    /// When the library refuses.
    pub(crate) fn seal(&self, table: &str, row: &str, secret: &[u8]) -> Result<Sealed, SealError> {
        let mut nonce = [0; NONCE_LEN];
        aws_lc_rs::rand::fill(&mut nonce)?;
        let mut body = secret.to_vec();
        let associated = Aad::from(associated(&self.id, table, row));
        self.sealing.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            associated,
            &mut body,
        )?;
        Ok(Sealed {
            master_key_id: self.id.clone(),
            bytes: [&nonce[..], &body].concat(),
        })
    }

    /// Opens what was sealed for the row.
    ///
    /// # Errors
    /// [`SealError`], which says whether the key or the row is another one.
    pub(crate) fn open(
        &self,
        table: &str,
        row: &str,
        sealed: &Sealed,
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let what = || format!("{row} of {table}");
        if sealed.master_key_id != self.id {
            return Err(SealError::OtherKey {
                what: what(),
                sealed_under: sealed.master_key_id.clone(),
                ours: self.id.clone(),
            });
        }
        let changed = || SealError::Changed(what());
        let (nonce, body) = sealed
            .bytes
            .split_at_checked(NONCE_LEN)
            .ok_or_else(changed)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce)?;
        let mut body = Zeroizing::new(body.to_vec());
        let associated = Aad::from(associated(&self.id, table, row));
        let length = self
            .sealing
            .open_in_place(nonce, associated, &mut body)
            .map_err(|_| changed())?
            .len();
        body.truncate(length);
        Ok(body)
    }

    /// The keyed hash of an API key's secret under its public id.
    pub(crate) fn hash_api_key(&self, id: &str, secret: &str) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&self.hashing);
        context.update(id.as_bytes());
        // No id has this byte, so id and secret cannot trade places.
        context.update(b"\0");
        context.update(secret.as_bytes());
        context.sign().as_ref().to_vec()
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MasterKey({})", self.id)
    }
}

/// Writes a secret into a new file that only we can read, and makes it last.
pub(crate) fn write_new(path: &Path, text: &str) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.map_or_else(|| PathBuf::from("."), Path::to_path_buf);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    std::fs::File::open(folder)?.sync_all()
}

/// Each part behind its length: two rows never share their associated data.
fn associated(key: &str, table: &str, row: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in [key, table, row] {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part.as_bytes());
    }
    bytes
}

/// Whether the bytes, or the steps between them, are of a few kinds only: zeros, `changeme…`, a count.
fn is_patterned(bytes: &[u8]) -> bool {
    let different = |bytes: &mut dyn Iterator<Item = u8>| {
        let mut seen = [false; 256];
        bytes.for_each(|byte| seen[usize::from(byte)] = true);
        seen.iter().filter(|seen| **seen).count()
    };
    let steps = &mut bytes.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]));
    // Text is no key: whoever typed it did not roll dice for each letter.
    let typed = bytes
        .iter()
        .all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    typed
        || different(&mut bytes.iter().copied()) < DIFFERENT_BYTES_MIN
        || different(steps) < DIFFERENT_BYTES_MIN
}

#[cfg(test)]
mod tests;
