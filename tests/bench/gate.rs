//! The bars of the gate: processor time and latency of its whole chain, against HAProxy and Envoy with chains like
//! it, an L4 relay, and a plain proxy of ours, on the same backend in the same run.
//!
//! Each proxy is one process with one thread behind the same kind of socket, asked over equally many connections
//! with equally many requests at once, in turns. What counts is the time that its threads were on a processor, so
//! that clients and backend, which cost the same either way, are left out.

#[path = "gate/backend.rs"]
mod backend;
#[path = "gate/load.rs"]
mod load;
#[path = "gate/ours.rs"]
mod ours;
#[path = "gate/peers.rs"]
mod peers;
#[path = "gate/plain.rs"]
mod plain;
#[path = "gate/tokens.rs"]
mod tokens;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::HeaderValue;
use sandgate_e2e::bar::{Bar, processor_time};
use sandgate_e2e::mesh::Home;
use tokio::net::TcpStream;

use crate::backend::Backend;
use crate::load::{Asking, Clients, Kind};
use crate::ours::Ours;
use crate::peers::{Chain, Peer};
use crate::tokens::Tokens;

/// Connections to each proxy, and requests at once on each.
const CONNECTIONS: usize = 32;
const AT_ONCE: usize = 4;
/// Calls in a second where their latency is measured.
const RATE: u32 = 3_000;
/// Different tokens, each of a sandbox of its own.
const TOKENS: usize = 1_000;

/// How much is done.
#[derive(Debug, Clone, Copy)]
struct Size {
    calls: usize,
    turns: usize,
}

const FULL: Size = Size {
    calls: 20_000,
    turns: 5,
};
/// What a run in CI does.
const SMALL: Size = Size {
    calls: 200,
    turns: 1,
};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let one_thread = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
    };
    let after = |wanted: &str| {
        let at = arguments.iter().position(|argument| argument == wanted)?;
        arguments.get(at + 1..)
    };
    if after(backend::ROLE).is_some() {
        return one_thread()?.block_on(backend::serve());
    }
    if let Some(rest) = after(plain::ROLE) {
        return one_thread()?.block_on(plain::serve(rest));
    }
    let size = if after("--small").is_some() {
        SMALL
    } else {
        FULL
    };
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?
        .block_on(compare(size))
}

async fn compare(size: Size) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let home = Home::new();
    let backend = Backend::start()?;
    let tokens = Tokens::make(folder.path(), TOKENS)?;
    let started = Ours::start(&home, backend.address.port(), CONNECTIONS).await?;
    let measured = Measured {
        size,
        folder: folder.path(),
        backend: &backend,
        tokens: &tokens,
        gate: &started.0,
        clients: &started.1,
    };
    measured.whole_chain(Kind::Unary, "gRPC unary").await?;
    measured.whole_chain(Kind::Get, "HTTP/1.1 upstream").await?;
    measured.streams().await?;
    measured.latency().await
}

/// What is measured, and by what.
struct Measured<'run> {
    size: Size,
    folder: &'run Path,
    backend: &'run Backend,
    tokens: &'run Tokens,
    gate: &'run Ours,
    clients: &'run Clients,
}

