//! Ids that Sandgate makes: a letter for the kind, and random characters.
//!
//! 25 characters of 36 are 129 bits, so an id cannot be guessed; it is a DNS label, so it can be a host name.

use std::fmt;

use rand::CryptoRng;

use crate::Malformed;

/// Random characters of an id: 36^25 > 2^128.
const RANDOM_CHARACTERS: usize = 25;
/// Bytes below it are whole rounds of the alphabet.
const FAIR: u8 = 252;
const _: () = assert!((FAIR as usize).is_multiple_of(ALPHABET.len()));
/// One byte of 64 is thrown away.
const SPARE_BYTES: usize = 3;
const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Makes a new id from `rng`.
            pub fn random<R: CryptoRng + ?Sized>(rng: &mut R) -> Self {
                Self(random($prefix, rng))
            }

            /// Reads an id from the request field or configuration key `field`.
            ///
            /// # Errors
            /// The field, when the text cannot be an id of this kind.
            pub fn parse(field: &str, text: &str) -> Result<Self, Malformed> {
                parse(field, $prefix, text).map(Self)
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

fn random<R: CryptoRng + ?Sized>(prefix: char, rng: &mut R) -> String {
    let mut text = String::with_capacity(1 + RANDOM_CHARACTERS);
    text.push(prefix);
    while text.len() <= RANDOM_CHARACTERS {
        let mut bytes = [0; RANDOM_CHARACTERS + SPARE_BYTES];
        rng.fill_bytes(&mut bytes);
        // Each character is equally likely: what is above the last whole round of the alphabet is thrown away.
        let fair = bytes.iter().filter(|byte| **byte < FAIR);
        let missing = 1 + RANDOM_CHARACTERS - text.len();
        let characters = fair.map(|byte| ALPHABET[usize::from(*byte) % ALPHABET.len()]);
        text.extend(characters.take(missing).map(char::from));
    }
    text
}

fn parse(field: &str, prefix: char, text: &str) -> Result<String, Malformed> {
    let shape = text.len() == 1 + RANDOM_CHARACTERS
        && text.starts_with(prefix)
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if shape {
        Ok(text.to_owned())
    } else {
        Err(Malformed::new(
            field,
            format!("must be '{prefix}' and {RANDOM_CHARACTERS} lower-case letters and digits"),
        ))
    }
}

id!(
    /// A sandbox; stable over suspend and resume.
    SandboxId, 's'
);
id!(
    /// One run of a sandbox: a local launch, or a pod.
    InstanceId, 'i'
);
id!(
    /// One instance's service to one conversation, from Attach to its end.
    SessionId, 'e'
);
id!(
    /// The `jti` of a token.
    TokenId, 't'
);
id!(
    /// The public half of an API key.
    ApiKeyId, 'k'
);
id!(
    /// A version of a workspace.
    VersionId, 'v'
);
id!(
    /// An upload in progress; what it sent is its own until it commits.
    UploadId, 'u'
);
id!(
    /// A record of the audit log.
    AuditEventId, 'a'
);
id!(
    /// One process, stream or other handle that a caller holds.
    LinkId, 'l'
);

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn a_random_id_is_a_dns_label_and_parses_back() {
        let mut rng = StdRng::seed_from_u64(1);
        for _ in 0..1000 {
            let id = SandboxId::random(&mut rng);
            assert_eq!(id.as_str().len(), 26);
            assert_eq!(
                SandboxId::parse("sandbox_id", id.as_str()).expect("own id"),
                id
            );
        }
    }

    #[test]
    fn every_character_of_an_id_is_equally_likely() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut counts = [0_u32; 36];
        for _ in 0..360_000 / 25 {
            let id = SandboxId::random(&mut rng);
            for byte in id.as_str().bytes().skip(1) {
                let place = ALPHABET.iter().position(|known| *known == byte);
                counts[place.expect("of the alphabet")] += 1;
            }
        }
        // 10,000 each; five standard deviations are 500.
        assert!(
            counts.iter().all(|count| (9_500..10_500).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn an_id_of_another_kind_is_refused() {
        let mut rng = StdRng::seed_from_u64(1);
        let id = InstanceId::random(&mut rng);
        assert_eq!(
            SandboxId::parse("sandbox_id", id.as_str())
                .expect_err("an instance")
                .field(),
            "sandbox_id"
        );
    }
}
