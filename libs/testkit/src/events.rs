//! Captured events: a test that hears a warning or an error which it did not announce fails.

use std::fmt::Write as _;
use std::sync::Arc;

use parking_lot::Mutex;
use tracing::field::{Field, Visit};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// The events of this thread, from its making to its end. Tests with it run on one thread, as `#[tokio::test]` does.
#[must_use = "what it hears is checked when it is dropped"]
#[derive(Debug)]
pub struct Events {
    heard: Arc<Mutex<Vec<Heard>>>,
    announced: Mutex<Vec<String>>,
    _listening: DefaultGuard,
}

#[derive(Debug, Clone)]
struct Heard {
    level: Level,
    text: String,
}

impl Events {
    /// Listens from now on.
    pub fn capture() -> Self {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let layer = Ear(Arc::clone(&heard));
        let listening =
            tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));
        Self {
            heard,
            announced: Mutex::default(),
            _listening: listening,
        }
    }

    /// Announces that a warning or an error with this text is part of the test.
    pub fn announce(&self, text: &str) {
        self.announced.lock().push(text.to_owned());
    }

    /// Everything that was heard, one event a line; a search for secrets looks here.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for heard in self.heard.lock().iter() {
            writeln!(text, "{} {}", heard.level, heard.text).unwrap_or_default();
        }
        text
    }

    fn unannounced(&self) -> Vec<String> {
        let announced = self.announced.lock();
        self.heard
            .lock()
            .iter()
            .filter(|heard| heard.level <= Level::WARN)
            .filter(|heard| !announced.iter().any(|text| heard.text.contains(text)))
            .map(|heard| format!("{} {}", heard.level, heard.text))
            .collect()
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let unannounced = self.unannounced();
        if !std::thread::panicking() {
            assert!(
                unannounced.is_empty(),
                "unannounced events: {unannounced:#?}"
            );
        }
    }
}

struct Ear(Arc<Mutex<Vec<Heard>>>);

impl<S: Subscriber> Layer<S> for Ear {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut words = Words(format!("{}:", event.metadata().target()));
        event.record(&mut words);
        self.0.lock().push(Heard {
            level: *event.metadata().level(),
            text: words.0,
        });
    }
}

struct Words(String);

impl Visit for Words {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a String cannot fail.
        if field.name() == "message" {
            write!(self.0, " {value:?}").unwrap_or_default();
        } else {
            write!(self.0, " {}={value:?}", field.name()).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "unannounced events")]
    fn a_warning_that_nobody_announced_fails_the_test() {
        let _events = Events::capture();
        tracing::warn!("the roof leaks");
    }

    #[test]
    fn an_announced_warning_is_part_of_the_test() {
        let events = Events::capture();
        events.announce("the roof leaks");
        tracing::warn!(drops = 3, "the roof leaks");
        tracing::info!("it rains");
        assert!(events.text().contains("drops=3") && events.text().contains("it rains"));
    }
}
