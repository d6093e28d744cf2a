//! Tools that the chores need and a fresh machine lacks. Each is kept in the user's cache, by its version.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use crate::config;
use crate::stage::run;

/// buf lints the protos; a Go program.
const BUF: &str = "github.com/bufbuild/buf/cmd/buf@v1.75.0";
/// grpcurl is what people debug with; the stories use it as they would.
const GRPCURL: &str = "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.4";
/// What a Python client needs.
const PYTHON_PACKAGES: [&str; 2] = ["grpcio-tools==1.81.1", "grpcio-status==1.81.1"];
/// Bans, licences and sources of dependencies.
const CARGO_DENY: (&str, &str) = ("cargo-deny", "0.20.2");
/// Dependencies that nothing uses.
const CARGO_MACHETE: (&str, &str) = ("cargo-machete", "0.9.2");

/// buf, installed when it is missing.
pub(crate) fn buf() -> anyhow::Result<PathBuf> {
    go_tool(BUF)
}

/// grpcurl, installed when it is missing.
pub(crate) fn grpcurl() -> anyhow::Result<PathBuf> {
    go_tool(GRPCURL)
}

/// cargo-deny, installed when it is missing.
pub(crate) fn cargo_deny() -> anyhow::Result<PathBuf> {
    cargo_tool(CARGO_DENY)
}

/// cargo-machete, installed when it is missing.
pub(crate) fn cargo_machete() -> anyhow::Result<PathBuf> {
    cargo_tool(CARGO_MACHETE)
}

/// A Python with grpcio and grpcio-tools, in an environment of its own. The interpreter is the system's, so
/// that what is installed for it also works inside a sandbox, which sees the same one.
pub(crate) fn python() -> anyhow::Result<PathBuf> {
    let folder = config::cache()?.join(PYTHON_PACKAGES.join("-").replace("==", "-"));
    let python = folder.join("bin/python");
    if !folder.join("complete").is_file() {
        let system = Path::new("/usr/bin/python3");
        // Debian's Python comes without venv; pip's --target needs nothing of it.
        if run(Command::new(system).args(["-m", "venv"]).arg(&folder)).is_err() {
            run(Command::new("apt-get").args(["install", "-y", "python3-venv"]))?;
            run(Command::new(system)
                .args(["-m", "venv", "--clear"])
                .arg(&folder))?;
        }
        run(Command::new(&python)
            .args(["-m", "pip", "install", "--quiet"])
            .args(PYTHON_PACKAGES))?;
        std::fs::write(folder.join("complete"), "").context("mark the environment complete")?;
    }
    Ok(python)
}

fn go_tool(module: &str) -> anyhow::Result<PathBuf> {
    let (path, version) = module.split_once('@').context("a module has a version")?;
    let name = path.rsplit('/').next().context("a module has a name")?;
    let folder = config::cache()?.join(format!("{name}-{version}"));
    let tool = folder.join(name);
    if !tool.is_file() {
        run(Command::new("go")
            .args(["install", module])
            .env("GOBIN", &folder))?;
    }
    Ok(tool)
}

fn cargo_tool((name, version): (&str, &str)) -> anyhow::Result<PathBuf> {
    let folder = config::cache()?.join(format!("{name}-{version}"));
    let tool = folder.join("bin").join(name);
    if !tool.is_file() {
        run(Command::new("cargo")
            .args([
                "install",
                "--locked",
                "--no-default-features",
                "--version",
                version,
                name,
                "--root",
            ])
            .arg(&folder)
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"))?;
    }
    Ok(tool)
}
