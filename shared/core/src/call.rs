//! A call of an API that Keygate's authorizer does not stand before, as the API's backend describes it: the method, the path and
//! the address that endpoint rules and networks are compared with.

use std::fmt;
use std::net::IpAddr;

use thiserror::Error as ThisError;

use crate::caller::Caller;
use crate::context::RequestOrigin;
use crate::decision::OUTSIDE_ENDPOINTS;
use crate::newtype::consists_of;
use crate::verification::InactiveReason;
use crate::{endpoint_rule, network};

/// The maximum length of a path, in bytes.
const MAX_PATH_LEN: usize = 2_048;

/// A call of an API. Its path may contain a credential, so `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Call {
    method: String,
    path: String,
    address: Option<IpAddr>,
}

impl fmt::Debug for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Call").finish_non_exhaustive()
    }
}

/// Why parameters do not describe a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum InvalidCall {
    /// There is a path or an address, and no method.
    #[error("is required with path or address")]
    NoMethod,
    /// There is a method or an address, and no path.
    #[error("is required with method or address")]
    NoPath,
    /// The method is not one in capitals, as endpoint rules have it.
    #[error("must be an HTTP method in capitals, such as GET")]
    Method,
    /// The path does not begin with `/`, or is too long.
    #[error("must begin with / and have at most {MAX_PATH_LEN} bytes")]
    Path,
    /// The address is not one.
    #[error("must be an IPv4 or IPv6 address")]
    Address,
}

impl InvalidCall {
    /// The name of the parameter that is wrong.
    #[must_use]
    pub fn parameter(self) -> &'static str {
        match self {
            Self::NoMethod | Self::Method => "method",
            Self::NoPath | Self::Path => "path",
            Self::Address => "address",
        }
    }
}

impl Call {
    /// The call that the parameters describe; `None` if there are none. The path is the one of the request, without a query.
    ///
    /// # Errors
    ///
    /// The first variant of [`InvalidCall`], in the order of their declaration, that applies.
    pub fn parse(
        method: Option<&str>,
        path: Option<&str>,
        address: Option<&str>,
    ) -> Result<Option<Self>, InvalidCall> {
        let (method, path) = match (method, path, address) {
            (None, None, None) => return Ok(None),
            (None, ..) => return Err(InvalidCall::NoMethod),
            (_, None, _) => return Err(InvalidCall::NoPath),
            (Some(method), Some(path), _) => (method, path),
        };
        if !consists_of(method, 1..=32, |byte| byte.is_ascii_uppercase() || byte == b'-') {
            return Err(InvalidCall::Method);
        }
        if !path.starts_with('/') || path.len() > MAX_PATH_LEN {
            return Err(InvalidCall::Path);
        }
        let address = address.map(|address| address.parse().map_err(|_| InvalidCall::Address)).transpose()?;
        Ok(Some(Self { method: method.to_owned(), path: path.to_owned(), address }))
    }

