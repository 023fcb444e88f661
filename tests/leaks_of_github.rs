//! `POST /leaks/github`: reports that GitHub signs, and the feedback that they get.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::leaks::{Credentials, KINDS, leaks, rotated, with_another_id, with_another_secret};
use crate::support::function::{Disturbance, Function};
use crate::support::github::{self, GitHubKey, TYPE, matches, send};
use crate::support::legacy::{LEGACY, counts, import, legacy_key};
use crate::support::people::Provider;
use crate::support::stack::variable;
use crate::support::workspace::{Workspace, id_of, text, unique};

/// Sends a signed report of texts, and returns the feedback.
async fn report(workspace: &Workspace, texts: &[&str]) -> Value {
    let body = matches(texts).to_string();
    let answer = send(workspace, &GitHubKey::of_stack().sign(&body), &body).await;
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")), "{answer:?}");
    assert!(texts.iter().all(|text| text.is_empty() || !answer.text.contains(text)), "{answer:?}");
    answer.json()
}

/// The body of the response of a function.
fn body_of(answer: &Value) -> Value {
    serde_json::from_str(text(answer, "body")).expect("a body in JSON")
}

fn feedback(text: &str, label: &str) -> Value {
    let hash: Vec<_> = Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect();
    json!({"token_hash": hash.concat(), "token_type": TYPE, "label": label})
}

/// The kinds of which something is stored after their end, so that a second report still knows them.
const KNOWN_AFTER_THEIR_END: [&str; 2] = ["current secret", "refresh token"];

#[tokio::test]
async fn a_credential_of_each_kind_ends_alone_and_is_a_true_positive() {
    for (index, kind) in KINDS.into_iter().enumerate() {
        if ["token of its family", "other key"].contains(&kind) {
            continue;
        }
        let credentials = Credentials::new().await;
        let (workspace, reported) = (&credentials.workspace, credentials.texts[index].as_str());
        assert_eq!(
            report(workspace, &[reported]).await,
            json!([feedback(reported, "true_positive")]),
            "{kind}"
        );
        let events = leaks(workspace).await;
        assert_eq!((events.len(), &events[0]["path"]), (1, &json!("/leaks/github")), "{kind}: {events:?}");
        let ended: &[&str] = match kind {
            "current secret" => &KINDS[..7],
            "refresh token" => &["refresh token", "token of its family"],
            "session" => &["session", "page code"],
            _ => &[kind],
        };
        let remaining: Vec<_> = KINDS.into_iter().filter(|kind| !ended.contains(kind)).collect();
        assert_eq!(credentials.working().await, remaining, "{kind}");

        let is_known = KNOWN_AFTER_THEIR_END.contains(&kind);
        let expected = if is_known { json!([feedback(reported, "true_positive")]) } else { json!([]) };
        assert_eq!(report(workspace, &[reported]).await, expected, "{kind}");
        assert_eq!(leaks(workspace).await, events, "{kind}");
        workspace.contents().await;
    }
}

#[tokio::test]
async fn a_credential_that_had_ended_before_its_report_is_a_true_positive_while_its_hash_is_stored() {
    let workspace = Workspace::new().await;
    let [disabled, rotated_key, deleted] = [
        workspace.key_of("a", &[]).await,
        workspace.key_of("b", &[]).await,
        workspace.key_of("c", &[]).await,
    ];
    let patched = workspace.update(&workspace.admin, id_of(&disabled), &json!({"disabled": true})).await;
    assert_eq!(patched.status, 200);
    rotated(&workspace, &rotated_key, 0).await;
    assert_eq!(workspace.delete(&workspace.admin, id_of(&deleted)).await.status, 204);
    let told = report(&workspace, &[&disabled, &rotated_key, &deleted]).await;
    assert_eq!(told, json!([feedback(&disabled, "true_positive")]));
    workspace.contents().await;
}

#[tokio::test]
async fn a_made_up_text_ends_nothing_and_is_a_false_positive_unless_it_could_be_one_that_has_ended() {
    let credentials = Credentials::new().await;
    let workspace = &credentials.workspace;
    let (mut unknown, mut wrong) = (vec![legacy_key()], Vec::new());
    for (kind, text) in KINDS.into_iter().zip(&credentials.texts).filter(|(kind, _)| *kind != "legacy key") {
        unknown.extend([with_another_secret(text), with_another_id(text)]);
        let (rest, last) = text.split_at(text.len() - 1);
        wrong.extend([
            format!("{rest}{}", if last == "0" { "1" } else { "0" }),
            rest.to_owned(),
            format!("{text}0"),
            text.replacen("kg", "ab", 1),
            format!("{kind} {text}"),
        ]);
    }
    wrong.extend(["", "kg", "old-0", "password"].map(str::to_owned));
    let texts: Vec<_> = unknown.iter().chain(&wrong).map(String::as_str).collect();
    let expected: Vec<_> = wrong.iter().map(|text| feedback(text, "false_positive")).collect();
    assert_eq!(report(workspace, &texts).await, json!(expected));
    assert_eq!(leaks(workspace).await, [Value::Null; 0]);
    assert_eq!(credentials.working().await, KINDS);
    workspace.contents().await;
}

