//! `POST /leaks`: what a report ends, and what it leaves.

use std::time::Duration;

use chrono::Utc;
use keygate_core::credential::{Brand, Credential, KeyId};
use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::support::function::{Disturbance, Function, request};
use crate::support::legacy::{LEGACY, imported, legacy_key};
use crate::support::oauth::basic;
use crate::support::sessions::page_code;
use crate::support::stack::{Answer, variable};
use crate::support::workspace::{Workspace, id_of, text, unique};

const OPENER: [&str; 3] = ["sessions:write", "keys:write", "orders:read"];

/// The kinds of the credentials of [`Credentials`].
pub(crate) const KINDS: [&str; 9] = [
    "current secret",
    "old secret",
    "access token",
    "refresh token",
    "token of its family",
    "session",
    "page code",
    "legacy key",
    "other key",
];

/// One credential of each kind. All but the last two belong to one key.
pub(crate) struct Credentials {
    pub(crate) workspace: Workspace,
    /// In the order of [`KINDS`].
    pub(crate) texts: [String; 9],
}

impl Credentials {
    pub(crate) async fn new() -> Self {
        let workspace = Workspace::new().await;
        let old = workspace.key_of("backend", &OPENER).await;
        let current = rotated(&workspace, &old, 3600).await;
        let family = workspace.tokens(&current, "orders:read offline_access").await;
        let session = workspace.session(&current, "alice", &["orders:read"]).await;
        let texts = [
            current.clone(),
            old,
            workspace.access_token(&current).await,
            text(&family, "refresh_token").to_owned(),
            text(&family, "access_token").to_owned(),
            text(&session, "session").to_owned(),
            page_code(&session).to_owned(),
            imported(&workspace, "bob", &[]).await,
            workspace.key_of("bob", &[]).await,
        ];
        Self { workspace, texts }
    }

    /// The kinds of the credentials that work.
    pub(crate) async fn working(&self) -> Vec<&'static str> {
        let mut working = Vec::new();
        for (kind, credential) in KINDS.into_iter().zip(&self.texts) {
            let works = match kind {
                "refresh token" => {
                    let client = basic(&self.workspace.admin);
                    let told =
                        self.workspace.oauth("introspect", Some(&client), &[("token", credential)]).await;
                    told.json()["active"] == true
                }
                "session" => self.workspace.call(Method::GET, "/me", credential).await.status == 200,
                "page code" => self.workspace.exchange(credential).await.status == 200,
                _ => self.workspace.accepts(credential).await,
            };
            if works {
                working.push(kind);
            }
        }
        working
    }
}

