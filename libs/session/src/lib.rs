//! What gate, token and sandboxd must agree on to the byte.
//!
//! - [`Claims`] and [`Ticket`] are what our issuer signs; [`Verifier`] accepts nothing that it would not emit,
//!   and refuses by a [`TokenRefusal`], most of them before a signature is computed.
//! - [`revocation`] says what a revocation matches, and when two copies of the feed agree.
//! - [`lease`] says how long a gate may serve on what it last heard.
//! - [`link`] and [`control`] pass the descriptors of an instance's links between gate, backend and keeper.
//!
//! Nothing in here can sign: [`jwt::signing_input`] makes the text, the token service has the keys. Nothing
//! asks the time either, except [`lease::Moment::now`].

mod audience;
mod claims;
pub mod control;
mod fields;
pub mod jwt;
mod keys;
pub mod lease;
pub mod link;
mod operations;
pub mod packet;
mod refusal;
pub mod revocation;
mod ticket;
mod verifier;

pub use audience::Audience;
pub use claims::{Claims, SESSION_MAX, TOKEN_MAX};
pub use jwt::Algorithm;
pub use keys::{KEYS_MAX, KeySet, KeySetRefusal};
pub use operations::{OPERATIONS_MAX, Operation, Operations};
pub use refusal::TokenRefusal;
pub use revocation::{RevocationScope, RevocationSet, RevocationTarget};
pub use ticket::{TICKET_MAX, Ticket};
pub use verifier::{LEEWAY, Verified, Verifier};

/// Who issues tokens, tickets and nothing else. Meshes differ by their keys, not by this name.
pub const ISSUER: &str = "sandgate";

/// The metadata entry in which the gate passes the daemon token on to `TokenService.RenewSession`, and to no
/// other method: the token service checks by itself what it renews. Whatever came in under this name is
/// removed first, like every `sandgate-*`.
pub const SESSION_TOKEN_METADATA: &str = "sandgate-session-token";
