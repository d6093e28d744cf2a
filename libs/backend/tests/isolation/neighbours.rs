//! One sandbox reaches nothing of another, in no way that reaches its own.

use std::net::TcpListener;

use crate::world::World;

#[test]
fn one_sandbox_reaches_nothing_of_another() {
    let world = World::new();
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|free| free.local_addr())
        .expect("a free port")
        .port();
    let (port, word) = (port.to_string(), format!("87{}", std::process::id()));
    let name = format!("sandgate-neighbour-{port}");
    let there = [port.as_str(), "/tmp/socket", &name, &port, &word];
    let words = |what| [&[what], &there[..]].concat();
    let _first = world.serving("first", &words("serve"));

    // The control: inside of the same sandbox everything is reached.
    let own = world.inside_of("first", &words("neighbour"));
    let ways = ["tcp", "unix", "abstract", "shared memory", "signal"];
    for way in ways {
        assert_eq!(own[way], "reached", "{way}");
    }
    // These can be made only where their memory is counted.
    for object in ["semaphores", "shared segment"] {
        assert!(["done", "EPERM"].contains(&own[object].as_str()));
    }

    let other = world.inside_of("second", &words("neighbour"));
    for way in ways {
        assert_ne!(other[way], "reached", "{way}");
    }
    for object in ["semaphores", "shared segment"] {
        assert!(
            ["ENOENT", "EPERM"].contains(&other[object].as_str()),
            "{object}: {}",
            other[object]
        );
    }
}
