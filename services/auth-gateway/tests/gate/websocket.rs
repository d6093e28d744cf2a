//! WebSockets through HTTP routes: who gets one, what crosses, and what ends them.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;
use sandgate_rpc::{Shutdown, WebSocketKey};
use sandgate_session::{RevocationScope, RevocationTarget};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tonic::body::Body;

use crate::support::keeper::{Answer, agent_request};
use crate::support::{self, Sandbox, Shared, World, soon};

/// An upstream that speaks WebSocket byte by byte, so that it can do so wrongly.
struct Upstream {
    address: SocketAddr,
    /// The heads of all requests.
    heads: Shared<Vec<String>>,
    shutdown: Shutdown,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shutdown.begin();
    }
}

/// Echoes what comes over a WebSocket. `/wrong`, `/extended` and `/chosen` take one as was not asked; `/plain` and
/// `/denied` take none.
async fn upstream() -> Upstream {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address");
    let (heads, shutdown) = (Shared::default(), Shutdown::new());
    let (heard, ending) = (Arc::clone(&heads), shutdown.clone());
    shutdown.spawn("upstream", async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = ending.cancelled() => return,
            };
            let (stream, _) = accepted.expect("a connection");
            let (heard, over) = (Arc::clone(&heard), ending.clone());
            ending.spawn("upstream's connection", async move {
                tokio::select! {
                    () = serve(stream, heard) => {}
                    () = over.cancelled() => {}
                }
            });
        }
    });
    Upstream {
        address,
        heads,
        shutdown,
    }
}

async fn serve(mut stream: TcpStream, heard: Shared<Vec<String>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else {
            return;
        };
        head.push(byte);
    }
    let head = String::from_utf8(head).expect("text");
    heard.lock().push(head.clone());
    let mut lines = head.lines();
    let first = lines.next().expect("a request line");
    let target = first.split(' ').nth(1).expect("a target");
    let mut request = Request::builder().uri(target);
    for line in lines {
        if let Some((name, value)) = line.split_once(": ") {
            request = request.header(name, value);
        }
    }
    let (parts, ()) = request.body(()).expect("a request").into_parts();
    let key = WebSocketKey::asked(&parts).expect("the gate's handshake is one");
    let mut taken = HeaderMap::new();
    key.take(&mut taken);
    let accept = taken["sec-websocket-accept"].to_str().expect("text");
    let answer = |accept: &str, more: &str| {
        format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nx-secret: of the upstream\r\nsec-websocket-accept: {accept}\r\n{more}\r\n"
        )
    };
    let answer = match parts.uri.path() {
        "/base/wrong" => answer("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", ""),
        "/base/extended" => answer(accept, "sec-websocket-extensions: permessage-deflate\r\n"),
        "/base/chosen" => answer(accept, "sec-websocket-protocol: soap\r\n"),
        "/base/repeats" => answer(accept, "etag: Bearer upstream-secret\r\n"),
        "/base/plain" => "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nhi".to_owned(),
        "/base/denied" => {
            "HTTP/1.1 403 Forbidden\r\nconnection: close\r\netag: e\r\nx-secret: s\r\ncontent-length: 2\r\n\r\nhi".into()
        }
        _ => answer(accept, "sec-websocket-protocol: chat\r\n"),
    };
    // The gate may be gone by now, which is what some tests are about.
    if stream.write_all(answer.as_bytes()).await.is_ok() {
        let (mut reads, mut writes) = stream.split();
        let _gone = tokio::io::copy(&mut reads, &mut writes).await;
    }
}

fn policy(upstream: &Upstream) -> String {
    policy_with(
        upstream,
        "header: authorization, prefix: 'Bearer ', file: key",
    )
}

fn policy_with(upstream: &Upstream, credential: &str) -> String {
    let address = upstream.address;
    format!(
        "
version: 1
routes:
- name: live
  http: {{ methods: [GET], websocket: true }}
  operation: live
  tenants: [acme]
  upstream: {{ url: 'http://{address}/base' }}
  identity: {{ headers: {{ x-user: user }} }}
  forward: {{ request_headers: [sec-websocket-protocol], response_headers: [etag], query: [room] }}
  credential: {{ {credential} }}
  limits: {{ request_bytes: 1KiB }}
- name: quick
  http: {{ methods: [GET], websocket: true }}
  operation: live
  upstream: {{ url: 'http://{address}/base' }}
  forward: {{ request_headers: [sec-websocket-protocol] }}
  limits: {{ timeout: 300ms }}
- name: web
  http: {{ methods: [GET] }}
  operation: web
  upstream: {{ url: 'http://{address}/base' }}
"
    )
}

