//! The source of peppers and replay keys: KMS keys that nobody can export.
//!
//! Each is derived, not stored: `kms:GenerateMac` over its label, once per version when a function starts. There is no
//! ciphertext to look after, and with the KMS key disabled no new environment can verify or forge a hash.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use hyper::body::Bytes;
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::aws::sigv4_client::{ServiceRequest, SigV4Client};
use crate::config::{MacKeySource, MacKeySources};
use crate::error::Error;
use crate::pepper::{MacKey, Peppers};

/// Calls `kms:GenerateMac`. Cheap to clone.
#[derive(Clone, Debug)]
pub struct KmsClient {
    sigv4: SigV4Client,
    url: String,
}

impl KmsClient {
    pub(crate) fn new(sigv4: SigV4Client, url: String) -> Self {
        Self { sigv4, url }
    }

    /// HMAC-SHA-256 of a message under a KMS key, 32 bytes unless KMS is wrong.
    async fn generate_mac(&self, key_id: &str, message: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
        let body = json!({
            "KeyId": key_id, "MacAlgorithm": "HMAC_SHA_256", "Message": STANDARD.encode(message),
        });
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
        let mac = self.sigv4.call_and_read(&request, read_mac).await;
        mac.map_err(|error| Error::Unavailable { service: "KMS", cause: error.with_message() })
    }
}

fn read_mac(body: &Bytes) -> Option<Zeroizing<Vec<u8>>> {
    #[derive(Deserialize)]
    struct Response {
        #[serde(rename = "Mac", default)]
        mac: SecretString,
    }
    let Response { mac } = serde_json::from_slice(body).ok()?;
    STANDARD.decode(mac.expose_secret()).ok().map(Zeroizing::new)
}

/// Derives every listed pepper, all at the same time.
///
/// # Errors
///
/// - [`Error::Unavailable`]: KMS refused or did not answer in time.
/// - [`Error::Broken`]: KMS answered with something else than 32 bytes.
pub async fn derive(client: &KmsClient, sources: MacKeySources) -> Result<Peppers, Error> {
    let mut derivations: JoinSet<Result<MacKey, Error>> =
        sources.versions.into_iter().map(|source| derive_one(client.clone(), source)).collect();
    let mut keys = Vec::with_capacity(derivations.len());
    while let Some(derived) = derivations.join_next().await {
        keys.push(derived.map_err(|failure| Error::unavailable("KMS", &failure))??);
    }
    Ok(Peppers::new(keys, sources.current))
}

/// Derives one key.
///
/// # Errors
///
/// As [`derive()`].
pub async fn derive_one(client: KmsClient, source: MacKeySource) -> Result<MacKey, Error> {
    let mac = client.generate_mac(&source.kms_key, &source.label).await?;
    let mut key = Zeroizing::new([0; 32]);
    if mac.len() != key.len() {
        return Err(Error::Broken(format!("KMS answered with a MAC of {} bytes instead of 32", mac.len())));
    }
    key.copy_from_slice(&mac);
    Ok(MacKey::new(source.version, &key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aws::test_server::{TestServer, response};

    fn source() -> MacKeySource {
        MacKeySource { version: 7, label: "keygate-pepper".to_owned(), kms_key: "arn:key".to_owned() }
    }

    #[tokio::test]
    async fn a_key_is_the_mac_of_its_label() {
        let body =
            json!({"KeyId": "arn:key", "MacAlgorithm": "HMAC_SHA_256", "Mac": STANDARD.encode([9; 32])});
        let server = TestServer::start([response("200 OK", &body.to_string())]);
        let key = derive_one(server.aws().kms(), source()).await.unwrap();
        assert_eq!(key.version(), 7);
        let request = server.requests().remove(0);
        assert_eq!(request.line, "POST / HTTP/1.1");
        assert_eq!(request.headers["x-amz-target"], "TrentService.GenerateMac");
        assert_eq!(request.headers["content-type"], "application/x-amz-json-1.1");
        assert!(request.headers["authorization"].contains("/eu-west-1/kms/aws4_request"));
        let expected =
            json!({"KeyId": "arn:key", "MacAlgorithm": "HMAC_SHA_256", "Message": "a2V5Z2F0ZS1wZXBwZXI="});
        assert_eq!(request.json(), expected);
    }

    #[tokio::test]
    async fn a_mac_of_another_length_is_no_key() {
        for body in ["{}", r#"{"Mac": ""}"#, r#"{"Mac": "AAAA"}"#] {
            let server = TestServer::start([response("200 OK", body)]);
            let error = derive_one(server.aws().kms(), source()).await.unwrap_err();
            assert!(matches!(error, Error::Broken(_)), "{body}: {error:?}");
        }
    }

    #[tokio::test]
    async fn a_key_that_kms_refuses_is_a_failure_that_says_why() {
        let disabled = r#"{"__type": "DisabledException", "message": "arn:key is disabled."}"#;
        let server = TestServer::start([response("400 Bad Request", disabled)]);
        let error = derive_one(server.aws().kms(), source()).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { service: "KMS", .. }), "{error:?}");
        assert!(error.to_string().contains("DisabledException: arn:key is disabled."), "{error}");
    }
}
