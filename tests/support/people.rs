//! People: how they sign in at an identity provider, that of the stack or one of a test's own, and tokens that no provider issues.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair};
use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::function::{Function, event};
use crate::support::stack::{remember_secret, run_folder, variable};
use crate::support::workspace::{text, unique};

/// The client of the stack's identity provider.
pub(crate) const CLIENT: &str = "keygate-console";

/// The scopes of groups in the stack: a value of `OIDC_GROUP_SCOPES`.
const GROUP_SCOPES: &str = r#"{"admins": "workspace:admin", "developers": "keys:write orders:read"}"#;

/// The id that functions of a test's own take for the one of the management API.
const API: &str = "management";

/// What a person enters on the login page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Login<'a> {
    pub(crate) user: &'a str,
    /// Separated by spaces.
    pub(crate) groups: &'a str,
    pub(crate) workspace: &'a str,
}

/// The tokens that a client gets for a person.
#[derive(Debug)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) id: String,
}

impl Login<'_> {
    /// Signs in at the stack's identity provider, and returns the access token.
    pub(crate) async fn access_token(&self) -> String {
        self.at(&variable("KEYGATE_OIDC_ISSUER"), &variable("KEYGATE_OIDC_AUDIENCE")).await.access
    }

    /// Signs in at an identity provider, with a client by other authors, for an audience.
    pub(crate) async fn at(&self, issuer: &str, audience: &str) -> Tokens {
        let root = env!("CARGO_MANIFEST_DIR");
        let page = page();
        let mut client = tokio::process::Command::new("node");
        client
            .arg(format!("{root}/clients/sign_in.mjs"))
            .arg(format!("{root}/../.local/tools/oauth4webapi"))
            .args([issuer, CLIENT, &page, audience])
            .env("NODE_EXTRA_CA_CERTS", files().join("ca.pem"))
            .env("FORM", format!("user={}&groups={}&workspace={}", self.user, self.groups, self.workspace));
        let done = client.output().await.expect("node");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        let tokens: Value = serde_json::from_slice(&done.stdout).expect("tokens in JSON");
        let [access, id] = ["access_token", "id_token"].map(|name| text(&tokens, name).to_owned());
        for token in [&access, &id] {
            remember_secret(token.rsplit('.').next().expect("a signature"));
        }
        Tokens { access, id }
    }
}

/// The claims of a token.
pub(crate) fn claims_of(token: &str) -> Value {
    let claims = token.split('.').nth(1).expect("a JWT");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).expect("base64url")).expect("claims in JSON")
}

/// The header and the claims of a token, which are what is signed.
pub(crate) fn unsigned(header: &Value, claims: &Value) -> String {
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    format!("{header}.{claims}")
}

/// A signing key for ES256, with its public part as it is published.
pub(crate) struct SigningKey {
    key: EcdsaKeyPair,
    pub(crate) public: Value,
}

/// The key for ES256 of the stack's identity provider, and its id. It signs in that form.
pub(crate) fn key_of_stack(form: &'static EcdsaSigningAlgorithm) -> (EcdsaKeyPair, String) {
    let keys = std::fs::read(files().join("signing-keys.json")).expect("the keys of the provider");
    let keys: Vec<Value> = serde_json::from_slice(&keys).expect("keys in JSON");
    let key = keys.iter().find(|key| key["alg"] == "ES256").expect("a key for ES256");
    let [d, x, y] = ["d", "x", "y"].map(|name| URL_SAFE_NO_PAD.decode(text(key, name)).expect("base64url"));
    let point = [&[4][..], &x, &y].concat();
    let pair = EcdsaKeyPair::from_private_key_and_public_key(form, &d, &point, &SystemRandom::new());
    (pair.expect("a key"), text(key, "kid").to_owned())
}

impl SigningKey {
    /// A new key of that id.
    pub(crate) fn new(id: &str) -> Self {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, key.as_ref(), &random);
        Self::of(key.expect("the same key"), id)
    }

    /// The key of the stack's identity provider.
    pub(crate) fn of_stack() -> Self {
        let (pair, id) = key_of_stack(&ECDSA_P256_SHA256_FIXED_SIGNING);
        Self::of(pair, &id)
    }

    fn of(key: EcdsaKeyPair, id: &str) -> Self {
        let (x, y) = key.public_key().as_ref()[1..].split_at(32);
        let [x, y] = [x, y].map(|coordinate| URL_SAFE_NO_PAD.encode(coordinate));
        let public =
            json!({"kty": "EC", "kid": id, "use": "sig", "alg": "ES256", "crv": "P-256", "x": x, "y": y});
        Self { key, public }
    }

    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let message = unsigned(header, claims);
        let signature = self.key.sign(&SystemRandom::new(), message.as_bytes()).expect("a signature");
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The header of an access token that this key signs, with more parameters.
    pub(crate) fn header(&self, more: &Value) -> Value {
        with(&json!({"alg": "ES256", "typ": "at+jwt", "kid": self.public["kid"]}), more)
    }
}

/// An object with more members, or other values of its own.
pub(crate) fn with(object: &Value, more: &Value) -> Value {
    let mut object = object.as_object().expect("an object").clone();
    object.extend(more.as_object().expect("an object").clone());
    Value::Object(object)
}

/// An identity provider of a test's own, whose certificate the stack's root issued.
pub(crate) struct Provider {
    pub(crate) issuer: String,
    port: u16,
    options: Vec<String>,
    keys: PathBuf,
    log: PathBuf,
    process: Option<Child>,
}

impl Provider {
    /// Starts a provider with signing keys of its own.
    pub(crate) async fn start(options: &[&str]) -> Self {
        let keys = run_folder().join(format!("{}.json", unique("signing-keys")));
        Self::with_keys(keys, options).await
    }