impl Measured<'_> {
    /// A peer's process, and connections to it that show the tokens that it takes.
    async fn peer(&self, chain: Chain, kind: Kind) -> anyhow::Result<(Peer, Clients)> {
        let upstream = if kind == Kind::Unary { "h2" } else { "h1" };
        let port = self.backend.address.port();
        let peer = Peer::start(chain, self.folder, port, upstream, self.tokens).await?;
        let shown: &[HeaderValue] = match chain {
            Chain::Relay | Chain::Ours => &[],
            Chain::Hs256 => &self.tokens.hs256,
            Chain::Es256 | Chain::Envoy => &self.tokens.es256,
        };
        let mut clients = Clients::default();
        for number in 0..CONNECTIONS {
            let own = shown.iter().skip(number).step_by(CONNECTIONS).cloned();
            clients.add(peer.connect().await?, own.collect()).await?;
        }
        Ok((peer, clients))
    }

    async fn cpu_of_peer(&self, chain: Chain, kind: Kind) -> anyhow::Result<Duration> {
        let (peer, clients) = self.peer(chain, kind).await?;
        cpu_per_call(peer.pid(), &clients, self.size, &Asking::of(kind, false)).await
    }

    async fn cpu_of_gate(&self, kind: Kind) -> anyhow::Result<Duration> {
        let asking = Asking::of(kind, true);
        cpu_per_call(self.gate.pid(), self.clients, self.size, &asking).await
    }

    /// Requests for each second of a processor, against whole chains of others and against nothing but a proxy.
    async fn whole_chain(&self, kind: Kind, what: &str) -> anyhow::Result<()> {
        let ours = self.cpu_of_gate(kind).await?;
        for (chain, want, named) in [
            (Chain::Hs256, 1.5, "HAProxy, HS256 and a stick table"),
            (Chain::Es256, 7.0, "HAProxy, ES256 and a stick table"),
            (
                Chain::Envoy,
                3.0,
                "Envoy, jwt_authn with cache and a local rate limit",
            ),
        ] {
            let theirs = self.cpu_of_peer(chain, kind).await?;
            Bar {
                name: &format!("gate, whole chain, {what}"),
                want,
                peer: named,
                runs: self.size.calls * self.size.turns,
            }
            .print_rates(
                1.0 / ours.as_secs_f64(),
                1.0 / theirs.as_secs_f64(),
                "requests/CPU-s",
            )?;
        }
        let plain = self.cpu_of_peer(Chain::Ours, kind).await?;
        Bar {
            name: &format!("policy tax, CPU, {what}"),
            want: 1.1,
            peer: "a plain proxy of hyper's on one thread",
            runs: self.size.calls * self.size.turns,
        }
        .print(ours, plain)
    }

    /// The processor time of a mebibyte.
    async fn streams(&self) -> anyhow::Result<()> {
        let ours = self.cpu_of_gate(Kind::Mebibyte).await?;
        let relay = self.cpu_of_peer(Chain::Relay, Kind::Mebibyte).await?;
        Bar {
            name: "1 MiB streams, CPU",
            want: 1.25,
            peer: "HAProxy, mode tcp",
            runs: calls_of(Kind::Mebibyte, self.size) * self.size.turns,
        }
        .print(ours, relay)
    }

    /// What the gate adds to the latency of a call at a fixed rate, and what a relay adds.
    async fn latency(&self) -> anyhow::Result<()> {
        let asking = Asking::of(Kind::Unary, false);
        let mut direct = Clients::default();
        for _ in 0..CONNECTIONS {
            let stream = TcpStream::connect(self.backend.address).await?;
            stream.set_nodelay(true)?;
            direct.add(stream, Arc::from([])).await?;
        }
        let (_relay, relayed) = self.peer(Chain::Relay, Kind::Unary).await?;
        let calls = self.size.calls;
        let direct = load::at_rate(&direct, RATE, calls, &asking).await?;
        let relayed = load::at_rate(&relayed, RATE, calls, &asking).await?;
        let ours = load::at_rate(self.clients, RATE, calls, &Asking::of(Kind::Unary, true)).await?;
        for (name, at, want) in [
            ("gate, added latency at 3,000/s, p50", 0.5, 1.5),
            ("gate, added latency at 3,000/s, p99", 0.99, 1.7),
        ] {
            let without = load::quantile(&direct, at);
            let added = |took: &[Duration]| load::quantile(took, at).saturating_sub(without);
            Bar {
                name,
                want,
                peer: "HAProxy, mode tcp",
                runs: calls,
            }
            .print(added(&ours), added(&relayed))?;
        }
        let added = load::quantile(&ours, 0.99).saturating_sub(load::quantile(&direct, 0.99));
        Bar {
            name: "gate, added latency at 3,000/s, p99",
            want: 1.0,
            peer: "400 us",
            runs: calls,
        }
        .print(added, Duration::from_micros(400))
    }
}

fn calls_of(kind: Kind, size: Size) -> usize {
    match kind {
        Kind::Unary | Kind::Get => size.calls,
        // A mebibyte is a hundred small answers.
        Kind::Mebibyte => size.calls.div_ceil(100),
    }
}

/// The processor time of one call, by the turn in the middle.
async fn cpu_per_call(
    pid: u32,
    clients: &Clients,
    size: Size,
    asking: &Asking,
) -> anyhow::Result<Duration> {
    let calls = calls_of(asking.kind, size);
    load::saturate(clients, AT_ONCE, calls.div_ceil(10), asking).await?;
    let mut each = Vec::with_capacity(size.turns);
    for _ in 0..size.turns {
        let before = processor_time(pid)?;
        load::saturate(clients, AT_ONCE, calls, asking).await?;
        let spent = processor_time(pid)?.saturating_sub(before);
        each.push(spent / u32::try_from(calls)?);
    }
    Ok(sandgate_e2e::bar::median(&each))
}
