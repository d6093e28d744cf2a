//! What a test run tells its tests.

/// The URL of a Postgres that may be filled with databases, where there is one.
#[expect(
    clippy::disallowed_methods,
    reason = "this module is where the environment is read"
)]
pub(crate) fn postgres() -> Option<String> {
    std::env::var("SANDGATE_TEST_POSTGRES")
        .ok()
        .filter(|url| !url.is_empty())
}

/// Whether a skip is a failure.
#[expect(
    clippy::disallowed_methods,
    reason = "this module is where the environment is read"
)]
pub(crate) fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty())
}
