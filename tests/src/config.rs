//! Where the stories and benches find what `cargo xtask` prepared for them.

use std::path::PathBuf;

/// The folder of the binaries under test.
///
/// # Panics
/// When the stories are not run by `cargo xtask test`, which builds the binaries first and says where they are.
pub fn binaries() -> PathBuf {
    prepared("SANDGATE_BIN_DIR", "builds the binaries")
}

/// The folder of the binaries that die at named places.
///
/// # Panics
/// When the stories are not run by `cargo xtask test`, which builds them.
pub fn crashing_binaries() -> PathBuf {
    prepared(
        "SANDGATE_CRASH_BIN_DIR",
        "builds binaries that crash on demand",
    )
}

/// A Python that has grpcio, grpcio-tools and websockets.
///
/// # Panics
/// When the stories are not run by `cargo xtask test`, which prepares it.
pub fn python() -> PathBuf {
    prepared("SANDGATE_TEST_PYTHON", "installs grpcio")
}

/// grpcurl.
///
/// # Panics
/// When the stories are not run by `cargo xtask test`, which prepares it.
pub fn grpcurl() -> PathBuf {
    prepared("SANDGATE_TEST_GRPCURL", "installs grpcurl")
}

/// HAProxy, a peer of the benches.
///
/// # Panics
/// When the benches are not run by `cargo xtask`, which installs it.
pub fn haproxy() -> PathBuf {
    prepared("SANDGATE_BENCH_HAPROXY", "installs HAProxy")
}

/// Envoy, a peer of the benches.
///
/// # Panics
/// When the benches are not run by `cargo xtask`, which installs it.
pub fn envoy() -> PathBuf {
    prepared("SANDGATE_BENCH_ENVOY", "installs Envoy")
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

#[expect(
    clippy::disallowed_methods,
    reason = "this module is where the environment is read"
)]
fn prepared(variable: &str, what: &str) -> PathBuf {
    std::env::var_os(variable).map(PathBuf::from).unwrap_or_else(|| {
        panic!("run this with `cargo xtask test` or `cargo xtask bench`, which {what} and sets {variable}")
    })
}
