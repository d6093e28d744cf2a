//! A bounded memory of what was found good, keyed by a hash of the whole secret, so that the memory itself is
//! worth nothing to whoever reads it.
//!
//! Two halves: what is used stays by moving into the young half; when that is full, the old half goes. So one
//! look costs the same whatever the size, and a flood of new keys cannot grow it.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// A hash of a secret under a key that this process made and never tells.
pub(crate) type Digest = [u8; 32];

/// The memory.
pub(crate) struct Cache<V> {
    key: Digest,
    half: usize,
    halves: Mutex<Halves<V>>,
}

struct Halves<V> {
    young: HashMap<Digest, Arc<V>>,
    old: HashMap<Digest, Arc<V>>,
}

impl<V> Cache<V> {
    /// Remembers at most `entries`, hashed under `key`.
    pub(crate) fn new(key: Digest, entries: usize) -> Self {
        Self {
            key,
            half: entries.div_ceil(2).max(1),
            halves: Mutex::new(Halves {
                young: HashMap::new(),
                old: HashMap::new(),
            }),
        }
    }

    /// The key under which a secret is remembered.
    pub(crate) fn digest(&self, secret: &str) -> Digest {
        *blake3::keyed_hash(&self.key, secret.as_bytes()).as_bytes()
    }

    /// What is remembered.
    pub(crate) fn get(&self, digest: &Digest) -> Option<Arc<V>> {
        let mut halves = self.halves.lock();
        if let Some(value) = halves.young.get(digest) {
            return Some(Arc::clone(value));
        }
        let value = halves.old.remove(digest)?;
        self.add(&mut halves, *digest, Arc::clone(&value));
        Some(value)
    }

    /// Remembers.
    pub(crate) fn insert(&self, digest: Digest, value: Arc<V>) {
        self.add(&mut self.halves.lock(), digest, value);
    }

    /// Forgets one.
    pub(crate) fn remove(&self, digest: &Digest) {
        let mut halves = self.halves.lock();
        halves.young.remove(digest);
        halves.old.remove(digest);
    }

    /// Forgets all.
    pub(crate) fn clear(&self) {
        let mut halves = self.halves.lock();
        halves.young.clear();
        halves.old.clear();
    }

    fn add(&self, halves: &mut Halves<V>, digest: Digest, value: Arc<V>) {
        if halves.young.len() >= self.half {
            halves.old = std::mem::take(&mut halves.young);
        }
        halves.young.insert(digest, value);
    }
}

impl<V> std::fmt::Debug for Cache<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_holds_more_than_its_bound_and_keeps_what_is_used() {
        let cache = Cache::new([7; 32], 8);
        let kept = cache.digest("kept");
        cache.insert(kept, Arc::new(0));
        for number in 0..1_000 {
            cache.insert(cache.digest(&number.to_string()), Arc::new(number));
            assert_eq!(cache.get(&kept).as_deref(), Some(&0), "after {number}");
            let halves = cache.halves.lock();
            assert!(halves.young.len() + halves.old.len() <= 8);
        }
        assert!(cache.get(&cache.digest("1")).is_none());
    }

    #[test]
    fn two_processes_remember_one_secret_under_different_keys() {
        let (one, other) = (Cache::<()>::new([1; 32], 2), Cache::<()>::new([2; 32], 2));
        assert_ne!(one.digest("secret"), other.digest("secret"));
    }
}
