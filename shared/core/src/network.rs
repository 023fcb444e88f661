//! Networks: the addresses from which a key may be used.
//!
//! A key without networks may be used from every address. API Gateway evaluates networks as a condition of an authorizer's
//! policy ([`aws:SourceIp`](https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html#condition-keys-sourceip)),
//! and the authorizer evaluates them here for the call at hand ([`allow`]).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv6Net};
use serde::{Deserialize, Serialize};
use thiserror::Error as ThisError;

/// The maximum number of networks of a key.
pub const MAX_NETWORKS: usize = 20;

/// A block of IPv4 or IPv6 addresses in CIDR notation (RFC 4632, section 3.1; RFC 4291, section 2.3), without address bits
/// after the prefix. IPv6 is written as RFC 5952 says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Network(IpNet);

/// The error of a text that is not a [`Network`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum InvalidNetwork {
    /// It is neither a block nor an address.
    #[error("must be a CIDR block such as 203.0.113.0/24 or 2001:db8::/32, or an address")]
    Form,
    /// Bits of the address after the prefix are set, so the block was mistyped or is another one.
    #[error("must have no address bits after the prefix, such as {0}")]
    BitsAfterPrefix(IpNet),
    /// It contains IPv4 addresses that are mapped to IPv6, which API Gateway shows as IPv4.
    #[error("must be an IPv4 block instead of IPv4-mapped IPv6 addresses")]
    MappedIpv4,
}

/// The IPv6 addresses that stand for IPv4 addresses (RFC 4291, section 2.5.5.2).
const MAPPED_IPV4: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);

impl FromStr for Network {
    type Err = InvalidNetwork;

    /// Parses a block, or a single address as the block of that address.
    fn from_str(text: &str) -> Result<Self, InvalidNetwork> {
        let block = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address),
            Err(_) => text.parse().map_err(|_| InvalidNetwork::Form)?,
        };
        if matches!(block, IpNet::V6(block) if MAPPED_IPV4.contains(&block)) {
            return Err(InvalidNetwork::MappedIpv4);
        }
        if block.trunc() == block {
            Ok(Self(block))
        } else {
            Err(InvalidNetwork::BitsAfterPrefix(block.trunc()))
        }
    }
}

impl TryFrom<String> for Network {
    type Error = InvalidNetwork;

