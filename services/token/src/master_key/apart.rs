//! The master key is no other secret of ours: whoever sees one of two equal secrets has both.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sandgate_types::Malformed;
use zeroize::Zeroizing;

use super::{FIELD, MasterKey};

impl MasterKey {
    /// Checks that no secret in these files is or holds this key. Private keys hold theirs in the base64 of PEM,
    /// API keys in their last part.
    ///
    /// # Errors
    /// Which file it is, and what to do; or that one cannot be read, and so nothing is known.
    pub(crate) fn is_none_of(&self, files: &[PathBuf]) -> Result<(), Malformed> {
        for file in files {
            let refuse = |rule: &str| Malformed::new(FIELD, format!("{rule} ({})", file.display()));
            let text = std::fs::read(file).map(Zeroizing::new).map_err(|error| {
                refuse(&format!(
                    "cannot be compared with another secret of ours: {error}"
                ))
            })?;
            if holds(&text, &self.bytes) {
                return Err(refuse(
                    "must be no other secret of ours: make one with `sandgate gen-secret`",
                ));
            }
        }
        Ok(())
    }
}

/// Whether a file's text is, or holds, a secret: as it is, in base64url, or within the base64 of PEM.
fn holds(text: &[u8], secret: &[u8]) -> bool {
    let within = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
    let spelled = Zeroizing::new(URL_SAFE_NO_PAD.encode(secret));
    let body: Zeroizing<Vec<u8>> = Zeroizing::new(
        text.split(|byte| *byte == b'\n')
            .filter(|line| !line.starts_with(b"-----"))
            .flatten()
            .filter(|byte| !byte.is_ascii_whitespace())
            .copied()
            .collect(),
    );
    let decoded = STANDARD.decode(&*body).map(Zeroizing::new);
    within(text, secret)
        || within(text, spelled.as_bytes())
        || decoded.is_ok_and(|decoded| within(&decoded, secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_as_it_is_in_base64url_and_within_a_private_key() {
        let secret: Vec<u8> = (0..32).map(|byte| byte * 7 + 3).collect();
        let spelled = URL_SAFE_NO_PAD.encode(&secret);
        let around = [&[1, 2, 3][..], &secret, &[4, 5]].concat();
        let pem = STANDARD.encode(around);
        let (begin, end) = pem.split_at(30);
        let pem =
            format!("-----BEGIN PRIVATE KEY-----\n{begin}\r\n{end}\n-----END PRIVATE KEY-----\n");
        for text in [
            secret.clone(),
            format!("{spelled}\n").into_bytes(),
            format!("sgk_k0000000000000000000000000_{spelled}").into_bytes(),
            pem.clone().into_bytes(),
        ] {
            assert!(holds(&text, &secret), "{}", String::from_utf8_lossy(&text));
        }
        let mut other = secret;
        other[0] ^= 1;
        for text in [spelled, pem, String::new()] {
            assert!(!holds(text.as_bytes(), &other), "{text}");
        }
    }
}
