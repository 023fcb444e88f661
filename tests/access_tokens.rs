//! Access tokens, where they are used.

use chrono::Utc;
use keygate_core::credential::{CredentialForm, TokenId};
use serde_json::{Value, json};

use crate::support::database;
use crate::support::eventually;
use crate::support::function::{Function, token_event};
use crate::support::oauth::{basic, token_id_of};
use crate::support::stack::variable;
use crate::support::workspace::{Workspace, id_of, text};

fn call(credential: &str) -> Value {
    token_event(&format!("Bearer {credential}"))
}

#[tokio::test]
async fn an_access_token_is_accepted_by_every_kind_of_api_and_named_in_the_context() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["orders:read"]).await;
    let token = workspace.access_token(&key).await;
    let bearer = format!("Bearer {token}");
    for answer in
        [workspace.api.rest_example(Some(&bearer)).await, workspace.api.http_example(Some(&bearer)).await]
    {
        assert_eq!(answer.status, 200, "{answer:?}");
        let caller = &answer.json()["caller"];
        for (member, value) in [
            ("credential", "access_token"),
            ("userId", "bob"),
            ("workspaceId", workspace.id.as_str()),
            ("keyId", id_of(&key)),
            ("scopes", "orders:read"),
        ] {
            assert_eq!(caller[member], value, "{caller}");
        }
    }
    assert_eq!(workspace.api.connect(Some(&bearer)).await, 101);
    let me = workspace
        .api
        .send(reqwest::Method::GET, &format!("{}/me", variable("KEYGATE_API_URL")), Some(&token), None)
        .await;
    assert_eq!(me.json()["credential"], "access_token");
    workspace.contents().await;
}

#[tokio::test]
async fn a_token_takes_one_strongly_consistent_read_and_a_wrong_one_opens_nothing() {
    let workspace = Workspace::new().await;
    let (key, other) = (workspace.key_of("bob", &[]).await, workspace.key_of("bob", &[]).await);
    let tokens = workspace.tokens(&key, "offline_access").await;
    let (access, refresh) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
    let alone = workspace.access_token(&key).await;
    let authorizer = Function::start("authorize", &[("CALL_ACTIVITY", "off")]).await;
    authorizer.take_calls();
    let reads = || {
        let calls = authorizer.take_calls();
        calls.into_iter().filter(|(operation, _)| operation.contains("Get")).collect::<Vec<_>>()
    };
    for (token, items) in [(access, 2), (&alone, 1)] {
        authorizer.invoke(call(token)).await.expect("a policy");
        let [(operation, request)] = <[_; 1]>::try_from(reads()).expect("one read");
        assert_eq!(operation, "BatchGetItem");
        let tables = request["RequestItems"].as_object().expect("tables");
        assert!(tables.values().all(|table| table["ConsistentRead"] == true), "{request}");
        let keys = |name: &str| tables[&variable(name)]["Keys"].as_array().map_or(0, Vec::len);
        assert_eq!((keys("KEYGATE_TOKENS_TABLE"), keys("KEYGATE_KEYS_TABLE")), (items, 1), "{request}");
    }
    let swapped = |from: &str, to: &str| access.replace(from, to);
    for (wrong, cost) in [
        (refresh.to_owned(), 0),
        (swapped("_tok_", "_ref_"), 0),
        (swapped(id_of(&key), id_of(&other)), 0),
        (swapped(token_id_of(access), token_id_of(&alone)), 0),
        (access[..access.len() - 1].to_owned(), 0),
    ] {
        assert_eq!(authorizer.invoke(call(&wrong)).await, Err("Unauthorized".to_owned()), "{wrong}");
        assert_eq!(reads().len(), cost, "{wrong}");
    }
    workspace.contents().await;
}