/// Asks for a WebSocket as the keeper does.
fn asking(target: &str, token: &str) -> Request<Body> {
    let mut request = agent_request("CONNECT", target, token);
    let protocol = Protocol::from_static("websocket");
    request.extensions_mut().insert(protocol);
    for (name, value) in [
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "chat, other"),
    ] {
        let value = value.parse().expect("a header");
        request.headers_mut().insert(name, value);
    }
    request
}

type Socket = TokioIo<hyper::upgrade::Upgraded>;

async fn opened(mut response: Response<Incoming>) -> Socket {
    assert_eq!(response.status(), 200);
    let upgraded = soon(hyper::upgrade::on(&mut response)).await;
    TokioIo::new(upgraded.expect("a WebSocket"))
}

async fn open(world: &World, sandbox: &Sandbox, target: &str) -> Socket {
    let request = asking(target, &world.agent(sandbox));
    let mut socket = opened(sandbox.keeper.stream(request).await).await;
    echoes(&mut socket, b"hello").await;
    socket
}

async fn echoes(socket: &mut Socket, bytes: &[u8]) {
    socket.write_all(bytes).await.expect("sent");
    let mut heard = vec![0; bytes.len()];
    soon(socket.read_exact(&mut heard)).await.expect("an echo");
    assert_eq!(heard, bytes);
}

