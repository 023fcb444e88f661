//! The settings of the keys page: how people sign in, and which pages may frame it.

use keygate_core::environment::{Environment, InvalidVariable};
use serde::Serialize;

use crate::people::settings::TokenUse;

/// The settings of the page. By default there is no sign-in with a provider, and no other page may show it in a frame.
#[derive(Debug, Default, Serialize)]
pub(super) struct ConsoleSettings {
    sign_in: Option<SignIn>,
    #[serde(skip)]
    frame_ancestors: Vec<String>,
}

/// The client of the identity provider that the page is (RFC 6749, section 4.1; RFC 7636).
#[derive(Debug, Serialize)]
struct SignIn {
    authorization_endpoint: String,
    token_endpoint: String,
    client_id: String,
    scope: String,
    /// The resource indicator of the management API (RFC 8707), for providers that want one.
    resource: Option<String>,
    token: Token,
}

/// The member of the token response that the management API accepts.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Token {
    AccessToken,
    IdToken,
}

impl ConsoleSettings {
    /// - `CONSOLE_CLIENT_ID`: the page's client id at the provider; empty, if people do not sign in on the page
    /// - `CONSOLE_AUTHORIZATION_ENDPOINT`, `CONSOLE_TOKEN_ENDPOINT`: the endpoints of the provider
    /// - `CONSOLE_SCOPE`: the scopes that the page asks for; `openid` by default
    /// - `CONSOLE_RESOURCE`: the resource indicator; none by default
    /// - `CONSOLE_FRAME_ANCESTORS`: the origins whose pages may frame the page, separated by commas; none by default
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when one is malformed, or a client id has no endpoints, or endpoints have no client id.
    pub(super) fn from_environment(environment: &Environment) -> Result<Self, InvalidVariable> {
        let endpoints = [
            environment.address("CONSOLE_AUTHORIZATION_ENDPOINT")?,
            environment.address("CONSOLE_TOKEN_ENDPOINT")?,
        ];
        let token = match TokenUse::from_environment(environment)? {
            TokenUse::Access => Token::AccessToken,
            TokenUse::Id => Token::IdToken,
        };
        let sign_in = match (environment.text("CONSOLE_CLIENT_ID"), endpoints) {
            (None, [None, None]) => None,
            (Some(client_id), [Some(authorization_endpoint), Some(token_endpoint)]) => Some(SignIn {
                authorization_endpoint,
                token_endpoint,
                client_id: client_id.to_owned(),
                scope: environment.text("CONSOLE_SCOPE").unwrap_or("openid").to_owned(),
                resource: environment.text("CONSOLE_RESOURCE").map(str::to_owned),
                token,
            }),
            _ => {
                let must_be = "must be set with CONSOLE_AUTHORIZATION_ENDPOINT and CONSOLE_TOKEN_ENDPOINT, or all three must be empty";
                return Err(InvalidVariable::new("CONSOLE_CLIENT_ID", must_be));
            }
        };
        Ok(Self { sign_in, frame_ancestors: frame_ancestors(environment)? })
    }

    /// What the page reads: JSON that may stand in a script element.
    pub(super) fn configuration(&self) -> String {
        // `<` ends or comments out a script element, and occurs in texts only, where JSON has a second spelling for it.
        serde_json::to_string(self).expect("the settings can be written as JSON").replace('<', r"\u003c")
    }

    /// The Content-Security-Policy of the page (<https://www.w3.org/TR/CSP3/>): it loads what is served beside it, calls the
    /// management API and the provider's token endpoint, shows no image but the empty one that is its icon, and turns no text into HTML or scripts except in Lit's templates.
    pub(super) fn content_security_policy(&self) -> String {
        let token_endpoint = self.sign_in.as_ref().map_or_else(String::new, |sign_in| {
            let endpoint = &sign_in.token_endpoint;
            format!(" {endpoint}")
        });
        let ancestors = match self.frame_ancestors.as_slice() {
            [] => "'none'".to_owned(),
            ancestors => ancestors.join(" "),
        };
        format!(
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'{token_endpoint}; \
             base-uri 'none'; form-action 'none'; frame-ancestors {ancestors}; \
             require-trusted-types-for 'script'; trusted-types lit-html"
        )
    }
}

