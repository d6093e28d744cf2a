//! What the gate holds in memory of bodies that it takes apart: bounded for each sandbox and in all, and refused
//! beyond, never waited for.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use sandgate_types::SandboxId;

use crate::refusal::Refusal;

/// For one sandbox: four bodies of the largest size at once.
const SANDBOX_MAX_BYTES: usize = 16 * 1024 * 1024;
/// In all: as much as a gate of a few hundred megabytes can give, and of no use to whoever has one sandbox.
const TOTAL_MAX_BYTES: usize = 256 * 1024 * 1024;

/// What is held, and by whom.
#[derive(Debug, Default)]
pub(crate) struct Buffers(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    total: usize,
    by_sandbox: HashMap<SandboxId, usize>,
}

/// What one body holds, until it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    buffers: Arc<Buffers>,
    sandbox: SandboxId,
    bytes: usize,
}

impl Buffers {
    /// Nothing yet, for a body of a sandbox.
    pub(crate) fn hold(self: &Arc<Self>, sandbox: &SandboxId) -> Held {
        Held {
            buffers: Arc::clone(self),
            sandbox: sandbox.clone(),
            bytes: 0,
        }
    }
}

impl Held {
    /// Holds so many more.
    ///
    /// # Errors
    /// When that is more than the sandbox, or the gate, may hold.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Refusal> {
        let mut inner = self.buffers.0.lock();
        let Inner { total, by_sandbox } = &mut *inner;
        let own = by_sandbox.get(&self.sandbox).copied().unwrap_or(0);
        if own.saturating_add(bytes) > SANDBOX_MAX_BYTES
            || total.saturating_add(bytes) > TOTAL_MAX_BYTES
        {
            return Err(Refusal::Overloaded);
        }
        *total += bytes;
        by_sandbox.insert(self.sandbox.clone(), own + bytes);
        self.bytes += bytes;
        Ok(())
    }

    /// Holds so many less.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        let mut inner = self.buffers.0.lock();
        inner.total -= bytes;
        if let Some(own) = inner.by_sandbox.get_mut(&self.sandbox) {
            *own -= bytes;
            if *own == 0 {
                inner.by_sandbox.remove(&self.sandbox);
            }
        }
        self.bytes -= bytes;
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn a_sandbox_that_holds_much_leaves_room_for_others_and_gives_back_what_it_held() {
        let mut rng = StdRng::seed_from_u64(1);
        let buffers = Arc::new(Buffers::default());
        let (greedy, modest) = (SandboxId::random(&mut rng), SandboxId::random(&mut rng));
        let mut held = buffers.hold(&greedy);
        held.grow(SANDBOX_MAX_BYTES).expect("as much as it may");
        assert!(buffers.hold(&greedy).grow(1).is_err());
        buffers.hold(&modest).grow(1).expect("another has room");
        held.shrink(1);
        buffers.hold(&greedy).grow(1).expect("given back");
        drop(held);
        let inner = buffers.0.lock();
        assert_eq!((inner.total, inner.by_sandbox.len()), (0, 0));
    }

    #[test]
    fn all_of_them_together_are_bounded() {
        let mut rng = StdRng::seed_from_u64(1);
        let buffers = Arc::new(Buffers::default());
        let mut all = Vec::new();
        for _ in 0..TOTAL_MAX_BYTES / SANDBOX_MAX_BYTES {
            let mut held = buffers.hold(&SandboxId::random(&mut rng));
            held.grow(SANDBOX_MAX_BYTES).expect("room");
            all.push(held);
        }
        assert!(buffers.hold(&SandboxId::random(&mut rng)).grow(1).is_err());
    }
}
