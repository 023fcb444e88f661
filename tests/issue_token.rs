//! `POST /oauth/token`, and the metadata for discovery by clients.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::database::events_of;
use crate::support::oauth::{basic, token_id_of};
use crate::support::stack::{Answer, Api, variable};
use crate::support::workspace::{Workspace, id_of, text};

const GRANT: (&str, &str) = ("grant_type", "client_credentials");
const REFRESHING: (&str, &str) = ("grant_type", "refresh_token");

#[tokio::test]
async fn a_key_is_traded_for_an_access_token_in_each_way_to_present_it() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["orders:read", "orders:write"]).await;
    let (id, bearer, basic) = (id_of(&key), format!("Bearer {key}"), basic(&key));
    for (authorization, form) in [
        (Some(&basic), vec![GRANT]),
        (Some(&basic), vec![GRANT, ("client_id", id)]),
        (None, vec![GRANT, ("client_id", id), ("client_secret", key.as_str())]),
        (Some(&bearer), vec![GRANT]),
    ] {
        let answer = workspace.oauth("token", authorization.map(String::as_str), &form).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
        answer.assert_uncached();
        let tokens = answer.json();
        assert_eq!(tokens["token_type"], "Bearer");
        assert_eq!(tokens["expires_in"], 3600);
        assert_eq!(tokens["scope"], "orders:read orders:write");
        assert!(tokens.get("refresh_token").is_none(), "no refresh token without offline_access");
        assert!(workspace.accepts(text(&tokens, "access_token")).await);
    }
    let events = events_of(&workspace.id, "bob", "token.issued").await;
    assert_eq!(events.len(), 4);
    assert!(events.iter().all(|event| event["key_id"] == id && event["source"].is_string()), "{events:#?}");
    workspace.contents().await;
}

/// RFC 6749, section 5.2, unless another one is named.
#[tokio::test]
async fn an_invalid_request_gets_the_response_of_its_section() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["orders:read"]).await;
    let (id, bearer, good) = (id_of(&key), format!("Bearer {key}"), basic(&key));
    let good = Some(good.as_str());
    let two_ways = [GRANT, ("client_id", id), ("client_secret", &key)];
    workspace
        .assert_oauth_cases(
            "token",
            &[
                ("a parameter is missing", good, &[], 400, "invalid_request"),
                ("without a value it is missing (3.2)", good, &[("grant_type", "")], 400, "invalid_request"),
                ("a parameter is repeated (3.2)", good, &[GRANT, GRANT], 400, "invalid_request"),
                ("two ways of authentication (2.3)", Some(&bearer), &two_ways, 400, "invalid_request"),
                ("a secret without an id (2.3.1)", None, &[GRANT, two_ways[2]], 400, "invalid_request"),
                ("no refresh token (6)", good, &[REFRESHING], 400, "invalid_request"),
                ("a life that is none", good, &[GRANT, ("expires_in", "0")], 400, "invalid_request"),
                ("another grant type", good, &[("grant_type", "password")], 400, "unsupported_grant_type"),
                ("a malformed scope", good, &[GRANT, ("scope", "Orders")], 400, "invalid_scope"),
                ("more than the key has", good, &[GRANT, ("scope", "orders:write")], 400, "invalid_scope"),
                ("an unknown parameter is ignored (3.2)", good, &[GRANT, ("prompt", "x")], 200, ""),
            ],
        )
        .await;
    let request = workspace.api.client().post(format!("{}/oauth/token", variable("KEYGATE_OAUTH_URL")));
    let request =
        request.header("Authorization", basic(&key)).json(&json!({"grant_type": "client_credentials"}));
    let answer = Answer::of(request.send().await.expect("a response of the stack")).await;
    answer.assert_oauth_error(400, "invalid_request");
    workspace.contents().await;
}

/// RFC 6749, sections 2.3 and 5.2.
#[tokio::test]
async fn a_client_that_does_not_authenticate_is_refused_with_a_challenge() {
    let workspace = Workspace::new().await;
    let (key, other) = (workspace.key_of("bob", &[]).await, workspace.key_of("bob", &[]).await);
    let disabled = workspace.key_of("bob", &[]).await;
    workspace.update(&workspace.admin, id_of(&disabled), &json!({"disabled": true})).await.assert_succeeded();
    let deleted = workspace.key_of("bob", &[]).await;
    workspace.delete(&workspace.admin, id_of(&deleted)).await.assert_succeeded();
    let replaced = workspace.key_of("bob", &[]).await;
    workspace.rotate(&workspace.admin, id_of(&replaced), &json!({})).await.assert_succeeded();
    let tokens = workspace.tokens(&key, "offline_access").await;
    let (access, refresh) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
    let [deleted, disabled, replaced, access_basic, refresh_basic] =
        [&deleted, &disabled, &replaced, access, refresh].map(basic);
    let bearer = format!("Bearer {access}");
    let mixed = [GRANT, ("client_id", id_of(&other)), ("client_secret", &key)];
    workspace
        .assert_oauth_cases(
            "token",
            &[
                ("nobody", None, &[GRANT], 401, "invalid_client"),
                (
                    "an id alone proves nothing",
                    None,
                    &[GRANT, ("client_id", id_of(&key))],
                    401,
                    "invalid_client",
                ),
                ("an unknown key", Some(&deleted), &[GRANT], 401, "invalid_client"),
                ("a key that does not work", Some(&disabled), &[GRANT], 401, "invalid_client"),
                ("a wrong secret", Some(&replaced), &[GRANT], 401, "invalid_client"),
                ("another key's id", None, &mixed, 401, "invalid_client"),
                ("another scheme", Some("Digest x"), &[GRANT], 401, "invalid_client"),
                ("an access token", Some(&bearer), &[GRANT], 401, "invalid_client"),
                ("an access token as a secret", Some(&access_basic), &[GRANT], 401, "invalid_client"),
                ("a refresh token", Some(&refresh_basic), &[GRANT], 401, "invalid_client"),
                (
                    "with a refresh token it need not be there, but must be right (6)",
                    Some(&deleted),
                    &[REFRESHING, ("refresh_token", refresh)],
                    401,
                    "invalid_client",
                ),
            ],
        )
        .await;
    workspace.contents().await;
}

