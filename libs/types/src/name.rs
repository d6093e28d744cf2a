//! Names that people and programs choose, each parsed once.
//!
//! Names of tenants, users and conversations are free text of a small alphabet. They never become a
//! path, a label or an object name: whoever needs one of those derives it from a hash of the name.

use std::collections::BTreeMap;
use std::fmt;

use crate::Malformed;

/// The longest name of a tenant, user or conversation: long enough for an e-mail address or two UUIDs.
pub const NAME_MAX_BYTES: usize = 128;
/// The longest request id: a UUID with a prefix fits, and the row that remembers it stays small.
pub const REQUEST_ID_MAX_BYTES: usize = 64;
/// The most labels of one sandbox; they are filtered by scan, so their number is bounded.
pub const LABEL_COUNT_MAX: usize = 16;
/// The longest label value, as in Kubernetes, whose labels they can become.
pub const LABEL_VALUE_MAX_BYTES: usize = 63;
/// The longest DNS-style name (templates, routes, label keys), by RFC 1035 section 2.3.4.
const DNS_LABEL_MAX_BYTES: usize = 63;

fn parse_free(field: &str, text: &str) -> Result<String, Malformed> {
    if text.is_empty() {
        return Err(Malformed::new(field, "must not be empty"));
    }
    if text.len() > NAME_MAX_BYTES {
        return Err(Malformed::new(
            field,
            format!("must have at most {NAME_MAX_BYTES} bytes"),
        ));
    }
    if text.starts_with(['.', '-']) {
        return Err(Malformed::new(field, "must not start with '.' or '-'"));
    }
    if !text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._:@=+-".contains(&byte))
    {
        return Err(Malformed::new(
            field,
            "must consist of letters, digits and ._:@=+-",
        ));
    }
    Ok(text.to_owned())
}

fn parse_label(field: &str, text: &str) -> Result<String, Malformed> {
    if text.is_empty() {
        return Err(Malformed::new(field, "must not be empty"));
    }
    if text.len() > DNS_LABEL_MAX_BYTES {
        return Err(Malformed::new(
            field,
            format!("must have at most {DNS_LABEL_MAX_BYTES} bytes"),
        ));
    }
    let inner = text
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if !inner || text.starts_with('-') || text.ends_with('-') {
        return Err(Malformed::new(
            field,
            "must consist of lower-case letters, digits and '-', and neither start nor end with '-'",
        ));
    }
    Ok(text.to_owned())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $parse:path) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// Reads the name from the request field or configuration key `field`.
            ///
            /// # Errors
            /// The field and the rule that the text breaks.
            pub fn parse(field: &str, text: &str) -> Result<Self, Malformed> {
                $parse(field, text).map(Self)
            }

            /// The name as it was given.
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

name!(
    /// A tenant: whoever is billed, limited and isolated as one.
    TenantId, parse_free
);
name!(
    /// A person or program on whose behalf a conversation is held; unique within its tenant only.
    UserId, parse_free
);
name!(
    /// A conversation; unique within its tenant, and owned for ever by the user of its first create.
    ConversationId, parse_free
);
name!(
    /// The name of a template, a DNS label.
    TemplateName, parse_label
);
name!(
    /// The name of a route of the gate's policy, a DNS label.
    RouteName, parse_label
);
name!(
    /// What a caller names a request by, so that a repetition gets the first one's answer.
    RequestId, parse_request_id
);
name!(
    /// The key of a label, a DNS label.
    LabelKey, parse_label
);
name!(
    /// The id of a workspace: the hex of a hash of what it belongs to.
    WorkspaceId, parse_workspace_id
);

fn parse_request_id(field: &str, text: &str) -> Result<String, Malformed> {
    if text.is_empty() {
        return Err(Malformed::new(field, "must not be empty"));
    }
    if text.len() > REQUEST_ID_MAX_BYTES {
        return Err(Malformed::new(
            field,
            format!("must have at most {REQUEST_ID_MAX_BYTES} bytes"),
        ));
    }
    if !text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte))
    {
        return Err(Malformed::new(
            field,
            "must consist of letters, digits and ._:-",
        ));
    }
    Ok(text.to_owned())
}

