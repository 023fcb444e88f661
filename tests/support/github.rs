//! Reports of leaked credentials with the signature of GitHub. The stack's identity provider publishes its key for ES256 as GitHub's.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use serde_json::{Value, json};

use crate::support::function::{Function, request};
use crate::support::people::{files, key_of_stack};
use crate::support::stack::{Answer, variable};
use crate::support::workspace::Workspace;

/// The type that the reports of the tests have.
pub(crate) const TYPE: &str = "keygate_credential";

const KEY_ID: &str = "Github-Public-Key-Identifier";
const SIGNATURE: &str = "Github-Public-Key-Signature";

/// A key that signs reports.
pub(crate) struct GitHubKey {
    pair: EcdsaKeyPair,
    pub(crate) id: String,
}

impl GitHubKey {
    /// The published key.
    pub(crate) fn of_stack() -> Self {
        let (pair, id) = key_of_stack(&ECDSA_P256_SHA256_ASN1_SIGNING);
        Self { pair, id }
    }

    /// A new key of that id, which is not published.
    pub(crate) fn new(id: &str) -> Self {
        let (algorithm, random) = (&ECDSA_P256_SHA256_ASN1_SIGNING, SystemRandom::new());
        let key = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random).expect("the same key");
        Self { pair, id: id.to_owned() }
    }

    /// The headers of a report with this body.
    pub(crate) fn sign(&self, body: &str) -> [(&'static str, String); 2] {
        let signature = self.pair.sign(&SystemRandom::new(), body.as_bytes()).expect("a signature");
        [(KEY_ID, self.id.clone()), (SIGNATURE, STANDARD.encode(signature))]
    }
}

/// A report of texts, as GitHub makes it.
pub(crate) fn matches(texts: &[&str]) -> Value {
    let matches = texts.iter().map(|text| {
        let url = "https://github.com/octocat/Hello-World/blob/main/foo/bar.txt";
        json!({"token": text, "type": TYPE, "url": url, "source": "content"})
    });
    matches.collect()
}

/// Sends a body with headers to the deployed route.
pub(crate) async fn send(workspace: &Workspace, headers: &[(&'static str, String)], body: &str) -> Answer {
    let url = format!("{}/leaks/github", variable("KEYGATE_API_URL"));
    let mut request = workspace.api.client().request(Method::POST, url);
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let request = request.header("Content-Type", "application/json").body(body.to_owned());
    Answer::of(request.send().await.expect("a response of the stack")).await
}

/// Starts a function that accepts reports with the keys of an identity provider.
pub(crate) async fn function(issuer: &str, more: &[(&str, &str)]) -> Function {
    let (url, bundle) = (format!("{issuer}/github/keys"), files().join("ca.pem"));
    let settings =
        [("GITHUB_KEYS_URL", url.as_str()), ("AWS_CA_BUNDLE", bundle.to_str().expect("a path in UTF-8"))];
    Function::start("report-leaks", &[&settings[..], more].concat()).await
}

/// The event of a report to a function of the test's own.
pub(crate) fn event(workspace: &Workspace, headers: &[(&'static str, String)], body: &Value) -> Value {
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    request(workspace, ("POST", "/leaks/github"), None, &headers, body)
}
