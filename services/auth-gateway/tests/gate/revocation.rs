//! A revocation over many open streams: once Revoke has answered, nothing that was revoked moves any more.

use std::convert::Infallible;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Incoming;
use sandgate_session::{RevocationScope, RevocationTarget};
use sandgate_types::ApiKeyId;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::body::Body;

use crate::support::api_keys::{KEY, KEY_ID};
use crate::support::keeper::{agent_request, grpc_request};
use crate::support::upstream::{self, AFTER};
use crate::support::{CUT_LIMIT, Sandbox, World, sandbox_request, soon};

/// Open streams of each kind.
const STREAMS: usize = 100;
/// The status of what is revoked: UNAUTHENTICATED.
const REVOKED: Option<i32> = Some(16);

fn policy(upstream: &upstream::Upstream) -> String {
    let address = upstream.address;
    format!(
        "
version: 1
routes:
- name: web
  http: {{ methods: [GET] }}
  operation: web
  upstream: {{ url: 'http://{address}' }}
- name: scores
  grpc: {{ methods: [scores.v1.ScoreService/Ticking] }}
  operation: score
  upstream: {{ url: 'http://{address}' }}
- name: uploads
  grpc: {{ methods: [scores.v1.ScoreService/Early] }}
  operation: score
  upstream: {{ url: 'http://{address}' }}
"
    )
}

/// A stream that ticks, its first tick read.
async fn ticking(world: &World, sandbox: &Sandbox, by_grpc: bool) -> Incoming {
    let token = world.agent(sandbox);
    let request = if by_grpc {
        grpc_request("/scores.v1.ScoreService/Ticking", &token)
    } else {
        agent_request("GET", "/r/web/ticking", &token)
    };
    let mut body = sandbox.keeper.stream(request).await.into_body();
    let first = soon(body.frame()).await.expect("a frame");
    assert!(first.expect("it goes on").is_data());
    body
}

/// How a stream ended.
struct End {
    /// Whether a byte arrived that the upstream sent after Revoke had answered.
    late: bool,
    at: Instant,
    /// The gRPC status; none for a body that broke off.
    status: Option<i32>,
}

async fn end_of(mut body: Incoming) -> End {
    let (mut late, mut status) = (false, None);
    while let Some(Ok(frame)) = soon(body.frame()).await {
        match frame.into_data() {
            Ok(data) => late |= data.contains(&AFTER),
            Err(frame) => {
                let trailers = frame.into_trailers().expect("trailers");
                let text = trailers["grpc-status"].to_str().expect("ascii");
                status = Some(text.parse().expect("a number"));
            }
        }
    }
    End {
        late,
        at: Instant::now(),
        status,
    }
}

/// Reads until a byte comes that was sent after Revoke had answered.
async fn goes_on(mut body: Incoming) {
    loop {
        let frame = soon(body.frame()).await.expect("it goes on");
        let data = frame.expect("it is whole").into_data();
        if data.expect("it has no end").contains(&AFTER) {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn once_revoke_has_answered_not_a_byte_more_arrives_and_every_stream_ends_with_the_refusal() {
    let upstream = upstream::start().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let other = world.sandbox("acme", "bob").await;
    let web = join_all((0..STREAMS).map(|_| ticking(&world, &sandbox, false))).await;
    let grpc = join_all((0..STREAMS).map(|_| ticking(&world, &sandbox, true))).await;
    let others = [
        ticking(&world, &other, false).await,
        ticking(&world, &other, true).await,
    ];
    let scope = RevocationScope::Instance(sandbox.claims.instance.clone());
    let target = RevocationTarget::sessions(sandbox.claims.tenant.clone(), scope);
    let revoking = async {
        world.token.revoke_and_answer(&target).await;
        // From here on the upstream sends other bytes than before.
        upstream.answered.store(true, Ordering::SeqCst);
        Instant::now()
    };
    let (web, grpc) = (web.into_iter().map(end_of), grpc.into_iter().map(end_of));
    // A stream that was not cut would tick for ever.
    let ended = soon(async { tokio::join!(revoking, join_all(web), join_all(grpc)) });
    let (answered, web, grpc) = ended.await;
    assert!(web.iter().all(|end| end.status.is_none()));
    assert!(grpc.iter().all(|end| end.status == REVOKED));
    let ends: Vec<End> = web.into_iter().chain(grpc).collect();
    assert_eq!(ends.len(), 2 * STREAMS);
    assert!(ends.iter().all(|end| !end.late));
    // The other sandbox hears what the upstream sends now: what is missing above was sent, and did not pass.
    join_all(others.map(goes_on)).await;
    let mut took: Vec<Duration> = ends
        .iter()
        .map(|end| end.at.saturating_duration_since(answered))
        .collect();
    took.sort();
    let p99 = took[took.len() * 99 / 100];
    println!(
        "from Revoke's answer to the last byte, p99 of {}: {p99:?}",
        took.len()
    );
    assert!(p99 < CUT_LIMIT, "{p99:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_outlives_its_answer_ends_with_the_revocation_as_well() {
    let upstream = upstream::start().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let (upload, frames) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
    let mut request = grpc_request("/scores.v1.ScoreService/Early", &world.agent(&sandbox));
    *request.body_mut() = Body::new(StreamBody::new(ReceiverStream::new(frames)));
    let answer = sandbox.keeper.send(request).await;
    assert_eq!(answer.status, 0, "{answer:?}");
    let more = || Ok(Frame::data(Bytes::from_static(b"more")));
    soon(upload.send(more())).await.expect("it goes on");
    let scope = RevocationScope::Instance(sandbox.claims.instance.clone());
    let target = RevocationTarget::sessions(sandbox.claims.tenant.clone(), scope);
    world.token.revoke_and_answer(&target).await;
    soon(upstream.upload_ended.notified()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clients_upload_that_outlives_its_answer_ends_with_the_revocation_as_well() {
    let mut world = World::with_policy("{ version: 1, routes: [] }").await;
    let sandbox = world.sandbox("acme", "ann").await;
    let (upload, frames) = mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
    let mut request = sandbox_request(KEY, &sandbox.claims.sandbox, "FileService/WriteFile");
    *request.body_mut() = Body::new(StreamBody::new(ReceiverStream::new(frames)));
    let answer = world.call(request).await;
    assert_eq!(answer.status, 0, "{answer:?}");
    let more = || Ok(Frame::data(Bytes::from_static(b"more")));
    soon(upload.send(more())).await.expect("it goes on");
    let key = ApiKeyId::parse("api_key_id", KEY_ID).expect("an id");
    let target = RevocationTarget::ApiKey(key);
    world.token.revoke_and_answer(&target).await;
    soon(sandbox.keeper.upload_ended.notified()).await;
}
