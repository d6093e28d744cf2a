//! Between the well-known types of protobuf and ours.

use std::time::Duration;

use sandgate_types::{Malformed, Timestamp};

/// The longest duration that any field takes: a year, so that no sum of two overflows anything.
const DURATION_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// The wire form of an instant.
pub fn timestamp_to(at: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: at.as_seconds(),
        nanos: i32::try_from(at.subsecond_nanos()).unwrap_or(0),
    }
}

/// Reads an instant from the request field `field`; whole microseconds are kept.
///
/// # Errors
/// The field, when the seconds lie outside of the years 1 to 9999 or the nanoseconds outside of a second.
pub fn timestamp_from(field: &str, wire: &prost_types::Timestamp) -> Result<Timestamp, Malformed> {
    // The range is that of google.protobuf.Timestamp.
    let in_range = (-62_135_596_800..=253_402_300_799).contains(&wire.seconds);
    if !in_range || !(0..1_000_000_000).contains(&wire.nanos) {
        return Err(Malformed::new(
            field,
            "must be an instant of the years 1 to 9999",
        ));
    }
    Ok(Timestamp::from_micros(
        wire.seconds * 1_000_000 + i64::from(wire.nanos) / 1_000,
    ))
}

/// The wire form of a duration.
pub fn duration_to(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

/// Reads a duration from the request field `field`.
///
/// # Errors
/// The field, when it is negative or longer than a year.
pub fn duration_from(field: &str, wire: &prost_types::Duration) -> Result<Duration, Malformed> {
    let rule = || Malformed::new(field, "must be between 0 and 366 days");
    let seconds = u64::try_from(wire.seconds).map_err(|_| rule())?;
    let nanos = u32::try_from(wire.nanos).map_err(|_| rule())?;
    if nanos >= 1_000_000_000 || seconds > DURATION_MAX.as_secs() {
        return Err(rule());
    }
    Ok(Duration::new(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_survives_the_wire() {
        for micros in [0, 1, -1, 1_700_000_000_123_456, -1_700_000_000_123_456] {
            let at = Timestamp::from_micros(micros);
            assert_eq!(timestamp_from("at", &timestamp_to(at)), Ok(at));
        }
    }

    #[test]
    fn negative_and_endless_durations_are_refused_by_field() {
        for wire in [
            prost_types::Duration {
                seconds: -1,
                nanos: 0,
            },
            prost_types::Duration {
                seconds: 0,
                nanos: -1,
            },
            prost_types::Duration {
                seconds: i64::MAX,
                nanos: 0,
            },
            prost_types::Duration {
                seconds: 0,
                nanos: 1_000_000_000,
            },
        ] {
            assert_eq!(
                duration_from("ttl", &wire)
                    .expect_err("out of range")
                    .field(),
                "ttl"
            );
        }
    }
}
