//! Secrets that a story plants, and the search for them: as they are, in hex and in base64.
//!
//! A search that finds nothing proves nothing, so each place is searched for something known to be there too.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// How each JWT begins: an object in JSON, in base64.
const TOKEN_HEAD: &str = "eyJ";
/// So many characters of base64 after it are no accident.
const TOKEN_TAIL: usize = 8;

/// The ways in which a secret may be written.
#[derive(Debug)]
pub struct Needle {
    /// What it is.
    pub what: &'static str,
    forms: Vec<String>,
}

impl Needle {
    /// Looks for `text`, which is `what`.
    pub fn new(what: &'static str, text: &str) -> Self {
        let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
        let mut forms = vec![text.to_owned(), hex.to_uppercase(), hex];
        // Where a base64 text has other bytes before, three bytes of ours may begin at three places.
        for before in 0..3 {
            let mut bytes = vec![0; before];
            bytes.extend_from_slice(text.as_bytes());
            let encoded = STANDARD_NO_PAD.encode(bytes);
            // The ends hold bits of the neighbours.
            let inner = &encoded[if before == 0 { 0 } else { before + 1 }..encoded.len() - 1];
            forms.push(inner.to_owned());
            forms.push(inner.replace('+', "-").replace('/', "_"));
        }
        Self { what, forms }
    }

    /// Whether it is in this text.
    pub fn is_in(&self, text: &str) -> bool {
        self.forms.iter().any(|form| text.contains(form))
    }
}

/// Whether a JWT is in this text.
pub fn has_token(text: &str) -> bool {
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    text.match_indices(TOKEN_HEAD).any(|(at, head)| {
        let after = at + head.len();
        let tail = text.as_bytes().get(after..after + TOKEN_TAIL);
        tail.is_some_and(|tail| tail.iter().all(is_base64))
    })
}

/// Bytes as text that can be searched: what is no text in them is replaced, and what is stays as it is.
pub fn searchable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A file, and what is in it.
#[derive(Debug)]
pub struct Found {
    /// Where it lies.
    pub path: PathBuf,
    /// What is in it, as text.
    pub text: String,
}

/// All files below a folder.
///
/// # Panics
/// When one cannot be read.
pub fn files_below(folder: &Path) -> Vec<Found> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let (path, kind) = (entry.path(), entry.file_type().expect("its type"));
        if kind.is_dir() {
            found.extend(files_below(&path));
        } else if kind.is_file() {
            let bytes = std::fs::read(&path).expect("a file");
            let text = searchable(&bytes);
            found.push(Found { path, text });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_in_each_of_its_forms_and_only_then() {
        let needle = Needle::new("a secret", "s3cret-of-the-test");
        for before in ["", "a", "bc", "def"] {
            let whole = format!("{before}s3cret-of-the-test, and more");
            let hex: String = whole.bytes().map(|byte| format!("{byte:02x}")).collect();
            for text in [&whole, &hex, &STANDARD_NO_PAD.encode(&whole)] {
                assert!(needle.is_in(text), "{text}");
            }
        }
        assert!(!needle.is_in("s3cret-of-another-test"));
    }

    #[test]
    fn a_token_is_told_from_an_accident() {
        assert!(has_token("bearer eyJhbGciOiJFZERTQSJ9.e30.x"));
        assert!(!has_token("\0eyJ\0\x01\x02 eyJ is how they begin"));
    }
}
