//! The KMS keys that sign JWTs: RSA keys of 2048 bits, whose private part never leaves KMS.

use aws_sdk_kms::Client;
use aws_sdk_kms::error::SdkError;
use aws_sdk_kms::operation::get_public_key::GetPublicKeyError;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{MessageType, SigningAlgorithmSpec};
use chrono::{DateTime, TimeDelta, Utc};
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::jwk::{Jwk, JwkSet};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, OnceCell};

const MUST_BE_KEYS: &str = "must be ARNs of KMS keys, separated by commas";

/// How long published keys are served without asking KMS again. A key that is disabled is published for at most this time.
const KEPT: TimeDelta = TimeDelta::minutes(5);

/// The key that signs new JWTs.
#[derive(Debug)]
pub struct SigningKey {
    client: Client,
    arn: String,
    public: OnceCell<Jwk>,
}

impl SigningKey {
    /// `JWT_SIGNING_KEY`: the ARN of the key. KMS is not called before the first signature, so that a deployment whose signing key
    /// is disabled still issues other tokens.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is not set or not an ARN.
    pub fn new(client: Client, environment: &Environment) -> Result<Self, InvalidVariable> {
        const NAME: &str = "JWT_SIGNING_KEY";
        const MUST_BE: &str = "must be the ARN of a KMS key";
        let arn = environment.required(NAME, MUST_BE)?;
        if arn.starts_with("arn:") {
            Ok(Self { client, arn, public: OnceCell::new() })
        } else {
            Err(InvalidVariable::new(NAME, MUST_BE))
        }
    }

    /// The public key, which is read once.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: KMS refused the call or did not respond in time.
    /// - [`Error::Broken`]: the key is disabled, or not an RSA key of 2048 bits.
    pub async fn public(&self) -> Result<&Jwk, Error> {
        let read = || async {
            let key = public_key(&self.client, &self.arn).await?;
            key.ok_or_else(|| Error::Broken(format!("the signing key {} is disabled", self.arn)))
        };
        self.public.get_or_try_init(read).await
    }

    /// Signs a text with RSASSA-PKCS1-v1_5 and SHA-256. The digest is sent, because KMS signs at most 4,096 bytes.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: KMS refused the call or did not respond in time.
    /// - [`Error::Broken`]: KMS responded without a signature.
    pub async fn sign(&self, text: &str) -> Result<Vec<u8>, Error> {
        let response = self
            .client
            .sign()
            .key_id(&self.arn)
            .message(Blob::new(Sha256::digest(text).as_slice()))
            .message_type(MessageType::Digest)
            .signing_algorithm(SigningAlgorithmSpec::RsassaPkcs1V15Sha256)
            .send()
            .await
            .map_err(|failure| Error::unavailable("KMS", &failure))?;
        let signature = response.signature.map(Blob::into_inner);
        signature.ok_or_else(|| Error::Broken("KMS returned no signature".to_owned()))
    }
}

/// The keys that verify JWTs: the one that signs, the one that signed before, or the one that will sign next.
#[derive(Debug)]
pub struct PublishedKeys {
    client: Client,
    arns: Vec<String>,
    known: Mutex<Option<(DateTime<Utc>, JwkSet)>>,
}

impl PublishedKeys {
    /// `JWT_KEYS`: the ARNs of the keys, separated by commas; none if no JWTs are issued.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is not a list of ARNs.
    pub fn new(client: Client, environment: &Environment) -> Result<Self, InvalidVariable> {
        const NAME: &str = "JWT_KEYS";
        let arns: Vec<String> =
            environment.text(NAME).into_iter().flat_map(|list| list.split(',').map(str::to_owned)).collect();
        if arns.iter().all(|arn| arn.starts_with("arn:")) {
            Ok(Self { client, arns, known: Mutex::new(None) })
        } else {
            Err(InvalidVariable::new(NAME, MUST_BE_KEYS))
        }
    }

    /// Whether there are none, because no JWTs are issued.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.arns.is_empty()
    }

    /// The public keys. A key that is disabled or about to be deleted is left out, so that disabling a key withdraws it.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: KMS refused a call or did not respond in time. No key is left out for that, because verifiers
    ///   would refuse its tokens.
    /// - [`Error::Broken`]: a key is not an RSA key of 2048 bits.
    pub async fn set(&self, now: DateTime<Utc>) -> Result<JwkSet, Error> {
        let mut known = self.known.lock().await;
        if let Some((read_at, set)) = &*known
            && (TimeDelta::zero()..KEPT).contains(&(now - *read_at))
        {
            return Ok(set.clone());
        }
        let mut keys = Vec::with_capacity(self.arns.len());
        for arn in &self.arns {
            if let Some(key) = public_key(&self.client, arn).await? {
                keys.push(key);
            } else {
                tracing::warn!(key = arn, "a disabled key is not published");
            }
        }
        let set = JwkSet { keys };
        *known = Some((now, set.clone()));
        Ok(set)
    }
}