    /// Starts another issuer with the signing keys of the stack's provider.
    pub(crate) async fn with_keys_of_stack() -> Self {
        Self::with_keys(files().join("signing-keys.json"), &[]).await
    }

    async fn with_keys(keys: PathBuf, options: &[&str]) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let log = run_folder().join(format!("{}.log", unique("identity-provider")));
        let issuer = format!("https://127.0.0.1:{port}");
        let mut provider = Self { issuer, port, options, keys, log, process: None };
        provider.resume().await;
        provider
    }

    /// Starts the provider again after it was stopped.
    pub(crate) async fn resume(&mut self) {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let log = OpenOptions::new().create(true).append(true).open(&self.log).expect("a file for the log");
        let mut process = Command::new("node");
        process
            .arg(root.join("infra/local/identity_provider.mjs"))
            .args(["--modules".as_ref(), root.join(".local/tools/oidc-provider").as_os_str()])
            .args(["--certificates".as_ref(), files().as_os_str()])
            .args(["--keys".as_ref(), self.keys.as_os_str()])
            .args(["--port", &self.port.to_string(), "--redirect-uri", &page()])
            .args(&self.options)
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        self.process = Some(process.spawn().expect("node"));
        let address = ("127.0.0.1", self.port);
        eventually("the provider starts", async || TcpStream::connect(address).is_ok()).await;
    }

    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().expect("the provider can be stopped");
            process.wait().expect("it ends");
        }
    }

    /// Replaces its signing keys. It forgets who has signed in.
    pub(crate) async fn replace_keys(&mut self) {
        self.stop();
        std::fs::remove_file(&self.keys).expect("the provider has made keys");
        self.resume().await;
    }

    /// How often its keys were read.
    pub(crate) fn reads_of_keys(&self) -> usize {
        self.reads_of("/jwks")
    }

    /// How often a document was read.
    pub(crate) fn reads_of(&self, path: &str) -> usize {
        let log = std::fs::read_to_string(&self.log).expect("the log");
        log.lines().filter(|line| *line == format!("GET {path}")).count()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The clock of a function, which a test moves.
pub(crate) struct Clock(PathBuf);

impl Clock {
    pub(crate) fn new() -> Self {
        let clock = Self(run_folder().join(unique("clock")));
        clock.set(0);
        clock
    }

    /// Moves the clock to some seconds from now.
    pub(crate) fn set(&self, seconds: i64) {
        let mut file = File::create(&self.0).expect("a file for the clock");
        file.write_all(format!("{seconds:+}").as_bytes()).expect("the clock can be moved");
    }

    fn variables(&self) -> [(&str, &str); 4] {
        [
            // The dynamic linker replaces $LIB by the folder of libraries, which depends on the system.
            ("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1"),
            ("FAKETIME_TIMESTAMP_FILE", self.0.to_str().expect("a path in UTF-8")),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ]
    }
}

/// The authorizer of the management API with settings of a test's own, and what it logs.
pub(crate) struct PeopleAuthorizer(pub(crate) Function);

/// The decision on a token.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Allowed,
    /// For the reason that the log has.
    Refused(String),
    /// API Gateway makes a 500 of it.
    NoDecision,
}

impl PeopleAuthorizer {
    /// Starts an authorizer that accepts access tokens of an issuer for the stack's audience, unless `more` says otherwise.
    pub(crate) async fn start(issuer: &str, clock: &Clock, more: &[(&str, &str)]) -> Self {
        let (bundle, audience) = (files().join("ca.pem"), variable("KEYGATE_OIDC_AUDIENCE"));
        let settings = [
            ("MANAGEMENT_API", API),
            ("AWS_CA_BUNDLE", bundle.to_str().expect("a path in UTF-8")),
            ("OIDC_ISSUER", issuer),
            ("OIDC_AUDIENCE", &audience),
            ("OIDC_WORKSPACE_CLAIM", "workspace"),
            ("OIDC_GROUP_SCOPES", GROUP_SCOPES),
        ];
        let settings: Vec<_> =
            settings.into_iter().chain(clock.variables()).chain(more.iter().copied()).collect();
        Self(Function::start("authorize-management", &settings).await)
    }

    pub(crate) async fn decide(&self, token: &str) -> Outcome {
        match self.0.invoke(management_event(API, token)).await {
            Ok(policy) => {
                assert_eq!(policy["policyDocument"]["Statement"][0]["Effect"], "Allow", "{policy}");
                Outcome::Allowed
            }
            Err(error) if error == "Unauthorized" => {
                let lines = self.0.log_lines();
                let line = lines.iter().rfind(|line| line["decision"] == "refused").expect("a reason");
                Outcome::Refused(text(line, "reason").to_owned())
            }
            Err(_) => {
                let lines = self.0.log_lines();
                assert!(lines.iter().any(|line| line["message"] == "no decision"), "{lines:?}");
                Outcome::NoDecision
            }
        }
    }
}

/// The event of a request with a token to an API with that id.
pub(crate) fn management_event(api: &str, token: &str) -> Value {
    let mut event = event("authorize-rest-request");
    event["methodArn"] = format!("arn:aws:execute-api:us-east-1:123456789012:{api}/v1/GET/api-keys").into();
    event["headers"] = json!({});
    event["multiValueHeaders"] = json!({"Authorization": [format!("Bearer {token}")]});
    event["queryStringParameters"] = json!({});
    event["multiValueQueryStringParameters"] = json!({});
    event
}

/// The folder with the certificates and the signing keys of the stack's identity provider.
pub(crate) fn files() -> PathBuf {
    PathBuf::from(variable("KEYGATE_OIDC_FILES"))
}

/// The page to which the client returns with a code.
fn page() -> String {
    format!("{}/console", variable("KEYGATE_API_URL"))
}