/// Reads to the end of a WebSocket that is cut, and answers what came until then.
async fn rest(socket: &mut Socket) -> usize {
    let mut rest = Vec::new();
    let mut reading = Vec::with_capacity(1024);
    while let Ok(read) = soon(socket.read_buf(&mut reading)).await {
        if read == 0 {
            break;
        }
        rest.append(&mut reading);
    }
    rest.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_carries_bytes_both_ways_with_identity_and_credential() {
    let upstream = upstream().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let mut request = asking("/r/live/echo?room=a", &world.agent(&sandbox));
    for (name, value) in [
        ("x-user", "root"),
        ("cookie", "a=b"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-extensions", "permessage-deflate"),
    ] {
        let value = value.parse().expect("a header");
        request.headers_mut().insert(name, value);
    }
    let response = sandbox.keeper.stream(request).await;
    assert_eq!(response.headers()["sec-websocket-protocol"], "chat");
    for gone in ["x-secret", "sec-websocket-accept"] {
        assert!(!response.headers().contains_key(gone), "{gone}");
    }
    let mut socket = opened(response).await;
    echoes(&mut socket, b"hello").await;
    echoes(&mut socket, &[7; 500]).await;
    let head = upstream.heads.lock().concat();
    assert!(head.starts_with("GET /base/echo?room=a HTTP/1.1\r\n"));
    assert!(head.contains("x-user: ann\r\n") && head.contains("Bearer upstream-secret"));
    for gone in ["root", "cookie", "dGhlIHNhbXBsZSBub25jZQ==", "permessage"] {
        assert!(!head.contains(gone), "{gone} in {head}");
    }
    world.recorded("live WEBSOCKET", "").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_route_that_says_so_takes_one_and_only_by_its_handshake() {
    let upstream = upstream().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let token = world.agent(&sandbox);
    let closed = sandbox.keeper.send(asking("/r/web/echo", &token)).await;
    assert_eq!(closed.http, 403);
    assert_eq!(closed.json()["reason"], "WEBSOCKET_NOT_ALLOWED");
    assert_eq!(closed.json()["clause"], "http.websocket");
    let mut old = asking("/r/live/echo", &token);
    let version = "8".parse().expect("a header");
    old.headers_mut().insert("sec-websocket-version", version);
    let mut twice = asking("/r/live/echo", &token);
    let version = "13".parse().expect("a header");
    twice.headers_mut().append("sec-websocket-version", version);
    for odd in [old, twice] {
        let answer = sandbox.keeper.send(odd).await;
        assert_eq!(answer.http, 400);
        assert_eq!(answer.json()["reason"], "HANDSHAKE_REFUSED");
    }
    let mut tunnel = asking("/r/live/echo", &token);
    let protocol = Protocol::from_static("connect-udp");
    tunnel.extensions_mut().insert(protocol);
    assert_eq!(sandbox.keeper.send(tunnel).await.http, 405);
    let mut smuggled = agent_request("GET", "/r/live/echo", &token);
    let websocket = "websocket".parse().expect("a header");
    smuggled.headers_mut().insert("upgrade", websocket);
    // HTTP/2 knows no such header; whether the library or we refuse it, the upstream hears of nothing.
    let refused = sandbox.keeper.send(smuggled).await;
    assert_ne!(refused.http, 200);
    assert!(
        upstream
            .heads
            .lock()
            .iter()
            .all(|head| !head.contains("live"))
    );
    world
        .recorded("web WEBSOCKET", "WEBSOCKET_NOT_ALLOWED")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_the_upstream_answers_wrongly_or_refuses_opens_nothing() {
    let upstream = upstream().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let token = world.agent(&sandbox);
    let ask = async |path: &str| -> Answer {
        let request = asking(&format!("/r/live/{path}"), &token);
        sandbox.keeper.send(request).await
    };
    for wrong in ["wrong", "extended", "chosen"] {
        let answer = ask(wrong).await;
        assert_eq!(answer.http, 502, "{wrong}");
        assert_eq!(answer.json()["reason"], "UPSTREAM_SWITCHED", "{wrong}");
    }
    let plain = ask("plain").await;
    assert_eq!(plain.json()["reason"], "UPSTREAM_NOT_SWITCHED");
    let denied = ask("denied").await;
    assert_eq!((denied.http, denied.body.len()), (403, 0));
    assert_eq!(denied.headers["etag"], "e");
    assert!(!denied.headers.contains_key("x-secret"));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_ends_at_the_limits_of_its_route_which_is_on_record() {
    let upstream = upstream().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let mut socket = open(&world, &sandbox, "/r/live/echo").await;
    socket.write_all(&[7; 1024]).await.expect("sent");
    assert_eq!(rest(&mut socket).await, 0);
    world.recorded("live WEBSOCKET", "REQUEST_TOO_LARGE").await;
    let mut socket = open(&world, &sandbox, "/r/quick/echo").await;
    assert_eq!(rest(&mut socket).await, 0);
    world.recorded("quick WEBSOCKET", "DEADLINE_EXCEEDED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_a_changed_policy_and_the_end_of_the_instance_cut_it() {
    let upstream = upstream().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let revoked = world.sandbox("acme", "ann").await;
    let ended = world.sandbox("acme", "bob").await;
    let other = world.sandbox("acme", "cyd").await;
    let mut socket = open(&world, &revoked, "/r/live/echo").await;
    let mut of_ended = open(&world, &ended, "/r/live/echo").await;
    let mut of_other = open(&world, &other, "/r/live/echo").await;
    let scope = RevocationScope::Instance(revoked.claims.instance.clone());
    let target = RevocationTarget::sessions(revoked.claims.tenant.clone(), scope);
    world.token.revoke_and_answer(&target).await;
    assert_eq!(rest(&mut socket).await, 0);
    world.recorded("live WEBSOCKET", "REVOKED").await;
    world.orchestrator.remove(&ended.claims.instance);
    assert_eq!(rest(&mut of_ended).await, 0);
    world.recorded("live WEBSOCKET", "INSTANCE_ENDED").await;
    echoes(&mut of_other, b"still here").await;
    world.write_policy(&policy(&upstream).replace("1KiB", "2KiB"));
    assert_eq!(rest(&mut of_other).await, 0);
    world.recorded("live WEBSOCKET", "POLICY_CHANGED").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_carries_a_token_that_is_fetched() {
    let (upstream, issuer) = (upstream().await, support::upstream::start().await);
    let issuer = format!("http://{}/token", issuer.address);
    let credential = format!("oauth2: {{ token_url: '{issuer}', client_id: us, file: key }}");
    let mut world = World::with_policy(&policy_with(&upstream, &credential)).await;
    let sandbox = world.sandbox("acme", "ann").await;
    open(&world, &sandbox, "/r/live/echo").await;
    let head = upstream.heads.lock().concat();
    assert!(
        head.contains("authorization: Bearer access-token-1\r\n"),
        "{head}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_repeats_the_credential_is_withheld() {
    let upstream = upstream().await;
    let mut world = World::with_policy(&policy(&upstream)).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let asked = asking("/r/live/repeats", &world.agent(&sandbox));
    let answer = sandbox.keeper.send(asked).await;
    assert_eq!(answer.json()["reason"], "CREDENTIAL_ECHOED");
}
