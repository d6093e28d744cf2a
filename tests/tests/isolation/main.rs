//! What a sandbox cannot reach, seen from inside; and beside each probe its control: the same words, outside,
//! reach what the test has set up. These hold for root and for an ordinary user alike.

mod bounds;

use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::{Command, Output, Stdio};

use sandgate_e2e::mesh::Home;

const SHELL: &str = "/bin/sh";
const PYTHON: &str = "/usr/bin/python3";

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn inside(home: &Home, words: &[&str]) -> String {
    let output = home.run("probe", words);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("exit code"), "the probe ran: {said}");
    stdout(&output)
}

fn outside(words: &[&str]) -> String {
    let (program, arguments) = words.split_first().expect("a program");
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("start the control");
    stdout(&output)
}

/// Tries to reach an address of any kind, and says `reached` or why not.
const REACH: &str = "
import socket, sys
family, kind, address = sys.argv[1:4]
try:
    s = socket.socket(getattr(socket, family), getattr(socket, kind))
    s.settimeout(3)
    if family.startswith('AF_INET'):
        host, port = address.rsplit(':', 1)
        target = (host, int(port))
    else:
        target = address.replace('@', chr(0), 1) if address.startswith('@') else address
    s.connect(target)
    if kind == 'SOCK_DGRAM':
        s.send(b'x')
        s.recv(1)
    print('reached')
except Exception as error:
    print(type(error).__name__)
";

