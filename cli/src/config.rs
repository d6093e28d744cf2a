//! What the command line takes from its environment beside its own flags: where the user keeps things.

use std::path::PathBuf;

use anyhow::Context as _;

/// Where the user keeps data, configuration and sockets, by the XDG base directory specification.
#[derive(Debug)]
pub(crate) struct Homes {
    /// Data that outlives a session.
    pub(crate) data: PathBuf,
    /// Configuration; the master key goes here.
    pub(crate) config: PathBuf,
    /// Sockets, where the system has a place for them.
    pub(crate) runtime: Option<PathBuf>,
}

/// Reads them from the environment.
///
/// # Errors
/// When neither an XDG variable nor HOME says where.
#[expect(
    clippy::disallowed_methods,
    reason = "this module is where the environment is read"
)]
pub(crate) fn homes() -> anyhow::Result<Homes> {
    let absolute = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let home = absolute("HOME");
    let or_home = |variable: &str, below: &str| {
        absolute(variable)
            .or_else(|| home.as_ref().map(|home| home.join(below)))
            .with_context(|| format!("set HOME or {variable}, or name a directory with --data-dir"))
    };
    Ok(Homes {
        data: or_home("XDG_DATA_HOME", ".local/share")?,
        config: or_home("XDG_CONFIG_HOME", ".config")?,
        runtime: absolute("XDG_RUNTIME_DIR"),
    })
}
