//! The authorizer while a dependency fails: it reports an error to API Gateway within its budget, and never decides.

use std::time::{Duration, Instant};

use keygate_core::credential::{Credential, CredentialForm};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::support::database;
use crate::support::faults::Faults;
use crate::support::function::{Disturbance, Function, token_event};
use crate::support::stack::{run_folder, variable};
use crate::support::workspace::{Workspace, id_of, unique};

const BUDGET: Duration = Duration::from_secs(1);
/// The longest time that a response may take here. Injected delays take ten times as long, so a missed budget fails.
const GENEROUS: Duration = Duration::from_secs(6);

fn call(key: &str) -> Value {
    token_event(&format!("Bearer {key}"))
}

/// The known ways in which a service fails, by name.
fn faults(throttled: &str, broken: &str) -> Vec<(String, Value)> {
    let named = |name: &str, rule: Value| (name.to_owned(), rule);
    let mut faults: Vec<_> = [throttled, "ThrottlingException", broken]
        .map(|code| named(code, json!({"error": {"code": code}})))
        .into();
    faults.extend([
        named("a 500", json!({"error": {"code": "InternalFailure", "status": 500}})),
        named("a 503", json!({"error": {"code": "ServiceUnavailable", "status": 503}})),
        named("no response", json!({"timeout_ms": 60_000})),
        named("late responses", json!({"latency": 60_000})),
        named("connections that are reset", json!({"reset": true})),
        named("half of the response", json!({"response": {"truncate_frac": 0.5}})),
        named("half of the response, then a reset", json!({"response": {"abort_frac": 0.5}})),
    ]);
    faults
}

#[tokio::test]
async fn any_failure_of_dynamodb_is_an_error_within_the_budget_and_the_next_response_is_right() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let made_up = Credential::draw(id_of(&key).parse().expect("an id"), CredentialForm::ApiKey);
    let made_up = made_up.to_text(&"kg".parse().expect("a brand")).expose_secret().to_owned();

    let dynamodb = Faults::before(&variable("KEYGATE_DYNAMODB_URL")).await;
    let (url, budget) = (dynamodb.url(), BUDGET.as_millis().to_string());
    let settings = [
        ("AWS_ENDPOINT_URL_DYNAMODB", url.as_str()),
        ("AUTHORIZER_BUDGET_MS", &budget),
        ("STALE_IF_ERROR_SECONDS", "0"),
        ("CALL_ACTIVITY", "off"),
    ];
    let authorizer = Function::start("authorize", &settings).await;
    let token = workspace.access_token(&key).await;
    let credentials = [&key, &token, &made_up];
    for credential in [&key, &token] {
        authorizer.invoke(call(credential)).await.expect("a policy, and the write of the last use");
    }
    authorizer.frozen().await;
    for (fault, rule) in faults("ProvisionedThroughputExceededException", "InternalServerError") {
        dynamodb.inject(&rule).await;
        for credential in credentials {
            let asked = Instant::now();
            let error = authorizer.invoke(call(credential)).await.expect_err(&fault);
            assert!(asked.elapsed() < GENEROUS, "{fault}: a response after {:?}", asked.elapsed());
            assert_ne!(error, "Unauthorized", "{fault}: a failure is no refusal");
            assert!(error.contains("DynamoDB failed"), "{fault}: {error}");
        }
        let (injected, calls) = (dynamodb.injected().await, credentials.len());
        assert!(
            (2 * calls..=3 * calls).contains(&injected),
            "{fault}: {injected} attempts, not 2 or 3 for each"
        );
        dynamodb.pass().await;
        for credential in [&key, &token] {
            authorizer.invoke(call(credential)).await.expect(&fault);
            // The deferred work must be done before the next fault begins.
            authorizer.frozen().await;
        }
        assert_eq!(authorizer.invoke(call(&made_up)).await, Err("Unauthorized".to_owned()), "{fault}");
    }
}

#[tokio::test]
async fn a_transient_fault_does_not_change_the_response() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let dynamodb = Faults::before(&variable("KEYGATE_DYNAMODB_URL")).await;
    let url = dynamodb.url();
    let settings = [("AWS_ENDPOINT_URL_DYNAMODB", url.as_str()), ("AUTHORIZER_BUDGET_MS", "4000")];
    let authorizer = Function::start("authorize", &settings).await;
    for fault in [
        json!({"error": {"code": "ThrottlingException"}, "operation": "GetItem", "times": 1}),
        json!({"error": {"code": "InternalServerError"}, "operation": "GetItem", "times": 2}),
        json!({"reset": true, "operation": "GetItem", "times": 1}),
    ] {
        dynamodb.inject(&fault).await;
        authorizer.invoke(call(&key)).await.expect("a policy, after another attempt");
        assert_eq!(dynamodb.injected().await, fault["times"], "{fault}");
    }
}

