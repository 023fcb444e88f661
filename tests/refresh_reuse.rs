//! `POST /oauth/token` with a used refresh token, within `RefreshReuseSeconds` and after it.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::database::{age_last_use, events_of, live_tokens};
use crate::support::function::{Disturbance, Function};
use crate::support::oauth::{answered, basic, form_event, token_id_of};
use crate::support::workspace::{Workspace, id_of, text};

const REUSE: [(&str, &str); 1] = [("REFRESH_REUSE_SECONDS", "60")];

fn refreshing(refresh: &str) -> Value {
    form_event("/oauth/token", &format!("grant_type=refresh_token&refresh_token={refresh}"))
}

/// Uses a refresh token. Returns the status and the body.
async fn refresh(function: &Function, refresh: &str) -> (u64, Value) {
    answered(&function.invoke(refreshing(refresh)).await.expect("a response"))
}

async fn refreshed(function: &Function, token: &str) -> Value {
    let (status, tokens) = refresh(function, token).await;
    assert_eq!(status, 200, "{tokens}");
    tokens
}

async fn refused(function: &Function, token: &str) {
    let (status, error) = refresh(function, token).await;
    assert_eq!((status, &error["error"]), (400, &json!("invalid_grant")), "{error}");
}

fn refresh_token(tokens: &Value) -> &str {
    text(tokens, "refresh_token")
}

#[tokio::test]
async fn a_refresh_token_that_comes_again_soon_gets_a_sibling_and_each_can_be_refreshed_on() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["orders:read", "orders:write"]).await;
    let function = Function::start("issue-token", &REUSE).await;
    for on in 0..2 {
        let first = workspace.tokens(&key, "orders:read orders:write offline_access").await;
        let siblings = [
            refreshed(&function, refresh_token(&first)).await,
            refreshed(&function, refresh_token(&first)).await,
        ];
        let mut ids = BTreeSet::new();
        for tokens in siblings.iter().chain([&first]) {
            assert_eq!(tokens["scope"], "orders:read orders:write offline_access");
            assert!(workspace.accepts(text(tokens, "access_token")).await);
            ids.insert(token_id_of(text(tokens, "access_token")).to_owned());
            ids.insert(token_id_of(refresh_token(tokens)).to_owned());
        }
        assert_eq!(ids.len(), 6, "no two have the same id");
        let next = refreshed(&function, refresh_token(&siblings[on])).await;
        let other = refreshed(&function, refresh_token(&siblings[1 - on])).await;
        for tokens in [&next, &other] {
            assert!(workspace.accepts(text(tokens, "access_token")).await);
        }
        // After that, either of them can be refreshed.
        refreshed(&function, refresh_token(&other)).await;
    }
    assert!(events_of(&workspace.id, "bob", "token.reused").await.is_empty());
    workspace.contents().await;
}

#[tokio::test]
async fn a_refresh_token_that_comes_again_later_ends_its_family() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let function = Function::start("issue-token", &REUSE).await;
    for (milliseconds, ends) in [(58_000, false), (60_001, true)] {
        let first = workspace.tokens(&key, "offline_access").await;
        let second = refreshed(&function, refresh_token(&first)).await;
        age_last_use(id_of(&key), token_id_of(refresh_token(&first)), milliseconds).await;
        if ends {
            refused(&function, refresh_token(&first)).await;
        } else {
            refreshed(&function, refresh_token(&first)).await;
        }
        assert_eq!(workspace.accepts(text(&second, "access_token")).await, !ends, "{milliseconds}");
    }
    assert_eq!(events_of(&workspace.id, "bob", "token.reused").await.len(), 1);
}

/// A client uses only one of several siblings. So two parties that share a refresh token are detected as soon as they renew
/// it at different times.
#[tokio::test]
async fn a_sibling_that_is_used_long_after_another_one_ends_its_family() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let function = Function::start("issue-token", &REUSE).await;
    let first = workspace.tokens(&key, "offline_access").await;
    let mine = refreshed(&function, refresh_token(&first)).await;
    let theirs = refreshed(&function, refresh_token(&first)).await;
    let next = refreshed(&function, refresh_token(&mine)).await;
    age_last_use(id_of(&key), token_id_of(refresh_token(&first)), 60_001).await;
    refused(&function, refresh_token(&theirs)).await;
    assert!(!workspace.accepts(text(&next, "access_token")).await);
    refused(&function, refresh_token(&next)).await;
    assert_eq!(events_of(&workspace.id, "bob", "token.reused").await.len(), 1);
}

#[tokio::test]
async fn a_refresh_token_from_before_the_last_step_ends_its_family_however_soon_it_comes() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let function = Function::start("issue-token", &REUSE).await;
    let first = workspace.tokens(&key, "offline_access").await;
    let second = refreshed(&function, refresh_token(&first)).await;
    let third = refreshed(&function, refresh_token(&second)).await;
    refused(&function, refresh_token(&first)).await;
    assert!(!workspace.accepts(text(&third, "access_token")).await);
}