/// The new secret of a key after a rotation.
pub(crate) async fn rotated(workspace: &Workspace, key: &str, overlap: u32) -> String {
    let body = json!({"overlap_seconds": overlap});
    let answer = workspace.rotate(&workspace.admin, id_of(key), &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    text(&answer.json(), "key").to_owned()
}

async fn send(workspace: &Workspace, body: &Value) -> Answer {
    let url = format!("{}/leaks", variable("KEYGATE_API_URL"));
    workspace.api.send(Method::POST, &url, None, Some(body)).await
}

/// Reports texts, which has the same response for all.
async fn report(workspace: &Workspace, texts: &[&str]) {
    let answer = send(workspace, &json!({"credentials": texts})).await;
    assert_eq!((answer.status, answer.text.as_str()), (202, r#"{"received":true}"#), "{answer:?}");
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

/// The event of a report to a function of the test's own.
fn event(workspace: &Workspace, texts: &[&str]) -> Value {
    request(workspace, ("POST", "/leaks"), None, &[], &json!({"credentials": texts}))
}

/// The events of reports in the audit trail.
pub(crate) async fn leaks(workspace: &Workspace) -> Vec<Value> {
    let trail = workspace.activity("?action=key.leaked&limit=100").await;
    trail["items"].as_array().expect("events").clone()
}

/// A credential like another one, with a secret that no stored one has.
pub(crate) fn with_another_secret(credential: &str) -> String {
    let parsed = Credential::parse(credential, &brand()).expect("a credential");
    Credential::draw(parsed.key_id, parsed.form).to_text(&brand()).expose_secret().to_owned()
}

/// A credential of the same form, of a key that does not exist.
pub(crate) fn with_another_id(credential: &str) -> String {
    let parsed = Credential::parse(credential, &brand()).expect("a credential");
    let key_id = KeyId::generate(Utc::now());
    Credential::draw(key_id, parsed.form).to_text(&brand()).expose_secret().to_owned()
}

/// The brand of the stack.
fn brand() -> Brand {
    "kg".parse().expect("a brand")
}

#[tokio::test]
async fn a_credential_of_each_kind_ends_as_reported_and_no_other_does() {
    let of_key = ["legacy key", "other key"];
    for (reported, ended, remaining) in [
        ("current secret", "key_disabled", Some(&of_key[..])),
        ("old secret", "overlap", None),
        ("access token", "access_token", None),
        ("session", "session", None),
        ("page code", "page_code", None),
        ("legacy key", "legacy_key", None),
    ] {
        let credentials = Credentials::new().await;
        let workspace = &credentials.workspace;
        let index = KINDS.iter().position(|kind| *kind == reported).expect("a kind");
        report(workspace, &[&credentials.texts[index]]).await;
        let events = leaks(workspace).await;
        assert_eq!(events.len(), 1, "{reported}: {events:?}");
        assert_eq!(
            (&events[0]["actor"], &events[0]["ended"], &events[0]["path"]),
            (&json!("keygate:leaks"), &json!(ended), &json!("/leaks")),
            "{reported}: {events:?}"
        );
        assert!(events[0]["source"].is_string(), "{events:?}");
        let expected: Vec<_> = match remaining {
            Some(remaining) => remaining.to_vec(),
            // A page code is of no use without its session.
            None if reported == "session" => {
                KINDS.into_iter().filter(|kind| !["session", "page code"].contains(kind)).collect()
            }
            None => KINDS.into_iter().filter(|kind| *kind != reported).collect(),
        };
        assert_eq!(credentials.working().await, expected, "{reported}");
        workspace.contents().await;
    }
}

#[tokio::test]
async fn a_refresh_token_ends_with_its_family_used_or_not() {
    for is_used in [false, true] {
        let credentials = Credentials::new().await;
        let workspace = &credentials.workspace;
        let refresh_token = &credentials.texts[3];
        let renewed = if is_used {
            Some(
                workspace.refresh(refresh_token).await.json()["access_token"]
                    .as_str()
                    .expect("one")
                    .to_owned(),
            )
        } else {
            None
        };
        report(workspace, &[refresh_token]).await;
        let family = ["refresh token", "token of its family"];
        let expected: Vec<_> = KINDS.into_iter().filter(|kind| !family.contains(kind)).collect();
        assert_eq!(credentials.working().await, expected);
        if let Some(renewed) = renewed {
            assert!(!workspace.accepts(&renewed).await);
        }
        let events = leaks(workspace).await;
        assert_eq!((events.len(), &events[0]["ended"]), (1, &json!("token_family")), "{events:?}");
        workspace.contents().await;
    }
}

#[tokio::test]
async fn the_tokens_that_an_old_secret_made_end_with_it() {
    let workspace = Workspace::new().await;
    let old = workspace.key_of("bob", &["orders:read"]).await;
    let current = rotated(&workspace, &old, 3600).await;
    let (of_old, of_current) = (workspace.access_token(&old).await, workspace.access_token(&current).await);
    assert!(workspace.accepts(&of_old).await);
    report(&workspace, &[&old]).await;
    assert!(!workspace.accepts(&old).await && !workspace.accepts(&of_old).await);
    assert!(workspace.accepts(&current).await && workspace.accepts(&of_current).await);
    let shown = workspace.get(&workspace.admin, id_of(&old)).await.json();
    assert_eq!((&shown["previous_expires_at"], &shown["status"]), (&json!(null), &json!("active")));
    workspace.contents().await;
}

#[tokio::test]
async fn a_key_that_is_disabled_for_a_leak_is_enabled_by_a_rotation_without_an_overlap_alone() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["orders:read"]).await;
    let (admin, id) = (workspace.admin.clone(), id_of(&key).to_owned());
    report(&workspace, &[&key]).await;
    let shown = workspace.get(&admin, &id).await.json();
    assert_eq!(shown["status"], "disabled");
    assert!(shown["leaked_at"].is_string(), "{shown}");
    assert!(!shown["can"].as_array().expect("actions").contains(&json!("enable")), "{shown}");
    let listed = workspace.list(&admin, "?user_id=bob").await.json();
    assert_eq!(
        (&listed["items"][0]["leaked_at"], &listed["items"][0]["can"]),
        (&shown["leaked_at"], &shown["can"])
    );

    for patch in [json!({"disabled": false}), json!({"disabled": null, "description": "back"})] {
        workspace.update(&admin, &id, &patch).await.assert_problem(409, "key_leaked");
    }
    let with_overlap = workspace.rotate(&admin, &id, &json!({"overlap_seconds": 60})).await;
    with_overlap.assert_problem(409, "key_leaked");
    assert_eq!(workspace.update(&admin, &id, &json!({"description": "leaked"})).await.status, 200);
    assert!(!workspace.accepts(&key).await);

    let new = rotated(&workspace, &key, 0).await;
    assert!(workspace.accepts(&new).await && !workspace.accepts(&key).await);
    let shown = workspace.get(&admin, &id).await.json();
    assert_eq!((&shown["status"], &shown["leaked_at"]), (&json!("active"), &json!(null)));
    for disabled in [true, false] {
        assert_eq!(workspace.update(&admin, &id, &json!({"disabled": disabled})).await.status, 200);
    }
    assert!(workspace.accepts(&new).await);
    workspace.contents().await;
}

/// A person disabled the key for another reason, which a report does not end.
#[tokio::test]
async fn a_key_that_was_disabled_before_its_leak_stays_disabled_after_the_rotation() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let (admin, id) = (workspace.admin.clone(), id_of(&key).to_owned());
    assert_eq!(workspace.update(&admin, &id, &json!({"disabled": true})).await.status, 200);
    // Times are whole seconds, and the report is later.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    report(&workspace, &[&key]).await;
    workspace.update(&admin, &id, &json!({"disabled": false})).await.assert_problem(409, "key_leaked");
    let new = rotated(&workspace, &key, 0).await;
    assert!(!workspace.accepts(&new).await);
    assert_eq!(workspace.update(&admin, &id, &json!({"disabled": false})).await.status, 200);
    assert!(workspace.accepts(&new).await);
    workspace.contents().await;
}

#[tokio::test]
async fn a_repeated_report_changes_nothing_more() {
    let credentials = Credentials::new().await;
    let workspace = &credentials.workspace;
    let texts: Vec<_> = credentials.texts.iter().map(String::as_str).collect();
    let twice: Vec<_> = texts.iter().chain(&texts).copied().collect();
    report(workspace, &twice).await;
    assert_eq!(credentials.working().await, [""; 0]);
    let after_first = leaks(workspace).await;
    report(workspace, &texts).await;
    assert_eq!(leaks(workspace).await, after_first);
    workspace.contents().await;
}

#[tokio::test]
async fn a_made_up_credential_ends_nothing_and_takes_the_calls_and_the_units_of_one_that_does_not_exist() {
    let credentials = Credentials::new().await;
    let workspace = &credentials.workspace;
    let function = Function::start("report-leaks", &LEGACY).await;
    let cost = async |text: &str| {
        function.take_calls();
        function.take_capacity();
        let answer = function.invoke(event(workspace, &[text])).await.expect("a response");
        let calls: Vec<_> = function.take_calls().into_iter().map(|(operation, _)| operation).collect();
        (answer, calls, function.take_capacity())
    };
    for (kind, credential) in KINDS.into_iter().zip(&credentials.texts) {
        if kind == "legacy key" {
            continue;
        }
        let wrong = cost(&with_another_secret(credential)).await;
        let mut unknown = cost(&with_another_id(credential)).await;
        if unknown.1 == ["BatchGetItem"] {
            // DynamoDB Local charges a batch nothing for an item that does not exist. DynamoDB charges it as the smallest item.
            assert_eq!(unknown.2, [("BatchGetItem".to_owned(), 0.0)], "{kind}");
            unknown.2.clone_from(&wrong.2);
        }
        assert_eq!(wrong, unknown, "{kind}");
        assert_eq!((wrong.0["statusCode"].as_u64(), wrong.1.len()), (Some(202), 1), "{kind}: {wrong:?}");
    }
    let unknown = cost(&legacy_key()).await;
    assert_eq!(
        (unknown.0["statusCode"].as_u64(), &unknown.1[..]),
        (Some(202), &["BatchGetItem".to_owned()][..])
    );
    // Neither length nor checksum are right.
    let current = &credentials.texts[0];
    for garbage in ["", "kg", "kg_key_", "old-0", &current[..current.len() - 1], &format!("{current} ")] {
        let (answer, calls, _) = cost(garbage).await;
        assert_eq!((answer["statusCode"].as_u64(), calls.len()), (Some(202), 0), "{garbage:?}");
    }
    assert_eq!(leaks(workspace).await, [Value::Null; 0]);
    assert_eq!(credentials.working().await, KINDS);
    workspace.contents().await;
}

#[tokio::test]
async fn by_the_policy_delete_a_leaked_key_is_deleted() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let current = rotated(&workspace, &key, 3600).await;
    let function = Function::start("report-leaks", &[("LEAK_POLICY", "delete")]).await;
    let answer = function.invoke(event(&workspace, &[&current])).await.expect("a response");
    assert_eq!(answer["statusCode"], 202, "{answer}");
    workspace.get(&workspace.admin, id_of(&key)).await.assert_problem(404, "not_found");
    assert!(!workspace.accepts(&key).await && !workspace.accepts(&current).await);
    let events = leaks(&workspace).await;
    assert_eq!((events.len(), &events[0]["ended"]), (1, &json!("key_deleted")), "{events:?}");
    assert_eq!(workspace.contents().await.keys.len(), 1);
}

