//! Certificates that are renewed on disk while a process serves.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sandgate_telemetry::metric::{Counter, Label, Meters, Metric};
use sandgate_types::Malformed;

use crate::Shutdown;
use crate::watched::Watched;

/// Between two looks at the files, for whoever reads the log: connections look by themselves.
const EVERY: Duration = Duration::from_secs(2);
/// Changes of the files of certificates.
const RENEWALS: Metric = Metric {
    name: "sandgate_certificate_renewals_total",
    unit: "1",
    help: "changes of the files of certificates, by whom they are shown to and outcome",
};

/// Whom certificates are shown to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certificates {
    /// To clients of the mesh.
    Clients,
    /// To other services.
    Services,
}

impl Label for Certificates {
    const KEY: &'static str = "shown_to";

    fn as_str(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Services => "services",
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Outcome {
    Taken,
    Refused,
}

impl Label for Outcome {
    const KEY: &'static str = "outcome";

    fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Refused => "refused",
        }
    }
}

/// What was made of files of certificates and keys. Newer files take the place of what was, all together or not at
/// all; of those that cannot be used, log and metrics tell, and the last good ones go on.
pub struct Renewed<T>(Arc<Inner<T>>);

struct Inner<T> {
    shown_to: Certificates,
    watched: Watched<T>,
    renewals: Counter<(Certificates, Outcome)>,
}

impl<T: Clone + Send + Sync + 'static> Renewed<T> {
    /// Reads the files for the first time, and looks after them until the end begins.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn start(
        shown_to: Certificates,
        files: impl IntoIterator<Item = PathBuf>,
        shutdown: &Shutdown,
        read: impl Fn() -> Result<T, Malformed> + Send + Sync + 'static,
    ) -> Result<Self, Malformed> {
        let renewed = Self(Arc::new(Inner {
            shown_to,
            watched: Watched::start(files, read)?,
            renewals: Meters::of_this_process().counter(RENEWALS),
        }));
        let (looking, ending) = (renewed.clone(), shutdown.clone());
        shutdown.spawn_apart("certificates", async move {
            loop {
                tokio::select! {
                    () = ending.cancelled() => return,
                    () = tokio::time::sleep(EVERY) => looking.0.look(),
                }
            }
        });
        Ok(renewed)
    }

    /// What the next connection is made with: of the files that are there now, if they can be used.
    pub fn current(&self) -> T {
        self.0.look();
        self.0.watched.current()
    }
}

impl<T: Clone> Inner<T> {
    fn look(&self) {
        let shown_to = self.shown_to.as_str();
        let outcome = match self.watched.look() {
            Ok(false) => return,
            Ok(true) => {
                tracing::info!(shown_to, "renewed certificates are in force");
                Outcome::Taken
            }
            Err(problem) => {
                tracing::warn!(
                    %problem,
                    shown_to,
                    "renewed certificates cannot be used; those before go on"
                );
                Outcome::Refused
            }
        };
        self.renewals.add(1, (self.shown_to, outcome));
    }
}

impl<T> Clone for Renewed<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> std::fmt::Debug for Renewed<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Renewed").field(&self.0.shown_to).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_change_is_seen_though_nobody_connects_and_until_the_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("certificate");
        let put = |text: &str| {
            let beside = folder.path().join("new");
            std::fs::write(&beside, text).expect("written");
            std::fs::rename(beside, &file).expect("renamed");
        };
        put("one");
        let (reads, shutdown) = (Arc::new(AtomicUsize::new(0)), Shutdown::new());
        let counted = Arc::clone(&reads);
        let read = move || Ok(counted.fetch_add(1, Ordering::Relaxed));
        let files = [file.clone()];
        let renewed = Renewed::start(Certificates::Services, files, &shutdown, read);
        put("another");
        // The time of a test stands still but for this.
        tokio::time::sleep(EVERY * 2).await;
        assert_eq!(reads.load(Ordering::Relaxed), 2);
        drop(renewed);
        shutdown.begin();
        assert!(shutdown.join(EVERY).await);
    }
}
