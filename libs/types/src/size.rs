//! Sizes and durations as people write them in configuration: `20MiB`, `5s`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::Malformed;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(u64);

const UNITS: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl ByteSize {
    /// `bytes` bytes.
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// `count` × 1024 bytes.
    pub const fn kib(count: u64) -> Self {
        Self(count << 10)
    }

    /// `count` × 1024² bytes.
    pub const fn mib(count: u64) -> Self {
        Self(count << 20)
    }

    /// `count` × 1024³ bytes.
    pub const fn gib(count: u64) -> Self {
        Self(count << 30)
    }

    /// The number of bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let rule = || {
            Malformed::new(
                "size",
                "must be a whole number and one of B, KiB, MiB, GiB, TiB, like 20MiB",
            )
        };
        for (unit, factor) in UNITS {
            if let Some(number) = text.strip_suffix(unit) {
                let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
                let count: u64 = if plain {
                    number.parse().map_err(|_| rule())?
                } else {
                    return Err(rule());
                };
                return count.checked_mul(factor).map(Self).ok_or_else(rule);
            }
        }
        Err(rule())
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, factor) in UNITS {
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(f, "{}{unit}", self.0 / factor);
            }
        }
        write!(f, "{}B", self.0)
    }
}

/// Reads a duration such as `500ms`, `5s`, `15m` or `24h` from the configuration key `field`.
///
/// # Errors
/// The field and the rule, when it is not one whole number and one unit.
pub fn parse_duration(field: &str, text: &str) -> Result<Duration, Malformed> {
    let rule = || {
        Malformed::new(
            field,
            "must be a whole number and one of ms, s, m, h, d, like 5s",
        )
    };
    for (unit, millis) in [
        ("ms", 1),
        ("s", 1_000),
        ("m", 60_000),
        ("h", 3_600_000),
        ("d", 86_400_000),
    ] {
        if let Some(number) = text.strip_suffix(unit)
            && !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
        {
            let count: u64 = number.parse().map_err(|_| rule())?;
            return count
                .checked_mul(millis)
                .map(Duration::from_millis)
                .ok_or_else(rule);
        }
    }
    Err(rule())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_size_reads_back_as_it_is_written(bytes in any::<u64>()) {
            let size = ByteSize::new(bytes);
            prop_assert_eq!(size.to_string().parse::<ByteSize>(), Ok(size));
        }
    }

    #[test]
    fn sizes_without_unit_with_sign_or_too_large_are_refused() {
        for text in ["20", "-1B", "+1B", "1.5MiB", "MiB", "99999999999TiB", ""] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn durations_have_one_number_and_one_unit() {
        assert_eq!(
            parse_duration("ttl", "500ms"),
            Ok(Duration::from_millis(500))
        );
        assert_eq!(
            parse_duration("ttl", "24h"),
            Ok(Duration::from_secs(86_400))
        );
        for text in ["5", "s", "-5s", "1h30m", "5 s"] {
            assert_eq!(parse_duration("ttl", text).expect_err(text).field(), "ttl");
        }
    }
}
