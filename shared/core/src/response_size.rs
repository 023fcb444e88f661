//! The room for a key in an authorizer's response, which API Gateway limits to 8 kB
//! (<https://docs.aws.amazon.com/apigateway/latest/developerguide/limits.html>).

use crate::endpoint_rule::{self, EndpointRule};
use crate::metadata::Metadata;
use crate::network::Network;
use crate::scope::Scope;

/// The bytes of a response that scopes, endpoint rules, networks and metadata may take together.
const BUDGET_BYTES: usize = 6_000;

/// The maximum length of a resource before the method: `arn:aws-us-gov:execute-api:us-gov-west-1:123456789012:`,
/// an API's id of 10, and a stage's name of 128.
const MAX_STAGE_LEN: usize = 54 + 10 + 1 + 128 + 1;

/// The maximum length of what a response has for networks besides them and a stage: the members `Condition` and `networks`, and
/// the statement that denies an address.
const MAX_NETWORK_MEMBERS_LEN: usize = 270;

/// The message for the largest attribute of a key that does not fit.
pub const MUST_FIT: &str = "must fit, with the other scopes, endpoint rules, networks and metadata, into an authorizer's response of 8 kB: \
    use fewer or shorter ones, and name the methods of a rule instead of *";

/// The attributes of a key that an authorizer's response contains, in variable number.
#[derive(Clone, Copy, Debug)]
pub struct ResponseParts<'a> {
    /// The scopes.
    pub scopes: &'a [Scope],
    /// The endpoint rules.
    pub endpoints: &'a [EndpointRule],
    /// The networks.
    pub networks: &'a [Network],
    /// The metadata.
    pub metadata: &'a Metadata,
}

impl ResponseParts<'_> {
    /// Whether a response for any API has room for the attributes.
    #[must_use]
    pub fn fit(&self) -> bool {
        self.sizes().iter().map(|(_, bytes)| bytes).sum::<usize>() <= BUDGET_BYTES
    }

    /// The name of the largest attribute of those that a request sets, if the attributes do not [`fit`](Self::fit). A request
    /// that sets no attribute is treated as one that sets all.
    #[must_use]
    pub fn too_large(&self, is_set: impl Fn(&str) -> bool) -> Option<&'static str> {
        let largest = self.sizes().into_iter().max_by_key(|(name, bytes)| (is_set(name), *bytes));
        largest.map(|(name, _)| name).filter(|_| !self.fit())
    }

    /// The attributes and their sizes in bytes, as they are written in the policy and in the context.
    fn sizes(&self) -> [(&'static str, usize); 4] {
        let scopes: usize = self.scopes.iter().map(|scope| scope.as_str().len() + " ".len()).sum();
        let resources = endpoint_rule::allowed_resources(self.endpoints);
        let resources: usize = resources.iter().map(|end| MAX_STAGE_LEN + end.len() + "\"\",".len()).sum();
        let rules: usize = self.endpoints.iter().map(|rule| rule.as_str().len() + ",".len()).sum();
        let mut networks = 0;
        if !self.networks.is_empty() {
            // In the condition of the policy and in the context, beside the statement that denies the address of the sender.
            let texts = self.networks.iter().map(|network| 2 * network.to_string().len() + "\"\",,".len());
            networks = texts.sum::<usize>() + MAX_STAGE_LEN + MAX_NETWORK_MEMBERS_LEN;
        }
        let mut metadata = 0;
        if !self.metadata.is_empty() {
            metadata = json_len(&self.metadata.to_json()) + "\"metadata\":,".len();
        }
        [("scopes", scopes), ("endpoints", resources + rules), ("networks", networks), ("metadata", metadata)]
    }
}

/// The length of a text as a JSON string, in bytes.
fn json_len(text: &str) -> usize {
    serde_json::to_string(text).map_or(usize::MAX, |json| json.len())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::fixtures::{rules, scopes};

    fn metadata(value: &Value) -> Metadata {
        Metadata::parse(value).unwrap()
    }

    #[test]
    fn the_largest_attribute_is_named_if_they_do_not_fit_together() {
        let many_scopes: Vec<String> = (0..50).map(|n| format!("{n:064}")).collect();
        let many_scopes = scopes(&many_scopes.iter().map(String::as_str).collect::<Vec<_>>());
        let networks: Vec<Network> =
            (0..20).map(|n| format!("2001:db8:ffff:ffff:ffff:ffff:ffff:{n:x}").parse().unwrap()).collect();
        let quotes = metadata(&json!({"a": "\"".repeat(200), "b": "\"".repeat(200)}));
        let all_methods = rules(&["* /a/*", "* /b/*"]);
        for (parts, largest) in [
            (
                ResponseParts { scopes: &[], endpoints: &[], networks: &[], metadata: &Metadata::default() },
                None,
            ),
            (
                ResponseParts {
                    scopes: &many_scopes,
                    endpoints: &[],
                    networks: &networks,
                    metadata: &Metadata::default(),
                },
                None,
            ),
            (
                ResponseParts {
                    scopes: &many_scopes,
                    endpoints: &[],
                    networks: &networks,
                    metadata: &quotes,
                },
                Some("scopes"),
            ),
            (
                ResponseParts {
                    scopes: &[],
                    endpoints: &all_methods,
                    networks: &networks,
                    metadata: &quotes,
                },
                Some("endpoints"),
            ),
        ] {
            assert_eq!((parts.too_large(|_| true), parts.fit()), (largest, largest.is_none()), "{parts:?}");
        }
        let parts = ResponseParts {
            scopes: &many_scopes,
            endpoints: &all_methods,
            networks: &networks,
            metadata: &quotes,
        };
        assert_eq!(
            parts.too_large(|name| name == "networks"),
            Some("networks"),
            "the request sets only these"
        );
        assert_eq!(parts.too_large(|_| false), parts.too_large(|_| true));
    }
}
