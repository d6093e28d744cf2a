//! A clock that a test moves.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sandgate_types::{Clock, Timestamp};

/// The second at which every test begins: some morning in 2030.
const START_SECONDS: i64 = 1_900_000_000;

/// Says the same instant until it is moved. Clones are the same clock.
#[derive(Debug, Clone)]
pub struct TestClock(Arc<Mutex<Timestamp>>);

impl Default for TestClock {
    fn default() -> Self {
        Self::new()
    }
}

impl TestClock {
    /// A clock at the start.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Timestamp::from_seconds(START_SECONDS))))
    }

    /// Moves it forward.
    pub fn advance(&self, duration: Duration) {
        let mut now = self.0.lock();
        *now = now.plus(duration);
    }

    /// Moves it anywhere, also back.
    pub fn set(&self, to: Timestamp) {
        *self.0.lock() = to;
    }

    /// The same clock, as services take it.
    pub fn shared(&self) -> Arc<dyn Clock> {
        Arc::new(self.clone())
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        *self.0.lock()
    }
}
