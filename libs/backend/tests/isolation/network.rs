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

/// Listeners of the machine, one of each kind; they answer until the test ends.
pub(crate) struct Listeners {
    port: String,
    path: String,
    name: String,
    outer: String,
}

impl Listeners {
    /// The ways to them.
    pub(crate) const WAYS: [&str; 6] = ["tcp4", "tcp6", "udp4", "outer", "unix", "abstract"];

    pub(crate) fn new(world: &World) -> Self {
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
        let path = world.path().join(format!("socket-{port}"));
        answer!(UnixListener::bind(&path).expect("listen at a path"));
        let name = format!("sandgate-isolation-{port}");
        let address = UnixAddr::from_abstract_name(&name).expect("a name");
        answer!(UnixListener::bind_addr(&address).expect("listen at a name"));
        Self {
            port: port.to_string(),
            path: path.to_str().expect("a path").to_owned(),
            name,
            outer: own_address().to_string(),
        }
    }

    /// The words of the probe that looks for them.
    pub(crate) fn words(&self) -> [&str; 5] {
        ["network", &self.port, &self.path, &self.name, &self.outer]
    }
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