#[tokio::test]
async fn only_github_can_report_and_every_other_sender_gets_one_response() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let body = matches(&[&key]).to_string();
    let github = GitHubKey::of_stack();
    let [id, signature] = github.sign(&body);
    let [_, of_own_key] = GitHubKey::new(&github.id).sign(&body);
    let own_key = GitHubKey::new("own").sign(&body);
    let [_, of_other_body] = github.sign("[]");
    let mut refusals = Vec::new();
    for (what, headers, body) in [
        ("no headers", vec![], body.clone()),
        ("no id", vec![signature.clone()], body.clone()),
        ("no signature", vec![id.clone()], body.clone()),
        ("two signatures", vec![id.clone(), signature.clone(), signature.clone()], body.clone()),
        ("another key of the same id", vec![id.clone(), of_own_key], body.clone()),
        ("a key that is not published", own_key.to_vec(), body.clone()),
        ("the signature of another body", vec![id.clone(), of_other_body], body.clone()),
        ("another byte", vec![id.clone(), signature.clone()], format!("{body} ")),
        ("no JSON", vec![id.clone(), signature.clone()], "[{".to_owned()),
    ] {
        let answer = send(&workspace, &headers, &body).await;
        answer.assert_problem(403, "invalid_signature");
        let mut problem = answer.json();
        problem["request_id"] = Value::Null;
        refusals.push((what, problem));
    }
    assert!(refusals.iter().all(|(_, problem)| *problem == refusals[0].1), "{refusals:?}");
    assert!(workspace.accepts(&key).await);

    // A body is read when its signature is right.
    for body in ["{}", "[{", r#"[{"token": 1, "type": "a"}]"#] {
        send(&workspace, &github.sign(body), body).await.assert_problem(400, "invalid_request");
    }
    let more = json!([{"token": key, "type": TYPE, "url": null, "commit": {"sha": 1}}]).to_string();
    assert_eq!(send(&workspace, &github.sign(&more), &more).await.status, 200);
    assert!(!workspace.accepts(&key).await);
    workspace.contents().await;
}

#[tokio::test]
async fn a_report_without_a_valid_signature_makes_no_call_whatever_it_has() {
    let credentials = Credentials::new().await;
    let workspace = &credentials.workspace;
    let function = github::function(&variable("KEYGATE_OIDC_ISSUER"), &LEGACY).await;
    let texts: Vec<_> = credentials.texts.iter().map(String::as_str).collect();
    let made_up: Vec<_> = texts.iter().map(|_| legacy_key()).collect();
    let made_up: Vec<_> = made_up.iter().map(String::as_str).collect();
    let own = GitHubKey::new(&GitHubKey::of_stack().id);
    function.take_calls();
    let mut answers = Vec::new();
    for body in [matches(&texts), matches(&made_up), json!("nothing")] {
        for headers in [own.sign(&body.to_string()).to_vec(), Vec::new()] {
            answers
                .push(function.invoke(github::event(workspace, &headers, &body)).await.expect("a response"));
            assert_eq!(function.take_calls(), []);
        }
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    assert_eq!(answers[0]["statusCode"], 403);
    assert_eq!(credentials.working().await, KINDS);
    workspace.contents().await;
}

#[tokio::test]
async fn invented_key_ids_make_the_function_fetch_the_keys_once_a_minute_at_most() {
    let workspace = Workspace::new().await;
    let mut provider = Provider::start(&[]).await;
    let function = github::function(&provider.issuer, &[]).await;
    let status = async |key: &GitHubKey| {
        let body = json!([]);
        let headers = key.sign(&body.to_string());
        let answer = function.invoke(github::event(&workspace, &headers, &body)).await.expect("a response");
        answer["statusCode"].as_u64().expect("a status")
    };
    for _ in 0..5 {
        assert_eq!(status(&GitHubKey::new(&unique("invented"))).await, 403);
    }
    assert_eq!(provider.reads_of("/github/keys"), 1);
    provider.stop();
    assert_eq!(status(&GitHubKey::new(&unique("invented"))).await, 403, "kept keys serve");

    // Without keys there is no decision, and GitHub may repeat the report.
    let function = github::function(&provider.issuer, &[]).await;
    let body = matches(&["kg"]);
    let headers = GitHubKey::of_stack().sign(&body.to_string());
    let answer = function.invoke(github::event(&workspace, &headers, &body)).await.expect("a response");
    assert_eq!(answer["statusCode"], 503, "{answer}");
}

#[tokio::test]
async fn a_deployment_that_is_not_a_partner_has_no_such_route() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let function = Function::start("report-leaks", &[("GITHUB_KEYS_URL", "")]).await;
    let body = matches(&[&key]);
    let headers = GitHubKey::of_stack().sign(&body.to_string());
    function.take_calls();
    let answer = function.invoke(github::event(&workspace, &headers, &body)).await.expect("a response");
    assert_eq!((&answer["statusCode"], function.take_calls()), (&json!(404), vec![]), "{answer}");
    assert!(workspace.accepts(&key).await);
    workspace.contents().await;
}

