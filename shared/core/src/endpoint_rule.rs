//! Endpoint rules: where a key may be used.
//!
//! ```text
//! GET /orders/*      $connect
//! │   │              └ connecting to a WebSocket API
//! │   └ path: exactly this one, or with `/*` at its end every path below it, and not the path itself
//! └ method, or `*` for all seven
//! ```
//!
//! A key without rules may be used everywhere; a key with rules only where one of them allows it, and never on an
//! [ambiguous path](is_ambiguous). The same rules have two forms: they are written into an IAM policy
//! ([`allowed_resources`], [`AMBIGUOUS_RESOURCES`], [`this_path_resource`]), which API Gateway evaluates, or evaluated here for
//! the call at hand ([`allow`]). Both mean the same, but for paths with control characters in a cached policy
//! (`docs/decisions/0010-endpoint-rules.md`).

use thiserror::Error as ThisError;

use crate::credential;

/// The maximum number of rules of a key.
pub const MAX_ENDPOINT_RULES: usize = 20;

/// The methods that `*` stands for. They are written out in a policy, because the `*` of IAM crosses `/`: `*/public/*` would also
/// match `GET/admin/public/x`.
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// The route of a WebSocket API on which a connection is authorised, and the rule that allows it.
const CONNECT: &str = "$connect";

/// The maximum length of a rule, in bytes. It keeps a resource of a policy below the 512 characters that API Gateway takes.
const MAX_RULE_LEN: usize = 200;

string_newtype! {
    /// One rule in its canonical form.
    ///
    /// A path consists of `/` and segments of letters, digits and `-._~:@+=`. A segment is not empty, `.` or `..`. Every
    /// other character of a URL is ambiguous or has a meaning in IAM (`*`, `?`, `$`).
    EndpointRule or InvalidEndpointRule, by |text| {
        if text != CONNECT && (text.len() > MAX_RULE_LEN || !is_method_and_path(text)) {
            Err(InvalidEndpointRule::Form)
        } else if credential::contains_credential(text) {
            Err(InvalidEndpointRule::Credential)
        } else {
            Ok(())
        }
    }
}

/// The error of a text that is not an [`EndpointRule`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum InvalidEndpointRule {
    /// It does not have the form of a rule.
    #[error(
        "must be $connect, or a method in capitals or *, a space and a path such as /orders, /orders/7 or /orders/*, \
        at most 200 characters of A-Z, a-z, 0-9, '/' and '-._~:@+=' with no empty, '.' or '..' segment, \
        and * only as the last one"
    )]
    Form,
    /// Its path contains a credential.
    #[error("{}", credential::MUST_NOT_BE)]
    Credential,
}

fn is_method_and_path(text: &str) -> bool {
    let Some((method, path)) = text.split_once(' ') else { return false };
    let is_segment = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:@+=".contains(&byte))
    };
    let fixed = path.strip_suffix("/*").unwrap_or(path);
    let is_path = matches!(path, "/" | "/*")
        || fixed.strip_prefix('/').is_some_and(|fixed| fixed.split('/').all(is_segment));
    (method == "*" || METHODS.contains(&method)) && is_path
}

impl EndpointRule {
    /// The methods and the path; `None` for [`CONNECT`].
    fn methods_and_path(&self) -> Option<(&[&str], &str)> {
        let (method, path) = self.0.split_once(' ')?;
        let one = METHODS.iter().position(|known| *known == method);
        Some((one.map_or(&METHODS[..], |index| &METHODS[index..=index]), path))
    }

    /// The rule for the calls that both rules allow; `None` if there are none.
    fn overlap(&self, other: &Self) -> Option<Self> {
        let (Some((method, path)), Some((other_method, other_path))) =
            (self.0.split_once(' '), other.0.split_once(' '))
        else {
            return (self == other).then(|| self.clone());
        };
        let method = match (method, other_method) {
            ("*", narrower) | (narrower, "*") => narrower,
            (one, other) if one == other => one,
            _ => return None,
        };
        let path = if includes(path, other_path) {
            other_path
        } else if includes(other_path, path) {
            path
        } else {
            return None;
        };
        Some(Self(format!("{method} {path}")))
    }

    /// The resources of a policy that the rule allows, without their beginning, a stage's ARN and `/`
    /// (<https://docs.aws.amazon.com/apigateway/latest/developerguide/api-gateway-control-access-using-iam-policies-to-invoke-api.html>).
    fn resources(&self) -> Vec<String> {
        match self.methods_and_path() {
            None => vec![CONNECT.to_owned()],
            Some((methods, path)) => methods.iter().map(|method| format!("{method}{path}")).collect(),
        }
    }
}

