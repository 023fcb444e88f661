//! Derives peppers, and the MAC keys of idempotent requests, from KMS keys that cannot be exported.
//!
//! Each one is derived when an environment starts, by `kms:GenerateMac` over its label, and is not stored. So there is no
//! ciphertext to keep, and while the KMS key is disabled no new environment can verify or forge a hash.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use hyper::body::Bytes;
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::pepper::{MacKey, Peppers};
use serde::Deserialize;
use serde_json::json;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::aws::signature::ServiceRequest;
use crate::aws::sigv4_client::SigV4Client;

/// The label of a pepper is this text and its version, so that the version alone tells how the pepper is derived.
///
/// NEVER change this value: no credential issued before would be recognised.
const PEPPER_LABEL: &str = "keygate-pepper-";

/// The source of a MAC key: `kms:GenerateMac(key, HMAC_SHA_256, label)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MacKeySource {
    /// The version, which is stored beside each hash that is made under the MAC key.
    pub version: u32,
    /// The message of the MAC, so that one KMS key gives many peppers.
    pub label: String,
    /// The ARN of a KMS key with the spec `HMAC_256`.
    pub kms_key: String,
}

/// The sources of all versions of a MAC key, and the current version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MacKeySources {
    /// The versions that are accepted, each once.
    pub versions: Vec<MacKeySource>,
    /// The version of new hashes, one of these.
    pub current: u32,
}

impl MacKeySources {
    /// `PEPPER_KEY`, `PEPPER_VERSIONS` and `CURRENT_PEPPER_VERSION`: the KMS key from which every pepper is derived, the versions
    /// whose hashes are accepted, and the version of new hashes. Every function must know a version before any function uses it,
    /// so a new version is listed in one deployment and becomes the current one in the next.
    ///
    /// ```
    /// # use keygate::aws::kms::MacKeySources;
    /// # use keygate_core::environment::Environment;
    /// let environment = Environment::from_iter([
    ///     ("PEPPER_KEY", "arn:aws:kms:eu-west-1:123456789012:key/4d7e"),
    ///     ("PEPPER_VERSIONS", "1,2"),
    ///     ("CURRENT_PEPPER_VERSION", "1"),
    /// ]);
    /// let peppers = MacKeySources::peppers(&environment).unwrap();
    /// assert_eq!((peppers.current, peppers.versions[1].label.as_str()), (1, "keygate-pepper-2"));
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when one of the variables is not set or not of its form, when `PEPPER_VERSIONS` names a version twice,
    /// or when `CURRENT_PEPPER_VERSION` is not one of the versions.
    pub fn peppers(environment: &Environment) -> Result<Self, InvalidVariable> {
        const KEY: &str = "PEPPER_KEY";
        const KEY_MUST_BE: &str = "must be the ARN of a KMS key";
        const VERSIONS: &str = "PEPPER_VERSIONS";
        const VERSIONS_MUST_BE: &str = "must be whole numbers from 1, separated by commas, each once";
        const CURRENT: &str = "CURRENT_PEPPER_VERSION";
        const CURRENT_MUST_BE: &str = "must be one of the versions that PEPPER_VERSIONS lists";
        let kms_key = environment.required(KEY, KEY_MUST_BE)?;
        if !kms_key.starts_with("arn:") {
            return Err(InvalidVariable::new(KEY, KEY_MUST_BE));
        }
        let mut versions: Vec<MacKeySource> = Vec::new();
        for text in environment.required(VERSIONS, VERSIONS_MUST_BE)?.split(',') {
            let version = pepper_version(text)
                .filter(|version| versions.iter().all(|source| source.version != *version))
                .ok_or_else(|| InvalidVariable::new(VERSIONS, VERSIONS_MUST_BE))?;
            let label = format!("{PEPPER_LABEL}{version}");
            versions.push(MacKeySource { version, label, kms_key: kms_key.clone() });
        }
        let current = pepper_version(&environment.required(CURRENT, CURRENT_MUST_BE)?)
            .filter(|current| versions.iter().any(|source| source.version == *current))
            .ok_or_else(|| InvalidVariable::new(CURRENT, CURRENT_MUST_BE))?;
        Ok(Self { versions, current })
    }
}

/// A version as it is written in a label: without a sign and without leading zeros.
fn pepper_version(text: &str) -> Option<u32> {
    let version: u32 = text.parse().ok()?;
    (version > 0 && version.to_string() == text).then_some(version)
}

