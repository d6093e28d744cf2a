//! What comes of requests to upstreams: bodies, redirects, and those that do not answer.

use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http_body_util::{BodyExt as _, Full};
use tonic::body::Body;

use crate::support::keeper::{Answer, agent_request, grpc_request};
use crate::support::upstream::{self, policy};
use crate::support::{World, soon};

/// Calls of one sandbox, more than one connection of the agent has at a time.
const CALLS: usize = 200;
/// How long a stream is watched that must not end.
const QUIET: std::time::Duration = std::time::Duration::from_millis(50);

#[tokio::test(flavor = "multi_thread")]
async fn bodies_over_their_limits_end_in_both_directions() {
    let upstream = upstream::start().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let token = world.agent(&sandbox);
    let post = |bytes: usize, declared: bool| {
        let mut request = agent_request("POST", "/r/dict/x", &token);
        let body = Full::new(bytes::Bytes::from(vec![b'x'; bytes]));
        *request.body_mut() = if declared {
            Body::new(body)
        } else {
            let stream = tokio_stream::once(Ok::<_, std::io::Error>(http_body::Frame::data(
                bytes::Bytes::from(vec![b'x'; bytes]),
            )));
            Body::new(http_body_util::StreamBody::new(stream))
        };
        request
    };
    let fits = sandbox.keeper.send(post(1024, true)).await;
    assert_eq!(fits.json()["bytes"], 1024);
    for declared in [true, false] {
        let answer = sandbox.keeper.send(post(1025, declared)).await;
        assert_eq!(answer.http, 413, "{answer:?}");
    }
    let large = sandbox.keeper.get("/r/dict/large", &token).await;
    assert!(large.http == 502 || large.broken, "{}", large.http);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_passed_on_without_what_is_not_listed() {
    let upstream = upstream::start().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let answer = sandbox
        .keeper
        .get("/r/dict/redirect", &world.agent(&sandbox))
        .await;
    assert_eq!(answer.http, 302);
    assert_eq!(answer.headers["etag"], "e");
    assert!(!answer.headers.contains_key("location") && !answer.headers.contains_key("set-cookie"));
    assert_eq!(upstream.requests.load(Ordering::Relaxed), 1);
}

/// An answer that the sandbox reads, without host, address or port of the upstream.
fn says_nothing_of_where(answer: &Answer) {
    let mut said = String::from_utf8_lossy(&answer.body).into_owned();
    for (name, value) in &answer.headers {
        said.push_str(name.as_str());
        // The details of a gRPC status are protobuf in base64; text in it is looked at as such.
        let value = value.as_bytes();
        let decoded = STANDARD_NO_PAD.decode(value);
        said.push_str(&String::from_utf8_lossy(
            decoded.as_deref().unwrap_or(value),
        ));
    }
    for secret in ["127.0.0.1", "secret-upstream", "invalid", "refused", ":81"] {
        assert!(!said.contains(secret), "{secret} in {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_gone_or_slow_is_said_so_by_route() {
    let upstream = upstream::start().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let token = world.agent(&sandbox);
    for route in ["gone", "nowhere"] {
        let gone = sandbox.keeper.get(&format!("/r/{route}/x"), &token).await;
        assert_eq!(gone.http, 502);
        assert_eq!(gone.json()["code"], "UNAVAILABLE");
        assert_eq!(gone.json()["reason"], "UPSTREAM_UNREACHABLE");
        assert_eq!(gone.json()["route"], route);
        says_nothing_of_where(&gone);
    }
    let gone = sandbox.keeper.grpc("/scores.v1.ScoreService/Gone", &token);
    let gone = gone.await;
    assert_eq!(gone.status, 14, "{gone:?}");
    says_nothing_of_where(&gone);
    world.recorded("gone GET", "UPSTREAM_UNREACHABLE").await;
    let slow = sandbox.keeper.get("/r/quick/endless", &token).await;
    assert!(
        slow.broken,
        "the answer is cut at the route's timeout: {slow:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_stream_is_passed_on_piece_by_piece() {
    let upstream = upstream::start().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let request = agent_request("GET", "/r/dict/events", &world.agent(&sandbox));
    let response = sandbox.keeper.stream(request).await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let mut body = response.into_body();
    // The upstream sends the next event when it is told that this one has arrived.
    for event in ["data: one\n\n", "data: two\n\n"] {
        let frame = soon(body.frame()).await.expect("an event");
        let data = frame.expect("it goes on").into_data().expect("data");
        assert_eq!(data, event);
        upstream.next_event.notify_one();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_that_goes_away_with_calls_under_way_costs_others_nothing() {
    let upstream = upstream::start().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let leaving = world.sandbox("acme", "ann").await;
    let staying = world.sandbox("acme", "bob").await;
    let token = world.agent(&staying);
    let endless = grpc_request("/scores.v1.ScoreService/Endless", &token);
    let mut stays = staying.keeper.stream(endless).await.into_body();
    soon(stays.frame()).await.expect("a frame").expect("whole");
    let gone = world.agent(&leaving);
    for _ in 0..CALLS {
        let endless = grpc_request("/scores.v1.ScoreService/Endless", &gone);
        // Its answer has begun and has no end.
        drop(leaving.keeper.stream(endless).await);
    }
    drop(leaving);
    for _ in 0..CALLS {
        let answer = staying.keeper.grpc("/scores.v1.ScoreService/Score", &token);
        assert_eq!(answer.await.status, 0);
    }
    let early = tokio::time::timeout(QUIET, stays.frame()).await;
    assert!(early.is_err(), "the stream that was open has not ended");
}
