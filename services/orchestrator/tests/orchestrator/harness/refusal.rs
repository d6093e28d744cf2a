//! What a refusal says.

use tonic::Status;
use tonic_types::StatusExt as _;

/// The `ErrorInfo.reason` of a refusal.
pub(crate) fn reason(status: &Status) -> String {
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default()
}

/// What the `ErrorInfo` of a refusal says under `key`.
pub(crate) fn meta(status: &Status, key: &str) -> String {
    let info = status.get_details_error_info().expect("ErrorInfo");
    info.metadata.get(key).cloned().unwrap_or_default()
}

/// Each field that a refusal names, with the rule.
pub(crate) fn violations(status: &Status) -> Vec<(String, String)> {
    let request = status
        .get_details_bad_request()
        .map(|details| details.field_violations);
    request
        .unwrap_or_default()
        .into_iter()
        .map(|violation| (violation.field, violation.description))
        .collect()
}

/// The fields that a refusal names.
pub(crate) fn fields(status: &Status) -> Vec<String> {
    violations(status)
        .into_iter()
        .map(|(field, _)| field)
        .collect()
}
