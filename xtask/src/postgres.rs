//! A real Postgres for one run of the tests, on a free port of loopback.
//!
//! It refuses to run as root, so root runs it under another uid. Nothing of it outlives the run.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tempfile::TempDir;

use crate::command::{self, program};
use crate::machine::{self, Machine};
use crate::stage::Clock;

/// From start to the first connection; Postgres takes under a second.
const START_LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Every test has a schema and a few connections of its own.
const CONNECTIONS: u32 = 400;

/// A running server; dropped, it is gone.
#[derive(Debug)]
pub(crate) struct Postgres {
    server: Child,
    stop: Command,
    port: u16,
    data: TempDir,
}

impl Postgres {
    /// Starts one with the programs in `bin`.
    pub(crate) fn start(machine: &Machine, bin: &Path, left: Duration) -> anyhow::Result<Self> {
        let data = tempfile::Builder::new()
            .prefix("sandgate-postgres-")
            .tempdir()
            .context("make a data folder")?;
        let owner = if machine.is_root {
            Some(machine::ordinary_user()?)
        } else {
            None
        };
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::chown(data.path(), Some(uid), Some(gid))
                .context("hand over the data folder")?;
        }
        let cluster = data.path().join("cluster");
        let mut initdb = as_owner(&bin.join("initdb"), data.path(), owner);
        initdb.args([
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
            "--username=sandgate",
            "-D",
        ]);
        command::run(initdb.arg(&cluster).stdout(Stdio::null()), left)?;

        let port = free_port()?;
        let mut server = as_owner(&bin.join("postgres"), data.path(), owner);
        server
            .arg("-D")
            .arg(&cluster)
            .arg("-k")
            .arg(data.path())
            .args(["-h", "127.0.0.1", "-p", &port.to_string()]);
        // The data is worth nothing after the run, so it need not survive a power cut.
        for setting in [
            format!("max_connections={CONNECTIONS}"),
            "fsync=off".into(),
            "full_page_writes=off".into(),
        ] {
            server.arg("-c").arg(setting);
        }
        let log =
            std::fs::File::create(data.path().join("log")).context("open the server's log")?;
        server
            .stdout(log.try_clone().context("share the log")?)
            .stderr(log);
        let mut stop = as_owner(&bin.join("pg_ctl"), data.path(), owner);
        stop.args(["stop", "--silent", "--mode=immediate", "-D"])
            .arg(&cluster);
        let mut started = Self {
            server: server.spawn().context("start postgres")?,
            stop,
            port,
            data,
        };
        started.wait_until_it_answers()?;
        Ok(started)
    }

    /// Where tests find it; they make databases and roles of their own.
    pub(crate) fn url(&self) -> String {
        format!("postgres://sandgate@127.0.0.1:{}/postgres", self.port)
    }

    fn wait_until_it_answers(&mut self) -> anyhow::Result<()> {
        let began = Clock::start();
        while TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_err() {
            if let Some(status) = self.server.try_wait().context("look at postgres")? {
                let log = std::fs::read_to_string(self.data.path().join("log")).unwrap_or_default();
                bail!("postgres ended ({status}):\n{log}");
            }
            if began.elapsed() > START_LIMIT {
                bail!(
                    "postgres does not answer on port {} within {START_LIMIT:?}",
                    self.port
                );
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // Asked rather than killed: a killed one leaves its shared memory with the system.
        let stopped = command::output(&mut self.stop)
            .and_then(|_| self.server.wait().context("wait for postgres"));
        if let Err(error) = stopped {
            println!(
                "xtask: postgres is still running on port {}: {error:#}",
                self.port
            );
        }
    }
}

fn as_owner(file: &Path, folder: &Path, owner: Option<(u32, u32)>) -> Command {
    let mut command = program(file, folder);
    if let Some((uid, gid)) = owner {
        command.uid(uid).gid(gid);
    }
    command
}

fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
    Ok(listener.local_addr().context("read the free port")?.port())
}