#[tokio::test]
async fn a_report_that_a_crash_interrupts_is_repeated_without_a_second_event() {
    for disturbance in [Disturbance::KillBefore, Disturbance::KillAfter] {
        let credentials = Credentials::new().await;
        let workspace = &credentials.workspace;
        // One after the other would end them all before the crash.
        let texts: Vec<_> = [2, 5, 8].map(|index| credentials.texts[index].as_str()).to_vec();
        let killed = Function::start("report-leaks", &[]).await;
        killed.disturb(disturbance);
        killed.invoke_until_killed(event(workspace, &texts)).await;
        let again = Function::start("report-leaks", &[]).await;
        let answer = again.invoke(event(workspace, &texts)).await.expect("a response");
        assert_eq!(answer["statusCode"], 202, "{answer}");
        let left = credentials.working().await;
        let ended = ["access token", "session", "page code", "other key"];
        let expected: Vec<_> = KINDS.into_iter().filter(|kind| !ended.contains(kind)).collect();
        assert_eq!(left, expected, "{disturbance:?}");
        assert_eq!(leaks(workspace).await.len(), 3, "{disturbance:?}");
        workspace.contents().await;
    }
}

#[tokio::test]
async fn a_rotation_at_the_same_time_decides_what_a_report_ends() {
    for (overlap, ended) in [(0, None), (3600, Some("overlap"))] {
        let workspace = Workspace::new().await;
        let key = workspace.key_of("bob", &[]).await;
        let function = Function::start("report-leaks", &[]).await;
        let mut new = String::new();
        let answer = function
            .invoke_while(event(&workspace, &[&key]), async {
                new = rotated(&workspace, &key, overlap).await;
            })
            .await;
        assert_eq!(answer["statusCode"], 202, "{answer}");
        assert!(workspace.accepts(&new).await && !workspace.accepts(&key).await);
        let events = leaks(&workspace).await;
        assert_eq!(events.iter().map(|event| event["ended"].as_str()).next().flatten(), ended, "{events:?}");
        workspace.contents().await;
    }
}