impl MacKeySource {
    /// `IDEMPOTENT_CREATE_MAC_KEY`: the source of the MAC key from which the secrets of idempotent creates are derived, as
    /// `version:label:key ARN`. There is only one, because a request that was recorded under another key is not found again.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is not set or not of that form.
    pub fn of_creates(environment: &Environment) -> Result<Self, InvalidVariable> {
        Self::from_environment(environment, "IDEMPOTENT_CREATE_MAC_KEY")
    }

    /// `IDEMPOTENT_ROTATE_MAC_KEY`: the same for idempotent rotations. It is another KMS key, so that create-key and
    /// rotate-key cannot derive each other's secrets.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is not set or not of that form.
    pub fn of_rotations(environment: &Environment) -> Result<Self, InvalidVariable> {
        Self::from_environment(environment, "IDEMPOTENT_ROTATE_MAC_KEY")
    }

    fn from_environment(environment: &Environment, name: &'static str) -> Result<Self, InvalidVariable> {
        const MUST_BE: &str = "must be version:label:KMS key ARN";
        Self::parse(&environment.required(name, MUST_BE)?).ok_or_else(|| InvalidVariable::new(name, MUST_BE))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().splitn(3, ':').map(str::to_owned);
        let version = parts.next()?.parse().ok()?;
        let label = parts.next().filter(|label| !label.is_empty())?;
        let kms_key = parts.next().filter(|key| key.starts_with("arn:"))?;
        Some(Self { version, label, kms_key })
    }
}

/// Derives MAC keys.
#[derive(Clone, Debug)]
pub struct MacClient {
    sigv4: SigV4Client,
    url: String,
}

impl MacClient {
    pub(crate) fn new(sigv4: SigV4Client, url: String) -> Self {
        Self { sigv4, url }
    }

    /// Derives all listed peppers concurrently.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: KMS refused the call or did not respond in time.
    /// - [`Error::Broken`]: KMS responded with a MAC that does not have 32 bytes.
    pub async fn derive(&self, sources: MacKeySources) -> Result<Peppers, Error> {
        let derive = |source| {
            let client = self.clone();
            async move { client.derive_one(source).await }
        };
        let mut derivations: JoinSet<_> = sources.versions.into_iter().map(derive).collect();
        let mut keys = Vec::with_capacity(derivations.len());
        while let Some(derived) = derivations.join_next().await {
            keys.push(derived.map_err(|failure| Error::unavailable("KMS", &failure))??);
        }
        Ok(Peppers::new(keys, sources.current))
    }

    /// Derives one MAC key.
    ///
    /// # Errors
    ///
    /// As [`derive`](Self::derive).
    pub async fn derive_one(&self, source: MacKeySource) -> Result<MacKey, Error> {
        let message = STANDARD.encode(source.label);
        let body = json!({"KeyId": source.kms_key, "MacAlgorithm": "HMAC_SHA_256", "Message": message});
        let body = body.to_string();
        let request = ServiceRequest {
            service: "kms",
            method: Method::POST,
            url: &self.url,
            headers: &[
                ("content-type", "application/x-amz-json-1.1"),
                ("x-amz-target", "TrentService.GenerateMac"),
            ],
            body: body.as_bytes(),
        };
        // The request may be logged: it has an ARN and a label.
        let mac = self.sigv4.call_and_read(&request, read_mac).await;
        let mac = mac.map_err(|error| Error::Unavailable { service: "KMS", cause: error.with_message() })?;
        let mut key = Zeroizing::new([0; 32]);
        if mac.len() != key.len() {
            return Err(Error::Broken(format!("KMS returned a MAC of {} bytes instead of 32", mac.len())));
        }
        key.copy_from_slice(&mac);
        Ok(MacKey::new(source.version, &key))
    }
}