fn parse_workspace_id(field: &str, text: &str) -> Result<String, Malformed> {
    let hex = text.len() == 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if hex {
        Ok(text.to_owned())
    } else {
        Err(Malformed::new(
            field,
            "must be 64 lower-case hexadecimal digits",
        ))
    }
}

/// A small set of labels: what callers sort and filter their sandboxes by.
pub type Labels = BTreeMap<LabelKey, String>;

/// Which run of a sandbox is the current one. Only the orchestrator's row raises it, by compare-and-swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(i64);

impl Generation {
    /// The first run.
    pub const FIRST: Self = Self(1);

    /// Reads a generation, which starts at one.
    ///
    /// # Errors
    /// The field, for a number below one.
    pub fn parse(field: &str, number: i64) -> Result<Self, Malformed> {
        if number < 1 {
            Err(Malformed::new(field, "must be at least 1"))
        } else {
            Ok(Self(number))
        }
    }

    /// The run that follows.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The bare number.
    pub fn get(self) -> i64 {
        self.0
    }
}

/// By which rules a policy and the operations of a session are read: the `version` of the gate's policy. A session
/// keeps the one under which it began; a component that does not know a session's revision refuses it, so that
/// parts of different releases never read one session differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PolicyRevision(i64);

impl PolicyRevision {
    /// The one under which sessions begin today.
    pub const CURRENT: Self = Self(1);
    /// Those whose rules this release knows.
    const KNOWN: [Self; 1] = [Self::CURRENT];

    /// Whether this release knows its rules.
    pub fn is_known(self) -> bool {
        Self::KNOWN.contains(&self)
    }

    /// Takes the number of a revision that this release knows.
    ///
    /// # Errors
    /// When it does not.
    pub fn parse(field: &str, number: i64) -> Result<Self, Malformed> {
        let revision = Self(number);
        if revision.is_known() {
            Ok(revision)
        } else {
            let rule = "must be a revision of the policy's rules that this release knows: 1";
            Err(Malformed::new(field, rule))
        }
    }

    /// Wraps the number of a revision.
    pub fn new(number: i64) -> Self {
        Self(number)
    }

    /// The bare number.
    pub fn get(self) -> i64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_the_whole_alphabet_is_kept_as_given() {
        let text = "aZ9._:@=+-";
        assert_eq!(UserId::parse("user", text).expect("valid").as_str(), text);
    }

    #[test]
    fn empty_long_control_and_path_like_names_are_refused_by_field_and_rule() {
        for text in [
            "",
            &"x".repeat(NAME_MAX_BYTES + 1),
            "a\nb",
            "a/b",
            "..",
            ".hidden",
            "-flag",
            "ünder",
            "a b",
            "a\0",
        ] {
            let malformed = ConversationId::parse("conversation", text).expect_err(text);
            assert_eq!(malformed.field(), "conversation");
            assert!(!malformed.rule().is_empty());
        }
    }

    #[test]
    fn the_longest_name_is_accepted() {
        assert!(TenantId::parse("tenant", &"x".repeat(NAME_MAX_BYTES)).is_ok());
    }

    #[test]
    fn template_names_are_dns_labels() {
        assert!(TemplateName::parse("template", "default").is_ok());
        for text in ["Default", "a_b", "-a", "a-", "", &"a".repeat(64)] {
            assert!(TemplateName::parse("template", text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_generation_below_one_is_refused() {
        assert!(Generation::parse("generation", 0).is_err());
        assert_eq!(Generation::FIRST.next().get(), 2);
    }

    #[test]
    fn only_revisions_that_this_release_knows_are_taken() {
        let current = PolicyRevision::CURRENT;
        assert_eq!(
            PolicyRevision::parse("policy_revision", current.get()),
            Ok(current)
        );
        for number in [i64::MIN, -1, 0, current.get() + 1, i64::MAX] {
            let refused = PolicyRevision::parse("policy_revision", number);
            assert_eq!(refused.expect_err("refused").field(), "policy_revision");
            assert!(!PolicyRevision::new(number).is_known());
        }
    }
}