/// The checksums are right, so only the secret is wrong.
#[tokio::test]
async fn a_secret_works_only_for_its_own_credential() {
    use keygate_core::credential::{Brand, Credential};
    use secrecy::ExposeSecret;
    let brand: Brand = "kg".parse().expect("a brand");
    let workspace = Workspace::new().await;
    let (key, other) = (workspace.key_of("bob", &[]).await, workspace.key_of("bob", &[]).await);
    let tokens = workspace.tokens(&key, "offline_access").await;
    let of_other = workspace.tokens(&other, "offline_access").await;
    let alone = workspace.access_token(&key).await;
    let texts = [
        &key,
        &other,
        text(&tokens, "access_token"),
        text(&tokens, "refresh_token"),
        text(&of_other, "access_token"),
        text(&of_other, "refresh_token"),
        &alone,
    ];
    let parsed = || texts.map(|text| Credential::parse(text, &brand).expect("a credential"));
    let authorizer = Function::start("authorize", &[]).await;
    let mut refused = 0;
    for secret_of in 0..texts.len() {
        for Credential { key_id, form, .. } in parsed() {
            for form in
                [Some(form), token_id(form).map(CredentialForm::AccessToken), Some(CredentialForm::ApiKey)]
                    .into_iter()
                    .flatten()
            {
                let [.., secret] = [parsed()].map(|mut all| {
                    std::mem::replace(&mut all[secret_of], Credential::generate(Utc::now())).secret
                });
                let mixed = Credential { key_id, form, secret }.to_text(&brand);
                let mixed = mixed.expose_secret();
                let opens = texts.contains(&mixed) && !matches!(form, CredentialForm::RefreshToken(_));
                let answer = authorizer.invoke(call(mixed)).await;
                assert_eq!(answer.is_ok(), opens, "{answer:?}");
                refused += usize::from(!opens);
            }
        }
    }
    assert!(refused > 70, "{refused}");
}

#[tokio::test]
async fn endpoint_rules_are_those_that_token_and_key_both_have() {
    let workspace = Workspace::new().await;
    let rules = json!({"name": "restricted", "endpoints": ["GET /echo", "GET /orders/*"]});
    let key = workspace.created(rules).await;
    let (id, key) = (text(&key, "id"), text(&key, "key"));
    let token = workspace.access_token(key).await;
    let opened = async |path: &str| workspace.api.examples(&reqwest::Method::GET, path, &token).await;
    assert_eq!((opened("/echo").await, opened("/orders/7").await), ([200, 200], [200, 200]));
    let narrower = json!({"endpoints": ["GET /orders/7", "POST /echo"]});
    assert_eq!(workspace.update(&workspace.admin, id, &narrower).await.status, 200);
    assert_eq!((opened("/echo").await, opened("/orders/7").await), ([403, 403], [200, 200]));
    assert_eq!(opened("/orders/8").await, [403, 403]);
    assert_eq!(workspace.update(&workspace.admin, id, &json!({"endpoints": null})).await.status, 200);
    assert_eq!((opened("/echo").await, opened("/orders/8").await), ([200, 200], [200, 200]));
    let elsewhere = json!({"endpoints": ["GET /invoices"]});
    assert_eq!(workspace.update(&workspace.admin, id, &elsewhere).await.status, 200);
    assert_eq!(opened("/orders/7").await, [401, 403], "nothing is left that both allow");
    workspace.contents().await;
}

#[tokio::test]
async fn an_access_token_makes_nothing_that_outlives_it() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["workspace:admin"]).await;
    let token = workspace.access_token(&key).await;
    let target = workspace.created(json!({"name": "target", "user_id": "bob", "expires_in": 9000})).await;
    let (id, target) = (text(&target, "id"), text(&target, "key"));
    let code = "insufficient_credential";
    workspace.create(&token, &json!({"name": "a"})).await.assert_problem(403, code);
    workspace.rotate(&token, id, &json!({})).await.assert_problem(403, code);
    for patch in [
        json!({"scopes": ["orders:read"]}),
        json!({"endpoints": ["GET /orders"]}),
        json!({"expires_at": null}),
    ] {
        workspace.update(&token, id, &patch).await.assert_problem(403, code);
    }
    assert_eq!(workspace.update(&token, id, &json!({"disabled": true})).await.status, 200);
    workspace.update(&token, id, &json!({"disabled": false})).await.assert_problem(403, code);
    for authorization in [format!("Bearer {token}"), basic(&token)] {
        let form = [("grant_type", "client_credentials")];
        let refused = workspace.oauth("token", Some(&authorization), &form).await;
        refused.assert_oauth_error(401, "invalid_client");
    }
    assert!(!workspace.accepts(target).await, "what it may do is take away");
    assert_eq!(workspace.delete(&token, id).await.status, 204);
    workspace.contents().await;
}

