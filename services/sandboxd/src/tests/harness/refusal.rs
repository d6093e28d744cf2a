//! What a refusal names.

use tonic::Status;

/// The field that a status names.
pub(in crate::tests) fn field(status: &Status) -> String {
    use tonic_types::StatusExt as _;
    assert_eq!(status.code(), tonic::Code::InvalidArgument, "{status:?}");
    let bad = status.get_details_bad_request().expect("BadRequest");
    bad.field_violations.first().expect("a field").field.clone()
}

/// The reason that a status gives.
pub(in crate::tests) fn reason(status: &Status) -> String {
    use tonic_types::StatusExt as _;
    status.get_details_error_info().expect("ErrorInfo").reason
}
