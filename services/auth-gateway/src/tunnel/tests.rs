//! Bytes through a tunnel, without a socket.

use sandgate_types::RouteName;
use tokio::io::{DuplexStream, duplex};

use super::*;

/// Long for a person; a test whose tunnel should have ended before comes to it at once, since its clock is paused.
const HOUR: Duration = Duration::from_secs(3600);

fn route() -> RouteName {
    RouteName::parse("route", "chat").expect("a name")
}

fn most(bytes: u64) -> (Most, Most) {
    let up = Most {
        bytes,
        refusal: Refusal::RequestTooLarge(route()),
    };
    let down = Most {
        bytes,
        refusal: Refusal::ResponseTooLarge(route()),
    };
    (up, down)
}

/// The two ends that a test holds, and what is carried between them.
fn tunnel(
    bytes: u64,
    lasts: Duration,
    cut: &Cut,
) -> (
    DuplexStream,
    DuplexStream,
    impl Future<Output = Carried> + use<>,
) {
    let (near, our_near) = duplex(64);
    let (far, our_far) = duplex(64);
    let cut = cut.clone();
    let carrying = async move {
        let until = Instant::now() + lasts;
        carry(our_near, our_far, most(bytes), until, &cut).await
    };
    (near, far, carrying)
}

#[tokio::test(start_paused = true)]
async fn bytes_go_both_ways_until_both_ends_are_done() {
    let (mut near, mut far, carrying) = tunnel(1_000, HOUR, &Cut::default());
    let talking = async {
        near.write_all(b"hello").await.expect("written");
        let mut heard = [0; 5];
        far.read_exact(&mut heard).await.expect("read");
        assert_eq!(&heard, b"hello");
        far.write_all(b"you").await.expect("written");
        far.shutdown().await.expect("closed");
        let mut rest = Vec::new();
        near.read_to_end(&mut rest).await.expect("read");
        assert_eq!(rest, b"you");
        drop(near);
    };
    let (carried, ()) = tokio::join!(carrying, talking);
    assert_eq!((carried.up, carried.down, carried.refusal), (5, 3, None));
}

#[tokio::test(start_paused = true)]
async fn a_byte_over_the_limit_of_its_way_ends_both_and_does_not_arrive() {
    let (mut near, mut far, carrying) = tunnel(4, HOUR, &Cut::default());
    let talking = async {
        near.write_all(b"1234").await.expect("written");
        let mut heard = [0; 4];
        far.read_exact(&mut heard).await.expect("read");
        near.write_all(b"5").await.expect("written");
        let mut rest = Vec::new();
        far.read_to_end(&mut rest).await.expect("read");
        assert!(rest.is_empty(), "{rest:?}");
    };
    let (carried, ()) = tokio::join!(carrying, talking);
    assert_eq!(carried.up, 4);
    assert_eq!(carried.refusal, Some(Refusal::RequestTooLarge(route())));
}

#[tokio::test(start_paused = true)]
async fn it_ends_at_its_time_and_does_not_wait_for_an_end_that_goes_on_alone() {
    let (_near, _far, carrying) = tunnel(4, Duration::from_secs(1), &Cut::default());
    assert_eq!(carrying.await.refusal, Some(Refusal::DeadlineExceeded));
    let (near, _far, carrying) = tunnel(4, HOUR, &Cut::default());
    drop(near);
    let began = Instant::now();
    assert_eq!(carrying.await.refusal, None);
    assert_eq!(began.elapsed(), LINGER);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_gate_cuts_it() {
    let cut = Cut::default();
    let (_near, _far, carrying) = tunnel(4, HOUR, &cut);
    let carried = or_ending(std::future::ready(()), &cut, carrying).await;
    assert_eq!(carried.refusal, Some(Refusal::Cut(CutReason::Ending)));
}

#[tokio::test(start_paused = true)]
async fn a_cut_ends_it_though_nothing_moves() {
    let cut = Cut::default();
    let (_near, _far, carrying) = tunnel(4, HOUR, &cut);
    let ended = async { cut.now(CutReason::Revoked) };
    let (carried, ()) = tokio::join!(carrying, ended);
    assert_eq!(carried.refusal, Some(Refusal::Cut(CutReason::Revoked)));
}
