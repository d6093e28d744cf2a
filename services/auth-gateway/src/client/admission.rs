//! How many clients are connected at a time: what the limit of descriptors allows, with a share for each way in,
//! and the rest for upstreams, sandboxes and files.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// One of so many descriptors is for a client over TCP; three of eight are left when clients have all they may.
const TCP_SHARE: u64 = 2;
/// The same for the Unix socket.
const UNIX_SHARE: u64 = 8;
/// More clients than this belong to several gates, whatever the limit is: each costs memory as well.
const TCP_MAX: u64 = 8_192;
/// Programs of our own user, which are few.
const UNIX_MAX: u64 = 1_024;

/// Room for clients. Those over TCP do not take that of the Unix socket, by which an operator comes.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    tcp: Arc<Semaphore>,
    unix: Arc<Semaphore>,
}

/// The way by which a client comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// TCP.
    Tcp,
    /// A Unix socket.
    Unix,
}

impl Admission {
    /// What there is room for in a process with so many descriptors.
    pub(crate) fn of(descriptors: u64) -> Self {
        let room = |share: u64, most: u64| {
            let room = (descriptors / share).clamp(1, most);
            Arc::new(Semaphore::new(usize::try_from(room).unwrap_or(1)))
        };
        Self {
            tcp: room(TCP_SHARE, TCP_MAX),
            unix: room(UNIX_SHARE, UNIX_MAX),
        }
    }

    /// The room of one way.
    pub(crate) fn by(&self, way: Way) -> Arc<Semaphore> {
        match way {
            Way::Tcp => Arc::clone(&self.tcp),
            Way::Unix => Arc::clone(&self.unix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_leave_descriptors_for_everything_else_whatever_the_limit_is() {
        for descriptors in [64, 1_024, 4_096, 65_536, u64::MAX] {
            let admission = Admission::of(descriptors);
            let [tcp, unix] =
                [Way::Tcp, Way::Unix].map(|way| admission.by(way).available_permits());
            assert!(tcp > 0 && unix > 0, "{descriptors}");
            let clients = u64::try_from(tcp + unix).expect("a number");
            assert!(clients <= descriptors / 8 * 5, "{descriptors}: {clients}");
        }
    }

    #[test]
    fn clients_over_tcp_take_no_room_of_the_unix_socket() {
        let admission = Admission::of(64);
        let tcp = admission.by(Way::Tcp);
        let all = u32::try_from(tcp.available_permits()).expect("few");
        let _held = tcp.try_acquire_many(all).expect("all of them");
        assert!(admission.by(Way::Tcp).try_acquire().is_err());
        assert!(admission.by(Way::Unix).try_acquire().is_ok());
    }
}
