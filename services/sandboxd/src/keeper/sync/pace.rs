//! When the next sync is due: once files may have changed and rest again.

use std::time::Duration;

use tokio::time::Instant;

use super::super::activity::Activity;

/// How long the workspace must have been left alone before it is synced.
const QUIET: Duration = Duration::from_secs(2);
/// How long changes wait at most, when it is never left alone.
const OVERDUE: Duration = Duration::from_secs(15);
/// How often it is looked at while processes run, which write without saying so.
const LOOK: Duration = Duration::from_secs(15);
/// A look may take this part of the time between two of them.
const LOOK_SHARE: u32 = 20;
/// After a sync failed the next waits so long, and twice as long each time.
const PAUSE: Duration = Duration::from_secs(2);
/// But no longer than this.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// When the next sync is due.
#[derive(Debug)]
pub(super) struct Pace {
    /// Activity that the last sync saw.
    seen: u64,
    /// Not before this.
    earliest: Instant,
    pause: Duration,
    /// How long the last one took.
    took: Duration,
}

impl Pace {
    pub(super) fn new(seen: u64) -> Self {
        Self {
            seen,
            earliest: Instant::now(),
            pause: PAUSE,
            took: Duration::ZERO,
        }
    }

    /// Waits until files may have changed and rest again, or it is time to look.
    pub(super) async fn due(&self, activity: &Activity) {
        let look = async {
            // A process that starts is activity by itself.
            if !activity.is_running() {
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(LOOK.max(self.took * LOOK_SHARE)).await;
        };
        tokio::select! {
            () = rests(activity, self.seen) => {}
            () = look => {}
        }
        tokio::time::sleep_until(self.earliest).await;
    }

    /// Notes that a sync which saw `seen` of the activity took so long.
    pub(super) fn after(&mut self, seen: u64, took: Duration, succeeded: bool) {
        self.took = took;
        if succeeded {
            self.seen = seen;
            self.pause = PAUSE;
            self.earliest = Instant::now() + took * LOOK_SHARE;
        } else {
            self.earliest = Instant::now() + self.pause;
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        }
    }
}

/// Waits for activity beyond `seen`, and then until it rests.
async fn rests(activity: &Activity, seen: u64) {
    activity.beyond(seen).await;
    let overdue = Instant::now() + OVERDUE;
    loop {
        let count = activity.count();
        tokio::select! {
            () = activity.beyond(count) => {}
            () = tokio::time::sleep(QUIET) => return,
            () = tokio::time::sleep_until(overdue) => return,
        }
    }
}