    /// The reason, in one word, for refusing the call of an accepted caller, if its endpoint rules or networks do not allow it. A
    /// call without an address is in no network.
    #[must_use]
    pub fn refusal(&self, caller: &Caller) -> Option<&'static str> {
        let address = self.address.map(|address| address.to_string()).unwrap_or_default();
        if !caller.endpoints.is_empty() && !endpoint_rule::allow(&caller.endpoints, &self.method, &self.path)
        {
            Some(OUTSIDE_ENDPOINTS)
        } else if !network::allow(caller.source_networks(), &address) {
            Some(InactiveReason::OutsideNetworks.word())
        } else {
            None
        }
    }

    /// The call as the audit trail records it.
    #[must_use]
    pub fn origin(&self) -> RequestOrigin {
        RequestOrigin {
            method: Some(self.method.clone()),
            path: Some(self.path.clone()).filter(|path| RequestOrigin::may_keep(path)),
            source: self.address.map(|address| address.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{KEY_TEXT, at, key};
    use crate::key::{Generation, Key};
    use crate::verification::{PresentedSecret, VerifiedCredential};

    fn caller(endpoints: &[&str], networks: &[&str]) -> Caller {
        let key = Key {
            endpoints: endpoints.iter().map(|rule| rule.parse().unwrap()).collect(),
            networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
            ..key()
        };
        let known = VerifiedCredential {
            key,
            generation: Generation::default(),
            presented: PresentedSecret::Current,
        };
        known.caller(at(0)).unwrap()
    }

    fn call(method: &str, path: &str, address: Option<&str>) -> Call {
        Call::parse(Some(method), Some(path), address).unwrap().unwrap()
    }

    #[test]
    fn parameters_are_a_call_or_none_or_name_the_wrong_one() {
        let long = format!("/{}", "a".repeat(MAX_PATH_LEN));
        for (method, path, address, expected) in [
            (None, None, Some("203.0.113.7"), InvalidCall::NoMethod),
            (None, Some("/a"), None, InvalidCall::NoMethod),
            (Some("GET"), None, None, InvalidCall::NoPath),
            (Some("GET"), None, Some("203.0.113.7"), InvalidCall::NoPath),
            (Some("get"), Some("/a"), None, InvalidCall::Method),
            (Some("*"), Some("/a"), None, InvalidCall::Method),
            (Some("G T"), Some("/a"), None, InvalidCall::Method),
            (Some("GET"), Some("a"), None, InvalidCall::Path),
            (Some("GET"), Some("*"), None, InvalidCall::Path),
            (Some("GET"), Some("https://api.example.com/a"), None, InvalidCall::Path),
            (Some("GET"), Some(long.as_str()), None, InvalidCall::Path),
            (Some("GET"), Some("/a"), Some("localhost"), InvalidCall::Address),
            (Some("GET"), Some("/a"), Some("203.0.113.0/24"), InvalidCall::Address),
            (Some("GET"), Some("/a"), Some("203.0.113.7:443"), InvalidCall::Address),
        ] {
            let invalid = Call::parse(method, path, address).unwrap_err();
            assert_eq!(invalid, expected, "{method:?} {path:?} {address:?}");
            let name = invalid.parameter();
            assert!(["method", "path", "address"].contains(&name), "{name}");
        }
        assert_eq!(Call::parse(None, None, None), Ok(None));
        for method in ["GET", "PROPFIND", "VERSION-CONTROL"] {
            assert!(Call::parse(Some(method), Some(&long[1..].replacen('a', "/", 1)), Some("::1")).is_ok());
        }
    }

    #[test]
    fn a_call_is_compared_with_the_rules_and_networks_of_its_caller() {
        let (rules, networks) = (&["GET /orders/*"][..], &["203.0.113.0/24", "2001:db8::/32"][..]);
        let (inside, outside) = (Some("203.0.113.7"), Some("198.51.100.1"));
        let (no_endpoint, no_network) = (Some("outside_endpoints"), Some("outside_networks"));
        for (endpoints, within, called, expected) in [
            (&[][..], &[][..], ("PROPFIND", "/a//b", None), None),
            (rules, &[], ("GET", "/orders/7", None), None),
            (rules, &[], ("POST", "/orders/7", None), no_endpoint),
            (rules, &[], ("GET", "/orders", None), no_endpoint),
            (rules, &[], ("GET", "/orders/../users", None), no_endpoint),
            (rules, &[], ("GET", "/orders/7?a=b", None), no_endpoint),
            (&["$connect"], &[], ("GET", "/$connect", None), no_endpoint),
            (&[], networks, ("GET", "/a", inside), None),
            (&[], networks, ("GET", "/a", Some("::ffff:203.0.113.7")), None),
            (&[], networks, ("GET", "/a", Some("2001:db8::7")), None),
            (&[], networks, ("GET", "/a", outside), no_network),
            (&[], networks, ("GET", "/a", None), no_network),
            (rules, networks, ("GET", "/orders/7", inside), None),
            (rules, networks, ("GET", "/users", outside), no_endpoint),
        ] {
            let (method, path, address) = called;
            let refusal = call(method, path, address).refusal(&caller(endpoints, within));
            assert_eq!(refusal, expected, "{endpoints:?} {within:?} {called:?}");
        }
    }

    #[test]
    fn the_trail_keeps_the_call_without_a_credential_in_its_path() {
        let origin = call("GET", "/orders/7", Some("203.0.113.7")).origin();
        assert_eq!((origin.method.as_deref(), origin.path.as_deref()), (Some("GET"), Some("/orders/7")));
        assert_eq!(origin.source.as_deref(), Some("203.0.113.7"));
        let misplaced = call("GET", &format!("/orders/{KEY_TEXT}"), None);
        assert_eq!(misplaced.origin().path, None);
        assert_eq!(format!("{misplaced:?}"), "Call { .. }");
    }
}
