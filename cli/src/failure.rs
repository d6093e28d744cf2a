//! What a person reads when something did not work: the fields that were wrong, and the next step.

use std::fmt::Write as _;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// A gRPC status as words for a person: what was wrong, field by field, and what to do.
pub(crate) fn explain(status: &Status) -> String {
    let details = status.get_error_details();
    let mut text = String::new();
    match details.bad_request() {
        Some(bad_request) if !bad_request.field_violations.is_empty() => {
            for violation in &bad_request.field_violations {
                if !text.is_empty() {
                    text.push_str("; ");
                }
                // Writing to a String cannot fail.
                write!(
                    text,
                    "{} {}",
                    printable(&violation.field),
                    printable(&violation.description)
                )
                .unwrap_or_default();
            }
        }
        Some(_) | None => text.push_str(&printable(status.message())),
    }
    let next = match status.code() {
        Code::Unauthenticated => Some("check the API key"),
        Code::Unavailable => Some("try again"),
        Code::Internal | Code::Unknown | Code::DataLoss => {
            Some("this is a bug of sandgate; the log has the rest under the request id")
        }
        Code::DeadlineExceeded | Code::Cancelled => {
            Some("it took too long; try again, or give it more time")
        }
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        // What it says to do may be something else than to try again; a wait says so below.
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented => None,
    };
    let wait = details.retry_info().and_then(|retry| retry.retry_delay);
    match (next, wait) {
        (Some(next), Some(wait)) => format!("{text} ({next} in {}s)", wait.as_secs().max(1)),
        (None, Some(wait)) => format!("{text} (try again in {}s)", wait.as_secs().max(1)),
        (Some(next), None) => format!("{text} ({next})"),
        (None, None) => text,
    }
}

/// Text from elsewhere, safe for a terminal: no control characters, cut to a length.
pub(crate) fn printable(text: &str) -> String {
    /// Longer messages are cut; ours are a sentence.
    const CHARACTERS_MAX: usize = 500;
    text.chars()
        .take(CHARACTERS_MAX)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// A name in bytes, safe for a terminal and told apart from any other: what cannot be seen, a backslash and what is not
/// UTF-8 are escaped.
pub(crate) fn visible(name: &[u8]) -> String {
    let mut text = String::new();
    for chunk in name.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\'' | '"' => text.push(c),
                _ => text.extend(c.escape_debug()),
            }
        }
        for byte in chunk.invalid() {
            text.extend(std::ascii::escape_default(*byte).map(char::from));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn each_bad_field_is_named_with_its_rule() {
        let mut details = ErrorDetails::new();
        details.add_bad_request_violation("conversation", "must not be empty");
        details.add_bad_request_violation("ttl", "must be at least 1s");
        let status = Status::with_error_details(Code::InvalidArgument, "invalid argument", details);
        assert_eq!(
            explain(&status),
            "conversation must not be empty; ttl must be at least 1s"
        );
    }

    #[test]
    fn what_helps_later_says_when() {
        let details = ErrorDetails::with_retry_info(Some(Duration::from_secs(3)));
        let status = Status::with_error_details(Code::Unavailable, "the database is busy", details);
        assert_eq!(explain(&status), "the database is busy (try again in 3s)");
    }

    #[test]
    fn control_characters_never_reach_the_terminal() {
        let status = Status::not_found("gone\u{1b}[2J");
        assert!(!explain(&status).contains('\u{1b}'));
    }

    #[test]
    fn names_that_differ_are_seen_to_differ() {
        for (name, seen) in [
            (&b"it's \"here\".txt"[..], "it's \"here\".txt"),
            ("\u{e9}t\u{e9}".as_bytes(), "\u{e9}t\u{e9}"),
            (b"a\nb", r"a\nb"),
            (b"a\\nb", r"a\\nb"),
            (b"\xff\xfex", r"\xff\xfex"),
            ("\u{202e}gpj.exe".as_bytes(), r"\u{202e}gpj.exe"),
            (b"\x1b[2J", r"\u{1b}[2J"),
        ] {
            assert_eq!(visible(name), seen);
        }
    }
}