/// The resources of a policy that the rules allow, without their beginning, a stage's ARN and `/`.
#[must_use]
pub fn allowed_resources(rules: &[EndpointRule]) -> Vec<String> {
    rules.iter().flat_map(EndpointRule::resources).collect()
}

/// The resources of a policy that match the [ambiguous paths](is_ambiguous), without their beginning,
/// `arn:<partition>:execute-api:*:*:`. The last one matches a `/` at the end of a path that is not the root.
///
/// A `?` is not among them: see [`QUESTION_MARK_RESOURCE`]. Nor are control characters, which the grammar of policies excludes:
/// see [`this_path_resource`].
pub const AMBIGUOUS_RESOURCES: [&str; 10] =
    ["*//*", "*/./*", "*/.", "*/../*", "*/..", "*%*", "*\\*", "*;*", "*#*", "*/*/*/?*/"];

/// The resource that matches paths with a `?`, which as itself would match every character. It belongs into a statement of its
/// own, because a variable that cannot be replaced makes its whole statement invalid
/// (<https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_variables.html#policy-vars-specialchars>).
pub const QUESTION_MARK_RESOURCE: &str = "*${?}*";

/// The maximum length of [`this_path_resource`] before its `*`.
const MAX_THIS_PATH_LEN: usize = 100;

/// The resource of a policy that matches a method and path, such as `GET/orders/7`, without its beginning, a stage's ARN and
/// `/`. Each character that a rule cannot contain is written as a `?`, which matches any one. A long path is cut, and so is one
/// at its first control character, which neither `?` nor the end of a pattern may match.
///
/// It denies the ambiguous path of the call at hand, however API Gateway understands [`AMBIGUOUS_RESOURCES`].
#[must_use]
pub fn this_path_resource(method_and_path: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "/-._~:@+=".contains(character);
    let mut resource: String = method_and_path
        .chars()
        .take_while(|character| !character.is_control())
        .take(MAX_THIS_PATH_LEN)
        .map(|character| if is_plain(character) { character } else { '?' })
        .collect();
    if resource.len() < method_and_path.chars().count() {
        resource.push('*');
    }
    resource
}

/// Whether API Gateway, a proxy and a backend could resolve `path` differently: it has an empty, `.` or `..` segment, a `/` at
/// its end, a control character, or one of `%`, `\`, `;`, `?` and `#`.
///
/// `/orders/../users` is below `/orders/` as text, and is `/users` when it is resolved (RFC 3986, section 5.2.4). A `%` may hide
/// any of the others, and AWS does not document whether it is decoded before paths are compared. Some servers cut a segment at
/// `;`, and a path at a decoded `?`, `#` or NUL; browsers and others leave tabs and line ends out
/// (<https://url.spec.whatwg.org/#concept-basic-url-parser>).
#[must_use]
pub fn is_ambiguous(path: &str) -> bool {
    path.contains(|character: char| character.is_control() || r"%\;?#".contains(character))
        || path != "/" && path.split('/').skip(1).any(|segment| matches!(segment, "" | "." | ".."))
}

/// Whether a key with these rules may make a call.
#[must_use]
pub fn allow(rules: &[EndpointRule], method: &str, path: &str) -> bool {
    !is_ambiguous(path)
        && rules
            .iter()
            .filter_map(EndpointRule::methods_and_path)
            .any(|(methods, allowed)| methods.contains(&method) && includes(allowed, path))
}

/// Whether a key with these rules may connect to a WebSocket API.
#[must_use]
pub fn allow_connect(rules: &[EndpointRule]) -> bool {
    rules.iter().any(|rule| rule.as_str() == CONNECT)
}

/// Whether `held` allows every call that `demanded` allows.
///
/// For each method, one rule must cover all paths: the paths below a path are infinite, so several rules never add up to all of
/// them.
#[must_use]
pub fn cover(held: &[EndpointRule], demanded: &EndpointRule) -> bool {
    let Some((methods, path)) = demanded.methods_and_path() else { return held.contains(demanded) };
    methods.iter().all(|method| {
        let mut held = held.iter().filter_map(EndpointRule::methods_and_path);
        held.any(|(held_methods, held_path)| held_methods.contains(method) && includes(held_path, path))
    })
}

/// Whether the path of a rule matches a path, or every path that the path of another rule matches.
fn includes(rule: &str, path: &str) -> bool {
    match rule.strip_suffix('*') {
        Some(beginning) => path.starts_with(beginning),
        None => path == rule,
    }
}

