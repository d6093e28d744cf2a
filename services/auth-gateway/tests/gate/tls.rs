//! TLS on both sides: what clients see, and whom the gate believes to be an upstream.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use sandgate_auth_gateway::{Bound, ClientFacingTls};
use sandgate_rpc::Shutdown;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::support::certificates::Root;
use crate::support::keeper::{Answer, agent_request};
use crate::support::upstream::{self, Upstream};
use crate::support::{NO_ROUTES, Sandbox, World, client_request, soon, until};

/// The name of the gate, as clients know it.
const GATE: &str = "gate.test";
/// The name of an upstream, in its certificate.
const UPSTREAM: &str = "upstream.test";
/// Half of what a connection may take where the policy does not say.
const CONNECT_DEFAULT: std::time::Duration = std::time::Duration::from_secs(5);
/// A TLS record that says why the connection ends.
const ALERT: u8 = 21;

/// A gate that clients reach over TLS too, and where.
async fn gate(certificate: &Path, key: &Path) -> (World, SocketAddr) {
    let facing = ClientFacingTls::load(certificate, key, &Shutdown::new()).expect("they fit");
    let any = "127.0.0.1:0".parse().expect("an address");
    let bound = Bound::tcp(any, Some(facing)).await.expect("a port");
    let address = bound.local_addr().expect("its address");
    let world = World::start(NO_ROUTES, |_| {}, vec![bound]).await;
    (world, address)
}

