//! Signing keys, tokens and an identity provider for the unit tests.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use rcgen::{CertificateParams, CertifiedIssuer};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
    RsaPublicKeyComponents,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::aws::Aws;
use crate::aws::test_server;

pub(crate) fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000, 0).unwrap()
}

/// A signing key of the provider. `ring` makes no RSA keys, so that one is in a file, and signs in these tests alone.
pub(super) enum TestKey {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
}

impl TestKey {
    pub(super) fn rsa() -> Self {
        let key = PrivatePkcs8KeyDer::from_pem_slice(include_bytes!("test_signing_key.pem")).unwrap();
        Self::Rsa(RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).unwrap())
    }

    pub(super) fn ec() -> Self {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref(), &random);
        Self::Ec(key.unwrap())
    }

    /// The public key as it is published.
    pub(super) fn jwk(&self, kid: &str) -> Value {
        match self {
            Self::Rsa(key) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(key.public());
                let [n, e] = [public.n, public.e].map(|number| URL_SAFE_NO_PAD.encode(number));
                json!({"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": n, "e": e})
            }
            Self::Ec(key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                let [x, y] = [x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate));
                json!({"kty": "EC", "kid": kid, "use": "sig", "alg": "ES256", "crv": "P-256", "x": x, "y": y})
            }
        }
    }

    pub(super) fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = unsigned(header, claims);
        let random = SystemRandom::new();
        let signature = match self {
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message.as_bytes(), &mut signature).unwrap();
                signature
            }
            Self::Ec(key) => key.sign(&random, message.as_bytes()).unwrap().as_ref().to_vec(),
        };
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// The header and the claims of a token, which are what is signed.
pub(super) fn unsigned(header: &Value, claims: &Value) -> String {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    format!("{header}.{claims}")
}

/// A response of the test's identity provider, after a pause.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) status: &'static str,
    pub(crate) headers: String,
    pub(crate) body: String,
    pub(crate) pause: Duration,
}

impl Answer {
    pub(crate) fn of(body: &impl ToString) -> Self {
        let (headers, body) = (String::new(), body.to_string());
        Self { status: "200 OK", headers, body, pause: Duration::ZERO }
    }
}

/// An identity provider over TLS, whose certificate a root of its own issued.
pub(crate) struct TestProvider {
    pub(crate) url: String,
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    requests: Arc<AtomicUsize>,
    root: PathBuf,
}

impl TestProvider {
    pub(crate) fn start() -> Self {
        let mut root = CertificateParams::new([]).unwrap();
        root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(root, rcgen::KeyPair::generate().unwrap()).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let certificate = certificate.signed_by(&key, &root).unwrap();
        let tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            );
        let (tls, listener) = (Arc::new(tls.unwrap()), TcpListener::bind("127.0.0.1:0").unwrap());
        let port = listener.local_addr().unwrap().port();
        let (answers, requests) =
            (Arc::new(Mutex::new(HashMap::<String, Answer>::new())), Arc::new(AtomicUsize::new(0)));
        let (known, counter) = (Arc::clone(&answers), Arc::clone(&requests));
        std::thread::spawn(move || {
            for tcp in listener.incoming() {
                let (tls, known, counter) = (Arc::clone(&tls), Arc::clone(&known), Arc::clone(&counter));
                std::thread::spawn(move || {
                    let connection = ServerConnection::new(tls).unwrap();
                    let mut connection = BufReader::new(StreamOwned::new(connection, tcp.unwrap()));
                    let lines = connection.by_ref().lines().map_while(Result::ok);
                    let lines: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
                    let Some(path) = lines.first().and_then(|line| line.split(' ').nth(1)) else { return };
                    counter.fetch_add(1, Ordering::SeqCst);
                    let answer = known.lock().unwrap().get(path).cloned();
                    let none = Answer { status: "404 Not Found", ..Answer::of(&"") };
                    let Answer { status, headers, body, pause } = answer.unwrap_or(none);
                    std::thread::sleep(pause);
                    let length = body.len();
                    let head = format!(
                        "HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\nconnection: close\r\n\r\n"
                    );
                    // A client that waits no longer is gone.
                    let _ = connection.get_mut().write_all((head + &body).as_bytes());
                });
            }
        });
        let root_file = std::env::temp_dir().join(format!("keygate-{}-{port}.pem", std::process::id()));
        std::fs::write(&root_file, root.pem()).unwrap();
        let url = format!("https://localhost:{port}");
        let provider = Self { url, answers, requests, root: root_file };
        provider.publish_discovery(&provider.url);
        provider
    }

    /// The clients of a function that trusts the provider's root.
    pub(crate) fn aws(&self) -> Aws {
        let settings = test_server::settings(&[("AWS_CA_BUNDLE", self.root.to_str().unwrap())]);
        Aws::new(&settings, "test", Duration::from_secs(20)).unwrap()
    }

    pub(crate) fn answer(&self, path: &str, answer: Answer) {
        self.answers.lock().unwrap().insert(path.to_owned(), answer);
    }

    pub(super) fn publish_discovery(&self, issuer: &str) {
        let discovery = json!({"issuer": issuer, "jwks_uri": format!("{}/keys", self.url)});
        self.answer("/.well-known/openid-configuration", Answer::of(&discovery));
    }

    pub(super) fn publish(&self, keys: &[Value]) {
        self.answer("/keys", Answer::of(&json!({"keys": keys})));
    }

    /// Answers every request with an error from now on.
    pub(crate) fn fail(&self) {
        self.answers.lock().unwrap().clear();
    }

    /// The number of requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

impl Drop for TestProvider {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.root);
    }
}
