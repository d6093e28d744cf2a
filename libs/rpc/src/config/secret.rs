//! Secrets are read from files that nobody else can read.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use sandgate_types::Malformed;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};

/// No secret of ours is longer; a larger file is another file.
const SECRET_MAX_BYTES: u64 = 64 * 1024;
/// Anyone who is neither owner nor in the group.
const OTHERS: u32 = 0o007;
const GROUP: u32 = 0o070;
/// Anything but reading.
const GROUP_MORE: u32 = 0o030;
const PERMISSIONS: u32 = 0o7777;

/// A setting that names the file which holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SecretFile(PathBuf);

impl SecretFile {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Reads the secret; a line end at its end is not part of it.
    ///
    /// The mode is checked on the opened file. The group may read it only where root owns it: so does a
    /// cluster mount secrets, with the pod's group.
    ///
    /// # Errors
    /// The setting `field` and what to do about the file; its content is never in the message.
    pub fn read(&self, field: &str) -> Result<SecretString, Malformed> {
        let refuse = |rule: String| Malformed::new(field, format!("{rule} ({})", self.0.display()));
        let file = File::open(&self.0)
            .map_err(|error| refuse(format!("must name a file that can be read: {error}")))?;
        let facts = file
            .metadata()
            .map_err(|error| refuse(format!("must name a file: {error}")))?;
        if !facts.is_file() {
            return Err(refuse("must name a regular file".to_owned()));
        }
        let closed_to = if facts.uid() == 0 {
            OTHERS | GROUP_MORE
        } else {
            OTHERS | GROUP
        };
        if facts.mode() & closed_to != 0 {
            let mode = facts.mode() & PERMISSIONS;
            return Err(refuse(format!(
                "must name a file that only its owner can read, and not one of mode {mode:04o}: chmod 600 it"
            )));
        }
        let mut text = String::new();
        file.take(SECRET_MAX_BYTES + 1)
            .read_to_string(&mut text)
            .map_err(|error| refuse(format!("must name a file of text: {error}")))?;
        let secret = text.trim_end_matches(['\r', '\n']);
        if secret.is_empty() {
            return Err(refuse("must name a file that is not empty".to_owned()));
        }
        if text.len() as u64 > SECRET_MAX_BYTES {
            return Err(refuse(format!(
                "must name a file of at most {SECRET_MAX_BYTES} bytes"
            )));
        }
        Ok(SecretString::from(secret))
    }
}

impl From<PathBuf> for SecretFile {
    fn from(path: PathBuf) -> Self {
        Self(path)
    }
}

impl FromStr for SecretFile {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.into()))
    }
}
