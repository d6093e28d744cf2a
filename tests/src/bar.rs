//! A bar of the benches: what we measured over what a named peer, or the bare limit, did in the same run.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use tonic::transport::{Channel, Endpoint};

use crate::backend::scores;

/// A ratio, and its bound: the most that it may be where less is better, the least where more is.
#[derive(Debug)]
pub struct Bar<'name> {
    /// What is measured.
    pub name: &'name str,
    /// The bound of the ratio.
    pub want: f64,
    /// What it is compared with.
    pub peer: &'static str,
    /// How often each was measured.
    pub runs: usize,
}

impl Bar<'_> {
    /// Prints the bar of two durations.
    ///
    /// # Errors
    /// When standard output is gone.
    pub fn print(&self, ours: Duration, peer: Duration) -> anyhow::Result<()> {
        let (ours, peer) = (ours.as_secs_f64() * 1e3, peer.as_secs_f64() * 1e3);
        self.line(ours, peer, "ms", ours / peer <= self.want)
    }

    /// Prints the bar of two numbers of bytes.
    ///
    /// # Errors
    /// When standard output is gone.
    pub fn print_numbers(&self, ours: f64, peer: f64) -> anyhow::Result<()> {
        self.line(ours, peer, "bytes", ours / peer <= self.want)
    }

    /// Prints the bar of two rates, of which the ratio is at least what is wanted.
    ///
    /// # Errors
    /// When standard output is gone.
    pub fn print_rates(&self, ours: f64, peer: f64, unit: &str) -> anyhow::Result<()> {
        self.line(ours, peer, unit, ours / peer >= self.want)
    }

    fn line(&self, ours: f64, peer: f64, unit: &str, ok: bool) -> anyhow::Result<()> {
        let ratio = ours / peer;
        let line = serde_json::json!({
            "bar": self.name,
            "ratio": (ratio * 1000.0).round() / 1000.0,
            "want": self.want,
            "ok": ok,
            "unit": format!("{unit}: {ours:.3} / {peer:.3}"),
            "peer": self.peer,
            "runs": self.runs,
        });
        writeln!(std::io::stdout().lock(), "{line}").context("print the bar")
    }
}

/// The median.
pub fn median(durations: &[Duration]) -> Duration {
    let mut sorted = durations.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// A bare tonic server and a channel to it: what one hop costs.
#[derive(Debug)]
pub struct EchoHop {
    channel: Channel,
    _backend: crate::backend::Backend,
}

impl EchoHop {
    /// Starts the server.
    ///
    /// # Errors
    /// When no port is free.
    pub async fn start() -> anyhow::Result<Self> {
        let backend = crate::backend::grpc().await;
        let channel = Endpoint::from_shared(format!("http://{}", backend.address))?
            .tcp_nodelay(true)
            .connect()
            .await?;
        Ok(Self {
            channel,
            _backend: backend,
        })
    }

    /// One unary call.
    ///
    /// # Errors
    /// When it fails.
    pub async fn call(&self) -> anyhow::Result<()> {
        let mut client =
            scores::score_service_client::ScoreServiceClient::new(self.channel.clone());
        let score = client
            .score(scores::ScoreRequest {
                word: "echo".to_owned(),
            })
            .await?
            .into_inner()
            .score;
        anyhow::ensure!(score == 415, "the bare hop answered {score}");
        Ok(())
    }
}

/// The anonymous memory in bytes of the keeper and the runner that use most, below the process `mesh`.
///
/// # Errors
/// When `/proc` cannot be read, or there is no sandbox.
pub fn anonymous_bytes_per_sandbox(mesh: u32) -> anyhow::Result<f64> {
    let mut keeper = 0;
    let mut runner = 0;
    for pid in descendants(mesh)? {
        let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) else {
            continue;
        };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let Ok(rollup) = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else {
            continue;
        };
        let anonymous: u64 = rollup
            .lines()
            .find_map(|line| line.strip_prefix("Anonymous:"))
            .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
            .unwrap_or(0);
        if line.contains("sandboxd keeper") {
            keeper = keeper.max(anonymous);
        } else if name.trim() == "runner" {
            runner = runner.max(anonymous);
        }
    }
    anyhow::ensure!(
        keeper > 0 && runner > 0,
        "no keeper and runner below {mesh}"
    );
    #[expect(clippy::cast_precision_loss, reason = "a few megabytes")]
    Ok(((keeper + runner) * 1024) as f64)
}

fn descendants(root: u32) -> anyhow::Result<Vec<u32>> {
    let mut parents = Vec::new();
    for entry in std::fs::read_dir("/proc").context("list /proc")? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        // A process that ends meanwhile is not there any more, and not counted.
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) else {
            continue;
        };
        let parent = stat
            .rsplit(')')
            .next()
            .and_then(|rest| rest.split_whitespace().nth(1))
            .and_then(|p| p.parse().ok());
        parents.push((pid, parent.unwrap_or(0u32)));
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    Ok(found)
}

/// How long the threads of a process were on a processor, those that ended before not counted.
///
/// # Errors
/// When there is no such process.
pub fn processor_time(pid: u32) -> anyhow::Result<Duration> {
    let mut spent = Duration::ZERO;
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).context("list threads")? {
        // A thread that ends meanwhile was not one of those that serve.
        let Ok(text) = std::fs::read_to_string(task?.path().join("schedstat")) else {
            continue;
        };
        let on_processor = text.split_whitespace().next().context("no time")?;
        spent += Duration::from_nanos(on_processor.parse()?);
    }
    Ok(spent)
}