/// `CONSOLE_FRAME_ANCESTORS`, each with its scheme and host alone.
fn frame_ancestors(environment: &Environment) -> Result<Vec<String>, InvalidVariable> {
    const VARIABLE: &str = "CONSOLE_FRAME_ANCESTORS";
    let listed =
        environment.text(VARIABLE).unwrap_or_default().split(',').filter(|origin| !origin.is_empty());
    listed
        .map(|origin| {
            let is_origin =
                |address: &str| address.split_once("://").is_some_and(|(_, host)| !host.contains('/'));
            let address = Environment::from_iter([(VARIABLE, origin)]).address(VARIABLE)?;
            let must_be = "must be origins such as https://dashboard.example.com, separated by commas";
            address
                .filter(|address| is_origin(address))
                .ok_or_else(|| InvalidVariable::new(VARIABLE, must_be))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const CLIENT: [(&str, &str); 3] = [
        ("CONSOLE_CLIENT_ID", "keys"),
        ("CONSOLE_AUTHORIZATION_ENDPOINT", "https://id.example.com/auth"),
        ("CONSOLE_TOKEN_ENDPOINT", "https://id.example.com/token"),
    ];

    fn settings(variables: &[(&str, &str)]) -> Result<ConsoleSettings, InvalidVariable> {
        ConsoleSettings::from_environment(&variables.iter().copied().collect())
    }

    fn configuration(variables: &[(&str, &str)]) -> Value {
        serde_json::from_str(&settings(variables).unwrap().configuration()).unwrap()
    }

    #[test]
    fn the_page_is_told_of_the_provider_that_is_configured() {
        assert_eq!(configuration(&[]), json!({"sign_in": null}));
        let sign_in = json!({
            "authorization_endpoint": "https://id.example.com/auth", "token_endpoint": "https://id.example.com/token",
            "client_id": "keys", "scope": "openid", "resource": null, "token": "access_token",
        });
        assert_eq!(configuration(&CLIENT), json!({"sign_in": sign_in}));
        let others = [
            ("CONSOLE_SCOPE", "openid keys:write"),
            ("CONSOLE_RESOURCE", "https://keys.example.com"),
            ("OIDC_TOKEN_USE", "id"),
        ];
        let configured = configuration(&[CLIENT.as_slice(), &others].concat());
        assert_eq!(configured["sign_in"]["scope"], "openid keys:write");
        assert_eq!(configured["sign_in"]["resource"], "https://keys.example.com");
        assert_eq!(configured["sign_in"]["token"], "id_token");
    }

    #[test]
    fn half_a_provider_is_an_error() {
        for left_out in 0..CLIENT.len() {
            let mut half = CLIENT.to_vec();
            half.remove(left_out);
            assert_eq!(settings(&half).unwrap_err().name, "CONSOLE_CLIENT_ID", "{half:?}");
        }
    }

    #[test]
    fn an_endpoint_that_is_not_an_address_is_an_error_that_names_its_variable() {
        for (name, value) in [
            ("CONSOLE_AUTHORIZATION_ENDPOINT", "javascript:alert(1)"),
            ("CONSOLE_TOKEN_ENDPOINT", "http://id.example.com/token"),
            ("CONSOLE_TOKEN_ENDPOINT", "https://id.example.com/token; script-src *"),
            ("CONSOLE_FRAME_ANCESTORS", "https://dashboard.example.com/path"),
            ("CONSOLE_FRAME_ANCESTORS", "*"),
            ("OIDC_TOKEN_USE", "refresh"),
        ] {
            let variables = [CLIENT.as_slice(), &[(name, value)]].concat();
            assert_eq!(settings(&variables).unwrap_err().name, name, "{value}");
        }
    }

    #[test]
    fn no_setting_ends_the_element_that_holds_the_configuration() {
        let hostile = [("CONSOLE_SCOPE", "</script><script>alert(1)</script><!--")];
        let variables = [CLIENT.as_slice(), &hostile].concat();
        assert!(!settings(&variables).unwrap().configuration().contains('<'));
        assert_eq!(configuration(&variables)["sign_in"]["scope"], hostile[0].1);
    }

    #[test]
    fn the_page_may_load_and_call_what_it_needs_and_nothing_else() {
        let policy = settings(&[]).unwrap().content_security_policy();
        let directives = policy.split("; ").collect::<Vec<_>>();
        assert_eq!(
            directives,
            [
                "default-src 'none'",
                "script-src 'self'",
                "style-src 'self'",
                "img-src data:",
                "connect-src 'self'",
                "base-uri 'none'",
                "form-action 'none'",
                "frame-ancestors 'none'",
                "require-trusted-types-for 'script'",
                "trusted-types lit-html",
            ]
        );
        let listed = [("CONSOLE_FRAME_ANCESTORS", "https://a.example.com,http://localhost:5173")];
        let policy = settings(&[CLIENT.as_slice(), &listed].concat()).unwrap().content_security_policy();
        assert!(policy.contains("; connect-src 'self' https://id.example.com/token; "), "{policy}");
        assert!(
            policy.contains("; frame-ancestors https://a.example.com http://localhost:5173; "),
            "{policy}"
        );
    }
}
