//! JWTs, read and verified as an API does.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Method;
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde_json::Value;

use crate::support::emulator::functions;
use crate::support::oauth::basic;
use crate::support::stack::{Answer, Api, variable};
use crate::support::workspace::{Workspace, text};

/// The audiences of the stack.
pub(crate) const AUDIENCE: &str = "https://orders.example.com";
pub(crate) const OTHER_AUDIENCE: &str = "urn:example:reports";

pub(crate) const GRANT: (&str, &str) = ("grant_type", "client_credentials");

impl Workspace {
    /// Requests tokens for the first audience, as the client with this key.
    pub(crate) async fn request_jwt(&self, key: &str, more: &[(&str, &str)]) -> Answer {
        let form: Vec<_> = [GRANT, ("resource", AUDIENCE)].iter().chain(more).copied().collect();
        self.oauth("token", Some(&basic(key)), &form).await
    }

    /// The tokens in the response, which must succeed.
    pub(crate) async fn jwt(&self, key: &str, more: &[(&str, &str)]) -> Value {
        let answer = self.request_jwt(key, more).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }
}

/// A public document of the OAuth API.
pub(crate) async fn document(api: &Api, name: &str) -> Answer {
    let url = format!("{}/.well-known/{name}", variable("KEYGATE_OAUTH_URL"));
    api.send(Method::GET, &url, None, None).await
}

/// The header and the claims of the access token in a response.
pub(crate) fn decoded(tokens: &Value) -> (Value, Value) {
    let jwt = text(tokens, "access_token");
    let parts: Vec<_> =
        jwt.split('.').take(2).map(|part| URL_SAFE_NO_PAD.decode(part).expect("base64url")).collect();
    let json = |part: &[u8]| serde_json::from_slice(part).expect("JSON");
    (json(&parts[0]), json(&parts[1]))
}

/// Whether a verifier that has these keys takes the signature of a token for valid.
pub(crate) fn verifies(keys: &Value, tokens: &Value) -> bool {
    let (header, _) = decoded(tokens);
    let keys = keys["keys"].as_array().expect("keys");
    let Some(key) = keys.iter().find(|key| key["kid"] == header["kid"]) else { return false };
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).expect("base64url");
    let (signed, signature) = text(tokens, "access_token").rsplit_once('.').expect("a signature");
    let key = RsaPublicKeyComponents { n: bytes(text(key, "n")), e: bytes(text(key, "e")) };
    key.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &bytes(signature)).is_ok()
}

/// A variable of a deployed function.
pub(crate) async fn variable_of(api: &Api, logical_name: &str, name: &str) -> String {
    let functions = functions(api).await;
    let is_wanted = |function: &&Value| text(function, "FunctionName").contains(logical_name);
    let function = functions.iter().find(is_wanted).expect("a deployed function");
    text(&function["Environment"]["Variables"], name).to_owned()
}