/// The rules for the calls that two lists both allow, where an empty list allows every call; `None` if there are no such calls.
#[must_use]
pub fn common(one: &[EndpointRule], other: &[EndpointRule]) -> Option<Vec<EndpointRule>> {
    if one.is_empty() || other.is_empty() {
        return Some([one, other].concat());
    }
    let mut common: Vec<EndpointRule> = Vec::new();
    for rule in one.iter().flat_map(|one| other.iter().filter_map(|other| one.overlap(other))) {
        if !cover(&common, &rule) {
            common.retain(|wider| !cover(std::slice::from_ref(&rule), wider));
            common.push(rule);
        }
    }
    (!common.is_empty()).then_some(common)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::KEY_TEXT;

    fn rules(texts: &[&str]) -> Vec<EndpointRule> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_rule_is_a_method_and_a_path_or_connect() {
        for valid in [
            "$connect",
            "GET /",
            "GET /*",
            "* /orders",
            "DELETE /orders/7",
            "OPTIONS /orders/*",
            "GET /.well-known/...",
            "PUT /users/a-b._~:@+=c/*",
        ] {
            assert_eq!(valid.parse::<EndpointRule>().map(|rule| rule.to_string()), Ok(valid.to_owned()));
        }
        for invalid in [
            "",
            "$connect ",
            "$disconnect",
            "GET",
            "GET ",
            "GET  /orders",
            "GET orders",
            " GET /orders",
            "GET /orders ",
            "get /orders",
            "ANY /orders",
            "CONNECT /orders",
            "*/orders",
            "GET /orders/",
            "GET /orders//7",
            "GET //",
            "GET /orders*",
            "GET /orders/7*",
            "GET /orders/**",
            "GET /orders/*/items",
            "GET /*/items",
            "GET *",
            "GET /.",
            "GET /orders/..",
            "GET /orders/../*",
            "GET /orders/{id}",
            "GET /orders?x",
            "GET /%2e%2e",
            "GET /$default",
            "GET /a;b",
            "GET /a,b",
            "GET /a\\b",
            "GET /é",
            "GET /a\n",
        ] {
            assert_eq!(invalid.parse::<EndpointRule>(), Err(InvalidEndpointRule::Form), "{invalid}");
        }
        let key = KEY_TEXT;
        let leaking = format!("GET /keys/{key}/*");
        assert_eq!(leaking.parse::<EndpointRule>(), Err(InvalidEndpointRule::Credential));
        assert!(format!("GET /{}", "a".repeat(195)).parse::<EndpointRule>().is_ok());
        assert!(format!("GET /{}", "a".repeat(196)).parse::<EndpointRule>().is_err());
    }

    #[test]
    fn a_rule_allows_its_path_or_the_paths_below_it() {
        // rule, method, path, allowed
        for (rule, method, path, allowed) in [
            ("GET /orders", "GET", "/orders", true),
            ("GET /orders", "GET", "/orders/7", false),
            ("GET /orders", "GET", "/Orders", false),
            ("GET /orders", "POST", "/orders", false),
            ("GET /orders", "HEAD", "/orders", false),
            ("GET /orders/*", "GET", "/orders/7", true),
            ("GET /orders/*", "GET", "/orders/7/items", true),
            ("GET /orders/*", "GET", "/orders", false),
            ("GET /orders/*", "GET", "/orders-of-others", false),
            ("GET /orders/*", "GET", "/public/orders/7", false),
            ("* /orders", "OPTIONS", "/orders", true),
            ("* /orders", "CONNECT", "/orders", false),
            ("GET /", "GET", "/", true),
            ("GET /*", "GET", "/", true),
            ("GET /*", "GET", "/orders", true),
            ("$connect", "GET", "/", false),
            ("GET /*", "GET", "", false),
        ] {
            assert_eq!(allow(&rules(&[rule]), method, path), allowed, "{rule} for {method} {path}");
        }
        assert!(!allow(&[], "GET", "/"), "no rule allows nothing");
    }

    #[test]
    fn no_rule_allows_an_ambiguous_path() {
        for path in [
            "//", "/a/", "/a//b", "//a", "/.", "/..", "/a/.", "/a/..", "/a/./b", "/a/../b", "/a%2fb", "/%",
            "/a\\b", "/a;b", "/a?b", "/?", "/a#b", "/a\0b", "/a\tb", "/a\n", "/a\r", "/a\u{7f}", "/a\u{85}",
        ] {
            assert!(is_ambiguous(path) && !allow(&rules(&["* /*"]), "GET", path), "{path}");
        }
        for path in ["/", "/a", "/a.b", "/.a", "/a..b", "/..a", "/a/...", "/*", "/a b", "/é"] {
            assert!(!is_ambiguous(path), "{path}");
        }
    }

    #[test]
    fn the_resource_of_a_path_has_only_characters_that_a_policy_may_have() {
        for (call, resource) in [
            ("GET/orders/7", "GET/orders/7"),
            ("GET/orders/7?x", "GET/orders/7?x"),
            ("GET/a*${aws:x}/%", "GET/a???aws:x?/?"),
            ("GET/a/b\0/c", "GET/a/b*"),
            ("GET/a\n", "GET/a*"),
            ("GET/é//..", "GET/?//.."),
        ] {
            assert_eq!(this_path_resource(call), resource);
        }
        let long = format!("GET/{}", "é".repeat(300));
        assert_eq!(this_path_resource(&long), format!("GET/{}*", "?".repeat(96)));
    }

    #[test]
    fn a_rule_is_covered_where_everything_it_allows_is_allowed() {
        // held, demanded, covered
        let table: [(&[&str], &str, bool); 14] = [
            (&["GET /orders"], "GET /orders", true),
            (&["GET /orders"], "GET /orders/*", false),
            (&["GET /orders/*"], "GET /orders", false),
            (&["GET /orders/*"], "GET /orders/7", true),
            (&["GET /orders/*"], "GET /orders/7/*", true),
            (&["GET /orders/7/*"], "GET /orders/*", false),
            (&["* /orders"], "GET /orders", true),
            (&["GET /orders"], "* /orders", false),
            (
                &["GET /*", "HEAD /*", "POST /*", "PUT /*", "PATCH /*", "DELETE /*", "OPTIONS /*"],
                "* /a",
                true,
            ),
            (&["GET /*", "HEAD /*", "POST /*", "PUT /*", "PATCH /*", "DELETE /*"], "* /a", false),
            (&["* /*"], "$connect", false),
            (&["$connect"], "$connect", true),
            (&["$connect"], "GET /", false),
            (&[], "GET /", false),
        ];
        for (held, demanded, covered) in table {
            assert_eq!(cover(&rules(held), &demanded.parse().unwrap()), covered, "{held:?} for {demanded}");
        }
    }

    #[test]
    fn the_intersection_of_two_lists_has_the_narrower_of_each_two_rules() {
        let list = |texts: &str| rules(&texts.split_terminator(", ").collect::<Vec<_>>());
        for (one, other, expected) in [
            ("", "", Some("")),
            ("", "GET /a", Some("GET /a")),
            ("GET /a", "PUT /a, GET /b", None),
            ("* /a/*", "GET /a/b, GET /b", Some("GET /a/b")),
            ("GET /*", "* /a/*, * /a/b", Some("GET /a/*")),
            ("* /*", "* /a", Some("* /a")),
            ("$connect, GET /a", "$connect", Some("$connect")),
            ("$connect", "* /*", None),
        ] {
            assert_eq!(common(&list(one), &list(other)), expected.map(list), "{one} and {other}");
            assert_eq!(common(&list(other), &list(one)), expected.map(list), "{other} and {one}");
        }
    }

    proptest! {
        #[test]
        fn the_intersection_of_two_lists_allows_the_calls_that_both_allow(
            one in prop::collection::vec("(\\*|GET|PUT) /(\\*|a(/b)?(/\\*)?)", 1..4),
            other in prop::collection::vec("(\\*|GET|PUT) /(\\*|a(/b)?(/\\*)?)", 1..4),
            method in "GET|PUT|POST",
            path in "(/[abc]){0,3}/?",
        ) {
            let parse = |texts: &[String]| texts.iter().map(|rule| rule.parse().unwrap()).collect::<Vec<EndpointRule>>();
            let (one, other) = (parse(&one), parse(&other));
            let both = allow(&one, &method, &path) && allow(&other, &method, &path);
            let common = common(&one, &other).unwrap_or_default();
            prop_assert_eq!(allow(&common, &method, &path), both, "{:?}", common);
        }

        #[test]
        fn a_covered_rule_allows_only_calls_of_the_covering_list(
            held in prop::collection::vec("(\\*|GET|PUT) /(\\*|a(/b)?(/\\*)?)", 1..4),
            demanded in "(\\*|GET|PUT) /(\\*|a(/b)?(/\\*)?)",
            method in "GET|PUT|POST",
            path in "(/[abc]){0,3}/?",
        ) {
            let held: Vec<EndpointRule> = held.iter().map(|rule| rule.parse().unwrap()).collect();
            let demanded: EndpointRule = demanded.parse().unwrap();
            if cover(&held, &demanded) && allow(&[demanded], &method, &path) {
                prop_assert!(allow(&held, &method, &path));
            }
        }
    }
}
