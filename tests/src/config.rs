//! Where the stories find what `cargo xtask test` prepared for them.

use std::path::PathBuf;

/// The folder of the binaries under test.
///
/// # Panics
/// When the stories are not run by `cargo xtask test`, which builds the binaries first and says where they are.
#[expect(
    clippy::disallowed_methods,
    reason = "this module is where the environment is read"
)]
pub fn binaries() -> PathBuf {
    std::env::var_os("SANDGATE_BIN_DIR")
        .map(PathBuf::from)
        .expect("run the stories with `cargo xtask test`, which builds the binaries and sets SANDGATE_BIN_DIR")
}

/// The folder of the binaries that die at named places.
///
/// # Panics
/// When the stories are not run by `cargo xtask test`, which builds them.
#[expect(
    clippy::disallowed_methods,
    reason = "this module is where the environment is read"
)]
pub fn crashing_binaries() -> PathBuf {
    std::env::var_os("SANDGATE_CRASH_BIN_DIR")
        .map(PathBuf::from)
        .expect("run the stories with `cargo xtask test`, which builds binaries that crash on demand and sets SANDGATE_CRASH_BIN_DIR")
}

/// A Python that has grpcio and grpcio-tools.
///
/// # Panics
/// When the stories are not run by `cargo xtask test`, which prepares it.
#[expect(
    clippy::disallowed_methods,
    reason = "this module is where the environment is read"
)]
pub fn python() -> PathBuf {
    std::env::var_os("SANDGATE_TEST_PYTHON")
        .map(PathBuf::from)
        .expect("run the stories with `cargo xtask test`, which installs grpcio and sets SANDGATE_TEST_PYTHON")
}

/// grpcurl.
///
/// # Panics
/// When the stories are not run by `cargo xtask test`, which prepares it.
#[expect(
    clippy::disallowed_methods,
    reason = "this module is where the environment is read"
)]
pub fn grpcurl() -> PathBuf {
    std::env::var_os("SANDGATE_TEST_GRPCURL")
        .map(PathBuf::from)
        .expect("run the stories with `cargo xtask test`, which installs grpcurl and sets SANDGATE_TEST_GRPCURL")
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