/// RFC 6749, sections 5.2 and 6.
#[tokio::test]
async fn a_refresh_token_that_is_none_or_another_clients_gets_nothing_and_is_not_used_up() {
    let workspace = Workspace::new().await;
    let (key, other) = (workspace.key_of("bob", &["a"]).await, workspace.key_of("bob", &[]).await);
    let tokens = workspace.tokens(&key, "a offline_access").await;
    let (access, refresh) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
    let other_client = basic(&other);
    let presented = ("refresh_token", refresh);
    workspace
        .assert_oauth_cases(
            "token",
            &[
                ("nonsense", None, &[REFRESHING, ("refresh_token", "x")], 400, "invalid_grant"),
                ("an access token", None, &[REFRESHING, ("refresh_token", access)], 400, "invalid_grant"),
                ("an API key", None, &[REFRESHING, ("refresh_token", &key)], 400, "invalid_grant"),
                ("another client's", Some(&other_client), &[REFRESHING, presented], 400, "invalid_grant"),
                (
                    "another client's, by the id alone",
                    None,
                    &[REFRESHING, presented, ("client_id", id_of(&other))],
                    400,
                    "invalid_grant",
                ),
                (
                    "more than was granted",
                    None,
                    &[REFRESHING, presented, ("scope", "b")],
                    400,
                    "invalid_scope",
                ),
                ("its own", None, &[REFRESHING, presented, ("client_id", id_of(&key))], 200, ""),
            ],
        )
        .await;
    workspace.contents().await;
}

#[tokio::test]
async fn a_token_has_the_scopes_that_were_asked_for_and_never_more_than_its_key() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["orders:read", "orders:write"]).await;
    let carried = async |token: &str| {
        let answer = workspace.api.rest_example(Some(&format!("Bearer {token}"))).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        text(&answer.json()["caller"], "scopes").to_owned()
    };
    let narrow = workspace.tokens(&key, "orders:write").await;
    assert_eq!(narrow["scope"], "orders:write");
    let narrow = text(&narrow, "access_token");
    let wide = workspace.access_token(&key).await;
    assert_eq!(
        (carried(narrow).await, carried(&wide).await),
        ("orders:write".into(), "orders:read orders:write".into())
    );

    let patch = json!({"scopes": ["orders:read", "orders:refund"]});
    assert_eq!(workspace.update(&workspace.admin, id_of(&key), &patch).await.status, 200);
    assert_eq!((carried(narrow).await, carried(&wide).await), (String::new(), "orders:read".into()));

    let of_admin = workspace.tokens(&workspace.admin, "orders:refund").await;
    assert_eq!(
        carried(text(&of_admin, "access_token")).await,
        "orders:refund",
        "an administrator holds every scope"
    );
    workspace.contents().await;
}

#[tokio::test]
async fn a_token_lives_as_long_as_it_may_and_no_longer_than_its_key() {
    let workspace = Workspace::new().await;
    let forever = workspace.key_of("bob", &[]).await;
    let short = json!({"name": "short", "user_id": "bob", "expires_in": 120});
    let short = text(&workspace.created(short).await, "key").to_owned();
    for (key, wanted, at_most) in [
        (&forever, "60", 60),
        (&forever, "3600", 3600),
        (&forever, "86400", 3600),
        (&short, "60", 60),
        (&short, "3600", 120),
    ] {
        let form = [("grant_type", "client_credentials"), ("expires_in", wanted)];
        let tokens = workspace.oauth("token", Some(&basic(key)), &form).await.json();
        let life = tokens["expires_in"].as_i64().expect("seconds");
        assert!((at_most - 20..=at_most).contains(&life), "{wanted}: {tokens}");
        let answer =
            workspace.api.rest_example(Some(&format!("Bearer {}", text(&tokens, "access_token")))).await;
        let shown =
            DateTime::parse_from_rfc3339(text(&answer.json()["caller"], "expiresAt")).expect("a time");
        assert!((shown.to_utc() - Utc::now()).num_seconds() <= life, "the backend is told the same");
    }
    workspace.contents().await;
}

