//! The agent's listener, from before Attach to after Drain.

use std::time::Duration;

use sandgate_api::storage::v1 as storage;
use sandgate_api::storage::v1::sync_service_client::SyncServiceClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::Channel;
use tonic::{Code, Request};

use super::harness::Sandbox;

/// What the listener answers to an HTTP/1.1 request, as text.
async fn ask(sandbox: &Sandbox, head: &str) -> String {
    let mut stream = TcpStream::connect(sandbox.listener)
        .await
        .expect("connected");
    stream
        .write_all(format!("{head}\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
        .await
        .expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    answer
}

/// A client of the store as an agent has one.
pub(super) async fn grpc(sandbox: &Sandbox) -> SyncServiceClient<Channel> {
    let endpoint =
        Channel::from_shared(format!("http://{}", sandbox.listener)).expect("an address");
    SyncServiceClient::new(endpoint.connect().await.expect("connected"))
}

#[tokio::test]
async fn a_request_reaches_the_gate_with_the_agents_token_in_place_of_its_own_claims() {
    let sandbox = Sandbox::attached().await;
    let mut request = Request::new(storage::BeginUploadRequest::default());
    for (name, value) in [
        ("authorization", "Bearer mine"),
        ("x-sandbox-id", "another"),
        ("sandgate-session-token", "x"),
    ] {
        request
            .metadata_mut()
            .insert(name, value.parse().expect("a value"));
    }
    let answer = grpc(&sandbox)
        .await
        .begin_upload(request)
        .await
        .expect("forwarded")
        .into_inner();
    assert_eq!(answer.upload_id, "u1");
    let used = sandbox.mesh.authorizations();
    assert!(used.contains(&"Bearer agent-canary".to_owned()), "{used:?}");
    assert!(!used.contains(&"Bearer mine".to_owned()));
}

#[tokio::test]
async fn before_attach_and_after_drain_everything_is_refused_in_the_callers_protocol() {
    let sandbox = Sandbox::spare().await;
    let answer = ask(&sandbox, "GET /r/weather/ HTTP/1.1").await;
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("no conversation yet"),
        "{answer}"
    );
    let refused = grpc(&sandbox)
        .await
        .begin_upload(storage::BeginUploadRequest::default())
        .await
        .expect_err("refused");
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::Unavailable, "the sandbox serves no conversation yet")
    );
    sandbox
        .attach(sandbox.attachment())
        .await
        .expect("attached");
    sandbox.drain(Duration::ZERO).await.expect("drained");
    let answer = ask(&sandbox, "GET /r/weather/ HTTP/1.1").await;
    assert!(
        answer.starts_with("HTTP/1.1 503") && answer.contains("ending"),
        "{answer}"
    );
    assert!(
        sandbox
            .mesh
            .authorizations()
            .iter()
            .all(|used| !used.contains("agent"))
    );
}

#[tokio::test]
async fn tunnels_and_upgrades_are_refused() {
    let sandbox = Sandbox::attached().await;
    let answer = ask(&sandbox, "CONNECT example.com:443 HTTP/1.1").await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    let answer = ask(&sandbox, "GET / HTTP/1.1\r\nupgrade: websocket").await;
    assert!(answer.starts_with("HTTP/1.1 501"), "{answer}");
}

#[tokio::test]
async fn a_request_that_names_two_hosts_is_refused_and_one_that_names_one_twice_is_not() {
    let sandbox = Sandbox::attached().await;
    // Each gets `Host: x` behind its head.
    for head in [
        "GET http://y/r/weather/ HTTP/1.1",
        "GET http://x:81/r/weather/ HTTP/1.1",
        "GET /r/weather/ HTTP/1.1\r\nhost: y",
    ] {
        let answer = ask(&sandbox, head).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{head}: {answer}");
    }
    let answer = ask(&sandbox, "GET http://X:80/r/weather/ HTTP/1.1").await;
    assert!(!answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn a_websocket_that_is_no_strict_handshake_is_refused_before_the_gate_hears_of_it() {
    let sandbox = Sandbox::attached().await;
    let before = sandbox.mesh.authorizations().len();
    let with = |headers: &str| format!("GET /r/live/ HTTP/1.1\r\n{headers}");
    let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
    for odd in [
        with("upgrade: websocket\r\nsec-websocket-version: 13"),
        with(&format!(
            "upgrade: websocket\r\nconnection: upgrade\r\n{key}"
        )),
        with(&format!(
            "upgrade: websocket, h2c\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n{key}"
        )),
    ] {
        // `ask` adds `connection: close`, which no handshake has beside.
        let answer = ask(&sandbox, &odd).await;
        assert!(answer.starts_with("HTTP/1.1 501"), "{odd}: {answer}");
    }
    assert_eq!(sandbox.mesh.authorizations().len(), before);
}
