//! What the store refuses, as whoever asked for a sync hears it.

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use super::harness::{Sandbox, reason};
use super::sync::sync;

#[tokio::test]
async fn a_refusal_that_stays_is_passed_on_with_the_stores_reason() {
    for code in [
        Code::InvalidArgument,
        Code::FailedPrecondition,
        Code::ResourceExhausted,
        Code::PermissionDenied,
    ] {
        let sandbox = Sandbox::attached().await;
        std::fs::write(sandbox.at("a"), b"x").expect("a file");
        let details = ErrorDetails::with_error_info("ITS_REASON", "storage", []);
        let refusal = Status::with_error_details(code, "as it says", details);
        sandbox.mesh.refuse_commits(refusal);
        let refused = sync(&sandbox).await.expect_err("refused");
        assert_eq!(
            (refused.code(), refused.message(), reason(&refused).as_str()),
            (code, "as it says", "ITS_REASON")
        );
    }
}

#[tokio::test]
async fn what_passes_is_to_be_repeated_and_the_stores_own_trouble_says_nothing_of_itself() {
    let sandbox = Sandbox::attached().await;
    std::fs::write(sandbox.at("a"), b"x").expect("a file");
    sandbox.mesh.refuse_commits(Status::unknown("broken"));
    let refused = sync(&sandbox).await.expect_err("refused");
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(reason(&refused), "STORE_UNAVAILABLE");
    assert!(refused.get_details_retry_info().is_some());
    sandbox.mesh.refuse_commits(Status::internal("a secret"));
    let refused = sync(&sandbox).await.expect_err("refused");
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::Internal, "internal")
    );
}