#[tokio::test]
async fn five_repeats_get_a_sibling_and_the_sixth_ends_the_family() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let function = Function::start("issue-token", &REUSE).await;
    let first = workspace.tokens(&key, "offline_access").await;
    let mut siblings = Vec::new();
    for _ in 0..6 {
        siblings.push(refreshed(&function, refresh_token(&first)).await);
    }
    assert_eq!(
        live_tokens(id_of(&key)).await["live"],
        7 + 6,
        "access tokens, and refresh tokens that are unused"
    );
    refused(&function, refresh_token(&first)).await;
    for tokens in &siblings {
        assert!(!workspace.accepts(text(tokens, "access_token")).await);
        refused(&function, refresh_token(tokens)).await;
    }
    assert_eq!(live_tokens(id_of(&key)).await["live"], 7, "the access tokens are counted until they expire");
    assert_eq!(events_of(&workspace.id, "bob", "token.reused").await.len(), 1);
    workspace.contents().await;
}

#[tokio::test]
async fn six_uses_at_once_all_succeed_with_different_tokens() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let mut functions = Vec::new();
    for _ in 0..6 {
        let function = Function::start("issue-token", &REUSE).await;
        function.disturb(Disturbance::Contention);
        functions.push(Arc::new(function));
    }
    let mut first = workspace.tokens(&key, "offline_access").await;
    for round in 0..3 {
        let token = refresh_token(&first).to_owned();
        let mut uses = JoinSet::new();
        for function in &functions {
            let (function, token) = (Arc::clone(function), token.clone());
            uses.spawn(async move { refreshed(&function, &token).await });
        }
        let answers = uses.join_all().await;
        let ids: BTreeSet<_> = answers
            .iter()
            .flat_map(|tokens| ["access_token", "refresh_token"].map(|kind| token_id_of(text(tokens, kind))))
            .collect();
        assert_eq!(ids.len(), 12, "{round}");
        for tokens in &answers {
            assert!(workspace.accepts(text(tokens, "access_token")).await);
        }
        first = answers[round].clone();
    }
    assert!(events_of(&workspace.id, "bob", "token.reused").await.is_empty());
    workspace.contents().await;
}

#[tokio::test]
async fn siblings_are_listed_and_active_and_used_tokens_are_not() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["orders:read"]).await;
    let function = Function::start("issue-token", &REUSE).await;
    let first = workspace.tokens(&key, "offline_access").await;
    let siblings = [
        refreshed(&function, refresh_token(&first)).await,
        refreshed(&function, refresh_token(&first)).await,
    ];
    let listed = async || {
        let page = workspace.list_tokens(&workspace.admin, id_of(&key), "").await.json();
        let items = page["items"].as_array().expect("items").iter();
        let refresh = items.filter(|token| token["kind"] == "refresh_token");
        refresh.map(|token| text(token, "id").to_owned()).collect::<BTreeSet<_>>()
    };
    let active = async |token: &str| {
        let form = [("token", token)];
        workspace.oauth("introspect", Some(&basic(&workspace.admin)), &form).await.json()["active"].clone()
    };
    let ids: BTreeSet<_> =
        siblings.iter().map(|tokens| token_id_of(refresh_token(tokens)).to_owned()).collect();
    assert_eq!(listed().await, ids);
    assert_eq!(active(refresh_token(&first)).await, false);
    for tokens in &siblings {
        assert_eq!(active(refresh_token(tokens)).await, true);
    }
    let next = refreshed(&function, refresh_token(&siblings[0])).await;
    assert_eq!(listed().await, BTreeSet::from([token_id_of(refresh_token(&next)).to_owned()]));
    assert_eq!(active(refresh_token(&siblings[1])).await, false);
}

#[tokio::test]
async fn revoking_any_refresh_token_of_a_family_ends_all_of_them() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let function = Function::start("issue-token", &REUSE).await;
    for (which, by_id) in [(0, false), (1, false), (2, false), (2, true)] {
        let first = workspace.tokens(&key, "offline_access").await;
        let second = refreshed(&function, refresh_token(&first)).await;
        let third = refreshed(&function, refresh_token(&first)).await;
        let all = [&first, &second, &third];
        let revoked = refresh_token(all[which]);
        if by_id {
            let rest = format!("/{}", token_id_of(revoked));
            assert_eq!(workspace.revoke_tokens(&workspace.admin, id_of(&key), &rest).await.status, 204);
        } else {
            assert_eq!(workspace.oauth("revoke", None, &[("token", revoked)]).await.status, 200);
        }
        for tokens in all {
            assert!(!workspace.accepts(text(tokens, "access_token")).await);
            refused(&function, refresh_token(tokens)).await;
        }
    }
    let live = &live_tokens(id_of(&key)).await["live"];
    assert_eq!(live, 4 * 3, "revoked access tokens of a family are counted until they expire");
    assert!(
        events_of(&workspace.id, "bob", "token.reused").await.is_empty(),
        "the use of a revoked token is no reuse"
    );
}

/// `RefreshReuseSeconds` exists for this client, whose response was lost.
#[tokio::test]
async fn a_renewal_that_is_killed_after_its_write_can_be_repeated() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let tokens = workspace.tokens(&key, "offline_access").await;
    let killed = Function::start("issue-token", &REUSE).await;
    killed.disturb(Disturbance::KillAfter);
    killed.invoke_until_killed(refreshing(refresh_token(&tokens))).await;
    let function = Function::start("issue-token", &REUSE).await;
    let again = refreshed(&function, refresh_token(&tokens)).await;
    assert!(workspace.accepts(text(&again, "access_token")).await);
    refreshed(&function, refresh_token(&again)).await;
    assert!(events_of(&workspace.id, "bob", "token.reused").await.is_empty());
}
