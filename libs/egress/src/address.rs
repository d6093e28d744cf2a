//! Which addresses the gate may dial. Checked on every dial, after resolution, so that a name cannot lead
//! somewhere that its owner chose later.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use sandgate_types::Malformed;

/// A range of addresses, as a policy names it: `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    base: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether an address lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.bits);
                u32::from(base).checked_shr(shift).unwrap_or(0)
                    == u32::from(address).checked_shr(shift).unwrap_or(0)
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.bits);
                u128::from(base).checked_shr(shift).unwrap_or(0)
                    == u128::from(address).checked_shr(shift).unwrap_or(0)
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let rule = || Malformed::new("network", "must be a range of addresses like 10.0.0.0/8");
        let (base, bits) = text.split_once('/').ok_or_else(rule)?;
        let base: IpAddr = base.parse().map_err(|_| rule())?;
        let most = if base.is_ipv4() { 32 } else { 128 };
        let bits: u8 = bits
            .parse()
            .ok()
            .filter(|bits| *bits <= most)
            .ok_or_else(rule)?;
        Ok(Self { base, bits })
    }
}

/// Why an address is not dialed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// Never: link-local (metadata services among them), unspecified, multicast, reserved, mapped.
    Never,
    /// Loopback, which a policy has to name by its address.
    Loopback,
    /// A private range that the policy does not name.
    Private,
    /// A listener of the gate itself.
    Own,
}

impl Closed {
    /// What a person reads.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Never => "the address is of a range that is never dialed",
            Self::Loopback => "the name leads to the loopback, which must be named by its address",
            Self::Private => "the address is private; upstream.networks must name its range",
            Self::Own => "the address is a listener of the mesh itself",
        }
    }
}

/// What an upstream allows beside public addresses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowed<'a> {
    /// Ranges that the policy names.
    pub(crate) networks: &'a [Network],
    /// Whether the policy names the upstream by a loopback address.
    pub(crate) loopback: bool,
    /// Our own listeners.
    pub(crate) own: &'a [SocketAddr],
}

/// Whether the gate may dial an address.
///
/// # Errors
/// Why it may not.
pub(crate) fn check(address: SocketAddr, allowed: Allowed<'_>) -> Result<(), Closed> {
    let own = |own: &SocketAddr| {
        own.port() == address.port()
            && (own.ip() == address.ip() || (own.ip().is_unspecified() && allowed.loopback))
    };
    if allowed.own.iter().any(own) {
        return Err(Closed::Own);
    }
    let class = match address.ip() {
        IpAddr::V4(address) => class_v4(address),
        IpAddr::V6(address) => class_v6(address),
    };
    match class {
        None => Ok(()),
        Some(Closed::Loopback) if allowed.loopback => Ok(()),
        Some(Closed::Private)
            if allowed
                .networks
                .iter()
                .any(|network| network.contains(address.ip())) =>
        {
            Ok(())
        }
        Some(closed @ (Closed::Never | Closed::Loopback | Closed::Private | Closed::Own)) => {
            Err(closed)
        }
    }
}

/// `None` for a public address.
fn class_v4(address: Ipv4Addr) -> Option<Closed> {
    let [first, second, third, _] = address.octets();
    if address.is_loopback() {
        return Some(Closed::Loopback);
    }
    if address.is_link_local() || address.is_multicast() || first == 0 || first >= 240 {
        return Some(Closed::Never);
    }
    let shared = first == 100 && (64..128).contains(&second);
    let benchmarks = first == 198 && (second == 18 || second == 19);
    let protocols = first == 192 && second == 0 && third == 0;
    let documentation = address.is_documentation();
    if address.is_private() || shared || benchmarks || protocols || documentation {
        return Some(Closed::Private);
    }
    None
}

fn class_v6(address: Ipv6Addr) -> Option<Closed> {
    let segments = address.segments();
    if address.is_loopback() {
        return Some(Closed::Loopback);
    }
    // Forms that carry an IPv4 address are never used: the same host has a plain spelling.
    let mapped = address.to_ipv4().is_some();
    let translated = segments[0] == 0x64 && segments[1] == 0xff9b;
    let six_to_four = segments[0] == 0x2002;
    let teredo = segments[0] == 0x2001 && segments[1] == 0;
    let link_local = segments[0] & 0xffc0 == 0xfe80;
    let site_local = segments[0] & 0xffc0 == 0xfec0;
    if mapped
        || translated
        || six_to_four
        || teredo
        || link_local
        || site_local
        || address.is_multicast()
        || address.is_unspecified()
    {
        return Some(Closed::Never);
    }
    let unique_local = segments[0] & 0xfe00 == 0xfc00;
    let documentation = segments[0] == 0x2001 && segments[1] == 0xdb8;
    (unique_local || documentation).then_some(Closed::Private)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOTHING: Allowed<'static> = Allowed {
        networks: &[],
        loopback: false,
        own: &[],
    };

    fn at(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().expect("an address"), 80)
    }

    #[test]
    fn metadata_multicast_unspecified_and_mapped_addresses_are_never_dialed() {
        let networks = [
            "0.0.0.0/0".parse().expect("all"),
            "::/0".parse().expect("all"),
        ];
        let everything = Allowed {
            networks: &networks,
            loopback: true,
            own: &[],
        };
        for address in [
            "169.254.169.254",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::10.0.0.1",
            "64:ff9b::a00:1",
            "2002:a00:1::1",
            "fe80::1",
            "ff02::1",
        ] {
            assert_eq!(
                check(at(address), everything),
                Err(Closed::Never),
                "{address}"
            );
        }
    }

    #[test]
    fn private_addresses_need_a_range_of_the_policy_and_loopback_its_literal() {
        let networks = ["10.0.0.0/8".parse().expect("a range")];
        let named = Allowed {
            networks: &networks,
            ..NOTHING
        };
        assert_eq!(check(at("10.1.2.3"), NOTHING), Err(Closed::Private));
        assert_eq!(check(at("10.1.2.3"), named), Ok(()));
        assert_eq!(check(at("192.168.0.1"), named), Err(Closed::Private));
        assert_eq!(check(at("fd00::1"), named), Err(Closed::Private));
        assert_eq!(check(at("127.0.0.1"), named), Err(Closed::Loopback));
        let literal = Allowed {
            loopback: true,
            ..NOTHING
        };
        assert_eq!(check(at("127.0.0.1"), literal), Ok(()));
        assert_eq!(check(at("93.184.216.34"), NOTHING), Ok(()));
        assert_eq!(check(at("2606:2800:220:1::1"), NOTHING), Ok(()));
    }

    #[test]
    fn our_own_listeners_are_no_upstreams() {
        let own = [at("127.0.0.1")];
        let allowed = Allowed {
            loopback: true,
            own: &own,
            ..NOTHING
        };
        assert_eq!(check(at("127.0.0.1"), allowed), Err(Closed::Own));
    }

    proptest! {
        #[test]
        fn a_range_contains_what_shares_its_first_bits(base in any::<u32>(), other in any::<u32>(), bits in 0u8..=32) {
            let network: Network = format!("{}/{bits}", Ipv4Addr::from(base)).parse().expect("a range");
            let mask = if bits == 0 { 0 } else { u32::MAX << (32 - bits) };
            prop_assert_eq!(network.contains(IpAddr::V4(other.into())), base & mask == other & mask);
        }
    }
}
