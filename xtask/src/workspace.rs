//! What cargo knows about this workspace.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::Value;

use crate::command;

/// The answer of `cargo metadata`, for our own packages.
#[derive(Debug)]
pub(crate) struct Workspace(Value);

impl Workspace {
    pub(crate) fn read(repository: &Path) -> anyhow::Result<Self> {
        let mut cargo = command::cargo(repository);
        let json = command::output(cargo.args([
            "metadata",
            "--format-version=1",
            "--no-deps",
            "--locked",
        ]))?;
        Ok(Self(
            serde_json::from_str(&json).context("read cargo's metadata")?,
        ))
    }

    /// Where cargo builds.
    pub(crate) fn target(&self) -> anyhow::Result<PathBuf> {
        let folder = self.0.get("target_directory").and_then(Value::as_str);
        folder
            .map(PathBuf::from)
            .context("find the target folder in cargo's metadata")
    }

    /// `package/feature` for every package of ours that has this feature.
    pub(crate) fn with_feature(&self, feature: &str) -> Vec<String> {
        self.packages()
            .filter(|package| {
                package
                    .get("features")
                    .and_then(|features| features.get(feature))
                    .is_some()
            })
            .filter_map(|package| Some(format!("{}/{feature}", package.get("name")?.as_str()?)))
            .collect()
    }

    /// The packages that have a test of this name.
    pub(crate) fn packages_with_test(&self, test: &str) -> Vec<String> {
        let names = self
            .packages()
            .filter_map(|package| package.get("name")?.as_str().map(str::to_owned));
        names
            .filter(|package| {
                self.targets(Some(package), "test")
                    .iter()
                    .any(|found| found == test)
            })
            .collect()
    }

    /// The names of all targets of this kind (`bin`, `bench`, `test`) in the named package, or in all.
    pub(crate) fn targets(&self, package: Option<&str>, kind: &str) -> Vec<String> {
        let of = |value: &Value| value.get("name").and_then(Value::as_str).map(str::to_owned);
        self.packages()
            .filter(|found| package.is_none_or(|wanted| of(found).as_deref() == Some(wanted)))
            .filter_map(|found| found.get("targets").and_then(Value::as_array))
            .flatten()
            .filter(|target| {
                let kinds = target.get("kind").and_then(Value::as_array);
                kinds.is_some_and(|kinds| kinds.iter().any(|found| found == kind))
            })
            .filter_map(of)
            .collect()
    }

    fn packages(&self) -> impl Iterator<Item = &Value> {
        self.0
            .get("packages")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    }
}