#[tokio::test]
async fn a_token_expires_to_the_second_and_says_when_it_was_used() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let id = id_of(&key);
    let form = [("grant_type", "client_credentials"), ("expires_in", "4")];
    let answer = workspace.oauth("token", Some(&basic(&key)), &form).await.json();
    let issued_by = Utc::now();
    let token = text(&answer, "access_token");
    let listed =
        || async { workspace.list_tokens(&workspace.admin, id, "").await.json()["items"][0].clone() };
    assert_eq!(listed().await["last_used_at"], Value::Null);
    let mut accepted_at = issued_by;
    eventually("the token expires", async || {
        let before = Utc::now();
        let accepted = workspace.accepts(token).await;
        if accepted {
            accepted_at = before;
        }
        !accepted
    })
    .await;
    assert!((accepted_at - issued_by).num_seconds() < 4);
    let stored = database::token(id, token_id_of(token)).await;
    assert!(stored["last_used_at"].as_i64() >= Some(issued_by.timestamp()), "{stored}");
    assert_eq!(stored["ttl"], stored["expires_at"]);
    assert!(
        database::last_used_at(id).await >= issued_by.timestamp(),
        "the use of a token is a use of its key"
    );
    assert_eq!(listed().await, Value::Null, "an expired token is not listed");
    workspace.contents().await;
}

#[tokio::test]
async fn a_cached_decision_about_a_token_ends_with_the_token() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let form = [("grant_type", "client_credentials"), ("expires_in", "3")];
    let short = workspace.oauth("token", Some(&basic(&key)), &form).await.json();
    let (short, long) = (text(&short, "access_token"), workspace.access_token(&key).await);
    let authorizer =
        Function::start("authorize", &[("CACHE_SECONDS", "300"), ("CALL_ACTIVITY", "off")]).await;
    for token in [short, &long] {
        authorizer.invoke(call(token)).await.expect("a policy");
    }
    authorizer.take_calls();
    eventually("the token expires", async || authorizer.invoke(call(short)).await.is_err()).await;
    authorizer.invoke(call(&long)).await.expect("a policy");
    authorizer.invoke(call(&key)).await.expect("a policy");
    let reads: Vec<_> = authorizer.take_calls().into_iter().map(|(operation, _)| operation).collect();
    assert_eq!(reads.iter().filter(|operation| *operation == "BatchGetItem").count(), 0, "{reads:?}");
    assert_eq!(
        reads.iter().filter(|operation| *operation == "GetItem").count(),
        1,
        "the key is another credential"
    );
}

#[tokio::test]
async fn an_unprocessed_read_of_a_token_is_an_error_and_no_decision() {
    let workspace = Workspace::new().await;
    let token = workspace.access_token(&workspace.key_of("bob", &[]).await).await;
    let authorizer = Function::start("authorize", &[]).await;
    authorizer.disturb(crate::support::function::Disturbance::Unprocessed);
    let error = authorizer.invoke(call(&token)).await.expect_err("no response");
    assert_ne!(error, "Unauthorized");
    authorizer.disturb(crate::support::function::Disturbance::None);
    authorizer.invoke(call(&token)).await.expect("a policy");
}

/// The id of the token, if the credential is one.
fn token_id(form: CredentialForm) -> Option<TokenId> {
    match form {
        CredentialForm::AccessToken(id) | CredentialForm::RefreshToken(id) => Some(id),
        CredentialForm::ApiKey | CredentialForm::Session(_) | CredentialForm::PageCode(_) => None,
    }
}
