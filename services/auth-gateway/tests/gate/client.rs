//! The client listener.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use parking_lot::Mutex;
use sandgate_rpc::{CALLER_METADATA, Caller, Principal};

use crate::support::api_keys::{ANN, KEY, KEY_ID, OPERATOR, OTHER, POWERLESS};
use crate::support::{NO_ROUTES, World, client_request, sandbox_request};

const JWKS: &str = "/sandgate.token.v1.TokenService/GetJwks";

fn with_key(path: &str, key: &str) -> http::Request<tonic::body::Body> {
    let mut request = client_request(path, Vec::new());
    let bearer = format!("Bearer {key}");
    request
        .headers_mut()
        .insert("authorization", bearer.parse().expect("a header"));
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_reaches_services_by_its_roles_and_is_looked_up_once() {
    let world = World::with_policy(NO_ROUTES).await;
    for _ in 0..3 {
        let answer = world.call(with_key(JWKS, KEY)).await;
        assert_eq!(answer.status, 0, "{answer:?}");
        assert!(!answer.message.is_empty());
    }
    assert_eq!(world.token.lookups(), 1);
    assert_eq!(world.call(with_key(JWKS, POWERLESS)).await.status, 7);
    world
        .recorded("sandgate.token.v1.TokenService/GetJwks", "")
        .await;
    world
        .recorded("sandgate.token.v1.TokenService/GetJwks", "ROLE_MISSING")
        .await;
}

/// How often the gate's own segments, as they are on disk, hold this text.
fn on_disk(folder: &std::path::Path, text: &str) -> usize {
    let segments = std::fs::read_dir(folder).expect("the audit folder");
    let counts = segments.map(|segment| {
        let bytes = std::fs::read(segment.expect("a segment").path()).expect("read");
        let windows = bytes.windows(text.len());
        windows.filter(|window| *window == text.as_bytes()).count()
    });
    counts.sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_on_record_on_disk_before_it_is_passed_on() {
    let world = World::with_policy(NO_ROUTES).await;
    let create = "sandgate.token.v1.ApiKeyService/CreateApiKey";
    let folder = world.folder.path().join("audit");
    let found = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&found);
    world.token.on_create(move || {
        noted.lock().push(on_disk(&folder, create));
    });
    // Again and again: a record that is written meanwhile would win the race now and then.
    for _ in 0..30 {
        let answer = world.call(with_key(&format!("/{create}"), OPERATOR)).await;
        assert_eq!(answer.status, 0, "{answer:?}");
    }
    assert_eq!(*found.lock(), (1..=30).collect::<Vec<usize>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_tenants_flood_of_control_calls_is_told_to_wait_and_another_tenant_is_served() {
    let slow = |config: &mut sandgate_auth_gateway::Config| {
        config.tenant_rate = std::num::NonZeroU32::MIN;
    };
    let world = World::with_config(NO_ROUTES, slow).await;
    // One a second and two at once: of three in a row the third is too much, however slow this machine is.
    let mut limited = None;
    for _ in 0..100 {
        let answer = world.call(with_key(JWKS, KEY)).await;
        assert!([0, 8].contains(&answer.status), "{answer:?}");
        if answer.status == 8 {
            limited = Some(answer);
            break;
        }
    }
    let details = limited.expect("asked").details();
    let info = details.error_info().expect("ErrorInfo");
    assert_eq!(info.reason, "TENANT_RATE_LIMITED");
    let retry = details.retry_info().expect("RetryInfo");
    assert!(retry.retry_delay.is_some_and(|delay| !delay.is_zero()));
    let quota = details.quota_failure().expect("QuotaFailure");
    assert_eq!(quota.violations[0].subject, "tenant_rate");
    // Another key of the same tenant has the same bucket; another tenant has its own.
    assert_eq!(world.call(with_key(JWKS, OTHER)).await.status, 0);
    world
        .recorded(
            "sandgate.token.v1.TokenService/GetJwks",
            "TENANT_RATE_LIMITED",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_two_keys_and_a_wrong_key_are_unauthenticated_and_on_record() {
    let world = World::with_policy(NO_ROUTES).await;
    assert_eq!(
        world.call(client_request(JWKS, Vec::new())).await.status,
        16
    );
    assert_eq!(world.call(with_key(JWKS, "sgk_wrong")).await.status, 16);
    assert_eq!(world.call(with_key(JWKS, "other")).await.status, 16);
    let mut twice = with_key(JWKS, KEY);
    twice.headers_mut().append(
        "authorization",
        "Bearer sgk_acme".parse().expect("a header"),
    );
    assert_eq!(world.call(twice).await.status, 16);
    world
        .recorded("sandgate.token.v1.TokenService/GetJwks", "API_KEY_MISSING")
        .await;
    world
        .recorded("sandgate.token.v1.TokenService/GetJwks", "API_KEY_REFUSED")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_a_method_for_it_finds_nothing_and_plain_http_is_told_so() {
    let world = World::with_policy(NO_ROUTES).await;
    for path in [
        "/sandgate.sandbox.v1.AttachService/Attach",
        "/sandgate.token.v1.TokenService/RenewSession",
        "/nothing.Here/AtAll",
    ] {
        assert_eq!(world.call(with_key(path, KEY)).await.status, 12, "{path}");
    }
    let plain = http::Request::get("http://gate/").body(tonic::body::Body::empty());
    let answer = world.call(plain.expect("a request")).await;
    assert_eq!(answer.http, 415);
    assert_eq!(answer.json()["reason"], "NOT_GRPC");
}

#[tokio::test(flavor = "multi_thread")]
async fn reflection_and_health_need_no_key() {
    let world = World::with_policy(NO_ROUTES).await;
    // ServerReflectionRequest { list_services: "" }
    let list = client_request(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        vec![0x3a, 0],
    );
    let answer = world.call(list).await;
    let listed = String::from_utf8_lossy(&answer.body).into_owned();
    assert!(
        listed.contains("sandgate.sandbox.v1.ProcessService"),
        "{listed}"
    );
    assert!(!listed.contains("AttachService"), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_to_a_sandbox_reaches_its_keeper_as_the_caller_and_nothing_of_the_key_does() {
    let mut world = World::with_policy(NO_ROUTES).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let mut request = sandbox_request(KEY, &sandbox.claims.sandbox, "ProcessService/ListProcesses");
    for (name, value) in [
        ("cookie", "a=b"),
        (CALLER_METADATA, "AAAA"),
        ("x-sandgate-user", "root"),
        ("grpc-timeout", "5S"),
    ] {
        request
            .headers_mut()
            .insert(name, value.parse().expect("a header"));
    }
    let answer = world.call(request).await;
    assert_eq!(answer.status, 0, "{answer:?}");
    let asked = sandbox.keeper.asked.lock();
    let (path, headers, _) = asked.first().expect("it was asked");
    assert_eq!(path, "/sandgate.sandbox.v1.ProcessService/ListProcesses");
    assert_eq!(headers["grpc-timeout"], "5S");
    for gone in ["authorization", "cookie", "x-sandgate-user", "x-sandbox-id"] {
        assert!(!headers.contains_key(gone), "{gone}");
    }
    let caller = headers[CALLER_METADATA].as_bytes();
    let caller = caller_of(caller);
    assert_eq!(caller.tenant.expect("a tenant").as_str(), "acme");
    assert!(matches!(caller.principal, Principal::ApiKey(id) if id.as_str() == KEY_ID));
}

fn caller_of(encoded: &[u8]) -> Caller {
    let bytes = STANDARD_NO_PAD.decode(encoded).expect("base64");
    Caller::from_bytes(&bytes).expect("a caller")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_of_another_tenant_or_user_an_ending_one_and_none_look_alike() {
    let mut world = World::with_policy(NO_ROUTES).await;
    let bobs = world.sandbox("acme", "bob").await;
    let method = "ProcessService/ListProcesses";
    let absent = world.claims("acme", "ann").sandbox;
    let expected = world.call(sandbox_request(KEY, &absent, method)).await;
    assert_eq!(expected.status, 5);
    for key in [OTHER, ANN] {
        let answer = world
            .call(sandbox_request(key, &bobs.claims.sandbox, method))
            .await;
        assert_eq!(answer.status, 5, "{key}");
        let words =
            |answer: &crate::support::keeper::Answer| answer.headers["grpc-message"].clone();
        assert_eq!(words(&answer), words(&expected), "{key}");
    }
    let reached = sandbox_request(KEY, &bobs.claims.sandbox, method);
    assert_eq!(
        world.call(reached).await.status,
        0,
        "an application key of the tenant"
    );
    world.orchestrator.ending(&bobs.claims);
    crate::support::until(async || {
        let again = sandbox_request(KEY, &bobs.claims.sandbox, method);
        world.call(again).await.status == 5
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_names_no_sandbox_or_two_is_invalid() {
    let mut world = World::with_policy(NO_ROUTES).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let none = with_key("/sandgate.sandbox.v1.ProcessService/ListProcesses", KEY);
    assert_eq!(world.call(none).await.status, 3);
    let mut two = sandbox_request(KEY, &sandbox.claims.sandbox, "ProcessService/ListProcesses");
    let id = sandbox.claims.sandbox.as_str().parse().expect("a header");
    two.headers_mut().append("x-sandbox-id", id);
    assert_eq!(world.call(two).await.status, 3);
}
