//! `TokensPerKey`: the most tokens of a key that work at the same time.

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::database::{live_tokens, put_tokens};
use crate::support::eventually_some;
use crate::support::function::{Disturbance, Function};
use crate::support::oauth::{answered, form_event, token_id_of};
use crate::support::workspace::{Workspace, id_of, text};

/// Requests tokens of a key. Returns the status and the body.
async fn ask(function: &Function, key: &str, more: &str) -> (u64, Value) {
    let form = format!("grant_type=client_credentials&client_id={}&client_secret={key}{more}", id_of(key));
    answered(&function.invoke(form_event("/oauth/token", &form)).await.expect("a response"))
}

async fn issued(function: &Function, key: &str, more: &str) -> Value {
    let (status, tokens) = ask(function, key, more).await;
    assert_eq!(status, 200, "{tokens}");
    tokens
}

async fn refused(function: &Function, key: &str, more: &str) {
    let (status, error) = ask(function, key, more).await;
    assert_eq!((status, &error["error"]), (409, &json!("temporarily_unavailable")), "{error}");
    assert!(text(&error, "error_description").contains("working tokens, the maximum"), "{error}");
}

async fn of_bound(bound: &str) -> Function {
    Function::start("issue-token", &[("TOKENS_PER_KEY", bound)]).await
}

#[tokio::test]
async fn a_key_has_as_many_tokens_as_it_may_have_and_another_key_its_own() {
    let workspace = Workspace::new().await;
    let (key, other) = (workspace.key_of("bob", &[]).await, workspace.key_of("bob", &[]).await);
    let function = of_bound("3").await;
    issued(&function, &key, "").await;
    let family = issued(&function, &key, "&scope=offline_access").await;
    refused(&function, &key, "").await;
    refused(&function, &key, "&expires_in=1").await;
    assert!(workspace.accepts(text(&family, "access_token")).await, "the tokens that work continue to");
    assert_eq!(live_tokens(id_of(&key)).await["live"], 3);
    issued(&function, &other, "&scope=offline_access").await;
    refused(&function, &other, "&scope=offline_access").await;
    issued(&function, &other, "").await;
    workspace.contents().await;
}

#[tokio::test]
async fn an_expired_token_makes_room() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let function = of_bound("2").await;
    issued(&function, &key, "").await;
    let short = issued(&function, &key, "&expires_in=2").await;
    refused(&function, &key, "").await;
    let new = eventually_some("the key has room for a token", async || {
        let (status, answer) = ask(&function, &key, "&expires_in=600").await;
        assert!(matches!(status, 200 | 409), "{status}: {answer}");
        (status == 200).then_some(answer)
    })
    .await;
    assert!(
        !workspace.accepts(text(&short, "access_token")).await,
        "there is no room before a token expires"
    );
    assert!(workspace.accepts(text(&new, "access_token")).await);
    refused(&function, &key, "").await;
    let counted = live_tokens(id_of(&key)).await;
    assert_eq!(counted["live"], 2);
    assert_eq!(counted["ends"].as_object().map(serde_json::Map::len), Some(2), "{counted}");
}

#[tokio::test]
async fn a_revoked_token_makes_room() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let id = id_of(&key);
    let function = of_bound("2").await;
    let revoke = async |token: &str, by_id: bool| {
        if by_id {
            let rest = format!("/{}", token_id_of(token));
            assert_eq!(workspace.revoke_tokens(&workspace.admin, id, &rest).await.status, 204);
        } else {
            assert_eq!(workspace.oauth("revoke", None, &[("token", token)]).await.status, 200);
        }
    };
    issued(&function, &key, "").await;
    for by_id in [false, true] {
        let tokens = issued(&function, &key, "").await;
        refused(&function, &key, "").await;
        revoke(text(&tokens, "access_token"), by_id).await;
    }
    // Revoking a token again makes no more room.
    let tokens = issued(&function, &key, "").await;
    for _ in 0..2 {
        revoke(text(&tokens, "access_token"), false).await;
    }
    assert_eq!(live_tokens(id).await["live"], 1);

    // All at once, and by a rotation without an overlap.
    issued(&function, &key, "").await;
    assert_eq!(workspace.revoke_tokens(&workspace.admin, id, "").await.status, 204);
    let family = issued(&function, &key, "&scope=offline_access").await;
    refused(&function, &key, "").await;
    revoke(text(&family, "refresh_token"), false).await;
    issued(&function, &key, "").await;
    let rotated = workspace.rotate(&workspace.admin, id, &json!({})).await.json();
    issued(&function, text(&rotated, "key"), "&scope=offline_access").await;
    refused(&function, text(&rotated, "key"), "").await;
    workspace.contents().await;
}

