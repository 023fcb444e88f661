//! Refused clients of the OAuth API: their refusals are in the audit trail like those of the authorizer.

use keygate_core::credential::{Credential, CredentialForm};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::support::database::{calls, events_of};
use crate::support::function::{Disturbance, Function, oauth_request};
use crate::support::oauth::{basic, token_id_of};
use crate::support::stack::remember_secret;
use crate::support::workspace::{Workspace, id_of, text};

const GRANT: (&str, &str) = ("grant_type", "client_credentials");

/// A credential with a right checksum and a secret that was never issued.
pub(crate) fn made_up(id: &str, form: CredentialForm) -> String {
    let credential = Credential::draw(id.parse().expect("an id"), form);
    credential.to_text(&"kg".parse().expect("a brand")).expose_secret().to_owned()
}

/// The events of a user's refusals by the OAuth API, with the attributes that the tests compare.
async fn refusals(workspace: &Workspace, user: &str) -> Vec<[Value; 6]> {
    let mut events = calls(&workspace.id, user).await;
    events.retain(|event| event["path"].as_str().is_some_and(|path| path.starts_with("/oauth/")));
    assert!(events.iter().all(|event| event["source"].is_string()), "{events:#?}");
    let names = ["outcome", "reason", "method", "path", "credential", "key_id"];
    events.iter().map(|event| names.map(|name| event[name].clone())).collect()
}

#[tokio::test]
async fn a_client_with_a_wrong_secret_or_a_key_that_does_not_work_is_in_the_trail_of_the_key() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("wrong", &[]).await;
    let wrong = basic(&made_up(id_of(&key), CredentialForm::ApiKey));
    let disabled = workspace.key_of("disabled", &[]).await;
    workspace.update(&workspace.admin, id_of(&disabled), &json!({"disabled": true})).await.assert_succeeded();
    let expired = json!({"name": "short", "user_id": "expired", "expires_in": 1});
    let expired = text(&workspace.created(expired).await, "key").to_owned();
    workspace.until_refused(&expired).await;
    let deleted = workspace.key_of("deleted", &[]).await;
    workspace.delete(&workspace.admin, id_of(&deleted)).await.assert_succeeded();

    for (endpoint, form) in
        [("token", &[GRANT][..]), ("introspect", &[("token", "x")]), ("revoke", &[("token", "x")])]
    {
        for authorization in [&wrong, &basic(&disabled), &basic(&expired), &basic(&deleted)] {
            let answer = workspace.oauth(endpoint, Some(authorization), form).await;
            answer.assert_oauth_error(401, "invalid_client");
        }
    }
    for (user, id, reason) in [
        ("wrong", id_of(&key), "wrong_secret"),
        ("disabled", id_of(&disabled), "disabled"),
        ("expired", id_of(&expired), "expired"),
    ] {
        let events = refusals(&workspace, user).await;
        let expected = ["/oauth/token", "/oauth/introspect", "/oauth/revoke"]
            .map(|path| ["refused", reason, "POST", path, "api_key", id].map(|text| json!(text)));
        assert_eq!(events, expected, "{user}");
    }
    assert!(refusals(&workspace, "deleted").await.is_empty(), "a key that is gone has no trail");
    assert!(refusals(&workspace, "admin").await.is_empty(), "no other client was refused");
    workspace.contents().await;
}

#[tokio::test]
async fn a_refresh_token_with_a_wrong_secret_is_in_the_trail_of_its_key() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let tokens = workspace.tokens(&key, "offline_access").await;
    let refresh = text(&tokens, "refresh_token");
    let token_id = token_id_of(refresh).parse().expect("an id");
    workspace
        .refresh(&made_up(id_of(&key), CredentialForm::RefreshToken(token_id)))
        .await
        .assert_oauth_error(400, "invalid_grant");
    let [refused] = <[_; 1]>::try_from(refusals(&workspace, "bob").await).expect("one event");
    assert_eq!(refused[..4], ["refused", "wrong_secret", "POST", "/oauth/token"].map(|text| json!(text)));
    assert_eq!(refused[4], Value::Null, "no kind that opens APIs");
    assert_eq!(workspace.refresh(refresh).await.status, 200, "it was not used up");
}

#[tokio::test]
async fn any_number_of_refusals_within_a_minute_is_two_events_of_an_environment_and_all_are_counted() {
    const TRIES: u64 = 60;
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let issuer = Function::start("issue-token", &[]).await;
    for _ in 0..TRIES {
        let answer = issuer
            .invoke(token_request(&made_up(id_of(&key), CredentialForm::ApiKey)))
            .await
            .expect("a response");
        assert_eq!(answer["statusCode"], 401, "{answer}");
    }
    issuer.terminate().await;
    let counts: Vec<_> =
        calls(&workspace.id, "bob").await.iter().filter_map(|event| event["count"].as_u64()).collect();
    // A minute may end on the way.
    assert!((2..=3).contains(&counts.len()) && counts.iter().sum::<u64>() == TRIES, "{counts:?}");
}

/// The time of a refusal must not tell whether a key exists.
#[tokio::test]
async fn the_response_to_a_refused_client_does_not_wait_for_its_event() {
    let workspace = Workspace::new().await;
    let wrong = basic(&made_up(id_of(&workspace.key_of("bob", &[]).await), CredentialForm::ApiKey));
    for (name, event) in [
        ("issue-token", oauth_request("token", Some(&wrong), "grant_type=client_credentials")),
        ("introspect-token", oauth_request("introspect", Some(&wrong), "token=x")),
        ("revoke-token", oauth_request("revoke", Some(&wrong), "token=x")),
    ] {
        let before = calls(&workspace.id, "bob").await.len();
        let function = Function::start(name, &[]).await;
        let answer = function.invoke_then_event(event, async {
            assert_eq!(calls(&workspace.id, "bob").await.len(), before, "{name}: nothing is written yet");
        });
        assert_eq!(Box::pin(answer).await["statusCode"], 401, "{name}");
        function.frozen().await;
        assert_eq!(calls(&workspace.id, "bob").await.len(), before + 1, "{name}");
    }
}

#[tokio::test]
async fn an_event_that_cannot_be_written_changes_no_response_and_is_logged() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["orders:read"]).await;
    let issuer = Function::start("issue-token", &[]).await;
    issuer.disturb(Disturbance::WritesFail);
    let answer = issuer
        .invoke(token_request(&made_up(id_of(&key), CredentialForm::ApiKey)))
        .await
        .expect("a response");
    assert_eq!(answer["statusCode"], 401, "{answer}");
    issuer.frozen().await;
    assert!(issuer.log_lines().iter().any(|line| line["message"] == "deferred write failed"));
    issuer.disturb(Disturbance::None);
    let answer = issuer.invoke(token_request(&key)).await.expect("a response");
    assert_eq!(answer["statusCode"], 200, "{answer}");
    let body: Value = serde_json::from_str(text(&answer, "body")).expect("JSON");
    let token = text(&body, "access_token");
    remember_secret(&token[token.len() - 49..][..43]);
    assert_eq!(events_of(&workspace.id, "bob", "token.issued").await.len(), 1);
}

fn token_request(key: &str) -> Value {
    oauth_request("token", Some(&basic(key)), "grant_type=client_credentials")
}
