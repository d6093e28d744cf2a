//! From a file to the text of a policy.

use std::io::Read as _;
use std::path::Path;

use sandgate_types::{Malformed, Violations};

/// A policy of ten thousand routes fits; a larger file is another file.
const FILE_MAX_BYTES: u64 = 8 * 1024 * 1024;

/// Reads the text of a policy.
///
/// # Errors
/// `policy`, when the file cannot be read, is no text, or is too large.
pub fn read(file: &Path) -> Result<String, Violations> {
    let refuse = |rule: String| {
        Violations::from(Malformed::new(
            "policy",
            format!("{rule} ({})", file.display()),
        ))
    };
    let mut text = String::new();
    let opened = std::fs::File::open(file)
        .map_err(|error| refuse(format!("must name a file that can be read: {error}")))?;
    opened
        .take(FILE_MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| refuse(format!("must name a file of text: {error}")))?;
    if text.len() as u64 > FILE_MAX_BYTES {
        return Err(refuse("must name a file of at most 8MiB".to_owned()));
    }
    Ok(text)
}
