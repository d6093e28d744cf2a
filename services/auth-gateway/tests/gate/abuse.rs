//! HTTP/2 as nobody means it, from both sides of the gate: whoever sends it is stopped, and nobody else notices.
//!
//! The frames are written by hand (RFC 9113), since no client library sends them.

use std::os::unix::fs::PermissionsExt as _;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use sandgate_auth_gateway::Bound;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split};
use tokio::net::{TcpListener, UnixStream};

use crate::support::keeper::agent_request;
use crate::support::{NO_ROUTES, PREFACE, Sandbox, World, soon};

/// Kinds of frames.
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
/// Flags of frames.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// The code by which a connection that costs too much ends.
const ENHANCE_YOUR_CALM: u32 = 11;
/// Enough of anything to be too much.
const MANY: u32 = 20_000;
/// More than two sockets and what is read ahead of one connection hold together.
const HELD_MAX_BYTES: usize = 4 * 1024 * 1024;
/// `GET http://x/` in HPACK: three entries of the static table, and an authority that is not kept.
const REQUEST: &[u8] = &[0x82, 0x86, 0x84, 0x01, 1, b'x'];

struct Heard {
    kind: u8,
    payload: Vec<u8>,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Sends all of it, as far as the gate takes it, and answers everything that it said until it closed.
async fn said_until_closed(stream: impl AsyncRead + AsyncWrite, bytes: Vec<u8>) -> Vec<Heard> {
    let (mut reads, mut writes) = split(stream);
    let mut left = Vec::new();
    let talking = async {
        // What is not taken any more is the point.
        let sending = async { drop(writes.write_all(&bytes).await) };
        let hearing = async { drop(reads.read_to_end(&mut left).await) };
        tokio::join!(sending, hearing);
    };
    soon(talking).await;
    frames(&left)
}

fn frames(mut bytes: &[u8]) -> Vec<Heard> {
    let mut heard = Vec::new();
    while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = bytes {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let Some((payload, rest)) = rest.split_at_checked(length) else {
            break;
        };
        heard.push(Heard {
            kind: *kind,
            payload: payload.to_vec(),
        });
        bytes = rest;
    }
    heard
}

/// Why the gate ended the connection.
fn ended_for(heard: &[Heard]) -> Option<u32> {
    let last = heard.iter().rfind(|heard| heard.kind == GOAWAY)?;
    let code = last.payload.get(4..8)?;
    Some(u32::from_be_bytes(code.try_into().expect("four bytes")))
}

/// A gate and a well-behaved sandbox.
struct Scene {
    world: World,
    good: Sandbox,
    /// The other half of the link, which nobody uses.
    _serve: UnixStream,
}

/// The connections from both sides, by their names.
type Sides = [(&'static str, UnixStream); 2];

impl Scene {
    async fn new() -> (Self, Sides) {
        let folder = tempfile::tempdir().expect("a folder");
        let owner = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(folder.path(), owner).expect("chmod");
        let socket = folder.path().join("client.sock");
        let bound = Bound::unix(&socket).expect("a socket");
        let mut world = World::start(NO_ROUTES, |_| {}, vec![bound]).await;
        let good = world.sandbox("acme", "ann").await;
        let bad = world.claims("acme", "bob").instance;
        let (serve, link) = world.connect_raw(bad).await;
        let client = UnixStream::connect(&socket).await.expect("connect");
        let sides = [("client", client), ("link", link)];
        (
            Self {
                world,
                good,
                _serve: serve,
            },
            sides,
        )
    }

    /// Others are served as before.
    async fn others_are_served(&self) {
        assert!(self.world.is_ready().await);
        let token = self.world.agent(&self.good);
        let answer = self.good.keeper.get("/r/none", &token).await;
        assert_eq!(answer.http, 404);
    }
}

/// Both sides are sent the same, and end for the same.
async fn both_are_calmed(bytes: Vec<u8>) {
    let (scene, sides) = Scene::new().await;
    for (side, stream) in sides {
        let heard = said_until_closed(stream, bytes.clone()).await;
        assert_eq!(ended_for(&heard), Some(ENHANCE_YOUR_CALM), "{side}");
        scene.others_are_served().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_are_taken_back_at_once_end_the_connection() {
    let mut bytes = PREFACE.to_vec();
    for stream in (0..MANY).map(|number| 2 * number + 1) {
        bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, REQUEST));
        bytes.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
    }
    both_are_calmed(bytes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn headers_without_an_end_end_the_connection() {
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(HEADERS, END_STREAM, 1, REQUEST));
    for _ in 0..MANY {
        bytes.extend(frame(CONTINUATION, 0, 1, &[]));
    }
    both_are_calmed(bytes).await;
}

/// A header of 3,900 bytes that is told once and meant 10,000 times.
fn bomb() -> Vec<u8> {
    let mut block = REQUEST.to_vec();
    // A literal with a name of its own, to be kept; 3,900 is 127 and 3,773 more in groups of seven bits.
    block.extend([0x40, 1, b'b', 0x7f, 0xbd, 0x1d]);
    block.extend([b'x'; 3_900]);
    block.extend([0xbe; 10_000]);
    frame(HEADERS, END_HEADERS | END_STREAM, 1, &block)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_bomb_ends_the_connection_and_is_not_unpacked() {
    let mut bytes = PREFACE.to_vec();
    bytes.extend(bomb());
    both_are_calmed(bytes).await;
}

/// Pings and settings oblige the gate to answer. It owes one answer at a time: to somebody who reads none it writes what
/// the socket holds, and then it reads no more either.
#[tokio::test(flavor = "multi_thread")]
async fn whoever_does_not_read_is_not_read() {
    for (kind, payload) in [(PING, b"are you?".as_slice()), (SETTINGS, &[])] {
        let (scene, sides) = Scene::new().await;
        for (side, mut stream) in sides {
            stream.write_all(PREFACE).await.expect("sent");
            let frames = frame(kind, 0, 0, payload).repeat(1_000);
            let flood = async {
                let mut sent = 0;
                loop {
                    stream.write_all(&frames).await.expect("sent");
                    sent += frames.len();
                    assert!(
                        sent < HELD_MAX_BYTES,
                        "{side}: it reads what it cannot answer"
                    );
                }
            };
            let served = async {
                for _ in 0..20 {
                    scene.others_are_served().await;
                }
            };
            tokio::select! {
                () = flood => {}
                () = served => {}
            }
        }
    }
}

/// A reader who opens no window is asked for nothing by HTTP/2, so nothing of what goes on there ends the answer.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_reads_is_let_go_at_its_time() {
    let upstream = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = upstream.local_addr().expect("its address");
    let policy = format!(
        "
version: 1
routes:
- name: slow
  http: {{ methods: [GET] }}
  operation: slow
  upstream: {{ url: 'http://{address}' }}
  limits: {{ timeout: 300ms }}
"
    );
    let mut world = World::with_policy(&policy).await;
    let sandbox = world.sandbox("acme", "ann").await;
    let (_serve, link) = world.connect_raw(sandbox.claims.instance.clone()).await;
    let handshake = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(0)
        .handshake(TokioIo::new(link));
    let (mut asks, connection) = handshake.await.expect("http/2");
    let request = agent_request("GET", "/r/slow/x", &world.agent(&sandbox));
    let asking = async {
        let answer = asks.send_request(request).await.expect("its head");
        assert_eq!(answer.status(), 200);
        // Held, and not read.
        std::future::pending::<()>().await;
        drop(answer);
    };
    let answering = async {
        let (mut stream, _) = upstream.accept().await.expect("the gate");
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            let read = stream.read_buf(&mut asked).await.expect("a request");
            assert_ne!(read, 0);
        }
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nbegun";
        stream.write_all(head).await.expect("sent");
        // It ends with the connection, in whatever way.
        drop(stream.read_to_end(&mut asked).await);
    };
    tokio::select! {
        () = soon(answering) => {}
        () = asking => {}
        ended = connection => panic!("the link ended: {ended:?}"),
    }
}
