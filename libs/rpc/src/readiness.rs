//! Whether a service can do its work, by its parts: the database, a peer, a feed.
//!
//! Each part is set by whoever looks after it, in the background; a probe only reads. A service is ready
//! when all its parts are.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

/// The parts of one service, and what each lacks.
#[derive(Debug, Clone)]
pub struct Readiness(Arc<watch::Sender<Parts>>);

type Parts = BTreeMap<&'static str, Option<String>>;

/// One part, for whoever looks after it.
#[derive(Debug, Clone)]
pub struct Part {
    name: &'static str,
    parts: Arc<watch::Sender<Parts>>,
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Readiness {
    /// Of a service without parts, which is ready.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Parts::new())))
    }

    /// Adds a part, which is missing until it says otherwise.
    pub fn part(&self, name: &'static str) -> Part {
        self.0.send_modify(|parts| {
            parts.insert(name, Some("has not started".to_owned()));
        });
        Part {
            name,
            parts: Arc::clone(&self.0),
        }
    }

    /// Whether every part is there.
    pub fn is_ready(&self) -> bool {
        self.0.borrow().values().all(Option::is_none)
    }

    /// What is missing, one line for each part.
    pub fn missing(&self) -> Vec<String> {
        let parts = self.0.borrow();
        let lines = parts.iter().filter_map(|(name, missing)| {
            let missing = missing.as_ref()?;
            Some(format!("{name}: {missing}"))
        });
        lines.collect()
    }

    /// Waits until the service is ready.
    pub async fn ready(&self) {
        let mut changes = self.0.subscribe();
        // The sender is `self`, so waiting cannot fail.
        let _ready = changes
            .wait_for(|parts| parts.values().all(Option::is_none))
            .await;
    }

    /// Waits until something about a part has changed.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Parts> {
        self.0.subscribe()
    }
}

impl Part {
    /// The part is there.
    pub fn ready(&self) {
        self.set(None);
    }

    /// The part is missing: says what, and what to do about it. Logged when it is news.
    pub fn missing(&self, what: impl Into<String>) {
        self.set(Some(what.into()));
    }

    fn set(&self, missing: Option<String>) {
        let name = self.name;
        self.parts.send_if_modified(|parts| {
            let news = parts.get(name) != Some(&missing);
            if news {
                match &missing {
                    Some(what) => tracing::warn!(part = name, missing = %what, "not ready"),
                    None => tracing::info!(part = name, "ready"),
                }
                parts.insert(name, missing);
            }
            news
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_ready_when_all_its_parts_are() {
        let readiness = Readiness::new();
        let (database, peer) = (readiness.part("database"), readiness.part("token"));
        database.ready();
        assert!(!readiness.is_ready());
        peer.missing("nobody listens");
        assert_eq!(readiness.missing(), ["token: nobody listens"]);
        peer.ready();
        assert!(readiness.is_ready());
    }
}
