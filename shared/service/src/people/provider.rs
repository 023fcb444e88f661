//! The signing keys of the identity provider: fetched, and kept for a while.
//!
//! `OpenID` Connect Discovery 1.0, section 4: the document at the issuer's well-known address says where the keys are. A key that
//! the provider no longer publishes verifies nothing more after an hour at the latest.

use std::time::Duration;

use chrono::{DateTime, Utc};
use jsonwebtoken::Algorithm;
use keygate_core::error::Error;
use serde::Deserialize;
use tokio::time::Instant;

use crate::aws::document_client::DocumentClient;
use crate::aws::publication::Publication;
use crate::people::settings::PeopleSettings;
use crate::people::signing_keys::SigningKeys;

/// How long both documents together may take.
const FETCH_BUDGET: Duration = Duration::from_secs(2);
/// The maximum size of a document, in bytes.
const MAX_DOCUMENT_BYTES: usize = 64 * 1024;

/// Has the signing keys of one issuer.
#[derive(Debug)]
pub struct Provider(Keys);

#[derive(Debug)]
enum Keys {
    /// Those that the operator configured. They change with a deployment.
    Static(SigningKeys),
    /// Those that the issuer publishes.
    Published(Box<Issuer>),
}

#[derive(Debug)]
struct Issuer {
    /// Word for word as its documents have it.
    name: String,
    client: DocumentClient,
    keys: Publication<SigningKeys>,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    jwks_uri: String,
}

impl Provider {
    /// The provider that `settings` name. Nothing is fetched yet.
    #[must_use]
    pub fn new(settings: &PeopleSettings, client: DocumentClient) -> Self {
        let Some(keys) = &settings.signing_keys else {
            let (name, keys) = (settings.issuer.clone(), Publication::new("the identity provider"));
            return Self(Keys::Published(Box::new(Issuer { name, client, keys })));
        };
        Self(Keys::Static(keys.clone()))
    }

    /// The keys that may have signed a token with this `kid` and algorithm; none for a `kid` that is unknown.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: there are no keys that may be used, and they could not be fetched, now or within the last minute.
    pub(super) async fn keys(
        &self,
        id: Option<&str>,
        algorithm: Algorithm,
        now: DateTime<Utc>,
    ) -> Result<SigningKeys, Error> {
        match &self.0 {
            Keys::Static(keys) => Ok(keys.find(id, algorithm)),
            Keys::Published(issuer) => {
                let find =
                    |keys: &SigningKeys| Some(keys.find(id, algorithm)).filter(|found| !found.is_empty());
                Ok(issuer.keys.find(find, issuer.fetch(), now).await?.unwrap_or_default())
            }
        }
    }
}

impl Issuer {
    async fn fetch(&self) -> Result<SigningKeys, String> {
        self.read().await.inspect_err(|cause| {
            tracing::error!(%cause, "signing keys of the identity provider not fetched");
        })
    }

