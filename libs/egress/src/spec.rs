//! Where a route's requests go, as the policy states it.

use std::time::Duration;

use sandgate_types::{Malformed, path};

use crate::address::Network;

/// How the gate speaks to an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// In plaintext: HTTP/1.1, or HTTP/2 with prior knowledge for gRPC.
    Http,
    /// Over TLS, HTTP/2 where the upstream offers it.
    Https,
}

/// Resolution, connection and handshake together, where nothing else is said.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// An upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamSpec {
    /// How to speak to it.
    pub scheme: Scheme,
    /// Its host: a name, or an address (without brackets).
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What every path begins with; empty or `/…` without an end slash.
    pub base_path: String,
    /// The name that its certificate must have.
    pub tls_name: String,
    /// Private networks that it may be in.
    pub networks: Vec<Network>,
    /// How long one connection to it may take: resolution, connection and handshake together.
    pub connect_timeout: Duration,
}

impl UpstreamSpec {
    /// Reads a URL.
    ///
    /// # Errors
    /// `field` and what the URL must be.
    pub fn parse(field: &str, url: &str) -> Result<Self, Malformed> {
        let rule = |rule: &str| Malformed::new(field, rule);
        let shape = || {
            rule(
                "must be http://host:port or https://host:port, with a path at most and no user, query or fragment",
            )
        };
        let uri: http::Uri = url.parse().map_err(|_| shape())?;
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            Some(_) | None => return Err(shape()),
        };
        let authority = uri.authority().ok_or_else(shape)?;
        if authority.as_str().contains('@') || uri.query().is_some() || url.contains('#') {
            return Err(shape());
        }
        let host = authority.host();
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host)
            .to_ascii_lowercase();
        if host.is_empty() || host.ends_with('.') {
            return Err(shape());
        }
        if host == "localhost" || host.ends_with(".localhost") {
            return Err(rule(
                "must name the loopback by its address, 127.0.0.1 or [::1]",
            ));
        }
        let port = match scheme {
            Scheme::Http => authority.port_u16().unwrap_or(80),
            Scheme::Https => authority.port_u16().unwrap_or(443),
        };
        // `http` takes any port that is digits; one that is out of range reads as absent.
        let written = authority.as_str().rsplit_once(':').map(|(_, port)| port);
        let has_port = written.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
        if port == 0 || (has_port && authority.port_u16().is_none()) {
            return Err(rule("must have a port from 1 to 65535"));
        }
        let base_path = uri.path().trim_end_matches('/').to_owned();
        if path::canonical(&format!("{base_path}/")).as_deref()
            != Ok(format!("{base_path}/").as_str())
        {
            return Err(rule(
                "must have a path without dot segments, empty segments and escapes",
            ));
        }
        Ok(Self {
            scheme,
            tls_name: host.clone(),
            host,
            port,
            base_path,
            networks: Vec::new(),
            connect_timeout: CONNECT_TIMEOUT,
        })
    }

    /// The address, where the host is one.
    pub fn literal(&self) -> Option<std::net::IpAddr> {
        self.host.parse().ok()
    }

    /// Whether it is this machine, named by an address.
    pub fn is_literal_loopback(&self) -> bool {
        self.literal().is_some_and(|address| address.is_loopback())
    }

    /// `host:port`, as it stands in a URL.
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upstream_is_a_scheme_a_host_a_port_and_a_base_path() {
        let upstream =
            UpstreamSpec::parse("url", "https://Api.Example.com/v1/").expect("a valid url");
        assert_eq!(
            (
                upstream.host.as_str(),
                upstream.port,
                upstream.base_path.as_str()
            ),
            ("api.example.com", 443, "/v1")
        );
        let upstream = UpstreamSpec::parse("url", "http://[::1]:8080").expect("a valid url");
        assert!(upstream.is_literal_loopback());
        assert_eq!(upstream.authority(), "[::1]:8080");
    }

    #[test]
    fn urls_with_users_queries_odd_paths_other_schemes_and_localhost_are_refused() {
        for url in [
            "ftp://a",
            "a",
            "http://user@a/",
            "http://a/?q=1",
            "http://a/#f",
            "http://a/../b",
            "http://a//b",
            "http://a/%2e",
            "http://localhost:80",
            "http://a:0",
            "http://a:99999",
            "http://a.",
            "",
        ] {
            assert_eq!(
                UpstreamSpec::parse("url", url).expect_err(url).field(),
                "url"
            );
        }
    }
}
