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
