//! Nothing of the machine answers a sandbox: no address, no port, no socket by path or by name.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener};
use std::thread;

use crate::world::World;

/// Answers each connection.
macro_rules! answer {
    ($listener:expr) => {{
        let listener = $listener;
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.expect("a connection");
                let mut bytes = [0; 16];
                // A peer that hangs up early wants no answer.
                if let Ok(1..) = stream.read(&mut bytes) {
                    stream.write_all(b"reached").expect("answer");
                }
            }
        });
    }};
}

#[test]
fn nothing_that_listens_on_the_machine_is_reached() {
    let world = World::new();
    let everywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let tcp = TcpListener::bind(everywhere).expect("listen");
    let port = tcp.local_addr().expect("its port").port();
    answer!(tcp);
    answer!(TcpListener::bind((Ipv6Addr::LOCALHOST, port)).expect("listen on IPv6"));
    let udp = UdpSocket::bind((IpAddr::from([127, 0, 0, 1]), port)).expect("a socket");
    thread::spawn(move || {
        let mut bytes = [0; 16];
        while let Ok((_, peer)) = udp.recv_from(&mut bytes) {
            udp.send_to(b"reached", peer).expect("answer");
        }
    });
    let path = world.path().join("socket");
    answer!(UnixListener::bind(&path).expect("listen at a path"));
    let name = format!("sandgate-isolation-{port}");
    let address = UnixAddr::from_abstract_name(&name).expect("a name");
    answer!(UnixListener::bind_addr(&address).expect("listen at a name"));

    let (port, outer) = (port.to_string(), own_address().to_string());
    let words = [
        "network",
        &port,
        path.to_str().expect("a path"),
        &name,
        &outer,
    ];
    let ways = ["tcp4", "tcp6", "udp4", "outer", "unix", "abstract"];
    let outside = world.outside(&words);
    for way in ways {
        assert_eq!(outside[way], "reached", "{way}: the control");
    }
    let inside = world.inside(&words);
    for way in ways {
        assert!(inside[way].starts_with("closed "), "{way}: {}", inside[way]);
    }
    assert_eq!(inside["interfaces"], "lo");
    for family in ["unix", "route"] {
        assert_eq!(inside[&format!("socket {family}")], "done", "{family}");
    }
    for family in ["raw", "packet", "vsock", "alg", "audit", "uevent"] {
        assert_eq!(inside[&format!("socket {family}")], "EPERM", "{family}");
    }
    // That the kernel has these families at all is seen outside, as far as this user may.
    assert_eq!(outside["socket uevent"], "done");
}

/// An address of the machine that is not loopback, where it has one.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    // Sends nothing: an address is chosen for it.
    match socket.connect("192.0.2.1:9") {
        Ok(()) => socket.local_addr().expect("an address").ip(),
        Err(_) => [127, 0, 0, 2].into(),
    }
}