    fn try_from(text: String) -> Result<Self, InvalidNetwork> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// Whether a key with these networks may be used from an address, given as text. A text that is not an address is in no
/// network.
#[must_use]
pub fn allow(networks: &[Network], address: &str) -> bool {
    if networks.is_empty() {
        return true;
    }
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let address = address.to_canonical();
    networks.iter().any(|network| network.0.contains(&address))
}

/// Whether one of the networks contains every address of `demanded`. Several networks that contain it only together do not
/// count.
#[must_use]
pub fn cover(held: &[Network], demanded: Network) -> bool {
    held.iter().any(|held| held.0.contains(&demanded.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn networks(texts: &[&str]) -> Vec<Network> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_network_is_a_block_without_bits_after_its_prefix_and_is_written_in_one_way() {
        for (text, canonical) in [
            ("203.0.113.0/24", "203.0.113.0/24"),
            ("203.0.113.7", "203.0.113.7/32"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:DB8:0:0::/32", "2001:db8::/32"),
            ("2001:db8::7", "2001:db8::7/128"),
            ("::/0", "::/0"),
        ] {
            let network: Network = text.parse().unwrap();
            assert_eq!(network.to_string(), canonical);
            assert_eq!(serde_json::to_string(&network).unwrap(), format!("\"{canonical}\""));
            assert_eq!(serde_json::from_str::<Network>(&format!("\"{canonical}\"")).unwrap(), network);
        }
        for (text, error) in [
            ("", InvalidNetwork::Form),
            ("203.0.113.0/33", InvalidNetwork::Form),
            ("203.0.113/24", InvalidNetwork::Form),
            ("203.0.113.007", InvalidNetwork::Form),
            ("203.0.113.0/24 ", InvalidNetwork::Form),
            ("203.0.113.0-203.0.113.9", InvalidNetwork::Form),
            ("*", InvalidNetwork::Form),
            ("fe80::1%eth0", InvalidNetwork::Form),
            ("::ffff:203.0.113.7", InvalidNetwork::MappedIpv4),
            ("::ffff:0:0/96", InvalidNetwork::MappedIpv4),
        ] {
            assert_eq!(text.parse::<Network>(), Err(error), "{text}");
        }
        let said = "10.1.2.3/8".parse::<Network>().unwrap_err().to_string();
        assert_eq!(said, "must have no address bits after the prefix, such as 10.0.0.0/8");
    }

    #[test]
    fn a_key_with_networks_works_from_their_addresses_alone() {
        let held = networks(&["203.0.113.0/24", "2001:db8::/32"]);
        for (address, allowed) in [
            ("203.0.113.0", true),
            ("203.0.113.255", true),
            ("203.0.114.0", false),
            ("::ffff:203.0.113.7", true),
            ("2001:db8:ffff::1", true),
            ("2001:db9::1", false),
            ("", false),
            ("203.0.113.7, 198.51.100.1", false),
            ("test-invoke-source-ip", false),
        ] {
            assert_eq!(allow(&held, address), allowed, "{address}");
            assert!(allow(&[], address), "a key without networks works from everywhere");
        }
    }

    #[test]
    fn one_network_must_contain_all_of_another() {
        let held = networks(&["10.0.0.0/9", "10.128.0.0/9", "2001:db8::/32"]);
        for (demanded, covered) in [
            ("10.0.0.0/9", true),
            ("10.1.0.0/16", true),
            ("10.0.0.0/8", false),
            ("2001:db8::1", true),
            ("::/0", false),
        ] {
            assert_eq!(cover(&held, demanded.parse().unwrap()), covered, "{demanded}");
        }
    }

    /// The bits of an address, without the code that is tested.
    fn bits(address: IpAddr) -> (u32, u128) {
        match address {
            IpAddr::V4(address) => (32, u32::from(address).into()),
            IpAddr::V6(address) => (128, address.into()),
        }
    }

    fn addresses() -> impl Strategy<Value = IpAddr> {
        let v4 = any::<u32>().prop_map(|bits| IpAddr::V4(bits.into()));
        let v6 = any::<u128>().prop_map(|bits| IpAddr::V6(bits.into()));
        prop_oneof![v4, v6].prop_filter("IPv4-mapped addresses are shown as IPv4", |address| {
            address.to_canonical() == *address
        })
    }

    proptest! {
        /// Compared with the definition of a prefix: the first bits of both are the same.
        #[test]
        fn a_network_contains_the_addresses_with_its_prefix(
            start in addresses(), other in addresses(), prefix in 0..=128_u32, flipped in 0..128_u32,
        ) {
            let (width, value) = bits(start);
            let prefix = prefix % (width + 1);
            let kept = |value: u128| value.checked_shr(width - prefix).unwrap_or(0);
            let truncated = kept(value).checked_shl(width - prefix).unwrap_or(0);
            let text = |bits: u128| match start {
                IpAddr::V4(_) => IpAddr::V4(u32::try_from(bits).unwrap().into()).to_string(),
                IpAddr::V6(_) => IpAddr::V6(bits.into()).to_string(),
            };
            let block = format!("{}/{prefix}", text(truncated)).parse::<Network>();
            // A prefix can have the form of IPv4-mapped addresses by chance.
            if let Ok(network) = block {
                let near = value ^ (1 << (flipped % width));
                prop_assert_eq!(allow(&[network], &text(near)), kept(near) == kept(value));
                let (other_width, other_value) = bits(other);
                let inside = other_width == width && kept(other_value) == kept(value);
                prop_assert_eq!(allow(&[network], &other.to_string()), inside);
            }
        }
    }
}
