//! What backend and keeper say to each other, one message a packet, over the socket that the keeper is
//! started with.
//!
//! *Expected flow:* the backend sends [`ToKeeper::Hello`], then [`ToKeeper::Link`]; the keeper answers
//! [`FromKeeper::Ready`] once, or [`FromKeeper::Failed`] and ends. Later links replace the ones before, as
//! when the gate has restarted. When either end closes, the keeper ends and with it everything inside.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use prost::Message as _;
use sandgate_types::InstanceId;

use crate::packet::{self, Packet};

/// The longest reason of a failure.
const MESSAGE_MAX_BYTES: usize = 1024;

/// What the backend says.
#[derive(Debug)]
pub enum ToKeeper {
    /// Which instance the keeper is. The first packet, once.
    Hello {
        /// The instance.
        instance: InstanceId,
    },
    /// The keeper's ends of its links to the gate.
    Link {
        /// On this one the keeper is the server.
        serve: OwnedFd,
        /// On this one the keeper is the client.
        call: OwnedFd,
    },
}

/// What the keeper says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FromKeeper {
    /// The runner is up, the agent's listener is there, the ways out were tried and found closed.
    Ready,
    /// It cannot be.
    Failed {
        /// Why, for the log; cut to 1 KiB.
        message: String,
    },
}