/// Asks for health over TLS, as a client that verifies.
async fn ask(
    address: SocketAddr,
    roots: &Path,
    name: &'static str,
    version: &'static SupportedProtocolVersion,
) -> std::io::Result<(ProtocolVersion, Answer)> {
    let mut store = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(roots).expect("a file") {
        store.add(root.expect("a certificate")).expect("a root");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from(name).expect("a name");
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let stream = soon(stream).await?;
    let (_, session) = stream.get_ref();
    let spoken = session.protocol_version().expect("after the handshake");
    let handshake =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(std::io::Error::other)?;
    let asking = async {
        let request = client_request("/grpc.health.v1.Health/Check", Vec::new());
        let response = sender.send_request(request).await.expect("an answer");
        Answer::of(response).await
    };
    tokio::select! {
        answer = asking => Ok((spoken, answer)),
        ended = connection => Err(std::io::Error::other(format!("{ended:?}"))),
    }
}

/// Sends bytes, and answers the first byte that comes back; none when the connection is closed.
async fn first_byte(address: SocketAddr, bytes: &[u8]) -> Option<u8> {
    let mut stream = TcpStream::connect(address).await.expect("connect");
    stream.write_all(bytes).await.expect("write");
    let mut byte = [0];
    let read = soon(stream.read(&mut byte)).await;
    read.is_ok_and(|read| read == 1).then_some(byte[0])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_verifies_is_served_over_tls_1_3_and_1_2() {
    let root = Root::new();
    let (certificate, key) = root.files(GATE);
    let (_world, address) = gate(&certificate, &key).await;
    for (version, number) in [
        (&TLS13, ProtocolVersion::TLSv1_3),
        (&TLS12, ProtocolVersion::TLSv1_2),
    ] {
        let (spoken, answer) = ask(address, &root.roots(), GATE, version)
            .await
            .expect("served");
        assert_eq!((spoken, answer.status), (number, 0));
    }
    let stranger = Root::new();
    assert!(ask(address, &stranger.roots(), GATE, &TLS13).await.is_err());
    let misnamed = ask(address, &root.roots(), "other.test", &TLS13).await;
    assert!(misnamed.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_1_1_and_plaintext_are_refused_where_clients_connect_by_tls() {
    let root = Root::new();
    let (certificate, key) = root.files(GATE);
    let (world, address) = gate(&certificate, &key).await;
    // ClientHello of TLS 1.1: version 3.2, a random, no session, one suite, no compression.
    let mut hello = vec![22, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x13, 1, 0]);
    assert_eq!(first_byte(address, &hello).await, Some(ALERT));
    let request = b"GET / HTTP/1.1\r\nhost: gate.test\r\n\r\n";
    let answered = first_byte(address, request).await;
    assert!(matches!(answered, None | Some(ALERT)), "{answered:?}");
    // The same request is answered where plaintext is served: on loopback.
    assert_eq!(first_byte(world.address, request).await, Some(b'H'));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_without_a_restart() {
    let (old, new) = (Root::new(), Root::new());
    let (certificate, key) = old.files(GATE);
    let (_world, address) = gate(&certificate, &key).await;
    assert!(ask(address, &old.roots(), GATE, &TLS13).await.is_ok());
    let (newer, its_key) = new.files(GATE);
    std::fs::rename(newer, &certificate).expect("rename");
    // Without its key it changes nothing.
    assert!(ask(address, &old.roots(), GATE, &TLS13).await.is_ok());
    std::fs::rename(its_key, &key).expect("rename");
    assert!(ask(address, &new.roots(), GATE, &TLS13).await.is_ok());
    assert!(ask(address, &old.roots(), GATE, &TLS13).await.is_err());
}

/// A policy with routes over TLS to an upstream whose certificate must have this name.
fn policy(upstream: &Upstream, name: &str) -> String {
    let address = upstream.address;
    format!(
        "
version: 1
routes:
- name: paid
  http: {{ methods: [GET] }}
  operation: paid
  tenants: [acme]
  upstream: {{ url: 'https://{address}', tls_name: {name} }}
  credential: {{ header: authorization, prefix: 'Bearer ', file: key }}
- name: scores
  grpc: {{ methods: [scores.v1.ScoreService/Score] }}
  operation: score
  upstream: {{ url: 'https://{address}', tls_name: {name} }}
"
    )
}

/// A gate that believes `root`, and a sandbox at it.
async fn believing(root: &Root, policy: &str) -> (World, Sandbox) {
    let roots = root.roots();
    let change = |config: &mut sandgate_auth_gateway::Config| config.upstream_roots = Some(roots);
    let mut world = World::with_config(policy, change).await;
    let sandbox = world.sandbox("acme", "ann").await;
    (world, sandbox)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_proves_its_name_gets_the_request_and_the_credential() {
    let root = Root::new();
    let upstream = upstream::start_tls(&root.files(UPSTREAM)).await;
    let (world, sandbox) = believing(&root, &policy(&upstream, UPSTREAM)).await;
    let token = world.agent(&sandbox);
    let answer = sandbox.keeper.get("/r/paid/x", &token).await;
    assert_eq!(answer.http, 200, "{answer:?}");
    let heard = upstream.heard.lock()[0]["headers"].clone();
    assert_eq!(heard["authorization"], "Bearer upstream-secret");
    let method = "/scores.v1.ScoreService/Score";
    assert_eq!(sandbox.keeper.grpc(method, &token).await.status, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_of_another_name_another_authority_or_in_plaintext_gets_nothing() {
    let (root, stranger) = (Root::new(), Root::new());
    let misnamed = upstream::start_tls(&root.files("other.test")).await;
    let unknown = upstream::start_tls(&stranger.files(UPSTREAM)).await;
    let plain = upstream::start().await;
    for upstream in [&misnamed, &unknown, &plain] {
        let (world, sandbox) = believing(&root, &policy(upstream, UPSTREAM)).await;
        let token = world.agent(&sandbox);
        let answer = sandbox.keeper.get("/r/paid/x", &token).await;
        assert_eq!(
            (answer.http, &answer.json()["reason"]),
            (502, &"UPSTREAM_UNREACHABLE".into())
        );
        let method = "/scores.v1.ScoreService/Score";
        assert_eq!(sandbox.keeper.grpc(method, &token).await.status, 14);
        assert_eq!(upstream.requests.load(Ordering::Relaxed), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn renewed_roots_are_believed_without_a_restart_and_the_old_ones_no_longer() {
    let (old, new) = (Root::new(), Root::new());
    let former = upstream::start_tls(&old.files(UPSTREAM)).await;
    let (world, sandbox) = believing(&old, &policy(&former, UPSTREAM)).await;
    let token = world.agent(&sandbox);
    // The head of its answer is here, so that nothing but its body is left to be cut.
    let ticking = agent_request("GET", "/r/paid/ticking", &token);
    let under_way = sandbox.keeper.stream(ticking).await;
    assert_eq!(under_way.status(), 200);
    let renewed = std::fs::read(new.roots()).expect("read");
    std::fs::write(old.roots(), renewed).expect("write");
    assert!(soon(Answer::of(under_way)).await.broken);
    // What is under way is cut once the new roots are in force, so the next request meets them.
    assert_eq!(sandbox.keeper.get("/r/paid/x", &token).await.http, 502);
    let latter = upstream::start_tls(&new.files(UPSTREAM)).await;
    world.write_policy(&policy(&latter, UPSTREAM));
    until(async || sandbox.keeper.get("/r/paid/x", &token).await.http == 200).await;
    assert!(latter.requests.load(Ordering::Relaxed) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_takes_too_long_to_connect_to_is_not_waited_for() {
    let root = Root::new();
    // It takes connections, by its kernel, and never says a word.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let silent = silent.expect("a port");
    let address = silent.local_addr().expect("its address");
    let policy = format!(
        "
version: 1
routes:
- name: paid
  http: {{ methods: [GET] }}
  operation: paid
  upstream: {{ url: 'https://{address}', tls_name: {UPSTREAM} }}
  limits: {{ connect_timeout: 100ms }}
"
    );
    let (world, sandbox) = believing(&root, &policy).await;
    let began = tokio::time::Instant::now();
    let token = world.agent(&sandbox);
    let answer = sandbox.keeper.get("/r/paid/x", &token).await;
    assert_eq!(answer.json()["reason"], "UPSTREAM_UNREACHABLE");
    assert!(began.elapsed() < CONNECT_DEFAULT, "{:?}", began.elapsed());
}
