//! Whom a request is meant for: one host, or it is refused, since two readers would not agree on which.

use http::header::HOST;
use http::uri::Authority;
use http::{HeaderValue, Request};

/// The port of an authority that names none.
const HTTP_PORT: u16 = 80;

/// Whether the target and the `Host` headers of a request name one host at most.
pub(super) fn is_one<B>(request: &Request<B>) -> bool {
    let mut named = request.headers().get_all(HOST).iter();
    let Some(host) = named.next() else {
        return true;
    };
    if named.next().is_some() {
        return false;
    }
    match request.uri().authority() {
        None => true,
        Some(target) => parsed(host).is_some_and(|host| same(&host, target)),
    }
}

fn parsed(host: &HeaderValue) -> Option<Authority> {
    host.to_str().ok()?.parse().ok()
}

fn same(one: &Authority, other: &Authority) -> bool {
    let port = |authority: &Authority| authority.port_u16().unwrap_or(HTTP_PORT);
    one.host().eq_ignore_ascii_case(other.host()) && port(one) == port(other)
}
