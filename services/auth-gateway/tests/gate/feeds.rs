//! What the gate relies on ends: it refuses, and what is open is cut.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use sandgate_api::token::v1 as pb;
use sandgate_api::token::v1::watch_revocations_response::Event;
use sandgate_session::{RevocationScope, RevocationTarget};
use sandgate_types::{ApiKeyId, Generation};
use tokio::time::Instant;

use crate::support::api_keys::{KEY, KEY_ID};
use crate::support::keeper::{agent_request, grpc_request};
use crate::support::{
    CUT_LIMIT, Sandbox, World, client_request, sandbox_request, soon, until, upstream,
};

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
  grpc: {{ methods: [scores.v1.ScoreService/Endless] }}
  operation: score
  upstream: {{ url: 'http://{address}' }}
"
    )
}

/// Reads to the end; the gRPC status, or -1 for a body that broke off.
async fn end_of(mut body: Incoming) -> i32 {
    let mut status = -1;
    while let Some(frame) = soon(body.frame()).await {
        let Ok(frame) = frame else { return -1 };
        if let Ok(trailers) = frame.into_trailers() {
            status = trailers["grpc-status"]
                .to_str()
                .expect("ascii")
                .parse()
                .expect("a number");
        }
    }
    status
}

/// An endless stream of each kind: the agent's by HTTP and gRPC, and a client's.
async fn streams(world: &World, sandbox: &Sandbox) -> [Incoming; 3] {
    let token = world.agent(sandbox);
    let http = sandbox
        .keeper
        .stream(agent_request("GET", "/r/web/endless", &token))
        .await;
    let grpc = grpc_request("/scores.v1.ScoreService/Endless", &token);
    let grpc = sandbox.keeper.stream(grpc).await;
    let request = sandbox_request(KEY, &sandbox.claims.sandbox, "FileService/WatchFiles");
    let client = world.stream(request).await;
    let mut bodies = [http, grpc, client].map(http::Response::into_body);
    for body in &mut bodies {
        let first = soon(body.frame()).await.expect("a frame").expect("data");
        assert!(first.is_data());
    }
    bodies
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_cuts_open_streams_within_its_bound_and_is_then_acknowledged() {
    let upstream = upstream::start().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let other = world.sandbox("acme", "bob").await;
    let token = world.agent(&sandbox);
    let [http, grpc, client] = streams(&world, &sandbox).await;
    let [_, others, _] = streams(&world, &other).await;
    let scope = RevocationScope::Instance(sandbox.claims.instance.clone());
    let target = RevocationTarget::sessions(sandbox.claims.tenant.clone(), scope);
    world.token.revoke_and_answer(&target).await;
    let began = Instant::now();
    assert_eq!(end_of(http).await, -1);
    assert_eq!(end_of(grpc).await, 16);
    assert!(began.elapsed() < CUT_LIMIT, "{:?}", began.elapsed());
    assert_eq!(sandbox.keeper.get("/r/web/x", &token).await.http, 401);
    // Neither the other sandbox nor the client's call was of that session.
    assert_eq!(
        other
            .keeper
            .get("/r/web/x", &world.agent(&other))
            .await
            .http,
        200
    );
    world.orchestrator.remove(&sandbox.claims.instance);
    assert_eq!(end_of(client).await, 10);
    world.orchestrator.ending(&other.claims);
    assert_eq!(end_of(others).await, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn revoking_the_agent_leaves_the_daemon_its_last_sync() {
    let upstream = upstream::start().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let scope = RevocationScope::AgentOfInstance(sandbox.claims.instance.clone());
    let target = RevocationTarget::sessions(sandbox.claims.tenant.clone(), scope);
    world.token.revoke_and_answer(&target).await;
    let agent = world.agent(&sandbox);
    assert_eq!(sandbox.keeper.get("/r/web/x", &agent).await.http, 401);
    let renew = "/sandgate.token.v1.TokenService/RenewSession";
    assert_eq!(
        sandbox
            .keeper
            .grpc(renew, &world.daemon(&sandbox))
            .await
            .status,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_is_refused_at_once_and_its_streams_end() {
    let upstream = upstream::start().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let [_, _, client] = streams(&world, &sandbox).await;
    let key = ApiKeyId::parse("api_key_id", KEY_ID).expect("an id");
    let began = Instant::now();
    world.token.revoke(&RevocationTarget::ApiKey(key));
    assert_eq!(end_of(client).await, 16);
    assert!(began.elapsed() < CUT_LIMIT, "{:?}", began.elapsed());
    let request = sandbox_request(KEY, &sandbox.claims.sandbox, "ProcessService/ListProcesses");
    assert_eq!(world.call(request).await.status, 16);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_generation_cuts_the_older_one() {
    let upstream = upstream::start().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let [_, grpc, client] = streams(&world, &sandbox).await;
    let live = sandgate_api::orchestrator::v1::EndpointState::Live;
    world
        .orchestrator
        .set(&sandbox.claims, live, Generation::FIRST.next().get());
    assert_eq!(end_of(grpc).await, 10);
    assert_eq!(end_of(client).await, 10);
    let answer = sandbox.keeper.get("/r/web/x", &world.agent(&sandbox)).await;
    assert_eq!(answer.http, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lapsed_lease_refuses_everything_cuts_what_is_open_and_comes_back() {
    let upstream = upstream::start().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let [http, grpc, client] = streams(&world, &sandbox).await;
    world.token.leases(Duration::ZERO);
    assert_eq!(end_of(http).await, -1);
    assert_eq!(end_of(grpc).await, 14);
    assert_eq!(end_of(client).await, 14);
    let token = world.agent(&sandbox);
    let answer = sandbox.keeper.get("/r/web/x", &token).await;
    assert_eq!(
        (answer.http, &answer.json()["reason"]),
        (503, &"LEASE_LAPSED".into())
    );
    let request = sandbox_request(KEY, &sandbox.claims.sandbox, "ProcessService/ListProcesses");
    assert_eq!(world.call(request).await.status, 14);
    until(async || !world.is_ready().await).await;
    world.token.leases(Duration::from_secs(3));
    until(async || world.is_ready().await).await;
    assert_eq!(sandbox.keeper.get("/r/web/x", &token).await.http, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_feed_with_another_history_is_served_on_by_nobody() {
    let upstream = upstream::start().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let [_, grpc, _] = streams(&world, &sandbox).await;
    world.token.leases(Duration::ZERO);
    world.token.tell(Event::Heartbeat(pb::FeedHeartbeat {
        head: 0,
        running_hash: vec![1; 32],
    }));
    assert_eq!(end_of(grpc).await, 14);
    until(async || !world.is_ready().await).await;
    // A snapshot makes it whole again.
    world.token.leases(Duration::from_secs(3));
    until(async || world.is_ready().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_changes_cuts_what_it_no_longer_allows_and_a_broken_one_changes_nothing() {
    let upstream = upstream::start().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let [_, grpc, _] = streams(&world, &sandbox).await;
    world.write_policy("version: 1\nroutes: oops\n");
    let token = world.agent(&sandbox);
    assert_eq!(sandbox.keeper.get("/r/web/x", &token).await.http, 200);
    world.write_policy(&policy(&upstream).replace("name: scores", "name: marks"));
    assert_eq!(end_of(grpc).await, 7);
    assert_eq!(sandbox.keeper.get("/r/web/x", &token).await.http, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_is_answered_whatever_is_missing() {
    let world = World::with_policy("version: 1\nroutes: []\n").await;
    let request = client_request("/grpc.health.v1.Health/Check", Vec::new());
    assert_eq!(world.call(request).await.status, 0);
}
