//! The sandbox listener: what an agent and its keeper reach, as whom.

use std::sync::atomic::Ordering;

use http::Request;
use sandgate_session::{Audience, Operations};
use sandgate_types::{InstanceId, SandboxId};
use tonic::body::Body;

use crate::support::World;
use crate::support::keeper::{agent_request, grpc_request};
use crate::support::orchestrator::Orchestrator;
use crate::support::upstream::{self, policy};

#[tokio::test(flavor = "multi_thread")]
async fn an_agents_request_arrives_with_identity_and_credential_and_nothing_else_of_its_own() {
    let upstream = upstream::start().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let token = world.agent(&sandbox);
    let mut request = agent_request("GET", "/r/dict/define/x?word=a%2Fb", &token);
    for (name, value) in [
        ("x-user", "root"),
        ("x-forwarded-for", "1.2.3.4"),
        ("cookie", "a=b"),
        ("accept", "application/json"),
    ] {
        request
            .headers_mut()
            .insert(name, value.parse().expect("a header"));
    }
    let answer = sandbox.keeper.send(request).await;
    assert_eq!(answer.http, 200, "{answer:?}");
    let said = answer.json();
    assert_eq!(said["target"], "/base/define/x?word=a%2Fb");
    let headers = said["headers"].as_object().expect("headers").clone();
    let heard = upstream.heard.lock()[0]["headers"].clone();
    assert_eq!(heard["authorization"], "Bearer upstream-secret");
    assert_eq!(headers["x-tenant"], "acme");
    assert_eq!(headers["x-user"], "ann");
    assert_eq!(headers["x-conversation"], "c-1");
    assert_eq!(headers["accept"], "application/json");
    for gone in ["cookie", "x-forwarded-for"] {
        assert!(!headers.contains_key(gone), "{gone}");
    }
    assert!(!answer.headers.contains_key("x-secret"));
    assert!(!said.to_string().contains(&token));
    world.recorded("dict GET", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_reads_who_asks_from_its_query_and_no_sandbox_writes_it() {
    let upstream = upstream::start().await;
    let identity = "rate: { per_second: 1, burst: 2 }\n  identity: { query: { user: user } }";
    let text = policy(&upstream).replace("rate: { per_second: 1, burst: 2 }", identity);
    let mut world = World::with_policy(&text).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let token = world.agent(&sandbox);
    let answer = sandbox.keeper.get("/r/few/x", &token).await;
    assert_eq!(answer.json()["target"], "/x?user=ann");
    let own = sandbox.keeper.get("/r/few/x?user=root", &token).await;
    assert_eq!(own.json()["reason"], "QUERY_UNLISTED");
    assert_eq!(upstream.requests.load(Ordering::Relaxed), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_call_streams_with_trailers_and_the_gates_identity() {
    let upstream = upstream::start().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let token = world.agent(&sandbox);
    let answer = sandbox
        .keeper
        .grpc("/scores.v1.ScoreService/Score", &token)
        .await;
    assert_eq!(answer.status, 0, "{answer:?}");
    let said: serde_json::Value = serde_json::from_slice(&answer.message).expect("json");
    assert_eq!(said["headers"]["x-tenant"], "acme");
    let heard = upstream.heard.lock()[0]["headers"].clone();
    assert_eq!(heard.get("authorization"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_session_may_not_use_is_not_there_and_refusals_name_the_clause() {
    let upstream = upstream::start().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let mut sandbox = world.sandbox("acme", "ann").await;
    let all = world.agent(&sandbox);
    sandbox.claims.agent_operations = Operations::none();
    let none = world.agent(&sandbox);
    let hidden = sandbox.keeper.get("/r/dict/x", &none).await;
    let absent = sandbox.keeper.get("/r/nothing/x", &all).await;
    assert_eq!(hidden.http, 404);
    assert_eq!(hidden.body, absent.body);
    let elsewhere = "/sandgate.orchestrator.v1.SandboxService/ListSandboxes";
    assert_eq!(sandbox.keeper.grpc(elsewhere, &all).await.status, 12);
    let query = sandbox.keeper.get("/r/dict/x?user=root", &all).await.json();
    assert_eq!(query["clause"], "forward.query");
    assert_eq!(query["route"], "dict");
    for (method, target, status) in [
        ("DELETE", "/r/dict/x", 405),
        ("TRACE", "/r/dict/x", 405),
        ("GET", "/r/dict/%2e%2e/x", 400),
        ("GET", "/r/dict//x", 400),
        ("GET", "/r/dict/a%2fb", 400),
    ] {
        let answer = sandbox
            .keeper
            .send(agent_request(method, target, &all))
            .await;
        assert_eq!(answer.http, status, "{method} {target}: {answer:?}");
    }
    assert_eq!(upstream.requests.load(Ordering::Relaxed), 0);
    world.recorded("dict DELETE", "METHOD_NOT_ALLOWED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_noisy_sandbox_is_told_to_wait_and_another_is_not() {
    let upstream = upstream::start().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let noisy = world.sandbox("acme", "ann").await;
    let quiet = world.sandbox("acme", "bob").await;
    let token = world.agent(&noisy);
    let mut last = None;
    for _ in 0..4 {
        last = Some(noisy.keeper.get("/r/few/x", &token).await);
    }
    let last = last.expect("asked");
    assert_eq!(last.http, 429);
    assert_eq!(last.json()["route"], "few");
    assert!(last.headers.contains_key("retry-after"));
    assert_eq!(
        quiet
            .keeper
            .get("/r/few/x", &world.agent(&quiet))
            .await
            .http,
        200
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_reaches_its_methods_as_its_session_and_renewal_gets_the_token() {
    let upstream = upstream::start().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let (agent, daemon) = (world.agent(&sandbox), world.daemon(&sandbox));
    let renew = "/sandgate.token.v1.TokenService/RenewSession";
    assert_eq!(sandbox.keeper.grpc(renew, &agent).await.status, 16);
    let mut request = grpc_request(renew, &daemon);
    let forged = "forged".parse().expect("a header");
    request
        .headers_mut()
        .insert("sandgate-session-token", forged);
    let answer = sandbox.keeper.send(request).await;
    assert_eq!(answer.status, 0, "{answer:?}");
    let renewals = world.token.renewals();
    let (token, caller) = renewals.first().expect("it arrived");
    assert_eq!(token.as_deref(), Some(daemon.as_str()));
    assert_eq!(caller.user.as_ref(), Some(&sandbox.claims.user));
    // The daemon's last sync happens while the instance is ending; the agent is done by then.
    world.orchestrator.ending(&sandbox.claims);
    crate::support::until(async || sandbox.keeper.get("/r/dict/x", &agent).await.http == 409).await;
    assert_eq!(sandbox.keeper.grpc(renew, &daemon).await.status, 0);
    world.orchestrator.remove(&sandbox.claims.instance);
    crate::support::until(async || sandbox.keeper.grpc(renew, &daemon).await.status == 9).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_link_takes_the_place_of_the_old_one() {
    let upstream = upstream::start().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let newer = world.connect(&sandbox.claims.instance).await;
    let token = world.agent(&sandbox);
    assert_eq!(newer.get("/r/dict/x", &token).await.http, 200);
    let unrelated: InstanceId = world.claims("acme", "ann").instance;
    assert_ne!(unrelated, sandbox.claims.instance);
    let method = "ProcessService/ListProcesses";
    let key = crate::support::api_keys::KEY;
    let request = crate::support::sandbox_request(key, &sandbox.claims.sandbox, method);
    assert_eq!(world.call(request).await.status, 0);
    assert_eq!(newer.asked.lock().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_use_is_reported_and_the_daemons_is_not() {
    let upstream = upstream::start().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let used = world.sandbox("acme", "ann").await;
    let idle = world.sandbox("acme", "bob").await;
    let mut daemon = idle.claims.clone();
    daemon.audience = Audience::Daemon;
    let renew = "/sandgate.token.v1.TokenService/RenewSession";
    idle.keeper.grpc(renew, &world.token.sign(&daemon)).await;
    used.keeper.get("/r/dict/x", &world.agent(&used)).await;
    let of = |heard: &Orchestrator, sandbox: &SandboxId| {
        let activities = heard.activities.lock();
        activities
            .iter()
            .any(|activity| activity.sandbox_id == sandbox.as_str())
    };
    world
        .orchestrator
        .hears(|heard| of(heard, &used.claims.sandbox))
        .await;
    assert!(!of(&world.orchestrator, &idle.claims.sandbox));
}

#[tokio::test(flavor = "multi_thread")]
async fn connect_is_refused() {
    let upstream = upstream::start().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let request = Request::builder()
        .method("CONNECT")
        .uri("169.254.169.254:80")
        .header("authorization", format!("Bearer {}", world.agent(&sandbox)))
        .body(Body::empty())
        .expect("a request");
    assert_eq!(sandbox.keeper.send(request).await.http, 405);
}
