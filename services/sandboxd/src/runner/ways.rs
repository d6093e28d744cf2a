//! Tries the ways out of the sandbox, before anything of the image runs.
//!
//! Outside of the sandbox its network is nothing but loopback; in here that is looked at from the victim's
//! side. An address is out of reach only when the kernel says so at once; silence counts as a way, since it
//! takes a route to be silent. Nothing waits, so the trial takes no time.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

/// One of each kind: public resolvers, private ranges, the usual bridges of hosts, and metadata services.
const ADDRESSES: [IpAddr; 10] = [
    IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1)),
    IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)),
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(172, 17, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(192, 168, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)),
];
/// Name resolution, the web, and the Kubernetes API.
const PORTS: [u16; 4] = [53, 80, 443, 6443];
/// AF_VSOCK, which no namespace confines. Part of the kernel's interface.
const VSOCK: u16 = 40;
/// AF_PACKET.
const PACKET: u16 = 17;
/// Where the kernel counts the sockets of a network namespace, and how many of a kind there are at this moment: our
/// own listener, and nothing else. To read each of them from /proc/net/tcp takes milliseconds, since the kernel goes
/// through the table that all namespaces share.
const COUNTS: [(&str, &[(&str, u64)]); 2] = [
    (
        "/proc/net/sockstat",
        &[("TCP", 1), ("UDP", 0), ("UDPLITE", 0), ("RAW", 0)],
    ),
    (
        "/proc/net/sockstat6",
        &[("TCP6", 0), ("UDP6", 0), ("UDPLITE6", 0), ("RAW6", 0)],
    ),
];
/// How many open ways are told; one is enough to end the sandbox.
const TOLD_MAX: usize = 16;

/// The ways that are open, in words. Our own listener is there by now, and is the one socket that may be.
pub(super) fn open_ways() -> Vec<String> {
    let mut open = Vec::new();
    for address in ADDRESSES {
        for port in PORTS {
            for kind in [SocketType::STREAM, SocketType::DGRAM] {
                try_address(SocketAddr::new(address, port), kind, &mut open);
            }
        }
    }
    for (name, family, kind) in [
        ("vsock", VSOCK, SocketType::STREAM),
        ("packet", PACKET, SocketType::DGRAM),
        ("raw", AddressFamily::INET.as_raw(), SocketType::RAW),
    ] {
        if socket_with(
            AddressFamily::from_raw(family),
            kind,
            SocketFlags::CLOEXEC,
            None,
        )
        .is_ok()
        {
            open.push(format!("a {name} socket can be made"));
        }
    }
    interfaces(&mut open);
    sockets(&mut open);
    abstract_sockets(&mut open);
    open.truncate(TOLD_MAX);
    open
}

fn try_address(address: SocketAddr, kind: SocketType, open: &mut Vec<String>) {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let Ok(socket) = socket_with(family, kind, flags, None) else {
        // A kernel or filter without this family has no way by it.
        return;
    };
    match connect(&socket, &address) {
        // INVAL: a link-local address without an interface.
        Err(
            Errno::NETUNREACH
            | Errno::HOSTUNREACH
            | Errno::NETDOWN
            | Errno::ACCESS
            | Errno::PERM
            | Errno::INVAL,
        ) => {}
        Err(Errno::ADDRNOTAVAIL) => {}
        Ok(()) | Err(_) => open.push(format!("there is a route to {address}")),
    }
}

/// Interfaces beside loopback.
fn interfaces(open: &mut Vec<String>) {
    let Ok(text) = fs::read_to_string("/proc/net/dev") else {
        open.push("the interfaces cannot be read".to_owned());
        return;
    };
    for line in text.lines().skip(2) {
        let name = line.split(':').next().unwrap_or_default().trim();
        // Tunnel devices that some kernels put into every namespace are down, and the routes above say so.
        if name != "lo" && !name.is_empty() && is_up(name) {
            open.push(format!("there is the interface {}", name.escape_default()));
        }
    }
}

fn is_up(name: &str) -> bool {
    // Without sysfs there is no telling, and what cannot be told is not closed.
    fs::read_to_string(format!("/sys/class/net/{name}/flags")).map_or_else(
        |_| !is_dormant_fallback(name),
        |flags| {
            let flags = u32::from_str_radix(flags.trim().trim_start_matches("0x"), 16);
            flags.map_or(true, |flags| flags & 1 != 0)
        },
    )
}

/// The fallback devices of tunnel modules (`fb_tunnels_only_for_init_net`): made down, in every namespace.
fn is_dormant_fallback(name: &str) -> bool {
    [
        "tunl0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "sit0", "ip6tnl0", "ip6gre0",
    ]
    .contains(&name)
}

/// Sockets beside our listener: at this moment nobody can have one.
fn sockets(open: &mut Vec<String>) {
    for (file, expected) in COUNTS {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            // A kernel without IPv6 has no such sockets.
            Err(error) if error.kind() == io::ErrorKind::NotFound && file.ends_with('6') => {
                continue;
            }
            Err(_) => {
                open.push("the sockets cannot be counted".to_owned());
                continue;
            }
        };
        for (kind, most) in expected {
            match in_use(&text, kind) {
                Some(count) if count <= *most => {}
                Some(_) => open.push(format!("somebody has a {kind} socket beside us")),
                // A kernel without this kind counts none of it; TCP and UDP there are everywhere.
                None if kind.starts_with("UDPLITE") => {}
                None => open.push(format!("the {kind} sockets cannot be counted")),
            }
        }
    }
}

/// The count of a line like `TCP: inuse 1 orphan 0`.
fn in_use(text: &str, kind: &str) -> Option<u64> {
    let counts = text
        .lines()
        .find_map(|line| line.strip_prefix(kind)?.strip_prefix(": inuse "))?;
    counts.split_whitespace().next()?.parse().ok()
}

/// Sockets of the abstract namespace, which belongs to the network namespace: ours is empty.
fn abstract_sockets(open: &mut Vec<String>) {
    let Ok(text) = fs::read_to_string("/proc/net/unix") else {
        open.push("the Unix sockets cannot be read".to_owned());
        return;
    };
    let named = text
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().nth(7));
    if named.filter(|name| name.starts_with('@')).count() > 0 {
        open.push("there is an abstract Unix socket".to_owned());
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};

    use super::*;

    #[test]
    fn outside_of_a_sandbox_the_same_trial_finds_ways() {
        // One of them could be our own.
        let other = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let _another = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let _datagrams = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let name = UnixAddr::from_abstract_name(format!("sandgate-ways-{}", std::process::id()))
            .expect("a name");
        let _abstract = UnixListener::bind_addr(&name).expect("an abstract socket");
        let mut open = Vec::new();
        sockets(&mut open);
        abstract_sockets(&mut open);
        for kind in ["a TCP socket", "a UDP socket"] {
            assert!(open.iter().any(|way| way.contains(kind)), "{open:?}");
        }
        assert!(open.iter().any(|way| way.contains("abstract")), "{open:?}");
        let mut reached = Vec::new();
        try_address(
            other.local_addr().expect("an address"),
            SocketType::STREAM,
            &mut reached,
        );
        assert_eq!(reached.len(), 1, "what can be reached is a way");
    }

    #[test]
    fn what_the_kernel_counts_is_read_by_its_kind() {
        let text =
            "sockets: used 2\nTCP: inuse 1 orphan 0 tw 0\nUDP: inuse 0 mem 0\nTCPX: inuse 7\n";
        assert_eq!(in_use(text, "TCP"), Some(1));
        assert_eq!(in_use(text, "UDP"), Some(0));
        assert_eq!(in_use(text, "RAW"), None);
    }
}
