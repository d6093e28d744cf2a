//! The mesh as separate processes, which speak mutual TLS over TCP.

mod kept;
mod process;

use std::net::TcpListener;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

pub use self::kept::Kept;
pub use self::process::{Launch, Process};
use crate::config;
use crate::mesh::Home;

/// A service that can be a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// The life of sandboxes, and the backend.
    Orchestrator,
    /// Keys, tokens and revocations.
    Token,
    /// Everything between a sandbox, clients and backends.
    Gate,
    /// Versions of files.
    Storage,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Orchestrator, Self::Token, Self::Gate, Self::Storage];

    /// Its folder below `services`.
    pub fn folder(self) -> &'static str {
        match self {
            Self::Orchestrator => "orchestrator",
            Self::Token => "token",
            Self::Gate => "auth-gateway",
            Self::Storage => "storage-sync",
        }
    }

    fn binary(self) -> &'static str {
        match self {
            Self::Orchestrator => "sandgate-orchestrator",
            Self::Token => "sandgate-token",
            Self::Gate => "sandgate-auth-gateway",
            Self::Storage => "sandgate-storage-sync",
        }
    }
}

/// What `sandgate init` made, and where each service will listen.
#[derive(Debug)]
pub struct Plan<'home> {
    home: &'home Home,
    binaries: PathBuf,
    templates: Option<PathBuf>,
    certificates: PathBuf,
    master_key: PathBuf,
    /// The gate's client listener.
    pub clients: String,
    gate: String,
    /// The token service's listener.
    pub token: String,
    /// The orchestrator's listener.
    pub orchestrator: String,
    storage: String,
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
            binaries: config::binaries(),
            templates: None,
            certificates,
            master_key: master_key(&home.path().join(".config/sandgate")),
            clients: free_address(),
            gate: free_address(),
            token: free_address(),
            orchestrator: free_address(),
            storage: free_address(),
        }
    }

    /// Runs the binaries of this folder instead.
    #[must_use]
    pub fn of_binaries(self, binaries: PathBuf) -> Self {
        Self { binaries, ..self }
    }

    /// With these templates.
    ///
    /// # Panics
    /// When they cannot be written down.
    #[must_use]
    pub fn with_templates(self, text: &str) -> Self {
        let file = self.home.path().join("templates.yaml");
        std::fs::write(&file, text).expect("a file for the templates");
        Self {
            templates: Some(file),
            ..self
        }
    }

    /// Starts the gate.
    pub fn gate(&self) -> Process {
        self.launch(Service::Gate).start(None)
    }

    /// Starts the token service.
    pub fn token(&self) -> Process {
        self.launch(Service::Token).start(None)
    }

    /// Starts the orchestrator, with its backend.
    pub fn orchestrator(&self) -> Process {
        self.launch(Service::Orchestrator).start(None)
    }

    /// Starts storage-sync.
    pub fn storage(&self) -> Process {
        self.launch(Service::Storage).start(None)
    }

    /// How a service is started, as often as a story likes.
    pub fn launch(&self, service: Service) -> Launch {
        let arguments = match service {
            Service::Orchestrator => self.orchestrator_arguments(),
            Service::Token => self.token_arguments(),
            Service::Gate => self.gate_arguments(),
            Service::Storage => self.storage_arguments(),
        };
        let name = service.binary();
        Launch {
            name,
            binary: self.binaries.join(name),
            arguments: arguments
                .into_iter()
                .map(|(key, value)| format!("--{key}={value}"))
                .collect(),
            log: self.home.path().join(name),
        }
    }

    fn gate_arguments(&self) -> Vec<(&'static str, String)> {
        let mut arguments = self.tls(Service::Gate, "tls-certificate", "tls-key", "tls-roots");
        arguments.extend([
            ("client-listen", self.clients.clone()),
            ("listen", self.gate.clone()),
            ("token", self.token.clone()),
            ("orchestrator", self.orchestrator.clone()),
            ("storage", self.storage.clone()),
            ("links-socket", self.path("links/socket")),
            ("audit-dir", self.path("data/audit-gateway")),
        ]);
        arguments
    }

    fn token_arguments(&self) -> Vec<(&'static str, String)> {
        let mut arguments = self.tls(Service::Token, "tls-certificate", "tls-key", "tls-roots");
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
        arguments
    }

    fn orchestrator_arguments(&self) -> Vec<(&'static str, String)> {
        let mut arguments = self.tls(
            Service::Orchestrator,
            "tls-certificate",
            "tls-key",
            "tls-roots",
        );
        arguments.extend([
            ("listen", self.orchestrator.clone()),
            (
                "database-url",
                format!("sqlite:{}", self.path("data/orchestrator.db")),
            ),
            ("sandboxd", self.sandboxd()),
            ("links-socket", self.path("links/socket")),
            ("token", self.token.clone()),
            ("storage", self.storage.clone()),
            ("gate", self.gate.clone()),
        ]);
        if let Some(templates) = &self.templates {
            arguments.push(("templates", templates.display().to_string()));
        }
        arguments
    }

    fn storage_arguments(&self) -> Vec<(&'static str, String)> {
        let mut arguments = self.tls(Service::Storage, "tls-certificate", "tls-key", "tls-roots");
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
        arguments
    }

    /// sandboxd under a name below the home, which so is in the command line of each keeper and runner.
    fn sandboxd(&self) -> String {
        let own = self.path("sandboxd");
        if !Path::new(&own).exists() {
            std::os::unix::fs::symlink(self.binaries.join("sandboxd"), &own)
                .expect("a name for sandboxd");
        }
        own
    }

    fn path(&self, below: &str) -> String {
        self.home.path().join(below).display().to_string()
    }

    /// The certificate of a service, and its key.
    pub fn identity(&self, service: Service) -> (PathBuf, PathBuf) {
        let file = |ending: &str| {
            self.certificates
                .join(format!("{}.{ending}", service.folder()))
        };
        (file("pem"), file("key"))
    }

    fn tls(
        &self,
        service: Service,
        certificate: &'static str,
        key: &'static str,
        roots: &'static str,
    ) -> Vec<(&'static str, String)> {
        let (own_certificate, own_key) = self.identity(service);
        let text = |path: PathBuf| path.display().to_string();
        vec![
            (certificate, text(own_certificate)),
            (key, text(own_key)),
            (roots, text(self.certificates.join("ca.pem"))),
        ]
    }

    /// What a service has said.
    pub fn log(&self, process: &Process) -> String {
        process.log()
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
