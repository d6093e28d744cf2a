//! What all processes wrote, and where those wait that would write more.

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::keeper::ring::{RingKey, Rings};

/// The rings of the sandbox, and a bell for whoever waits for room in them.
#[derive(Debug, Default)]
pub(crate) struct Outputs {
    pub(super) rings: Mutex<Rings>,
    room: watch::Sender<()>,
}

impl Outputs {
    /// Says that somebody read or left.
    pub(super) fn ring_bell(&self) {
        self.room.send_replace(());
    }

    /// Waits until the ring takes something, and answers how much.
    pub(super) async fn room(&self, key: RingKey) -> usize {
        let mut bell = self.room.subscribe();
        loop {
            bell.mark_unchanged();
            let room = self.rings.lock().room(key);
            if room > 0 {
                return room;
            }
            // The sender is `self`, so this waits.
            let _rung = bell.changed().await;
        }
    }
}
