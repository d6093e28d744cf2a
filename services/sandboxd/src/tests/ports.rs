//! What listens inside, reached by bytes.
#![expect(
    clippy::disallowed_methods,
    reason = "a test is a process of its own; what it spawns ends with its runtime"
)]

use sandgate_api::sandbox::v1 as pb;
use sandgate_api::sandbox::v1::open_port_request::Part;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tonic::Code;

use super::harness::{NEVER, Sandbox, field, reason};

fn piece(part: Part) -> pb::OpenPortRequest {
    pb::OpenPortRequest { part: Some(part) }
}

async fn granted(ports: &[u16]) -> Sandbox {
    let sandbox = Sandbox::spare().await;
    let ports = ports.iter().map(|port| u32::from(*port)).collect();
    sandbox
        .attach(pb::AttachRequest {
            ports,
            ..sandbox.attachment()
        })
        .await
        .expect("attached");
    sandbox
}

#[tokio::test]
async fn bytes_pass_both_ways_and_each_direction_ends_by_itself() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    let sandbox = granted(&[port]).await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        let mut all = Vec::new();
        stream.read_to_end(&mut all).await.expect("to the end");
        all.reverse();
        stream.write_all(&all).await.expect("answered");
    });
    let pieces = [
        piece(Part::Port(port.into())),
        piece(Part::Data(b"abc".to_vec())),
        piece(Part::Data(b"def".to_vec())),
    ];
    let mut answers = sandbox
        .ports()
        .open_port(tokio_stream::iter(pieces))
        .await
        .expect("open")
        .into_inner();
    assert!(
        answers
            .message()
            .await
            .expect("a message")
            .expect("it is open")
            .data
            .is_empty()
    );
    let mut all = Vec::new();
    while let Some(piece) = tokio::time::timeout(NEVER, answers.message())
        .await
        .expect("it ends")
        .expect("a message")
    {
        all.extend(piece.data);
    }
    assert_eq!(all, b"fedcba");
    server.await.expect("no panic");
}

#[tokio::test]
async fn a_port_that_is_not_granted_is_refused_and_the_agents_own_listener_always() {
    let sandbox = granted(&[4040]).await;
    for port in [4040, 1, 22] {
        let refused = sandbox
            .ports()
            .open_port(tokio_stream::iter([piece(Part::Port(port))]))
            .await
            .expect_err("refused");
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::PermissionDenied, "PORT_NOT_GRANTED")
        );
    }
    for port in [0, 65_536, u32::MAX] {
        let refused = sandbox
            .ports()
            .open_port(tokio_stream::iter([piece(Part::Port(port))]))
            .await
            .expect_err("refused");
        assert_eq!(field(&refused), "port");
    }
    let refused = sandbox
        .ports()
        .open_port(tokio_stream::iter([piece(Part::Data(b"x".to_vec()))]))
        .await;
    assert_eq!(field(&refused.expect_err("refused")), "port");
}

#[tokio::test]
async fn a_port_where_nothing_listens_is_unavailable() {
    let port = {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        listener.local_addr().expect("an address").port()
    };
    let sandbox = granted(&[port]).await;
    let refused = sandbox
        .ports()
        .open_port(tokio_stream::iter([piece(Part::Port(port.into()))]))
        .await
        .expect_err("closed");
    assert_eq!(
        (refused.code(), reason(&refused).as_str()),
        (Code::Unavailable, "PORT_CLOSED")
    );
}
