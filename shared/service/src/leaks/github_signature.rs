//! The signatures of GitHub's secret scanning on its reports, and the keys that GitHub publishes for them.
//!
//! <https://docs.github.com/en/code-security/secret-scanning/secret-scanning-partnership-program/secret-scanning-partner-program>

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use keygate_core::environment::Environment;
use keygate_core::error::Error;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;

use crate::aws::document_client::DocumentClient;
use crate::aws::publication::Publication;

/// The header with the id of the key that signed the body.
pub const KEY_ID_HEADER: &str = "github-public-key-identifier";

/// The header with the signature of the body.
pub const SIGNATURE_HEADER: &str = "github-public-key-signature";

/// How long the document of keys may take.
const FETCH_BUDGET: Duration = Duration::from_secs(2);
/// The maximum size of the document, in bytes.
const MAX_DOCUMENT_BYTES: usize = 64 * 1024;

/// How the public key of a P-256 signature begins in DER (RFC 5480, section 2). The point follows, uncompressed.
const P256_KEY: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The signature of a report, as its headers have it.
#[derive(Clone, Copy, Debug)]
pub struct ReportSignature<'a> {
    /// The id of the key.
    pub key_id: &'a str,
    /// The signature in base64: ECDSA with P-256 and SHA-256 over the body, in ASN.1.
    pub signature: &'a str,
}

/// Verifies the signatures of reports with the keys that GitHub publishes.
#[derive(Debug)]
pub struct GitHubKeys {
    url: String,
    client: DocumentClient,
    published: Publication<PublishedKeys>,
}

/// The points of the published keys, by the ids of the keys.
#[derive(Debug)]
struct PublishedKeys(HashMap<String, Vec<u8>>);

impl GitHubKeys {
    /// Reads `GITHUB_KEYS_URL`, the address of the keys; `None` without it: then the deployment accepts no reports of GitHub.
    #[must_use]
    pub fn from_environment(client: DocumentClient, environment: &Environment) -> Option<Self> {
        let url = environment.text("GITHUB_KEYS_URL")?.to_owned();
        Some(Self { url, client, published: Publication::new("GitHub") })
    }

    /// Verifies that GitHub signed exactly these bytes.
    ///
    /// # Errors
    ///
    /// - [`Error::InvalidSignature`]: it did not, or not with a key that it publishes.
    /// - [`Error::Unavailable`]: there are no keys that may be used, and they could not be fetched, now or within the last minute.
    pub async fn verify(
        &self,
        ReportSignature { key_id, signature }: ReportSignature<'_>,
        body: &[u8],
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let signature = STANDARD.decode(signature).map_err(|_| Error::InvalidSignature)?;
        let find = |keys: &PublishedKeys| keys.0.get(key_id).cloned();
        let key = self.published.find(find, self.fetch(), now).await?.ok_or(Error::InvalidSignature)?;
        let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key);
        key.verify(body, &signature).map_err(|_| Error::InvalidSignature)
    }

    async fn fetch(&self) -> Result<PublishedKeys, String> {
        let document = self.client.read(&self.url, MAX_DOCUMENT_BYTES, FETCH_BUDGET).await;
        let keys = document.map_err(|error| error.to_string()).and_then(|document| {
            PublishedKeys::parse(&document).ok_or_else(|| "not a document of keys for P-256".to_owned())
        });
        keys.inspect_err(|cause| tracing::error!(%cause, "signing keys of GitHub not fetched"))
    }
}

