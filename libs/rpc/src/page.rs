//! Pages of lists: how long one is, and where the next begins.
//!
//! A token is bound to whoever got it and to the list that it continues, by a keyed hash; for anybody else,
//! and after a change of the filter, it is malformed. It holds where to go on, nothing secret.

use aws_lc_rs::{constant_time, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sandgate_types::Malformed;

/// What a request that names no size gets.
const DEFAULT: usize = 100;
/// The published limit of a page.
const MAX: usize = 1_000;
/// Half of a SHA-256 is as hard to guess as 128 bits are.
const TAG_BYTES: usize = 16;
/// A token holds a position in a list; ours are an instant and an id, or a path.
const TOKEN_MAX_BYTES: usize = 8 * 1024;

/// The key by which one process signs its page tokens. Random at each start: an old token is malformed then,
/// and its holder begins again.
#[derive(Debug, Clone)]
pub struct PageToken(hmac::Key);

/// The size of a page for the request field `page_size`: zero means 100, more than 1,000 means 1,000.
///
/// # Errors
/// The field, when it is negative.
pub fn page_size(wished: i32) -> Result<usize, Malformed> {
    match usize::try_from(wished) {
        Ok(0) => Ok(DEFAULT),
        Ok(size) => Ok(size.min(MAX)),
        Err(_) => Err(Malformed::new("page_size", "must not be negative")),
    }
}

impl PageToken {
    /// Tokens under this key, 32 random bytes.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The token that goes on behind `position`, for `receiver` (who asked for which list, as one text).
    pub fn encode(&self, receiver: &str, position: &[u8]) -> String {
        let mut bytes = self.tag(receiver, position).to_vec();
        bytes.extend_from_slice(position);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// The position in a token; nothing for an empty one, which begins a list.
    ///
    /// # Errors
    /// The field `page_token`, when this receiver never got it from this process.
    pub fn decode(&self, receiver: &str, token: &str) -> Result<Option<Vec<u8>>, Malformed> {
        if token.is_empty() {
            return Ok(None);
        }
        let refused = || {
            let rule = "must be the next_page_token of the page before, with the same filter";
            Malformed::new("page_token", rule)
        };
        if token.len() > TOKEN_MAX_BYTES {
            return Err(refused());
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| refused())?;
        let (tag, position) = bytes.split_at_checked(TAG_BYTES).ok_or_else(refused)?;
        constant_time::verify_slices_are_equal(tag, &self.tag(receiver, position))
            .map_err(|_| refused())?;
        Ok(Some(position.to_vec()))
    }

    fn tag(&self, receiver: &str, position: &[u8]) -> [u8; TAG_BYTES] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(&(receiver.len() as u64).to_le_bytes());
        context.update(receiver.as_bytes());
        context.update(position);
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(&context.sign().as_ref()[..TAG_BYTES]);
        tag
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_negative_size_is_refused_and_a_large_one_is_clamped() {
        assert_eq!(page_size(-1).expect_err("negative").field(), "page_size");
        assert_eq!(page_size(0), Ok(100));
        assert_eq!(page_size(5), Ok(5));
        assert_eq!(page_size(i32::MAX), Ok(1_000));
    }

    #[test]
    fn a_token_is_good_for_its_receiver_and_list_only() {
        let tokens = PageToken::new(&[1; 32]);
        let token = tokens.encode("tenant-a/list", b"position");
        assert_eq!(
            tokens.decode("tenant-a/list", &token),
            Ok(Some(b"position".to_vec()))
        );
        assert!(tokens.decode("tenant-b/list", &token).is_err());
        assert!(tokens.decode("tenant-a/list", "nonsense").is_err());
        assert!(
            PageToken::new(&[2; 32])
                .decode("tenant-a/list", &token)
                .is_err()
        );
        assert_eq!(tokens.decode("tenant-a/list", ""), Ok(None));
    }
}
