//! The permissions of a key, which a caller must hold to create, rotate or widen it.

use crate::endpoint_rule::{self, EndpointRule};
use crate::error::Error;
use crate::network::{self, Network};
use crate::scope::Scope;

/// What a key may do, where, and from which addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions<'a> {
    /// The scopes.
    pub scopes: &'a [Scope],
    /// The endpoint rules. Without any, the key may be used everywhere.
    pub endpoints: &'a [EndpointRule],
    /// The networks. Without any, the key may be used from every address.
    pub networks: &'a [Network],
}

impl Permissions<'_> {
    /// Requires that the endpoint rules and networks of `demanded` are within these. Scopes are not compared.
    ///
    /// Without rules, all rules are within these; with rules, those that one of them covers, and never a key without rules. The
    /// same is true of networks.
    ///
    /// # Errors
    ///
    /// - [`Error::InsufficientEndpoints`], [`Error::InsufficientNetworks`]: names the first rule or network that is not
    ///   within these.
    pub(crate) fn require_within(self, demanded: Permissions<'_>) -> Result<(), Error> {
        check(self.endpoints, demanded.endpoints, |rule| endpoint_rule::cover(self.endpoints, rule))
            .map_err(|rule| Error::InsufficientEndpoints(rule.cloned()))?;
        check(self.networks, demanded.networks, |network| network::cover(self.networks, *network))
            .map_err(|network| Error::InsufficientNetworks(network.copied()))
    }
}

/// Checks that every demanded restriction is covered by the held ones. The error is the first that is not, or `None` if there is
/// no restriction and there must be one.
fn check<'a, T>(held: &[T], demanded: &'a [T], is_covered: impl Fn(&T) -> bool) -> Result<(), Option<&'a T>> {
    if held.is_empty() {
        return Ok(());
    }
    if demanded.is_empty() {
        return Err(None);
    }
    match demanded.iter().find(|restriction| !is_covered(restriction)) {
        Some(restriction) => Err(Some(restriction)),
        None => Ok(()),
    }
}