impl PublishedKeys {
    /// Reads the document; `None` if it has no key for P-256. Other keys are left out.
    fn parse(document: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Document {
            public_keys: Vec<PublishedKey>,
        }
        #[derive(Deserialize)]
        struct PublishedKey {
            key_identifier: String,
            key: String,
        }
        let document: Document = serde_json::from_slice(document).ok()?;
        let keys = document.public_keys.into_iter().filter_map(|published| {
            let key = SubjectPublicKeyInfoDer::from_pem_slice(published.key.as_bytes()).ok()?;
            Some((published.key_identifier, key.strip_prefix(&P256_KEY)?.to_vec()))
        });
        let keys: HashMap<_, _> = keys.collect();
        (!keys.is_empty()).then_some(Self(keys))
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use serde_json::json;

    use super::*;
    use crate::people::fixtures::{Answer, TestProvider, now};

    /// The example in GitHub's documentation.
    const BODY: &str = r#"[{"source":"commit","token":"some_token","type":"some_type","url":"https://example.com/base-repo-url/"}]"#;
    const KEY_ID: &str = "bcb53661c06b4728e59d897fb6165d5c9cda0fd9cdf9d09ead458168deb7518c";
    const SIGNATURE: &str =
        "MEQCIQDaMKqrGnE27S0kgMrEK0eYBmyG0LeZismAEz/BgZyt7AIfXt9fErtRS4XaeSt/AO1RtBY66YcAdjxji410VQV4xg==";
    /// The key of that id, as GitHub published it.
    const KEY: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEYAGMWO8XgCamYKMJS6jc/qgvSlAd\nAjPuDPRcXU22YxgBrz+zoN19MzuRyW87qEt9/AmtoNP5GrobzUvQSyJFVw==\n-----END PUBLIC KEY-----\n";
    /// Another key that GitHub published.
    const OTHER_ID: &str = "90a421169f0a406205f1563a953312f0be898d3c7b6c06b681aa86a874555f4a";
    const OTHER_KEY: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE9MJJHnMfn2+H4xL4YaPDA4RpJqUq\nkCmRCBnYERxZanmcpzQSXs1X/AljlKkbJ8qpVIW4clayyef9gWhFbNHWAA==\n-----END PUBLIC KEY-----\n";

    fn publish(server: &TestProvider, keys: &[(&str, &str)]) {
        let keys: Vec<_> = keys
            .iter()
            .map(|(id, key)| json!({"key_identifier": id, "key": key, "is_current": true}))
            .collect();
        server.answer("/keys", Answer::of(&json!({"public_keys": keys})));
    }

    fn keys(server: &TestProvider) -> GitHubKeys {
        let url = format!("{}/keys", server.url);
        let environment = Environment::from_iter([("GITHUB_KEYS_URL", url.as_str())]);
        GitHubKeys::from_environment(server.aws().documents(), &environment).unwrap()
    }

    /// Whether a signature is valid after some seconds; `None` if there is no decision.
    async fn is_valid(
        keys: &GitHubKeys,
        (key_id, signature): (&str, &str),
        body: &str,
        seconds: i64,
    ) -> Option<bool> {
        let now = now() + TimeDelta::seconds(seconds);
        match keys.verify(ReportSignature { key_id, signature }, body.as_bytes(), now).await {
            Ok(()) => Some(true),
            Err(Error::InvalidSignature) => Some(false),
            Err(_) => None,
        }
    }

    #[tokio::test]
    async fn the_signature_of_the_documentation_is_valid_for_its_body_and_its_key_alone() {
        let server = TestProvider::start();
        publish(&server, &[(OTHER_ID, OTHER_KEY), (KEY_ID, KEY)]);
        let keys = keys(&server);
        assert_eq!(is_valid(&keys, (KEY_ID, SIGNATURE), BODY, 0).await, Some(true));
        let mut changed: Vec<_> =
            (0..BODY.len()).map(|index| [&BODY[..index], "~", &BODY[index + 1..]].concat()).collect();
        changed.extend([format!("{BODY}\n"), format!(" {BODY}"), String::new()]);
        for body in changed {
            assert_eq!(is_valid(&keys, (KEY_ID, SIGNATURE), &body, 0).await, Some(false), "{body}");
        }
        let of_another_number = SIGNATURE.replacen("DaMK", "DaMa", 1);
        let upper_case = KEY_ID.to_uppercase();
        for signed in [
            (KEY_ID, of_another_number.as_str()),
            (KEY_ID, &SIGNATURE[..SIGNATURE.len() - 2]),
            (KEY_ID, ""),
            (KEY_ID, "not base64"),
            (OTHER_ID, SIGNATURE),
            (upper_case.as_str(), SIGNATURE),
            ("", SIGNATURE),
        ] {
            assert_eq!(is_valid(&keys, signed, BODY, 0).await, Some(false), "{signed:?}");
        }
    }

    #[tokio::test]
    async fn keys_are_kept_for_an_hour_and_an_unknown_one_is_fetched_at_most_once_a_minute() {
        let server = TestProvider::start();
        publish(&server, &[(OTHER_ID, OTHER_KEY)]);
        let keys = keys(&server);
        assert_eq!(is_valid(&keys, (KEY_ID, SIGNATURE), BODY, 0).await, Some(false));
        publish(&server, &[(KEY_ID, KEY)]);
        for seconds in [1, 59] {
            assert_eq!(is_valid(&keys, (KEY_ID, SIGNATURE), BODY, seconds).await, Some(false));
            assert_eq!(is_valid(&keys, ("invented", SIGNATURE), BODY, seconds).await, Some(false));
        }
        assert_eq!(server.requests(), 1);
        assert_eq!(is_valid(&keys, (KEY_ID, SIGNATURE), BODY, 60).await, Some(true));
        server.fail();
        assert_eq!(is_valid(&keys, (KEY_ID, SIGNATURE), BODY, 3_659).await, Some(true));
        assert_eq!(server.requests(), 2);
        assert_eq!(is_valid(&keys, (KEY_ID, SIGNATURE), BODY, 3_660).await, None);
    }

    #[tokio::test]
    async fn without_a_document_that_has_a_key_for_the_curve_there_is_no_decision() {
        let server = TestProvider::start();
        let p384 = "-----BEGIN PUBLIC KEY-----\nMHYwEAYHKoZIzj0CAQYFK4EEACIDYgAE\n-----END PUBLIC KEY-----\n";
        let good = json!({"public_keys": [{"key_identifier": KEY_ID, "key": KEY}]});
        let too_large = format!("{good}{}", " ".repeat(MAX_DOCUMENT_BYTES));
        let of_key = |key: &str| json!({"public_keys": [{"key_identifier": KEY_ID, "key": key}]});
        for answer in [
            Answer::of(&json!({"public_keys": []})),
            Answer::of(&of_key("no PEM")),
            Answer::of(&of_key(p384)),
            Answer::of(&json!({"keys": []})),
            Answer::of(&too_large),
            Answer {
                status: "302 Found",
                headers: "location: /elsewhere\r\n".to_owned(),
                ..Answer::of(&good)
            },
            Answer { pause: FETCH_BUDGET, ..Answer::of(&good) },
        ] {
            let text = answer.body.clone();
            server.answer("/keys", answer);
            assert_eq!(is_valid(&keys(&server), (KEY_ID, SIGNATURE), BODY, 0).await, None, "{text}");
        }
        server.answer("/keys", Answer::of(&good));
        assert_eq!(is_valid(&keys(&server), (KEY_ID, SIGNATURE), BODY, 0).await, Some(true));
    }
}
