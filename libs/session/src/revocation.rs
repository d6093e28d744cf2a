//! What a revocation matches, what is revoked so far, and when two copies of the feed agree.
//!
//! Matching looks at claims that renewal does not change and never at the time of issue, so whatever is minted
//! in a race with its revocation is dead on arrival. Nothing is ever taken out of a [`RevocationSet`].

mod set;
mod target;

pub use set::{FeedGap, RUNNING_HASH_BYTES, RevocationSet};
pub use target::{RevocationScope, RevocationTarget};
