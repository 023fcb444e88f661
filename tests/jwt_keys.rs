//! The public documents of the OAuth API, and the rotation of the key that signs JWTs.

use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpListener;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::oauth_clients::{script, tool};
use crate::support::function::Function;
use crate::support::jwts::{AUDIENCE, document, variable_of, verifies};
use crate::support::oauth::{answered, form_event};
use crate::support::stack::{Api, variable};
use crate::support::workspace::{Workspace, id_of, text};

/// RFC 8414, sections 2 and 3; `OpenID` Connect Discovery 1.0, section 4; RFC 7517, section 5.
#[tokio::test]
async fn the_documents_agree_and_may_be_cached() {
    let api = Api::default();
    let [metadata, openid, keys] =
        ["oauth-authorization-server", "openid-configuration", "jwks.json"].map(|name| document(&api, name));
    let (metadata, openid, keys) = tokio::join!(metadata, openid, keys);
    for answer in [&metadata, &openid, &keys] {
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, Some("application/json")),
            "{answer:?}"
        );
        assert_eq!(
            (answer.header("cache-control"), answer.header("pragma")),
            (Some("public, max-age=600"), None)
        );
    }
    let issuer = variable("KEYGATE_OAUTH_URL");
    assert_eq!(metadata.json(), openid.json());
    let metadata = metadata.json();
    assert_eq!(metadata["issuer"], issuer);
    assert_eq!(metadata["jwks_uri"], format!("{issuer}/.well-known/jwks.json"));
    assert_eq!(metadata["id_token_signing_alg_values_supported"], json!(["RS256"]));
    assert!(metadata.get("authorization_endpoint").is_none(), "{metadata}");

    let keys = keys.json();
    let keys = keys["keys"].as_array().expect("keys");
    assert_eq!(keys.len(), 2);
    for key in keys {
        // RFC 7638, section 3.
        let canonical = format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, text(key, "e"), text(key, "n"));
        let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest(canonical));
        let (n, e) = (text(key, "n"), text(key, "e"));
        assert_eq!(
            key,
            &json!({"kty": "RSA", "use": "sig", "alg": "RS256", "kid": thumbprint, "n": n, "e": e})
        );
    }
    assert_ne!(keys[0]["kid"], keys[1]["kid"]);
}

fn get(name: &str) -> Value {
    let path = format!("/.well-known/{name}");
    let mut event = form_event(&path, "");
    event["routeKey"] = json!(format!("GET {path}"));
    event["requestContext"]["http"]["method"] = json!("GET");
    event
}

#[tokio::test]
async fn a_deployment_without_jwts_publishes_no_keys() {
    let function = Function::start("describe-oauth", &[]).await;
    let answer = function.invoke(get("oauth-authorization-server")).await.expect("a response");
    let (status, metadata) = answered(&answer);
    assert_eq!((status, &metadata["issuer"]), (200, &json!("https://auth.example.com")), "{metadata}");
    for absent in ["jwks_uri", "subject_types_supported", "id_token_signing_alg_values_supported"] {
        assert!(metadata.get(absent).is_none(), "{metadata}");
    }
}

/// A deployment with a value of `JwtKeys`.
struct Stage {
    name: &'static str,
    /// What a verifier gets that fetches the keys in this stage.
    published: Value,
    /// What a client gets that requests a token in this stage.
    token: Value,
}

/// The stages of a rotation from slot a to slot b, in the order of docs/runbooks.md.
async fn stages(workspace: &Workspace) -> Vec<Stage> {
    let keys = variable_of(&workspace.api, "DescribeOAuthFunction", "JWT_KEYS").await;
    let (a, b) = keys.split_once(',').expect("two keys");
    let key = workspace.key_of("bob", &["orders:read"]).await;
    let client = format!("client_id={}&client_secret={key}", id_of(&key));
    let request = format!("grant_type=client_credentials&resource={AUDIENCE}&{client}");
    let mut stages = Vec::new();
    for (name, published, signing) in [("a", a, a), ("a,b", &keys, a), ("b,a", &keys, b), ("b", b, b)] {
        let describer = Function::start("describe-oauth", &[("JWT_KEYS", published)]).await;
        let issuer =
            Function::start("issue-token", &[("JWT_AUDIENCES", AUDIENCE), ("JWT_SIGNING_KEY", signing)])
                .await;
        let (_, published) = answered(&describer.invoke(get("jwks.json")).await.expect("a response"));
        let (status, token) =
            answered(&issuer.invoke(form_event("/oauth/token", &request)).await.expect("a response"));
        assert_eq!(status, 200, "{token}");
        stages.push(Stage { name, published, token });
    }
    stages
}