#[test]
fn no_listener_of_the_machine_is_reachable() {
    let home = Home::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let tcp = listener.local_addr().expect("its address").to_string();
    let named = home.path().join("named.sock");
    let _named = UnixListener::bind(&named).expect("a socket");
    let name = format!("sandgate-isolation-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let _abstract = UnixListener::bind_addr(&address).expect("an abstract socket");
    let named = named.to_str().expect("a plain path").to_owned();
    let hidden = format!("@{name}");
    for (family, address) in [("AF_INET", &tcp), ("AF_UNIX", &named), ("AF_UNIX", &hidden)] {
        let words = [PYTHON, "-c", REACH, family, "SOCK_STREAM", address];
        assert_eq!(outside(&words), "reached", "the control for {address}");
        assert_ne!(inside(&home, &words), "reached", "{address}");
    }
}

#[test]
fn no_datagram_leaves_either() {
    let home = Home::new();
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = udp.local_addr().expect("its address").to_string();
    let echo = std::thread::spawn(move || {
        let mut buffer = [0; 1];
        let (_, peer) = udp.recv_from(&mut buffer).expect("the control's datagram");
        udp.send_to(b"y", peer).expect("an answer");
        udp
    });
    let words = [PYTHON, "-c", REACH, "AF_INET", "SOCK_DGRAM", &address];
    assert_eq!(outside(&words), "reached");
    let udp = echo.join().expect("the echo");
    assert_ne!(inside(&home, &words), "reached");
    udp.set_nonblocking(true).expect("do not wait");
    assert!(udp.recv(&mut [0; 1]).is_err(), "nothing came");
}

#[test]
fn sockets_of_other_families_cannot_be_made() {
    let home = Home::new();
    let make = "
import socket, sys
try:
    socket.socket(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
    print('made')
except OSError as error:
    print(error.strerror)
";
    // Packet, vsock, Bluetooth, and netlink of another kind than routes; the control is a kind that may be made.
    for (family, kind, protocol) in [
        ("17", "3", "0"),
        ("40", "1", "0"),
        ("31", "1", "0"),
        ("16", "3", "15"),
    ] {
        let words = [PYTHON, "-c", make, family, kind, protocol];
        assert_ne!(inside(&home, &words), "made", "family {family}");
    }
    assert_eq!(inside(&home, &[PYTHON, "-c", make, "2", "1", "0"]), "made");
}

#[test]
fn files_of_the_machine_cannot_be_read() {
    let home = Home::new();
    let secret = home.path().join("secret");
    std::fs::write(&secret, "canary").expect("a secret");
    let secret = secret.to_str().expect("a plain path");
    let read = ["/bin/cat", secret];
    assert_eq!(outside(&read), "canary");
    assert_eq!(inside(&home, &read), "");
    let key = home.api_key();
    let key = key.to_str().expect("a plain path");
    assert!(outside(&["/bin/cat", key]).starts_with("sgk_"));
    assert_eq!(inside(&home, &["/bin/cat", key]), "");
    assert_eq!(inside(&home, &["/bin/cat", "/etc/shadow"]), "");
    assert_eq!(
        inside(
            &home,
            &[SHELL, "-c", "ls -A /root /home 2>/dev/null | grep -v agent"]
        ),
        "/home:"
    );
}

#[test]
fn nothing_of_the_machine_can_be_written() {
    let home = Home::new();
    let write = "for d in / /usr /usr/bin /etc /dev /proc/sys/kernel /lib /run /workspace /tmp /home/agent; do
        (echo x > $d/probe) 2>/dev/null && echo $d; done";
    assert_eq!(
        inside(&home, &[SHELL, "-c", write]),
        "/workspace\n/tmp\n/home/agent"
    );
}

#[test]
fn processes_of_the_machine_are_not_visible() {
    let home = Home::new();
    let mut sleeper = Command::new("/bin/sleep")
        .arg("98765")
        .spawn()
        .expect("a process");
    // The pattern does not match the command line of whoever looks with it.
    let look = "grep -l '9876[5]' /proc/[0-9]*/cmdline 2>/dev/null | wc -l";
    let (without, within) = (
        outside(&[SHELL, "-c", look]),
        inside(&home, &[SHELL, "-c", look]),
    );
    sleeper.kill().expect("it runs");
    sleeper.wait().expect("it was ours");
    assert_ne!(without, "0", "the control");
    assert_eq!(within, "0");
}

#[test]
fn there_is_no_privilege_and_none_can_be_gained() {
    let home = Home::new();
    let status = inside(&home, &["/bin/cat", "/proc/self/status"]);
    for line in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        let wanted = format!("{line}:\t0000000000000000");
        assert!(status.contains(&wanted), "{wanted} in {status}");
    }
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    assert!(status.contains("Seccomp:\t2"), "{status}");
    assert!(status.contains("Uid:\t1000\t1000\t1000\t1000"), "{status}");
    assert!(
        status
            .lines()
            .any(|line| line.trim_end() == "Groups:\t1000" || line.trim_end() == "Groups:"),
        "{status}"
    );
}

#[test]
fn sandboxes_do_not_nest_and_nothing_is_mounted() {
    let home = Home::new();
    let nest = [
        "/usr/bin/unshare",
        "--user",
        "--map-root-user",
        "/bin/echo",
        "nested",
    ];
    assert_eq!(outside(&nest), "nested");
    assert_eq!(inside(&home, &nest), "");
    assert_eq!(
        inside(
            &home,
            &[
                SHELL,
                "-c",
                "mount -t tmpfs none /tmp 2>/dev/null && echo mounted"
            ]
        ),
        ""
    );
}

#[test]
fn a_process_has_three_descriptors_and_an_environment_of_ours() {
    let home = Home::new();
    let descriptors = inside(&home, &[SHELL, "-c", "ls /proc/self/fd | tr '\\n' ' '"]);
    assert_eq!(
        descriptors.split_whitespace().collect::<Vec<_>>(),
        ["0", "1", "2", "3"],
        "3 is the listing itself"
    );
    let names = inside(
        &home,
        &[SHELL, "-c", "env | cut -d= -f1 | sort | tr '\\n' ' '"],
    );
    assert_eq!(
        names.split_whitespace().collect::<Vec<_>>(),
        [
            "HOME",
            "LANG",
            "LOGNAME",
            "PATH",
            "PWD",
            "SANDGATE_URL",
            "USER"
        ]
    );
}

#[test]
fn the_first_process_is_out_of_reach() {
    let home = Home::new();
    let probe = "cat /proc/1/environ /proc/1/maps 2>/dev/null; ls /proc/1/fd 2>/dev/null; kill -KILL 1; kill -STOP 1;
        head -c 1 /proc/1/mem 2>/dev/null; echo alive";
    assert_eq!(inside(&home, &[SHELL, "-c", probe]), "alive");
}

#[test]
fn one_sandbox_sees_nothing_of_another() {
    let home = Home::new();
    let _up = home.up(&[]);
    let first = home.run(
        "first",
        &[
            SHELL,
            "-c",
            "echo mine > /tmp/shared; echo mine > file; sleep 300 & echo left",
        ],
    );
    assert_eq!(stdout(&first), "left");
    let look =
        "cat /tmp/shared file 2>/dev/null; ls -A /workspace /tmp; ls -d /proc/[0-9]* | wc -l";
    let second = home.run("second", &[SHELL, "-c", look]);
    let seen = stdout(&second);
    assert!(!seen.contains("mine") && !seen.contains("file"), "{seen}");
    let processes: u32 = seen
        .lines()
        .last()
        .and_then(|line| line.trim().parse().ok())
        .expect("a number");
    assert!(processes <= 5, "the runner, the shell and its own: {seen}");
}
