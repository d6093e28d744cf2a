//! Where a page of sandboxes ends.

use sandgate_types::{Malformed, SandboxId, Timestamp};

use crate::caller::Scope;
use crate::store::{Cursor, Filter};

/// The list that a page token continues, as one text: a token is good for it alone.
pub(super) fn list_of(scope: &Scope, filter: &Filter) -> String {
    format!("{}\n{filter:?}", scope.principal)
}

pub(super) fn position(cursor: &Cursor) -> Vec<u8> {
    format!("{} {}", cursor.created_at.as_micros(), cursor.sandbox).into_bytes()
}

pub(super) fn cursor(position: &[u8]) -> Result<Cursor, Malformed> {
    let rule = || {
        Malformed::new(
            "page_token",
            "must be the next_page_token of the page before",
        )
    };
    let text = std::str::from_utf8(position).map_err(|_| rule())?;
    let (at, id) = text.split_once(' ').ok_or_else(rule)?;
    Ok(Cursor {
        created_at: Timestamp::from_micros(at.parse().map_err(|_| rule())?),
        sandbox: SandboxId::parse("page_token", id)?,
    })
}