#[tokio::test]
async fn an_item_that_was_not_asked_for_allows_nothing() {
    let workspace = Workspace::new().await;
    let (key, other) = (workspace.key_of("bob", &[]).await, workspace.key_of("eve", &[]).await);
    let authorizer = Function::start("authorize", &[("CALL_ACTIVITY", "off")]).await;
    let as_read = |item: &Value| json!({"Item": item}).to_string();
    let item = database::as_read(id_of(&key)).await;
    let with = |name: &str, value: Value| {
        let mut changed = item.clone();
        changed[name] = value;
        as_read(&changed)
    };
    let mut of_nobody = item.clone();
    of_nobody.as_object_mut().expect("an item").remove("key_id");
    let whole = as_read(&item);
    for (garbage, text) in [
        ("another key's item", as_read(&database::as_read(id_of(&other)).await)),
        ("an item without an id", as_read(&of_nobody)),
        ("an id that is none", with("key_id", json!({"N": "1"}))),
        ("half of the item", whole[..whole.len() / 2].to_owned()),
        ("a page", "<html>It works!</html>".to_owned()),
        ("a list", "[]".to_owned()),
        ("an item that is a text", json!({"Item": "kg"}).to_string()),
        ("a hash that is a text", with("hash", json!({"S": "AAAA"}))),
        ("a hash that is too short", with("hash", json!({"B": "AAAA"}))),
        ("an expiry that is a text", with("expires_at", json!({"S": "never"}))),
        ("an expiry that is null", with("expires_at", json!({"BOOL": false}))),
        ("a switch that is a text", with("disabled_at", json!({"S": ""}))),
        ("rules that are one text", with("endpoints", json!({"S": "* /*"}))),
        ("rules that are none", with("endpoints", json!({"L": [{"S": "GET"}]}))),
        ("scopes that are numbers", with("scopes", json!({"L": [{"N": "1"}]}))),
        ("a user who is nobody", with("user_id", json!({"S": ""}))),
        ("a workspace that is a number", with("workspace_id", json!({"N": "1"}))),
        ("a pepper that nobody lists", with("pepper_version", json!({"N": "4000000000"}))),
    ] {
        authorizer.disturb(Disturbance::Says(text.leak()));
        let error = authorizer.invoke(call(&key)).await.expect_err(garbage);
        assert_ne!(error, "Unauthorized", "{garbage}: a failure is no refusal");
    }
    authorizer.disturb(Disturbance::Says(whole.leak()));
    authorizer.invoke(call(&key)).await.expect("the item itself is right");
    authorizer.disturb(Disturbance::None);
    authorizer.invoke(call(&key)).await.expect("it recovers at once");
}

#[tokio::test]
async fn an_environment_that_gets_no_pepper_from_kms_does_not_start_and_logs_why() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let kms = Faults::before(&variable("AWS_ENDPOINT_URL")).await;
    let (url, budget) = (kms.url(), BUDGET.as_millis().to_string());
    let settings = [("AWS_ENDPOINT_URL_KMS", url.as_str()), ("AUTHORIZER_BUDGET_MS", &budget)];
    for (fault, rule) in faults("LimitExceededException", "KMSInternalException") {
        kms.inject(&rule).await;
        let started = Instant::now();
        let authorizer = Function::launch("authorize", &settings).await;
        assert!(!authorizer.ended().await.success(), "{fault}");
        assert!(started.elapsed() < GENEROUS, "{fault}: the end after {:?}", started.elapsed());
        let log = authorizer.log();
        assert!(log.contains("Error: ") && log.contains("KMS"), "{fault}: {log}");
    }
    kms.inject(&json!({"error": {"code": "DisabledException"}})).await;
    let authorizer = Function::launch("authorize", &settings).await;
    assert!(!authorizer.ended().await.success());
    assert!(authorizer.log().contains("DisabledException"), "{}", authorizer.log());
    assert_eq!(kms.injected().await, 1, "what trying again does not change is not tried again");

    kms.pass().await;
    let next = Function::start("authorize", &settings).await;
    next.invoke(call(&key)).await.expect("the next environment works");
}

#[tokio::test]
async fn a_pepper_of_the_wrong_form_is_refused() {
    for text in ["{}", r#"{"Mac": ""}"#, r#"{"Mac": "AAAA"}"#, r#"{"Mac": 7}"#, "[", "<html>It works!</html>"]
    {
        let kms = answering(text).await;
        let authorizer = Function::launch("authorize", &[("AWS_ENDPOINT_URL_KMS", &kms)]).await;
        assert!(!authorizer.ended().await.success(), "{text}");
        assert!(authorizer.log().contains("KMS"), "{text}: {}", authorizer.log());
    }
}

/// A service that returns one text for every request.
async fn answering(text: &'static str) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let router = axum::Router::new().fallback(move || async move { text });
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

/// Without a configured certificate the function must not connect.
#[tokio::test]
async fn a_bundle_that_holds_no_certificate_ends_the_environment_and_is_named() {
    let bundle = run_folder().join(unique("bundle"));
    let nothing = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    std::fs::write(&bundle, nothing).expect("a file");
    let settings = [("AWS_CA_BUNDLE", bundle.to_str().expect("a path in UTF-8"))];
    let function = Function::launch("authorize", &settings).await;
    assert!(!function.ended().await.success());
    assert!(function.log().contains("AWS_CA_BUNDLE"), "{}", function.log());
}
