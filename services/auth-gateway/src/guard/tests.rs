//! Bodies end when they must, and say why.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, StreamBody};
use sandgate_types::RouteName;

use super::*;
use crate::refusal::CutReason;

fn too_large() -> Refusal {
    Refusal::RequestTooLarge(RouteName::parse("name", "r").expect("a name"))
}

fn endless() -> StreamBody<futures_util::stream::Pending<Result<Frame<Bytes>, std::io::Error>>> {
    StreamBody::new(futures_util::stream::pending())
}

#[tokio::test]
async fn a_body_within_its_limit_passes_whole() {
    let guarded = Guarded::new(Full::new(Bytes::from("0123456789")), &Cut::default());
    let body = guarded.at_most(10, too_large()).collect().await;
    assert_eq!(body.expect("within").to_bytes(), "0123456789");
}

#[tokio::test]
async fn a_body_over_its_limit_ends_and_says_so() {
    let verdict = Verdict::default();
    let guarded = Guarded::new(Full::new(Bytes::from("0123456789")), &Cut::default());
    let guarded = guarded.at_most(9, too_large()).tells(&verdict);
    assert!(guarded.collect().await.is_err());
    assert_eq!(verdict.get(), Some(too_large()));
}

#[tokio::test]
async fn a_grpc_stream_that_is_cut_ends_with_a_status() {
    let cut = Cut::default();
    let mut guarded = Guarded::new(endless(), &cut);
    guarded.dialect = Dialect::Grpc;
    cut.now(CutReason::Revoked);
    let body = guarded.collect().await.expect("trailers, not an error");
    let trailers = body.trailers().expect("trailers");
    assert_eq!(trailers["grpc-status"], "16");
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_at_its_deadline() {
    let deadline = Instant::now() + Duration::from_secs(5);
    let guarded = Guarded::new(endless(), &Cut::default()).until(Some(deadline));
    assert!(guarded.collect().await.is_err());
    assert!(Instant::now() >= deadline);
}
