//! Credentials toward upstreams: each kind, where it comes from, and that it never comes back.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::Ordering;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::keeper::agent_request;
use crate::support::upstream::{self, Upstream};
use crate::support::{Sandbox, World, until};

/// A route with this credential.
fn policy(upstream: &Upstream, credential: &str) -> String {
    let address = upstream.address;
    format!(
        "
version: 1
routes:
- name: paid
  http: {{ methods: [GET, OPTIONS] }}
  operation: paid
  tenants: [acme]
  upstream: {{ url: 'http://{address}' }}
  forward: {{ response_headers: [etag], query: [word] }}
  credential: {{ {credential} }}
"
    )
}

async fn scene(credential: &str) -> (World, Sandbox, String, Upstream) {
    let upstream = upstream::start().await;
    let credential = credential.replace("ISSUER", &upstream.address.to_string());
    let mut world = World::with_policy(&policy(&upstream, &credential)).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let token = world.agent(&sandbox);
    (world, sandbox, token, upstream)
}

const HEADER: &str = "header: authorization, prefix: 'Bearer ', file: key";
const OAUTH2: &str = "oauth2: { token_url: 'http://ISSUER/token', client_id: 'us&co', file: key, scopes: [read, write] }";

#[tokio::test(flavor = "multi_thread")]
async fn basic_authentication_is_of_the_policys_user_and_password() {
    let (_world, sandbox, token, upstream) = scene("basic: { user: us, file: key }").await;
    assert_eq!(sandbox.keeper.get("/r/paid/x", &token).await.http, 200);
    let expected = format!("Basic {}", STANDARD.encode("us:upstream-secret"));
    assert_eq!(
        upstream.heard.lock()[0]["headers"]["authorization"],
        expected
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_parameter_carries_the_credential_beside_the_callers_and_no_caller_sends_it() {
    let (_world, sandbox, token, upstream) = scene("query: key, file: key").await;
    let answer = sandbox.keeper.get("/r/paid/x?word=gate", &token).await;
    assert_eq!(answer.http, 200, "{answer:?}");
    assert_eq!(
        upstream.heard.lock()[0]["target"],
        "/x?word=gate&key=upstream-secret"
    );
    let own = sandbox.keeper.get("/r/paid/x?key=mine", &token).await;
    assert_eq!(
        (own.http, &own.json()["reason"]),
        (400, &"QUERY_UNLISTED".into())
    );
    let options = agent_request("OPTIONS", "/r/paid/x", &token);
    assert_eq!(sandbox.keeper.send(options).await.http, 200);
    assert_eq!(upstream.heard.lock()[1]["target"], "/x");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_is_fetched_once_and_again_when_it_is_over() {
    let (_world, sandbox, token, upstream) = scene(OAUTH2).await;
    let together = [(); 8].map(|()| sandbox.keeper.get("/r/paid/x", &token));
    for answer in futures_util::future::join_all(together).await {
        assert_eq!(answer.http, 200, "{answer:?}");
    }
    let heard = upstream.heard.lock().clone();
    let asked: Vec<_> = heard
        .iter()
        .filter(|said| said["target"] == "/token")
        .collect();
    assert_eq!(asked.len(), 1, "one asks for all");
    assert_eq!(
        asked[0]["body"],
        "grant_type=client_credentials&scope=read%20write"
    );
    // Name and secret are escaped before they are joined (RFC 6749, section 2.3.1).
    let client = format!("Basic {}", STANDARD.encode("us%26co:upstream-secret"));
    assert_eq!(asked[0]["headers"]["authorization"], client);
    let carried: Vec<_> = heard.iter().filter(|said| said["target"] == "/x").collect();
    assert_eq!(carried.len(), 8);
    assert!(
        carried
            .iter()
            .all(|said| said["headers"]["authorization"] == "Bearer access-token-1")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_upstream_refuses_is_not_used_again() {
    let (_world, sandbox, token, upstream) = scene(OAUTH2).await;
    assert_eq!(sandbox.keeper.get("/r/paid/x", &token).await.http, 200);
    assert_eq!(
        sandbox
            .keeper
            .get("/r/paid/unauthorized", &token)
            .await
            .http,
        401
    );
    assert_eq!(sandbox.keeper.get("/r/paid/x", &token).await.http, 200);
    let heard = upstream.heard.lock().clone();
    let last = heard.last().expect("a request");
    assert_ne!(last["headers"]["authorization"], "Bearer access-token-1");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_access_token_nothing_goes_on() {
    let elsewhere = OAUTH2.replace("ISSUER/token", "127.0.0.1:1/token");
    let (world, sandbox, token, upstream) = scene(&elsewhere).await;
    let answer = sandbox.keeper.get("/r/paid/x", &token).await;
    assert_eq!(
        (answer.http, &answer.json()["reason"]),
        (502, &"CREDENTIAL_UNAVAILABLE".into())
    );
    assert!(answer.headers.contains_key("retry-after"));
    assert_eq!(upstream.requests.load(Ordering::Relaxed), 0);
    world.recorded("paid GET", "CREDENTIAL_UNAVAILABLE").await;
    // An endpoint that answers anything else gives none either.
    let wrong = OAUTH2.replace("ISSUER/token", "ISSUER/large");
    let (_world, sandbox, token, upstream) = scene(&wrong).await;
    assert_eq!(sandbox.keeper.get("/r/paid/x", &token).await.http, 502);
    assert!(upstream.heard.lock().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_repeats_the_credential_is_withheld() {
    let (world, sandbox, token, _upstream) = scene(HEADER).await;
    let echoed = sandbox.keeper.get("/r/paid/echo", &token).await;
    assert_eq!(
        (echoed.http, &echoed.json()["reason"]),
        (502, &"CREDENTIAL_ECHOED".into())
    );
    world.recorded("paid GET", "CREDENTIAL_ECHOED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_repeats_the_credential_ends_before_its_first_byte() {
    for credential in [HEADER, OAUTH2, "basic: { user: us, file: key }"] {
        let (world, sandbox, token, _upstream) = scene(credential).await;
        let leaked = sandbox.keeper.get("/r/paid/leak", &token).await;
        assert!(leaked.broken, "{leaked:?}");
        let said = String::from_utf8_lossy(&leaked.body).into_owned();
        assert!(
            "you sent Bearer ".starts_with(&said) || "you sent Basic ".starts_with(&said),
            "{said}"
        );
        world.recorded("paid GET", "CREDENTIAL_ECHOED").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_changes_is_used_from_then_on() {
    let (world, sandbox, token, upstream) = scene("basic: { user: us, file: key }").await;
    assert_eq!(sandbox.keeper.get("/r/paid/x", &token).await.http, 200);
    let key = world.folder.path().join("key");
    std::fs::write(&key, "another-secret").expect("write");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    let expected = format!("Basic {}", STANDARD.encode("us:another-secret"));
    until(async || {
        // One that is on its way while the route changes is refused or cut.
        drop(sandbox.keeper.attempt("/r/paid/x", &token).await);
        let heard = upstream.heard.lock();
        heard
            .last()
            .is_some_and(|said| said["headers"]["authorization"] == expected)
    })
    .await;
}
