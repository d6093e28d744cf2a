//! The mesh as separate processes, which speak mutual TLS over TCP.

use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::config;
use crate::mesh::Home;

/// The longest that a service may take to end; nothing runs any more in its sandboxes then.
const END_LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What `sandgate init` made, and where each service will listen.
#[derive(Debug)]
pub struct Plan<'home> {
    home: &'home Home,
    certificates: PathBuf,
    master_key: PathBuf,
    /// The gate's client listener.
    pub clients: String,
    gate: String,
    token: String,
    orchestrator: String,
    storage: String,
}

/// A service that runs as a process of its own; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    child: Child,
}

impl<'home> Plan<'home> {
    /// Runs `sandgate init --certificates`.
    ///
    /// # Panics
    /// When that does not work.
    pub fn new(home: &'home Home) -> Self {
        let certificates = home.path().join("certificates");
        let certificates_text = certificates.display().to_string();
        let done = home
            .sandgate(["init", "--certificates", &certificates_text])
            .output()
            .expect("start sandgate");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{said}");
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(home.path().join("links"))
            .expect("a folder for the links");
        Self {
            home,
            certificates,
            master_key: master_key(&home.path().join(".config/sandgate")),
            clients: free_address(),
            gate: free_address(),
            token: free_address(),
            orchestrator: free_address(),
            storage: free_address(),
        }
    }

    /// Starts the gate.
    pub fn gate(&self) -> Process {
        let mut arguments = self.tls("auth-gateway", "tls-certificate", "tls-key", "tls-roots");
        arguments.extend([
            ("client-listen", self.clients.clone()),
            ("listen", self.gate.clone()),
            ("token", self.token.clone()),
            ("orchestrator", self.orchestrator.clone()),
            ("storage", self.storage.clone()),
            ("links-socket", self.path("links/socket")),
            ("audit-dir", self.path("data/audit-gateway")),
        ]);
        self.start("sandgate-auth-gateway", arguments)
    }

    /// Starts the token service.
    pub fn token(&self) -> Process {
        let mut arguments = self.tls("token", "tls-certificate", "tls-key", "tls-roots");
        arguments.extend([
            ("listen", self.token.clone()),
            (
                "database-url",
                format!("sqlite:{}", self.path("data/token.db")),
            ),
            ("master-key-file", self.master_key.display().to_string()),
            ("audit-dir", self.path("data/audit/token")),
            ("orchestrator", self.orchestrator.clone()),
        ]);
        self.start("sandgate-token", arguments)
    }

    /// Starts the orchestrator, with its backend.
    pub fn orchestrator(&self) -> Process {
        let mut arguments = self.tls("orchestrator", "tls-certificate", "tls-key", "tls-roots");
        let sandboxd = config::binaries().join("sandboxd");
        arguments.extend([
            ("listen", self.orchestrator.clone()),
            (
                "database-url",
                format!("sqlite:{}", self.path("data/orchestrator.db")),
            ),
            ("sandboxd", sandboxd.display().to_string()),
            ("links-socket", self.path("links/socket")),
            ("token", self.token.clone()),
            ("storage", self.storage.clone()),
            ("gate", self.gate.clone()),
        ]);
        self.start("sandgate-orchestrator", arguments)
    }

    /// Starts storage-sync.
    pub fn storage(&self) -> Process {
        let mut arguments = self.tls("storage-sync", "tls-certificate", "tls-key", "tls-roots");
        arguments.extend([
            ("listen", self.storage.clone()),
            (
                "database-url",
                format!("sqlite:{}", self.path("data/storage-sync.db")),
            ),
            ("objects", self.path("data/objects")),
            ("audit-dir", self.path("data/audit/storage-sync")),
            ("orchestrator", self.orchestrator.clone()),
        ]);
        self.start("sandgate-storage-sync", arguments)
    }

    fn path(&self, below: &str) -> String {
        self.home.path().join(below).display().to_string()
    }

    fn tls(
        &self,
        service: &str,
        certificate: &'static str,
        key: &'static str,
        roots: &'static str,
    ) -> Vec<(&'static str, String)> {
        let file = |name: String| self.certificates.join(name).display().to_string();
        vec![
            (certificate, file(format!("{service}.pem"))),
            (key, file(format!("{service}.key"))),
            (roots, file("ca.pem".to_owned())),
        ]
    }

    fn start(&self, name: &'static str, arguments: Vec<(&'static str, String)>) -> Process {
        let log = std::fs::File::create(self.home.path().join(name)).expect("a file for its log");
        let child = Command::new(config::binaries().join(name))
            .args(
                arguments
                    .iter()
                    .map(|(key, value)| format!("--{key}={value}")),
            )
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("start a service");
        Process { name, child }
    }

    /// What a service has said.
    pub fn log(&self, process: &Process) -> String {
        std::fs::read_to_string(self.home.path().join(process.name)).unwrap_or_default()
    }
}

impl Process {
    /// Tells it to end, and waits; answers whether it ended well.
    ///
    /// # Panics
    /// When it does not end in time.
    pub fn ends_well(&mut self) -> bool {
        let told = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        assert!(
            told.is_ok_and(|status| status.success()),
            "{} is gone",
            self.name
        );
        let mut waited = Duration::ZERO;
        while waited < END_LIMIT {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return status.success();
            }
            std::thread::sleep(LOOK_EVERY);
            waited += LOOK_EVERY;
        }
        panic!("{} did not end", self.name);
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// When the kernel does not say.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("it is ours").is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended is fine.
        if self.child.kill().is_ok() {
            self.child.wait().expect("it was ours");
        }
    }
}

/// An address that nobody listens on at the moment.
fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").to_string()
}

fn master_key(folder: &Path) -> PathBuf {
    std::fs::read_dir(folder)
        .expect("the folder of the master key")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path.extension().is_some_and(|ending| ending == "key"))
        .expect("a master key")
}
