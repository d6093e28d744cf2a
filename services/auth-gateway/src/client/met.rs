//! Who is at the other end of a client's connection, as far as that has shown.

use std::net::IpAddr;

use tokio_util::sync::CancellationToken;

/// The other end of one connection.
#[derive(Debug, Clone)]
pub(crate) struct Met {
    /// From where it comes.
    pub(crate) from: Origin,
    known: CancellationToken,
}

/// From where a client comes: the kind of its address, of which there are few whoever connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Origin {
    /// The Unix socket.
    Unix,
    /// This machine.
    Loopback,
    /// A network of ours.
    Private,
    /// Anywhere else.
    Public,
}

impl Met {
    /// Somebody who has not shown a key yet.
    pub(crate) fn stranger(from: Origin) -> Self {
        Self {
            from,
            known: CancellationToken::new(),
        }
    }

    /// It has shown a key that is good.
    pub(crate) fn is_known_now(&self) {
        self.known.cancel();
    }

    /// Waits until it shows a key that is good.
    pub(crate) async fn known(&self) {
        self.known.cancelled().await;
    }
}

impl Origin {
    /// That of an address.
    pub(crate) fn of(address: IpAddr) -> Self {
        let address = address.to_canonical();
        let private = match address {
            IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
        };
        if address.is_loopback() {
            Self::Loopback
        } else if private {
            Self::Private
        } else {
            Self::Public
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_one_of_few_kinds() {
        for (address, origin) in [
            ("127.0.0.1", Origin::Loopback),
            ("::ffff:127.0.0.1", Origin::Loopback),
            ("::1", Origin::Loopback),
            ("10.1.2.3", Origin::Private),
            ("fd00::1", Origin::Private),
            ("fe80::1", Origin::Private),
            ("203.0.113.1", Origin::Public),
            ("2001:db8::1", Origin::Public),
        ] {
            assert_eq!(
                Origin::of(address.parse().expect("an address")),
                origin,
                "{address}"
            );
        }
    }
}