/// The public part of a key; `None` if the key is disabled or about to be deleted.
async fn public_key(client: &Client, arn: &str) -> Result<Option<Jwk>, Error> {
    let response = match client.get_public_key().key_id(arn).send().await {
        Ok(response) => response,
        Err(failure) if is_withdrawn(&failure) => return Ok(None),
        Err(failure) => return Err(Error::unavailable("KMS", &failure)),
    };
    let der = response.public_key.map(Blob::into_inner).unwrap_or_default();
    Jwk::from_der(&der)
        .map(Some)
        .map_err(|invalid| Error::Broken(format!("the public key of {arn} is {invalid}")))
}

fn is_withdrawn(failure: &SdkError<GetPublicKeyError>) -> bool {
    failure.as_service_error().is_some_and(|error| {
        matches!(
            error,
            GetPublicKeyError::DisabledException(_) | GetPublicKeyError::KmsInvalidStateException(_)
        )
    })
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    use rcgen::PublicKeyData;
    use serde_json::json;

    use super::*;
    use crate::aws::test_server::{TestServer, response};

    const KEYS: &str = "arn:aws:kms:eu-west-1:1:key/a,arn:aws:kms:eu-west-1:1:key/b";

    /// The public key of a pair that stands for one of KMS.
    fn of_kms() -> String {
        let pair = rcgen::KeyPair::from_pem(include_str!("../people/test_signing_key.pem")).unwrap();
        json!({"PublicKey": STANDARD.encode(pair.subject_public_key_info())}).to_string()
    }

    fn failure(kind: &str) -> String {
        response("400 Bad Request", &json!({"__type": kind, "message": "no"}).to_string())
    }

    fn published(server: &TestServer, arns: &str) -> PublishedKeys {
        PublishedKeys::new(server.aws().kms(), &Environment::from_iter([("JWT_KEYS", arns)])).unwrap()
    }

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    #[tokio::test]
    async fn a_disabled_key_is_not_published_and_the_others_are() {
        for state in ["DisabledException", "KMSInvalidStateException"] {
            let server = TestServer::start([failure(state), response("200 OK", &of_kms())]);
            let keys = published(&server, KEYS).set(at(0)).await.unwrap().keys;
            assert_eq!(keys.len(), 1, "{state}");
            let asked: Vec<_> =
                server.requests().iter().map(|request| request.json()["KeyId"].clone()).collect();
            assert_eq!(asked, KEYS.split(',').collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn no_key_is_left_out_for_another_failure() {
        for failure in [failure("AccessDeniedException"), failure("NotFoundException")] {
            let server = TestServer::start([response("200 OK", &of_kms()), failure]);
            let refused = published(&server, KEYS).set(at(0)).await.unwrap_err();
            assert!(matches!(refused, Error::Unavailable { service: "KMS", .. }), "{refused:?}");
        }
        let server = TestServer::start([response("200 OK", r#"{"PublicKey": "AAAA"}"#)]);
        let refused = published(&server, "arn:a").set(at(0)).await.unwrap_err();
        assert!(matches!(refused, Error::Broken(_)), "{refused:?}");
    }

    #[tokio::test]
    async fn published_keys_are_read_again_after_five_minutes() {
        let server = TestServer::start([response("200 OK", &of_kms()), failure("DisabledException")]);
        let keys = published(&server, "arn:a");
        for seconds in [0, 299] {
            assert_eq!(keys.set(at(seconds)).await.unwrap().keys.len(), 1, "{seconds}");
        }
        assert_eq!(keys.set(at(300)).await.unwrap().keys, []);
    }

    #[tokio::test]
    async fn the_digest_of_a_text_is_signed_and_the_public_key_read_once() {
        let signed = json!({"Signature": STANDARD.encode([1, 2, 3])}).to_string();
        let server = TestServer::start([response("200 OK", &of_kms()), response("200 OK", &signed)]);
        let environment = Environment::from_iter([("JWT_SIGNING_KEY", "arn:a")]);
        let key = SigningKey::new(server.aws().kms(), &environment).unwrap();
        assert_eq!(key.public().await.unwrap().kid(), key.public().await.unwrap().kid());
        assert_eq!(key.sign("a.b").await.unwrap(), [1, 2, 3]);
        let expected = json!({
            "KeyId": "arn:a",
            "Message": STANDARD.encode(Sha256::digest("a.b")),
            "MessageType": "DIGEST",
            "SigningAlgorithm": "RSASSA_PKCS1_V1_5_SHA_256",
        });
        assert_eq!(server.requests()[1].json(), expected);
    }

    #[test]
    fn keys_are_named_by_their_arns() {
        let aws = crate::aws::test_server::aws("https://127.0.0.1:1", std::time::Duration::from_secs(1));
        let published = |list| {
            PublishedKeys::new(aws.kms(), &Environment::from_iter([("JWT_KEYS", list)]))
                .map(|keys| keys.arns.len())
        };
        assert_eq!((published(""), published(KEYS)), (Ok(0), Ok(2)));
        for wrong in ["a", "arn:a,", "arn:a, arn:b"] {
            assert_eq!(published(wrong).unwrap_err().name, "JWT_KEYS", "{wrong}");
        }
        for wrong in ["", "alias/a"] {
            let environment = Environment::from_iter([("JWT_SIGNING_KEY", wrong)]);
            assert_eq!(
                SigningKey::new(aws.kms(), &environment).unwrap_err().name,
                "JWT_SIGNING_KEY",
                "{wrong}"
            );
        }
    }
}
