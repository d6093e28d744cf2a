//! Connections of clients that never show a good key: closed in time, whatever they send, and no others are.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use sandgate_auth_gateway::{Bound, ClientFacingTls};
use sandgate_rpc::Shutdown;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tonic::body::Body;

use crate::support::api_keys::KEY;
use crate::support::certificates::Root;
use crate::support::keeper::{Answer, grpc_request};
use crate::support::{NO_ROUTES, PREFACE, World, client_request, soon};

const JWKS: &str = "/sandgate.token.v1.TokenService/GetJwks";
const HEALTH: &str = "/grpc.health.v1.Health/Check";
/// Far below what a test may take, so that a connection that is left to anything else is seen.
const STRANGER_LIMIT: Duration = Duration::from_millis(500);

async fn gate(client: Vec<Bound>) -> World {
    let quick = |config: &mut sandgate_auth_gateway::Config| {
        config.stranger_limit = STRANGER_LIMIT;
    };
    World::start(NO_ROUTES, quick, client).await
}

/// Sends bytes, and waits until the gate closes the connection.
async fn closed_after(address: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).await.expect("connect");
    stream.write_all(bytes).await.expect("write");
    let mut left = Vec::new();
    // A reset is an end as well.
    drop(soon(stream.read_to_end(&mut left)).await);
}

/// An HTTP/2 client that answers every ping, and the end of its connection.
async fn client(address: SocketAddr) -> (SendRequest<Body>, JoinHandle<()>) {
    let stream = TcpStream::connect(address).await.expect("connect");
    let shake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
    let (sender, connection) = shake.await.expect("http/2");
    let ended = async { drop(connection.await) };
    #[expect(
        clippy::disallowed_methods,
        reason = "its end is what the test waits for"
    )]
    let ended = tokio::spawn(ended);
    (sender, ended)
}

async fn ask(sender: &mut SendRequest<Body>, request: http::Request<Body>) -> i32 {
    let response = soon(sender.send_request(request)).await.expect("an answer");
    Answer::of(response).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_without_a_good_key_is_closed_whatever_it_has_begun() {
    let world = gate(Vec::new()).await;
    for begun in [
        &b""[..],
        b"P",
        b"GET / HTTP/1.1\r\nhost: g",
        &PREFACE[..24],
        PREFACE,
    ] {
        closed_after(world.address, begun).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_handshake_is_closed_as_well() {
    let root = Root::new();
    let (certificate, key) = root.files("gate.test");
    let facing = ClientFacingTls::load(&certificate, &key, &Shutdown::new()).expect("a pair");
    let any = "127.0.0.1:0".parse().expect("an address");
    let bound = Bound::tcp(any, Some(facing)).await.expect("a port");
    let address = bound.local_addr().expect("its address");
    let _world = gate(vec![bound]).await;
    closed_after(address, b"").await;
    closed_after(address, &[22, 3, 1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_and_health_keep_no_connection_and_a_good_key_does() {
    let world = gate(Vec::new()).await;
    let (mut known, known_ended) = client(world.address).await;
    assert_eq!(ask(&mut known, grpc_request(JWKS, KEY)).await, 0);
    let (mut stranger, stranger_ended) = client(world.address).await;
    assert_eq!(
        ask(&mut stranger, grpc_request(JWKS, "sgk_wrong")).await,
        16
    );
    assert_eq!(
        ask(&mut stranger, client_request(HEALTH, Vec::new())).await,
        0
    );
    soon(stranger_ended).await.expect("it is closed");
    // It came first, and its time is over as well.
    assert!(!known_ended.is_finished());
    assert_eq!(ask(&mut known, grpc_request(JWKS, KEY)).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_flood_is_counted_and_hardly_recorded() {
    const FLOOD: i64 = 300;
    let world = World::with_policy(NO_ROUTES).await;
    let (mut stranger, _ended) = client(world.address).await;
    let began = tokio::time::Instant::now();
    for _ in 0..FLOOD {
        assert_eq!(
            ask(&mut stranger, client_request(JWKS, Vec::new())).await,
            16
        );
    }
    let counts = || {
        let records = world.orchestrator.records.lock();
        let refused = records
            .iter()
            .filter(|record| record.reason == "API_KEY_MISSING");
        refused
            .map(|record| record.count.max(1))
            .collect::<Vec<i64>>()
    };
    world
        .orchestrator
        .hears(|_| counts().iter().sum::<i64>() == FLOOD)
        .await;
    // Two in each second that has begun: the first, and the number of the others.
    let most = (began.elapsed().as_secs() + 2) * 2;
    assert!(
        u64::try_from(counts().len()).expect("few") <= most,
        "{:?}",
        counts()
    );
}