#[tokio::test]
async fn a_refresh_token_gets_others_and_is_used_up() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["orders:read", "orders:write"]).await;
    let first = workspace.tokens(&key, "orders:read orders:write offline_access").await;
    assert_eq!(first["scope"], "orders:read orders:write offline_access");
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", text(&first, "refresh_token")),
        ("scope", "orders:read"),
    ];
    let second = workspace.oauth("token", Some(&basic(&key)), &form).await;
    assert_eq!(second.status, 200, "{second:?}");
    second.assert_uncached();
    let second = second.json();
    assert_eq!(second["scope"], "orders:read offline_access", "narrowed, for this access token");
    let third = workspace.refresh(text(&second, "refresh_token")).await.json();
    assert_eq!(
        third["scope"], "orders:read orders:write offline_access",
        "a refresh without scope keeps the granted ones (6)"
    );
    let mut ids = BTreeSet::new();
    for tokens in [&first, &second, &third] {
        assert!(workspace.accepts(text(tokens, "access_token")).await, "renewing ends no access token");
        ids.insert(token_id_of(text(tokens, "access_token")).to_owned());
        ids.insert(token_id_of(text(tokens, "refresh_token")).to_owned());
    }
    assert_eq!(ids.len(), 6);
    assert_eq!(events_of(&workspace.id, "bob", "token.refreshed").await.len(), 2);
    workspace.contents().await;
}

#[tokio::test]
async fn a_refresh_token_that_is_used_twice_ends_its_whole_family_and_nothing_else() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let first = workspace.tokens(&key, "offline_access").await;
    let other = workspace.tokens(&key, "offline_access").await;
    let second = workspace.refresh(text(&first, "refresh_token")).await.json();
    workspace.refresh(text(&first, "refresh_token")).await.assert_oauth_error(400, "invalid_grant");
    for tokens in [&first, &second] {
        assert!(!workspace.accepts(text(tokens, "access_token")).await, "{tokens}");
        workspace.refresh(text(tokens, "refresh_token")).await.assert_oauth_error(400, "invalid_grant");
    }
    assert!(workspace.accepts(text(&other, "access_token")).await && workspace.accepts(&key).await);
    assert_eq!(workspace.refresh(text(&other, "refresh_token")).await.status, 200);
    let reused = events_of(&workspace.id, "bob", "token.reused").await;
    let [event] = reused.as_slice() else { panic!("one event: {reused:#?}") };
    assert_eq!(event["token_id"], token_id_of(text(&first, "refresh_token")), "{event:#?}");
    let contents = workspace.contents().await;
    assert_eq!(contents.events_of("token.reused", &json!(id_of(&key))), 1, "it concerns the workspace");
}

#[tokio::test]
async fn of_32_uses_of_a_refresh_token_at_once_at_most_one_succeeds_and_the_family_ends() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let tokens = workspace.tokens(&key, "offline_access").await;
    let refresh = text(&tokens, "refresh_token");
    let mut answers = Vec::new();
    let mut uses = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let (workspace, refresh) = (workspace.clone(), refresh.to_owned());
        uses.spawn(async move { workspace.refresh(&refresh).await });
    }
    while let Some(answer) = uses.join_next().await {
        answers.push(answer.expect("no panic"));
    }
    let succeeded: Vec<Value> =
        answers.iter().filter(|answer| answer.status == 200).map(Answer::json).collect();
    assert!(succeeded.len() <= 1, "{answers:#?}");
    for answer in answers.iter().filter(|answer| answer.status != 200) {
        assert!(matches!(answer.status, 400 | 503), "{answer:?}");
    }
    for tokens in succeeded.iter().chain([&tokens]) {
        assert!(!workspace.accepts(text(tokens, "access_token")).await);
        workspace.refresh(text(tokens, "refresh_token")).await.assert_oauth_error(400, "invalid_grant");
    }
    assert_eq!(events_of(&workspace.id, "bob", "token.reused").await.len(), 1);
    workspace.contents().await;
}

#[tokio::test]
async fn a_client_finds_the_endpoints_by_itself() {
    let api = Api::default();
    let issuer = variable("KEYGATE_OAUTH_URL");
    let url = format!("{issuer}/.well-known/oauth-authorization-server");
    let metadata = api.send(Method::GET, &url, None, None).await.json();
    assert_eq!(metadata["issuer"], issuer, "RFC 8414, section 3.3");
    for endpoint in ["token_endpoint", "revocation_endpoint", "introspection_endpoint"] {
        assert!(text(&metadata, endpoint).starts_with(&format!("{issuer}/oauth/")), "{metadata}");
    }
    assert_eq!(metadata["grant_types_supported"], json!(["client_credentials", "refresh_token"]));
    assert_eq!(metadata["response_types_supported"], json!([]), "required, and there is none");
    assert_eq!(api.send(Method::GET, &format!("{issuer}/oauth/token"), None, None).await.status, 404);
}