fn read_mac(body: &Bytes) -> Option<Zeroizing<Vec<u8>>> {
    #[derive(Deserialize)]
    struct Response<'a> {
        #[serde(rename = "Mac")]
        mac: &'a str,
    }
    let Response { mac } = serde_json::from_slice(body).ok()?;
    STANDARD.decode(mac).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use keygate_core::credential::{Credential, CredentialForm, KeyId};
    use serde_json::Value;

    use super::*;
    use crate::aws::test_server::{ArrivedRequest, TestServer, response};

    const KEY: &str = "arn:aws:kms:eu-west-1:1:key/a";

    fn peppers(key: &str, versions: &str, current: &str) -> Result<MacKeySources, InvalidVariable> {
        MacKeySources::peppers(&Environment::from_iter([
            ("PEPPER_KEY", key),
            ("PEPPER_VERSIONS", versions),
            ("CURRENT_PEPPER_VERSION", current),
        ]))
    }

    /// A change of a label changes every pepper, and with it every stored hash.
    #[test]
    fn each_version_has_its_label_and_all_have_one_key() {
        let sources = peppers(KEY, "1,2,4294967295", "2").unwrap();
        let labels: Vec<_> = sources.versions.iter().map(|source| source.label.as_str()).collect();
        assert_eq!(labels, ["keygate-pepper-1", "keygate-pepper-2", "keygate-pepper-4294967295"]);
        assert!(sources.versions.iter().all(|source| source.kms_key == KEY));
        assert_eq!(sources.current, 2);
    }

    #[test]
    fn a_pepper_can_be_known_before_it_is_used() {
        let current = |current| peppers(KEY, "1,2", current).map(|peppers| peppers.current);
        assert_eq!((current("1"), current("2")), (Ok(1), Ok(2)));
        for wrong in ["", "3", "01", "+1", " 1"] {
            assert_eq!(current(wrong).unwrap_err().name, "CURRENT_PEPPER_VERSION", "{wrong}");
        }
    }

    #[test]
    fn versions_are_numbers_each_once() {
        for wrong in ["", "0", "one", "1,", "1,1", "01", "+1", "1 ,2", "1, 2", "4294967296", "1:label:arn:a"]
        {
            assert_eq!(peppers(KEY, wrong, "1").unwrap_err().name, "PEPPER_VERSIONS", "{wrong}");
        }
        for wrong in ["", "alias/keygate-pepper"] {
            assert_eq!(peppers(wrong, "1", "1").unwrap_err().name, "PEPPER_KEY", "{wrong}");
        }
    }

    #[test]
    fn the_key_of_an_idempotent_request_is_version_label_and_key() {
        let source =
            |value| MacKeySource::of_creates(&Environment::from_iter([("IDEMPOTENT_CREATE_MAC_KEY", value)]));
        let one = source("1:one:arn:aws:kms:eu-west-1:1:key/a").unwrap();
        assert_eq!((one.version, one.label.as_str(), one.kms_key.as_str()), (1, "one", KEY));
        for wrong in ["", "one", "1:one", "1:one:key/a", "1::arn:aws:kms", "x:one:arn:a"] {
            assert!(source(wrong).is_err(), "{wrong}");
        }
    }

    async fn derive(responses: &[String]) -> (Result<Peppers, Error>, Vec<ArrivedRequest>) {
        let server = TestServer::start(responses.to_vec());
        let derived = server.aws().macs().derive(peppers(KEY, "1", "1").unwrap()).await;
        (derived, server.requests())
    }

    fn mac(bytes: &[u8]) -> String {
        response(
            "200 OK",
            &json!({"Mac": STANDARD.encode(bytes), "MacAlgorithm": "HMAC_SHA_256"}).to_string(),
        )
    }

    /// A change of the request changes every pepper.
    /// <https://docs.aws.amazon.com/kms/latest/APIReference/API_GenerateMac.html>
    #[tokio::test]
    async fn a_pepper_is_the_mac_of_its_label() {
        let (derived, requests) = derive(&[mac(&[7; 32])]).await;
        let message = STANDARD.encode("keygate-pepper-1");
        let request = json!({"KeyId": KEY, "MacAlgorithm": "HMAC_SHA_256", "Message": message});
        assert_eq!(serde_json::from_slice::<Value>(&requests[0].body).unwrap(), request);
        assert_eq!(requests[0].headers["x-amz-target"], "TrentService.GenerateMac");
        assert!(requests[0].headers["authorization"].contains("/eu-west-1/kms/aws4_request"));

        let expected = Peppers::new(vec![MacKey::new(1, &Zeroizing::new([7; 32]))], 1);
        let credential = Credential::draw(KeyId::generate(Utc::now()), CredentialForm::ApiKey);
        assert_eq!(derived.unwrap().hash(&credential).as_bytes(), expected.hash(&credential).as_bytes());
    }

    #[tokio::test]
    async fn a_response_that_has_no_mac_derives_no_pepper() {
        let (derived, _) = derive(&[mac(&[7; 31])]).await;
        assert!(matches!(derived, Err(Error::Broken(_))), "{derived:?}");
        let disabled = r#"{"__type": "DisabledException", "message": "the key is disabled"}"#;
        for unusable in [
            vec![response("400 Bad Request", disabled)],
            vec![response("200 OK", r#"{"Mac": "no base64"}"#); 3],
        ] {
            let (derived, requests) = derive(&unusable).await;
            assert!(matches!(derived, Err(Error::Unavailable { service: "KMS", .. })), "{derived:?}");
            assert_eq!(requests.len(), unusable.len());
        }
    }
}
