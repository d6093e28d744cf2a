//! What administrators and operators do: tenants, keys and revocations.

mod api_key;
mod revoke;
mod signing_key;
mod tenant;

use prost_types::Timestamp;

pub(crate) use api_key::api_key;
pub(crate) use revoke::revoke;
pub(crate) use signing_key::signing_key;
pub(crate) use tenant::tenant;

/// A time as people and programs read it, to the second.
fn shown(at: Option<&Timestamp>) -> String {
    let at = at.and_then(|at| sandgate_api::timestamp_from("at", at).ok());
    let seconds = at.and_then(|at| u64::try_from(at.as_seconds()).ok());
    let Some(seconds) = seconds else {
        return "-".to_owned();
    };
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    humantime::format_rfc3339_seconds(at).to_string()
}

/// A list as one word, which is never nothing.
fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "-".to_owned()
    } else {
        names.join(",")
    }
}
