//! How long a call may take: the client's wish, bounded by the class of the method, passed on to what it calls.
//!
//! The server answers DEADLINE_EXCEEDED itself, a margin before the client gives up; tonic would answer
//! CANCELLED, and only until the response's head.

use std::future::Future;
use std::time::Duration;

use http::HeaderMap;
use sandgate_api::options::v1::DeadlineClass;
use tokio::time::Instant;

use crate::limits::{DEADLINE_MARGIN, LONG_DEADLINE, SHORT_DEADLINE};

const GRPC_TIMEOUT: &str = "grpc-timeout";
/// The specification has at most eight digits.
const DIGITS_MAX: usize = 8;

tokio::task_local! {
    static CURRENT: Deadline;
}

/// The instant at which a call's answer is worth nothing any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline(Instant);

impl Deadline {
    /// So long from now.
    pub fn after(duration: Duration) -> Self {
        Self(Instant::now() + duration)
    }

    /// What is left; zero when it has passed.
    pub fn remaining(&self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// The instant itself.
    pub(crate) fn instant(&self) -> Instant {
        self.0
    }

    /// The deadline of the call that the current task serves, if it serves one.
    pub fn current() -> Option<Self> {
        CURRENT.try_with(|deadline| *deadline).ok()
    }

    /// Runs `work` under this deadline: calls that it makes through our channels take no longer.
    pub async fn scope<T>(self, work: impl Future<Output = T>) -> T {
        CURRENT.scope(self, work).await
    }

    /// The deadline of an incoming call. A client that names none gets that of the class, and none is longer.
    pub(crate) fn of(headers: &HeaderMap, class: DeadlineClass) -> Self {
        let most = longest(class);
        let duration = match wished(headers) {
            Some(wished) if wished < most => {
                wished.saturating_sub(DEADLINE_MARGIN.min(wished / 10))
            }
            Some(_) | None => most,
        };
        Self::after(duration)
    }
}

/// The longest that a call of this class takes to its first answer.
pub(crate) fn longest(class: DeadlineClass) -> Duration {
    match class {
        DeadlineClass::Long => LONG_DEADLINE,
        DeadlineClass::Short | DeadlineClass::Stream | DeadlineClass::Unspecified => SHORT_DEADLINE,
    }
}

/// What the sender of these headers wishes.
pub(crate) fn wished(headers: &HeaderMap) -> Option<Duration> {
    parse(headers.get(GRPC_TIMEOUT)?.to_str().ok()?)
}

/// Reads `grpc-timeout`: up to eight digits and a unit. What is malformed counts as absent.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.bytes().all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// The value of `grpc-timeout` for a duration, in the finest unit that its digits fit.
pub(crate) fn header(duration: Duration) -> String {
    let fits = |count: u128| count < 10u128.pow(8);
    if fits(duration.as_micros()) {
        format!("{}u", duration.as_micros())
    } else if fits(duration.as_millis()) {
        format!("{}m", duration.as_millis())
    } else {
        format!("{}S", duration.as_secs().min(99_999_999))
    }
}

/// The name of the header.
pub(crate) const HEADER: &str = GRPC_TIMEOUT;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_survives_its_header() {
        for millis in [1, 999, 100_000, 10_000_000] {
            let duration = Duration::from_millis(millis);
            assert_eq!(parse(&header(duration)), Some(duration));
        }
    }

    #[test]
    fn what_is_no_timeout_counts_as_absent() {
        for text in ["", "S", "-1S", "1", "1x", "123456789S", "1 S", "é"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_client_gets_longer_than_its_class_and_all_are_answered_before_they_give_up() {
        let mut headers = HeaderMap::new();
        let of = |headers: &HeaderMap| Deadline::of(headers, DeadlineClass::Short).remaining();
        assert_eq!(of(&headers), SHORT_DEADLINE);
        headers.insert(HEADER, "100H".parse().expect("a value"));
        assert_eq!(of(&headers), SHORT_DEADLINE);
        headers.insert(HEADER, "1S".parse().expect("a value"));
        assert!(of(&headers) < Duration::from_secs(1));
    }
}
