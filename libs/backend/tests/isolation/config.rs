//! Where these tests find what `cargo xtask test` prepared.

use std::path::PathBuf;

/// The folder of the binaries under test: what the runner of the tests says, else where cargo puts them.
#[expect(
    clippy::disallowed_methods,
    reason = "this module is where the environment is read"
)]
pub(crate) fn binaries() -> PathBuf {
    if let Some(folder) = std::env::var_os("SANDGATE_BIN_DIR") {
        return folder.into();
    }
    let own = std::env::current_exe().expect("our own path");
    // target/<profile>/deps/isolation-<hash>
    let folder = own.parent().and_then(std::path::Path::parent);
    folder.expect("cargo's folders").to_owned()
}

/// The folder of the binaries that leave out controls of a sandbox when they are told to.
#[expect(
    clippy::disallowed_methods,
    reason = "this module is where the environment is read"
)]
pub(crate) fn incomplete_binaries() -> PathBuf {
    let folder = std::env::var_os("SANDGATE_CRASH_BIN_DIR");
    folder.map(PathBuf::from).expect(
        "run these with `cargo xtask test`, which builds binaries that break on demand and sets SANDGATE_CRASH_BIN_DIR",
    )
}