#[tokio::test]
async fn concurrent_requests_never_get_more_tokens_than_the_bound() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let mut asked = JoinSet::new();
    for _ in 0..6 {
        let (function, key) = (of_bound("7").await, key.clone());
        function.disturb(Disturbance::Contention);
        asked.spawn(async move {
            let mut answers = Vec::new();
            for _ in 0..4 {
                answers.push(ask(&function, &key, "").await);
            }
            answers
        });
    }
    let answers = asked.join_all().await.concat();
    let mut working = 0;
    for (status, answer) in &answers {
        match status {
            200 => working += usize::from(workspace.accepts(text(answer, "access_token")).await),
            409 => {}
            _ => panic!("{status}: {answer}"),
        }
    }
    assert_eq!(working, 7, "{answers:#?}");
    assert_eq!(live_tokens(id_of(&key)).await["live"], 7);
}

#[tokio::test]
async fn a_renewal_counts_its_access_token_and_is_not_used_up_by_a_refusal() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let function = of_bound("4").await;
    let refresh = async |token: &str| {
        let form = format!("grant_type=refresh_token&refresh_token={token}");
        answered(&function.invoke(form_event("/oauth/token", &form)).await.expect("a response"))
    };
    let first = issued(&function, &key, "&scope=offline_access").await;
    let (_, second) = refresh(text(&first, "refresh_token")).await;
    let (_, third) = refresh(text(&second, "refresh_token")).await;
    assert_eq!(live_tokens(id_of(&key)).await["live"], 4, "three access tokens, one refresh token");
    let (status, error) = refresh(text(&third, "refresh_token")).await;
    assert_eq!((status, &error["error"]), (409, &json!("temporarily_unavailable")), "{error}");
    assert_eq!(workspace.oauth("revoke", None, &[("token", text(&first, "access_token"))]).await.status, 200);
    let (status, fourth) = refresh(text(&third, "refresh_token")).await;
    assert_eq!(status, 200, "{fourth}");
    workspace.contents().await;
}

#[tokio::test]
async fn tokens_are_counted_in_the_transaction_that_writes_them() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let function = Function::start("issue-token", &[]).await;
    issued(&function, &key, "").await;
    function.take_calls();
    issued(&function, &key, "").await;
    let calls = function.take_calls();
    let items = |(operation, request): &(String, Value)| {
        (operation.clone(), request["TransactItems"].as_array().map(Vec::len))
    };
    let calls: Vec<_> = calls.iter().map(items).collect();
    let expected = [("GetItem", None), ("GetItem", None), ("TransactWriteItems", Some(4))];
    assert_eq!(calls, expected.map(|(operation, items)| (operation.to_owned(), items)));
    for (disturbance, live) in [(Disturbance::KillBefore, 2), (Disturbance::KillAfter, 3)] {
        let function = Function::start("issue-token", &[]).await;
        function.disturb(disturbance);
        let form = format!("grant_type=client_credentials&client_id={}&client_secret={key}", id_of(&key));
        function.invoke_until_killed(form_event("/oauth/token", &form)).await;
        assert_eq!(live_tokens(id_of(&key)).await["live"], live, "{disturbance:?}");
    }
}

/// The item with the count stays small, however many tokens there are.
#[tokio::test]
async fn many_tokens_share_few_stored_end_times() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let function = Function::start("issue-token", &[]).await;
    for _ in 0..50 {
        issued(&function, &key, "&scope=offline_access").await;
    }
    let counted = live_tokens(id_of(&key)).await;
    assert_eq!(counted["live"], 100);
    assert!(counted["ends"].as_object().is_some_and(|ends| ends.len() <= 4), "{counted}");
    put_tokens(&key, 1).await;
    assert_eq!(
        live_tokens(id_of(&key)).await["live"],
        100,
        "a token that was copied into the table is not counted"
    );
}
