//! Verifiers of JWTs by other authors, unchanged: each accepts a token, and refuses every mutation of it.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::{hmac, rsa, signature};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::oauth_clients::{script, tool};
use crate::support::emulator::sign_digest;
use crate::support::jwts::{AUDIENCE, GRANT, OTHER_AUDIENCE, decoded, document, variable_of};
use crate::support::oauth::basic;
use crate::support::stack::variable;
use crate::support::workspace::{Workspace, text};

/// A token to accept, and tokens to refuse by what is wrong with them.
pub(crate) struct Tokens {
    pub(crate) good: String,
    pub(crate) bad: Vec<(&'static str, String)>,
}

impl Tokens {
    /// Tokens of a key with `orders:read`, for the first audience.
    pub(crate) async fn new(workspace: &Workspace) -> Self {
        let key = workspace.key_of("bob", &["orders:read"]).await;
        let expired = workspace.jwt(&key, &[("expires_in", "1")]).await;
        let form = [GRANT, ("resource", OTHER_AUDIENCE)];
        let elsewhere = workspace.oauth("token", Some(&basic(&key)), &form).await.json();
        let good = workspace.jwt(&key, &[]).await;
        let (header, claims) = decoded(&good);
        let signature = text(&good, "access_token").rsplit_once('.').expect("a signature").1.to_owned();
        let with = |object: &Value, member: &str, value: &str| {
            let mut object = object.clone();
            object[member] = json!(value);
            object
        };
        let keys = document(&workspace.api, "jwks.json").await.json();
        let keys = keys["keys"].as_array().expect("keys");
        let other_kid =
            keys.iter().map(|key| text(key, "kid")).find(|kid| *kid != header["kid"]).expect("another key");
        let signing_key = variable_of(&workspace.api, "IssueTokenFunction", "JWT_SIGNING_KEY").await;
        let by_kms = async |header: &Value, claims: &Value| {
            let input = input(header, claims);
            let signature = sign_digest(&workspace.api, &signing_key, input.as_bytes()).await;
            format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
        };
        let public = keys.iter().find(|key| key["kid"] == header["kid"]).expect("the key");
        let none = with(&header, "alg", "none");
        let mut without_expiry = claims.clone();
        without_expiry.as_object_mut().expect("claims").remove("exp");
        let bad = vec![
            ("alg none", format!("{}.", input(&none, &claims))),
            ("alg none with a signature", format!("{}.{signature}", input(&none, &claims))),
            (
                "HS256 with the public key",
                by_hmac(&with(&header, "alg", "HS256"), &claims, &public.to_string()),
            ),
            ("HS256 with the modulus", by_hmac(&with(&header, "alg", "HS256"), &claims, text(public, "n"))),
            ("another key under the same kid", by_another_key(&header, &claims)),
            ("another key under its own kid", by_another_key(&with(&header, "kid", "another"), &claims)),
            (
                "the kid of another key",
                format!("{}.{signature}", input(&with(&header, "kid", other_kid), &claims)),
            ),
            (
                "a changed claim",
                format!("{}.{signature}", input(&header, &with(&claims, "scope", "orders:write"))),
            ),
            ("no signature", format!("{}.", input(&header, &claims))),
            ("expired", text(&expired, "access_token").to_owned()),
            ("another audience", text(&elsewhere, "access_token").to_owned()),
            ("another issuer", by_kms(&header, &with(&claims, "iss", "https://evil.example.com")).await),
            ("another type", by_kms(&with(&header, "typ", "JWT"), &claims).await),
            ("no expiry", by_kms(&header, &without_expiry).await),
        ];
        // The shortest life.
        tokio::time::sleep(Duration::from_secs(2)).await;
        Self { good: text(&good, "access_token").to_owned(), bad }
    }
}

fn input(header: &Value, claims: &Value) -> String {
    let part = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    format!("{}.{}", part(header), part(claims))
}

fn by_hmac(header: &Value, claims: &Value, secret: &str) -> String {
    let input = input(header, claims);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), input.as_bytes());
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(tag))
}

/// A token that is signed with a key that is not published.
fn by_another_key(header: &Value, claims: &Value) -> String {
    let pem = include_str!("../shared/service/src/people/test_signing_key.pem");
    let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let key = rsa::KeyPair::from_pkcs8(&STANDARD.decode(der).expect("base64")).expect("a key");
    let input = input(header, claims);
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), input.as_bytes(), &mut signature)
        .expect("a signature");
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Runs a verifier of `tests/clients`.
async fn run(program: &str, arguments: &[&str]) {
    let workspace = Workspace::new().await;
    let Tokens { good, bad } = Tokens::new(&workspace).await;
    let bad: Value = bad.into_iter().map(|(about, token)| (about.to_owned(), json!(token))).collect();
    let mut command = Command::new(program);
    command.args(arguments).args([&variable("KEYGATE_OAUTH_URL"), AUDIENCE]);
    let done =
        command.env("TOKENS", json!({"good": good, "bad": bad}).to_string()).output().await.expect(program);
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&done.stdout), "every token was judged right\n", "{said}");
}

#[tokio::test]
async fn jose_accepts_a_token_and_refuses_its_mutations() {
    run("node", &[&script("jose_verifies.mjs"), &tool("jose")]).await;
}

#[tokio::test]
async fn pyjwt_accepts_a_token_and_refuses_its_mutations() {
    run(&tool("clients/bin/python"), &[&script("pyjwt_verifies.py")]).await;
}

#[tokio::test]
async fn authlib_accepts_a_token_and_refuses_its_mutations() {
    run(&tool("clients/bin/python"), &[&script("authlib_verifies.py")]).await;
}