#[tokio::test]
async fn a_report_that_a_crash_interrupts_is_repeated_with_the_same_feedback_and_one_event_of_each_end() {
    for disturbance in [Disturbance::KillBefore, Disturbance::KillAfter] {
        let workspace = Workspace::new().await;
        let mut keys = Vec::new();
        for user in ["a", "b", "c"] {
            keys.push(workspace.key_of(user, &[]).await);
        }
        let texts: Vec<_> = keys.iter().map(String::as_str).collect();
        let body = matches(&texts);
        let event = github::event(&workspace, &GitHubKey::of_stack().sign(&body.to_string()), &body);
        let issuer = variable("KEYGATE_OIDC_ISSUER");
        let killed = github::function(&issuer, &[]).await;
        killed.disturb(disturbance);
        killed.invoke_until_killed(event.clone()).await;
        let again = github::function(&issuer, &[]).await;
        let expected: Vec<_> = texts.iter().map(|text| feedback(text, "true_positive")).collect();
        for _ in 0..2 {
            let answer = again.invoke(event.clone()).await.expect("a response");
            assert_eq!(body_of(&answer), json!(expected), "{answer}");
        }
        assert_eq!(leaks(&workspace).await.len(), 3, "{disturbance:?}");
        for key in &keys {
            assert!(!workspace.accepts(key).await);
        }
        workspace.contents().await;
    }
}

/// Each revocation counts the key's tokens, so the transactions conflict.
#[tokio::test]
async fn many_tokens_of_one_key_end_in_one_report() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["orders:read"]).await;
    let mut tokens = Vec::new();
    for _ in 0..30 {
        tokens.push(workspace.access_token(&key).await);
    }
    let texts: Vec<_> = tokens.iter().map(String::as_str).collect();
    let function = github::function(&variable("KEYGATE_OIDC_ISSUER"), &[]).await;
    function.disturb(Disturbance::Contention);
    let body = matches(&texts);
    let event = github::event(&workspace, &GitHubKey::of_stack().sign(&body.to_string()), &body);
    let answer = function.invoke(event).await.expect("a response");
    let expected: Vec<_> = texts.iter().map(|text| feedback(text, "true_positive")).collect();
    assert_eq!(body_of(&answer), json!(expected), "{answer}");
    assert_eq!(leaks(&workspace).await.len(), 30);
    assert!(workspace.accepts(&key).await);
    workspace.contents().await;
}

/// In the template.
const TIMEOUT_OF_THE_FUNCTION: Duration = Duration::from_secs(28);

/// Each is in it twice.
#[tokio::test]
async fn a_thousand_credentials_of_one_report_end_within_its_request() {
    // A batch of legacy keys is imported at once.
    const LEGACY_KEYS: usize = 900;
    const KEYS: usize = 100;
    let workspace = Workspace::new().await;
    let legacy: Vec<_> = (0..LEGACY_KEYS).map(|_| legacy_key()).collect();
    let imported = legacy.iter().enumerate().map(
        |(number, key)| json!({"key": key, "user_id": format!("user-{number}"), "name": "old", "scopes": []}),
    );
    assert_eq!(counts(&import(&workspace, imported.collect()).await), [900, 0, 0]);
    let mut texts = legacy;
    for number in 0..KEYS {
        texts.push(workspace.key_of(&format!("user-{number}"), &[]).await);
    }
    let twice: Vec<_> = texts.iter().chain(&texts).map(String::as_str).collect();
    let function = github::function(&variable("KEYGATE_OIDC_ISSUER"), &LEGACY).await;
    let body = matches(&twice);
    let event = github::event(&workspace, &GitHubKey::of_stack().sign(&body.to_string()), &body);
    let started = Instant::now();
    let answer = function.invoke(event).await.expect("a response");
    let took = started.elapsed();
    let expected: Vec<_> = texts.iter().map(|text| feedback(text, "true_positive")).collect();
    assert_eq!(body_of(&answer), json!(expected), "{answer}");
    assert!(took < TIMEOUT_OF_THE_FUNCTION, "{took:?}");
    let contents = workspace.contents().await;
    let ended = contents.events.iter().filter(|event| event["action"] == "key.leaked").count();
    assert_eq!(ended, texts.len());
    for text in texts.iter().step_by(100) {
        assert!(!workspace.accepts(text).await);
    }
}