/// Each stage lasts longer than a verifier keeps keys and than a token lives. So a verifier has the keys of the present or of the
/// previous stage, and a token is of one of these two as well.
#[tokio::test]
async fn a_rotation_refuses_no_valid_token() {
    let workspace = Workspace::new().await;
    let stages = stages(&workspace).await;
    for (index, present) in stages.iter().enumerate() {
        let lasting = &stages[index.saturating_sub(1)..=index];
        for known in lasting {
            for issued in lasting {
                let accepted = verifies(&known.published, &issued.token);
                assert!(
                    accepted,
                    "in {}: a token of {} by the keys of {}",
                    present.name, issued.name, known.name
                );
            }
        }
    }
    let [first, .., last] = stages.as_slice() else { panic!("stages") };
    assert!(!verifies(&first.published, &last.token), "without the stages between, it refuses valid tokens");
    assert!(!verifies(&last.published, &first.token), "a withdrawn key verifies nothing");
}

/// How long the running verifiers keep keys: a day of docs/runbooks.md.
const DAY: Duration = Duration::from_secs(2);

/// Both run through one rotation, without a restart.
#[tokio::test]
async fn verifiers_that_run_during_a_rotation_refuse_no_valid_token() {
    let workspace = Workspace::new().await;
    let stages = stages(&workspace).await;
    let keys = PublishedKeys::serve().await;
    keys.publish(&stages[0]);
    let jose = Verifier::start("node", &[&script("jose_keeps_verifying.mjs"), &tool("jose")], &keys);
    let pyjwt = Verifier::start(&tool("clients/bin/python"), &[&script("pyjwt_keeps_verifying.py")], &keys);
    let mut verifiers = [jose, pyjwt];
    let mut previous = &stages[0];
    for present in &stages {
        // As soon as a stage begins, a verifier has keys of the previous stage, and tokens of both are on their way.
        keys.publish(present);
        for verifier in &mut verifiers {
            for issued in [previous, present] {
                let said = verifier.judge(&issued.token).await;
                assert_eq!(said, "accepted", "{} at once: {}", present.name, issued.name);
            }
        }
        tokio::time::sleep(DAY + DAY / 2).await;
        for verifier in &mut verifiers {
            let said = verifier.judge(&present.token).await;
            assert_eq!(said, "accepted", "{} later: {}", present.name, present.name);
        }
        previous = present;
    }
    for verifier in &mut verifiers {
        let withdrawn = verifier.judge(&stages[0].token).await;
        assert!(withdrawn.starts_with("refused"), "a withdrawn key verifies nothing: {withdrawn}");
    }
    let fetches = keys.fetches();
    assert!(fetches >= stages.len() * verifiers.len(), "each fetches the keys in each stage: {fetches}");
}

/// A server of the keys that are published at present.
#[derive(Clone)]
struct PublishedKeys {
    address: SocketAddr,
    present: Arc<Mutex<(String, usize)>>,
}

impl PublishedKeys {
    async fn serve() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let keys = Self { address, present: Arc::default() };
        let served = keys.clone();
        let router = Router::new().fallback(async move || {
            let mut present = served.present.lock().expect("the keys");
            present.1 += 1;
            ([(CONTENT_TYPE, "application/json")], present.0.clone())
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        keys
    }

    fn publish(&self, stage: &Stage) {
        self.present.lock().expect("the keys").0 = stage.published.to_string();
    }

    /// How often a verifier has fetched keys.
    fn fetches(&self) -> usize {
        self.present.lock().expect("the keys").1
    }
}

/// A script of `tests/clients` that says of each token whether it accepts it.
struct Verifier {
    process: Child,
    tokens: ChildStdin,
    judgements: Lines<BufReader<ChildStdout>>,
}

impl Verifier {
    fn start(program: &str, arguments: &[&str], keys: &PublishedKeys) -> Self {
        let mut command = Command::new(program);
        command.args(arguments).arg(format!("http://{}", keys.address));
        command.args(["https://auth.example.com", AUDIENCE, &DAY.as_secs().to_string()]);
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the script");
        let tokens = process.stdin.take().expect("its input");
        let judgements = BufReader::new(process.stdout.take().expect("its output")).lines();
        Self { process, tokens, judgements }
    }

    async fn judge(&mut self, tokens: &Value) -> String {
        let line = format!("{}\n", text(tokens, "access_token"));
        self.tokens.write_all(line.as_bytes()).await.expect("a script that reads");
        let judgement = self.judgements.next_line().await.expect("UTF-8");
        judgement.unwrap_or_else(|| panic!("the script ended: {:?}", self.process.try_wait()))
    }
}