    /// Fetches the keys. The error repeats nothing of the documents.
    async fn read(&self) -> Result<SigningKeys, String> {
        let deadline = Instant::now() + FETCH_BUDGET;
        let read = async |what: &str, url: &str| {
            let budget = deadline.saturating_duration_since(Instant::now());
            let document = self.client.read(url, MAX_DOCUMENT_BYTES, budget).await;
            document.map_err(|error| format!("{what}: {error}"))
        };
        // A terminating slash is removed (OpenID Connect Discovery, section 4.1).
        let url = format!("{}/.well-known/openid-configuration", self.name.trim_end_matches('/'));
        let discovery = read("discovery", &url).await?;
        let discovery: Discovery = serde_json::from_slice(&discovery)
            .map_err(|_| "discovery: not a document of an issuer with keys".to_owned())?;
        if discovery.issuer != self.name {
            return Err("discovery: another issuer".to_owned());
        }
        let keys = read("keys", &discovery.jwks_uri).await?;
        SigningKeys::parse(&keys).map_err(|error| format!("keys: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use chrono::TimeDelta;
    use keygate_core::environment::Environment;

    use super::*;
    use crate::people::fixtures::{Answer, TestKey, TestProvider, now};

    fn provider(server: &TestProvider) -> Provider {
        let issuer: [(String, String); 3] = [
            ("OIDC_ISSUER".to_owned(), server.url.clone()),
            ("OIDC_AUDIENCE".to_owned(), "keys".to_owned()),
            ("OIDC_WORKSPACE".to_owned(), "acme".to_owned()),
        ];
        let environment: Environment = issuer.into_iter().collect();
        let settings = PeopleSettings::from_environment(&environment).unwrap().unwrap();
        Provider::new(&settings, server.aws().documents())
    }

    /// Whether a key for ES256 is found after some seconds; `None` if there is no decision.
    async fn has(provider: &Provider, kid: &str, seconds: i64) -> Option<bool> {
        let now = now() + TimeDelta::seconds(seconds);
        let keys = provider.keys(Some(kid), Algorithm::ES256, now).await;
        keys.ok().map(|keys| !keys.is_empty())
    }

    #[tokio::test]
    async fn published_keys_are_kept_for_an_hour_and_a_removed_one_ends_with_it() {
        let server = TestProvider::start();
        server.publish(&[TestKey::ec().jwk("one"), TestKey::ec().jwk("two")]);
        let provider = provider(&server);
        assert_eq!(has(&provider, "one", 0).await, Some(true));
        assert_eq!(has(&provider, "two", 3_599).await, Some(true));
        assert_eq!(server.requests(), 2, "discovery and keys, once");
        server.publish(&[TestKey::ec().jwk("two")]);
        assert_eq!(has(&provider, "one", 3_599).await, Some(true));
        assert_eq!(has(&provider, "one", 3_600).await, Some(false));
        assert_eq!(has(&provider, "two", 3_600).await, Some(true));
        assert_eq!(server.requests(), 4);
    }

    #[tokio::test]
    async fn an_unknown_key_is_fetched_at_most_once_a_minute() {
        let server = TestProvider::start();
        server.publish(&[TestKey::ec().jwk("one")]);
        let provider = provider(&server);
        assert_eq!(has(&provider, "one", 0).await, Some(true));
        server.publish(&[TestKey::ec().jwk("one"), TestKey::ec().jwk("new")]);
        for second in [0, 1, 59] {
            assert_eq!(has(&provider, "new", second).await, Some(false));
            assert_eq!(has(&provider, &format!("invented-{second}"), second).await, Some(false));
        }
        assert_eq!(server.requests(), 2);
        assert_eq!(has(&provider, "new", 60).await, Some(true));
        assert_eq!(has(&provider, "invented", 61).await, Some(false));
        assert_eq!(server.requests(), 4);
    }

    #[tokio::test]
    async fn kept_keys_serve_while_the_provider_is_down_and_without_them_there_is_no_decision() {
        let server = TestProvider::start();
        server.publish(&[TestKey::ec().jwk("one")]);
        let down = provider(&server);
        assert_eq!(has(&down, "one", 0).await, Some(true));
        server.fail();
        assert_eq!(has(&down, "one", 3_599).await, Some(true));
        assert_eq!(has(&down, "other", 3_599).await, Some(false), "an attempt that fails");
        let requests = server.requests();
        assert_eq!(has(&down, "one", 3_600).await, None);
        assert_eq!(has(&down, "one", 3_658).await, None);
        assert_eq!(server.requests(), requests, "a failed attempt counts too");
        assert_eq!(has(&down, "one", 3_659).await, None);
        assert_eq!(server.requests(), requests + 1);
        let never_up = provider(&server);
        assert_eq!(has(&never_up, "one", 0).await, None);

        server.publish_discovery(&server.url);
        server.publish(&[TestKey::ec().jwk("one")]);
        assert_eq!(has(&never_up, "one", 60).await, Some(true));
    }

    #[tokio::test]
    async fn concurrent_requests_share_one_fetch() {
        let server = TestProvider::start();
        server.publish(&[TestKey::ec().jwk("one")]);
        let provider = Arc::new(provider(&server));
        let requests = (0..20).map(|_| {
            let provider = Arc::clone(&provider);
            tokio::spawn(async move { has(&provider, "one", 0).await })
        });
        for request in requests.collect::<Vec<_>>() {
            assert_eq!(request.await.unwrap(), Some(true));
        }
        assert_eq!(server.requests(), 2);
    }

    #[tokio::test]
    async fn documents_that_are_not_what_they_must_be_give_no_keys() {
        let server = TestProvider::start();
        let keys = serde_json::json!({"keys": [TestKey::ec().jwk("one")]});
        let (discovery, jwks) = ("/.well-known/openid-configuration", "/keys");
        let document =
            |issuer: &str, uri: &str| Answer::of(&serde_json::json!({"issuer": issuer, "jwks_uri": uri}));
        let good = document(&server.url, &format!("{}/keys", server.url));
        let redirect = |path: &str| Answer {
            status: "302 Found",
            headers: format!("location: {}{path}\r\n", server.url),
            ..Answer::of(&"")
        };
        let many: Vec<_> = (0..101).map(|_| TestKey::ec().jwk("one")).collect();
        server.answer("/elsewhere", Answer::of(&keys));
        for (case, path, answer) in [
            ("a redirect", discovery, redirect("/elsewhere")),
            (
                "another issuer",
                discovery,
                document("https://evil.example.com", &format!("{}/keys", server.url)),
            ),
            (
                "an issuer with a slash more",
                discovery,
                document(&format!("{}/", server.url), "https://a/keys"),
            ),
            ("keys over HTTP", discovery, document(&server.url, &server.url.replace("https", "http"))),
            ("an address with a user", discovery, document(&server.url, "https://user@localhost/keys")),
            ("no JSON", discovery, Answer::of(&"<html>")),
            ("an error", discovery, Answer { status: "500 Internal Server Error", ..good.clone() }),
            ("another success", discovery, Answer { status: "206 Partial Content", ..good.clone() }),
            ("a redirect of the keys", jwks, redirect("/elsewhere")),
            ("keys that are no JSON", jwks, Answer::of(&"keys")),
            ("no keys", jwks, Answer::of(&r#"{"keys": []}"#)),
            ("too many keys", jwks, Answer::of(&serde_json::json!({"keys": many}))),
            (
                "keys that are too large",
                jwks,
                Answer::of(&format!("{keys}{}", " ".repeat(MAX_DOCUMENT_BYTES))),
            ),
            ("keys that are too slow", jwks, Answer { pause: FETCH_BUDGET, ..Answer::of(&keys) }),
        ] {
            server.answer(discovery, good.clone());
            server.answer(jwks, Answer::of(&keys));
            assert_eq!(has(&provider(&server), "one", 0).await, Some(true));
            server.answer(path, answer);
            assert_eq!(has(&provider(&server), "one", 0).await, None, "{case}");
        }
    }
}