mod wire {
    //! The packets.

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ToKeeper {
        #[prost(oneof = "ToKeeperBody", tags = "1, 2")]
        pub(super) body: Option<ToKeeperBody>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum ToKeeperBody {
        #[prost(message, tag = "1")]
        Hello(Hello),
        #[prost(message, tag = "2")]
        Link(Link),
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Hello {
        #[prost(string, tag = "1")]
        pub(super) instance_id: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Link {}

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct FromKeeper {
        #[prost(oneof = "FromKeeperBody", tags = "1, 2")]
        pub(super) body: Option<FromKeeperBody>,
    }

    #[derive(Clone, PartialEq, prost::Oneof)]
    pub(super) enum FromKeeperBody {
        #[prost(message, tag = "1")]
        Ready(Ready),
        #[prost(message, tag = "2")]
        Failed(Failed),
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Ready {}

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Failed {
        #[prost(string, tag = "1")]
        pub(super) message: String,
    }
}

use wire::{FromKeeperBody, ToKeeperBody};

/// Two ends: the backend's, and the one that the keeper is started with.
///
/// # Errors
/// What the kernel says.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    packet::pair()
}

/// Sends to the keeper. The descriptors of a link may be closed here afterwards.
///
/// # Errors
/// What the kernel says, `WouldBlock` included.
pub fn send_to_keeper(socket: impl AsFd, message: &ToKeeper) -> io::Result<()> {
    let (body, descriptors) = match message {
        ToKeeper::Hello { instance } => (
            ToKeeperBody::Hello(wire::Hello {
                instance_id: instance.as_str().to_owned(),
            }),
            vec![],
        ),
        ToKeeper::Link { serve, call } => (
            ToKeeperBody::Link(wire::Link {}),
            vec![serve.as_fd(), call.as_fd()],
        ),
    };
    packet::send(
        socket,
        &wire::ToKeeper { body: Some(body) }.encode_to_vec(),
        &descriptors,
    )
}

/// Receives what the backend says; `None` when it is gone.
///
/// # Errors
/// `InvalidData` for what is no message of the protocol, else what the kernel says, `WouldBlock` included.
pub fn receive_from_backend(socket: impl AsFd) -> io::Result<Option<ToKeeper>> {
    let Some(Packet { bytes, descriptors }) = packet::receive(socket)? else {
        return Ok(None);
    };
    let body = wire::ToKeeper::decode(&*bytes)
        .map_err(|_| no_message())?
        .body
        .ok_or_else(no_message)?;
    match body {
        ToKeeperBody::Hello(wire::Hello { instance_id }) if descriptors.is_empty() => {
            let instance =
                InstanceId::parse("instance_id", &instance_id).map_err(|_| no_message())?;
            Ok(Some(ToKeeper::Hello { instance }))
        }
        ToKeeperBody::Hello(_) => Err(no_message()),
        ToKeeperBody::Link(wire::Link {}) => {
            let [serve, call] = <[OwnedFd; 2]>::try_from(descriptors).map_err(|_| no_message())?;
            Ok(Some(ToKeeper::Link { serve, call }))
        }
    }
}

/// Sends to the backend.
///
/// # Errors
/// What the kernel says, `WouldBlock` included.
pub fn send_to_backend(socket: impl AsFd, message: &FromKeeper) -> io::Result<()> {
    let body = match message {
        FromKeeper::Ready => FromKeeperBody::Ready(wire::Ready {}),
        FromKeeper::Failed { message } => {
            let end = message.floor_char_boundary(MESSAGE_MAX_BYTES);
            FromKeeperBody::Failed(wire::Failed {
                message: message[..end].to_owned(),
            })
        }
    };
    packet::send(
        socket,
        &wire::FromKeeper { body: Some(body) }.encode_to_vec(),
        &[],
    )
}

/// Receives what the keeper says; `None` when it is gone.
///
/// # Errors
/// `InvalidData` for what is no message of the protocol, else what the kernel says, `WouldBlock` included.
pub fn receive_from_keeper(socket: impl AsFd) -> io::Result<Option<FromKeeper>> {
    let Some(Packet { bytes, descriptors }) = packet::receive(socket)? else {
        return Ok(None);
    };
    let body = wire::FromKeeper::decode(&*bytes)
        .map_err(|_| no_message())?
        .body
        .ok_or_else(no_message)?;
    match body {
        _ if !descriptors.is_empty() => Err(no_message()),
        FromKeeperBody::Ready(wire::Ready {}) => Ok(Some(FromKeeper::Ready)),
        FromKeeperBody::Failed(wire::Failed { message }) if message.len() <= MESSAGE_MAX_BYTES => {
            Ok(Some(FromKeeper::Failed { message }))
        }
        FromKeeperBody::Failed(_) => Err(no_message()),
    }
}

fn no_message() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "what came is no message of the control protocol",
    )
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn hello_and_link_reach_the_keeper_and_ready_the_backend() {
        let (backend, keeper) = pair().expect("a pair");
        let instance = InstanceId::random(&mut StdRng::seed_from_u64(1));
        send_to_keeper(
            &backend,
            &ToKeeper::Hello {
                instance: instance.clone(),
            },
        )
        .expect("send");
        let (serve, call) = pair().expect("any two descriptors");
        send_to_keeper(&backend, &ToKeeper::Link { serve, call }).expect("send");
        match receive_from_backend(&keeper).expect("receive") {
            Some(ToKeeper::Hello { instance: got }) => assert_eq!(got, instance),
            other => panic!("{other:?}"),
        }
        match receive_from_backend(&keeper).expect("receive") {
            Some(ToKeeper::Link { serve, call }) => assert_ne!(serve.as_raw_fd(), call.as_raw_fd()),
            other => panic!("{other:?}"),
        }
        send_to_backend(&keeper, &FromKeeper::Ready).expect("send");
        assert_eq!(
            receive_from_keeper(&backend).expect("receive"),
            Some(FromKeeper::Ready)
        );
        drop(backend);
        assert!(receive_from_backend(&keeper).expect("the end").is_none());
    }

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let (backend, keeper) = pair().expect("a pair");
        send_to_backend(
            &keeper,
            &FromKeeper::Failed {
                message: "ü".repeat(MESSAGE_MAX_BYTES),
            },
        )
        .expect("send");
        let cut = FromKeeper::Failed {
            message: "ü".repeat(MESSAGE_MAX_BYTES / 2),
        };
        assert_eq!(receive_from_keeper(&backend).expect("receive"), Some(cut));
    }

    #[test]
    fn a_link_without_its_descriptors_and_nonsense_are_refused() {
        let (backend, keeper) = pair().expect("a pair");
        let link = wire::ToKeeper {
            body: Some(ToKeeperBody::Link(wire::Link {})),
        }
        .encode_to_vec();
        for bytes in [&link[..], b"\xff\xff", b"\x7a\x00"] {
            packet::send(&backend, bytes, &[]).expect("send");
            let refused = receive_from_backend(&keeper).expect_err("refused");
            assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
        }
    }
}