#[tokio::test]
async fn a_report_that_cannot_be_handled_now_is_to_be_repeated() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let function = Function::start("report-leaks", &[]).await;
    function.disturb(Disturbance::Down);
    let answer = function.invoke(event(&workspace, &[&key])).await.expect("a response");
    assert_eq!(answer["statusCode"], 503, "{answer}");
    assert!(!answer.to_string().contains(&key), "a problem repeats no credential");
    function.disturb(Disturbance::None);
    let answer = function.invoke(event(&workspace, &[&key])).await.expect("a response");
    assert_eq!(answer["statusCode"], 202, "{answer}");
    assert!(!workspace.accepts(&key).await);
    workspace.contents().await;
}

#[tokio::test]
async fn a_report_has_up_to_256_kib_and_ignores_an_idempotency_key() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let filler = "x".repeat(255 * 1024);
    report(&workspace, &[&filler, &key]).await;
    assert!(!workspace.accepts(&key).await);
    let too_large = send(&workspace, &json!({"credentials": [filler, filler]})).await;
    too_large.assert_problem(413, "payload_too_large");
    for body in [json!({}), json!({"credentials": []}), json!({"credentials": [1]}), json!([])] {
        send(&workspace, &body).await.assert_problem(400, "invalid_request");
    }
    let url = format!("{}/leaks", variable("KEYGATE_API_URL"));
    let malformed =
        workspace.api.send_text(Method::POST, &url, None, Some("{\"credentials\": [".to_owned())).await;
    malformed.assert_problem(400, "invalid_request");

    let repeated = workspace.api.client().request(Method::POST, &url);
    let repeated = repeated.header("Idempotency-Key", unique("a-key-that-is-long-enough"));
    let answer =
        Answer::of(repeated.json(&json!({"credentials": [key]})).send().await.expect("a response")).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    workspace.contents().await;
}
