//! The links of an instance on their way from the backend to the gate, over a stream socket.
//!
//! One message is the instance's id and two descriptors. Nothing else is ever on that connection, and the
//! latest links of an instance replace the ones before.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use sandgate_types::InstanceId;
use tokio::io::Interest;
use tokio::net::UnixStream;

use crate::packet::{receive_once, send_once};

/// A letter and 25 characters: the text of every instance's id.
const ID_BYTES: usize = 26;

/// The gate's ends of the two stream sockets of an instance.
#[derive(Debug)]
pub struct InstanceLink {
    /// The instance.
    pub instance: InstanceId,
    /// On this one the gate is the client and the keeper the server.
    pub serve: OwnedFd,
    /// On this one the keeper is the client and the gate the server.
    pub call: OwnedFd,
}

/// Sends the links of one instance. The ends stay open here until `link` is dropped.
///
/// # Errors
/// What the kernel says; then the connection is of no use any more.
pub async fn send_link(stream: &UnixStream, link: &InstanceLink) -> io::Result<()> {
    let mut rest = link.instance.as_str().as_bytes();
    let both = [link.serve.as_fd(), link.call.as_fd()];
    let mut descriptors = &both[..];
    while !rest.is_empty() {
        let sent = stream
            .async_io(Interest::WRITABLE, || send_once(stream, rest, descriptors))
            .await?;
        // The descriptors go with the first byte.
        descriptors = &[];
        rest = &rest[sent..];
    }
    Ok(())
}

/// Receives the links of one instance; `None` when the other end is closed.
///
/// # Errors
/// `InvalidData` when what came is no link, `UnexpectedEof` when it ends within one, else what the kernel says.
pub async fn receive_link(stream: &UnixStream) -> io::Result<Option<InstanceLink>> {
    let mut id = [0; ID_BYTES];
    let mut filled = 0;
    let mut descriptors = Vec::with_capacity(2);
    while filled < ID_BYTES {
        let (read, more) = stream
            .async_io(Interest::READABLE, || {
                receive_once(stream, &mut id[filled..])
            })
            .await?;
        descriptors.extend(more);
        match (read, filled) {
            (0, 0) => return Ok(None),
            (0, _) => return Err(io::ErrorKind::UnexpectedEof.into()),
            (read, _) => filled += read,
        }
    }
    let no_link = || {
        io::Error::new(
            io::ErrorKind::InvalidData,
            "what came is no link of an instance",
        )
    };
    let text = std::str::from_utf8(&id).map_err(|_| no_link())?;
    let instance = InstanceId::parse("instance_id", text).map_err(|_| no_link())?;
    let [serve, call] = <[OwnedFd; 2]>::try_from(descriptors).map_err(|_| no_link())?;
    Ok(Some(InstanceLink {
        instance,
        serve,
        call,
    }))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream as StdStream;

    use rand::SeedableRng as _;
    use rand::rngs::StdRng;
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    fn link(seed: u64) -> (InstanceLink, StdStream, StdStream) {
        let (serve, keeper_serve) = StdStream::pair().expect("a pair");
        let (call, keeper_call) = StdStream::pair().expect("a pair");
        let instance = InstanceId::random(&mut StdRng::seed_from_u64(seed));
        (
            InstanceLink {
                instance,
                serve: serve.into(),
                call: call.into(),
            },
            keeper_serve,
            keeper_call,
        )
    }

    #[tokio::test]
    async fn links_arrive_in_order_each_with_its_own_ends() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let (first, _serve, mut call) = link(1);
        let (second, _serve2, _call2) = link(2);
        send_link(&ours, &first).await.expect("send");
        send_link(&ours, &second).await.expect("send");
        drop(ours);
        let got = receive_link(&theirs)
            .await
            .expect("receive")
            .expect("a link");
        assert_eq!(got.instance, first.instance);
        call.write_all(b"keeper").expect("write");
        let mut bytes = [0; 6];
        StdStream::from(got.call)
            .read_exact(&mut bytes)
            .expect("read");
        assert_eq!(&bytes, b"keeper");
        let next = receive_link(&theirs)
            .await
            .expect("receive")
            .expect("a link");
        assert_eq!(next.instance, second.instance);
        assert!(receive_link(&theirs).await.expect("the end").is_none());
    }

    #[tokio::test]
    async fn a_message_without_descriptors_or_with_another_id_is_no_link() {
        for (text, kind) in [
            (&[b'i'; ID_BYTES][..], io::ErrorKind::InvalidData),
            (&[b's'; ID_BYTES], io::ErrorKind::InvalidData),
            (b"i", io::ErrorKind::UnexpectedEof),
        ] {
            let (mut ours, theirs) = UnixStream::pair().expect("a pair");
            ours.write_all(text).await.expect("write");
            drop(ours);
            assert_eq!(
                receive_link(&theirs).await.expect_err("no link").kind(),
                kind
            );
        }
    }
}
