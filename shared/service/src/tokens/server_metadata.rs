//! The metadata that clients and APIs can discover (RFC 8414).

use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::jwk::ALGORITHM;
use serde::Serialize;

/// The path of the token endpoint.
pub const TOKEN_PATH: &str = "/oauth/token";
/// The path of the revocation endpoint.
pub const REVOCATION_PATH: &str = "/oauth/revoke";
/// The path of the introspection endpoint.
pub const INTROSPECTION_PATH: &str = "/oauth/introspect";

/// The path of the metadata (RFC 8414, section 3).
pub const METADATA_PATH: &str = "/.well-known/oauth-authorization-server";
/// The path of the keys that verify JWTs.
pub const KEYS_PATH: &str = "/.well-known/jwks.json";

/// The authentication methods of clients.
const CLIENT_AUTHENTICATION: [&str; 2] = ["client_secret_basic", "client_secret_post"];

/// The metadata of the OAuth API (RFC 8414, section 2). Where JWTs are issued, the same document is at
/// `/.well-known/openid-configuration`, because many verifiers of JWTs discover the keys there and nowhere else. There is
/// no authorization endpoint.
#[derive(Debug, Serialize)]
pub struct ServerMetadata {
    issuer: String,
    token_endpoint: String,
    revocation_endpoint: String,
    introspection_endpoint: String,
    grant_types_supported: [&'static str; 2],
    /// Empty, because there is no authorization endpoint.
    response_types_supported: [&'static str; 0],
    token_endpoint_auth_methods_supported: [&'static str; 2],
    /// `none`: revoking a token needs no client authentication, because holding the token is enough.
    revocation_endpoint_auth_methods_supported: [&'static str; 3],
    introspection_endpoint_auth_methods_supported: [&'static str; 2],
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    jwts: Option<JwtMetadata>,
}

/// The metadata of JWTs.
#[derive(Debug, Serialize)]
struct JwtMetadata {
    jwks_uri: String,
    /// Required of `openid-configuration` (`OpenID` Connect Discovery 1.0, section 3), and without a meaning here.
    subject_types_supported: [&'static str; 1],
    /// The same. There are no ID tokens; some libraries take this for the algorithms of all tokens.
    id_token_signing_alg_values_supported: [&'static str; 1],
}

impl ServerMetadata {
    /// The metadata of the API at `issuer`, which issues JWTs or does not.
    #[must_use]
    pub fn new(issuer: &str, issues_jwts: bool) -> Self {
        let [basic, post] = CLIENT_AUTHENTICATION;
        Self {
            issuer: issuer.to_owned(),
            token_endpoint: format!("{issuer}{TOKEN_PATH}"),
            revocation_endpoint: format!("{issuer}{REVOCATION_PATH}"),
            introspection_endpoint: format!("{issuer}{INTROSPECTION_PATH}"),
            grant_types_supported: ["client_credentials", "refresh_token"],
            response_types_supported: [],
            token_endpoint_auth_methods_supported: CLIENT_AUTHENTICATION,
            revocation_endpoint_auth_methods_supported: [basic, post, "none"],
            introspection_endpoint_auth_methods_supported: CLIENT_AUTHENTICATION,
            jwts: issues_jwts.then(|| JwtMetadata {
                jwks_uri: format!("{issuer}{KEYS_PATH}"),
                subject_types_supported: ["public"],
                id_token_signing_alg_values_supported: [ALGORITHM],
            }),
        }
    }
}

/// `OAUTH_ISSUER`: the address at which clients find the OAuth API, without a `/` at its end (RFC 8414, section 2). `None`
/// means the API's own host. It has no path, because a client would look for the metadata before that path, outside of the
/// API (section 3.1).
///
/// # Errors
///
/// [`InvalidVariable`] when the value is not such an address.
pub fn issuer(environment: &Environment) -> Result<Option<String>, InvalidVariable> {
    let Some(issuer) = environment.text("OAUTH_ISSUER") else { return Ok(None) };
    let rest = issuer.strip_prefix("https://").or(issuer.strip_prefix("http://127.0.0.1:"));
    if rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['/', '?', '#'])) {
        return Ok(Some(issuer.to_owned()));
    }
    let must_be = "must be an address such as https://auth.example.com, without a path or a trailing /";
    Err(InvalidVariable::new("OAUTH_ISSUER", must_be))
}
