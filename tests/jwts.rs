//! `POST /oauth/token` with a `resource`: JWT access tokens (RFC 9068, RFC 8707).

use chrono::Utc;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::database::events_of;
use crate::support::function::Function;
use crate::support::jwts::{AUDIENCE, GRANT, OTHER_AUDIENCE, decoded, document, variable_of, verifies};
use crate::support::oauth::{answered, basic, form_event};
use crate::support::stack::variable;
use crate::support::workspace::{Workspace, id_of, keys_url, text};

/// RFC 9068, sections 2.1 and 2.2.
#[tokio::test]
async fn a_client_that_names_an_api_gets_a_jwt_for_it() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["orders:read", "orders:write"]).await;
    let keys = document(&workspace.api, "jwks.json").await.json();
    let before = Utc::now().timestamp();
    for (resource, scope) in [(AUDIENCE, "orders:read"), (OTHER_AUDIENCE, "orders:read orders:write")] {
        let form = [GRANT, ("resource", resource), ("scope", scope)];
        let answer = workspace.oauth("token", Some(&basic(&key)), &form).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.assert_uncached();
        let tokens = answer.json();
        assert_eq!(tokens["token_type"], "Bearer");
        assert_eq!((&tokens["expires_in"], &tokens["scope"]), (&json!(300), &json!(scope)));
        assert!(tokens.get("refresh_token").is_none());

        assert!(verifies(&keys, &tokens));
        let (header, claims) = decoded(&tokens);
        let (kid, jti) = (text(&header, "kid"), text(&claims, "jti"));
        assert_eq!(header, json!({"typ": "at+jwt", "alg": "RS256", "kid": kid}));
        let issued_at = claims["iat"].as_i64().expect("a time");
        assert!((before..=Utc::now().timestamp()).contains(&issued_at), "{claims}");
        let expected = json!({
            "iss": variable("KEYGATE_OAUTH_URL"),
            "sub": id_of(&key),
            "client_id": id_of(&key),
            "aud": resource,
            "iat": issued_at,
            "exp": issued_at + 300,
            "jti": jti,
            "scope": scope,
            "user_id": "bob",
            "workspace_id": workspace.id,
        });
        assert_eq!(claims, expected);
        let events = events_of(&workspace.id, "bob", "token.issued").await;
        assert_eq!(events.iter().filter(|event| event["token_id"] == jti).count(), 1, "{events:#?}");
    }
    let listed = workspace.list_tokens(&workspace.admin, id_of(&key), "").await.json();
    assert_eq!(listed["items"], json!([]), "nothing of it is stored");
    workspace.contents().await;
}

#[tokio::test]
async fn a_jwt_is_nothing_to_keygate_itself_and_a_revocation_is_refused_and_not_ignored() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["orders:read", "tokens:introspect"]).await;
    let tokens = workspace.jwt(&key, &[]).await;
    let jwt = text(&tokens, "access_token");
    assert!(!workspace.accepts(jwt).await);
    let managed = workspace.api.send(Method::GET, &keys_url(""), Some(jwt), None).await;
    assert_eq!(managed.status, 401, "{managed:?}");
    let introspected = workspace.oauth("introspect", Some(&basic(&key)), &[("token", jwt)]).await;
    assert_eq!(introspected.json(), json!({"active": false}));
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", jwt)];
    workspace.oauth("token", None, &refresh).await.assert_oauth_error(400, "invalid_grant");
    // RFC 7009, section 2.2.1.
    let (good, wrong) = (basic(&key), basic(&format!("{}x", &key[..key.len() - 1])));
    for (client, status, error) in [
        (None, 400, "unsupported_token_type"),
        (Some(&good), 400, "unsupported_token_type"),
        (Some(&wrong), 401, "invalid_client"),
    ] {
        let answer = workspace.oauth("revoke", client.map(String::as_str), &[("token", jwt)]).await;
        answer.assert_oauth_error(status, error);
    }
}

/// RFC 8707, section 2.
#[tokio::test]
async fn a_resource_must_be_one_listed_uri() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["orders:read"]).await;
    let client = basic(&key);
    let client = Some(client.as_str());
    let [listed, other, fragment, path, case, relative, word, both, unknown] = [
        AUDIENCE,
        OTHER_AUDIENCE,
        "https://orders.example.com#a",
        "https://orders.example.com/",
        "https://ORDERS.example.com",
        "/orders",
        "orders",
        "https://orders.example.com,urn:example:reports",
        "https://elsewhere.example.com",
    ]
    .map(|resource| ("resource", resource));
    workspace
        .assert_oauth_cases(
            "token",
            &[
                ("repeated", client, &[GRANT, listed, other], 400, "invalid_target"),
                ("twice the same", client, &[GRANT, listed, listed], 400, "invalid_target"),
                ("a fragment", client, &[GRANT, fragment], 400, "invalid_target"),
                ("another path", client, &[GRANT, path], 400, "invalid_target"),
                ("another spelling", client, &[GRANT, case], 400, "invalid_target"),
                ("a relative reference", client, &[GRANT, relative], 400, "invalid_target"),
                ("a word", client, &[GRANT, word], 400, "invalid_target"),
                ("the list of the deployment", client, &[GRANT, both], 400, "invalid_target"),
                ("not listed", client, &[GRANT, unknown], 400, "invalid_target"),
                ("no client", None, &[GRANT, unknown], 401, "invalid_client"),
                ("without a value it is not sent", client, &[GRANT, ("resource", "")], 200, ""),
                ("listed", client, &[GRANT, listed], 200, ""),
            ],
        )
        .await;
}

/// RFC 9068, section 3: `aud` is the resource of the request. There is no default resource, so a token without one is no JWT. Scopes
/// of which the key lacks one are refused, whatever the resource.
#[tokio::test]
async fn a_jwt_is_for_the_resource_of_its_request() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["orders:read", "orders:write"]).await;
    let client = basic(&key);
    for (resource, scope) in [
        (AUDIENCE, "orders:read"),
        (OTHER_AUDIENCE, "orders:read orders:write"),
        (OTHER_AUDIENCE, "orders:write"),
    ] {
        let form = [GRANT, ("resource", resource), ("scope", scope)];
        let answer = workspace.oauth("token", Some(&client), &form).await;
        let (_, claims) = decoded(&answer.json());
        assert_eq!((&claims["aud"], &claims["scope"]), (&json!(resource), &json!(scope)), "{claims}");
    }
    let opaque = workspace.oauth("token", Some(&client), &[GRANT]).await.json();
    assert!(text(&opaque, "access_token").starts_with("kg_tok_"), "without a resource");
    let wide = [GRANT, ("resource", AUDIENCE), ("scope", "orders:read invoices:read")];
    workspace.oauth("token", Some(&client), &wide).await.assert_oauth_error(400, "invalid_scope");
}

#[tokio::test]
async fn a_jwt_ends_with_the_first_of_its_request_its_key_and_its_overlap() {
    let workspace = Workspace::new().await;
    let forever = workspace.key_of("bob", &[]).await;
    let short = json!({"name": "short", "user_id": "bob", "expires_in": 120});
    let short = text(&workspace.created(short).await, "key").to_owned();
    let old = workspace.key_of("bob", &[]).await;
    let rotated = workspace.rotate(&workspace.admin, id_of(&old), &json!({"overlap_seconds": 90})).await;
    assert_eq!(rotated.status, 200, "{rotated:?}");
    for (about, key, wanted, at_most) in [
        ("as requested", &forever, "60", 60),
        ("the maximum", &forever, "3600", 300),
        ("the key", &short, "300", 120),
        ("the overlap", &old, "300", 90),
    ] {
        let tokens = workspace.jwt(key, &[("expires_in", wanted)]).await;
        let (_, claims) = decoded(&tokens);
        let life = claims["exp"].as_i64().expect("a time") - claims["iat"].as_i64().expect("a time");
        assert!((at_most - 20..=at_most).contains(&life), "{about}: {claims}");
        assert_eq!(tokens["expires_in"], life, "{about}");
    }
    let offline = workspace.request_jwt(&old, &[("scope", "offline_access")]).await;
    offline.assert_oauth_error(400, "invalid_scope");
    workspace.contents().await;
}

#[tokio::test]
async fn a_jwt_carries_no_scope_of_keygate_itself() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["keys:read", "keys:write", "orders:read"]).await;
    let tokens = workspace.jwt(&key, &[]).await;
    assert_eq!(
        (&tokens["scope"], &decoded(&tokens).1["scope"]),
        (&json!("orders:read"), &json!("orders:read"))
    );
    let named = workspace.request_jwt(&key, &[("scope", "orders:read keys:read")]).await;
    named.assert_oauth_error(400, "invalid_scope");

    let of_admin = workspace.jwt(&workspace.admin, &[]).await;
    assert_eq!((&of_admin["scope"], decoded(&of_admin).1.get("scope")), (&json!(""), None));
    let asked = workspace.jwt(&workspace.admin, &[("scope", "orders:refund")]).await;
    assert_eq!(decoded(&asked).1["scope"], "orders:refund", "an administrator holds every scope");
    let more = workspace.request_jwt(&key, &[("scope", "orders:refund")]).await;
    more.assert_oauth_error(400, "invalid_scope");
}

#[tokio::test]
async fn a_key_that_only_keygate_can_enforce_gets_no_jwt() {
    let workspace = Workspace::new().await;
    for restriction in [
        json!({"endpoints": ["GET /orders"]}),
        json!({"networks": ["0.0.0.0/0", "::/0"]}),
        json!({"limits": [{"calls": 1000, "per": "minute"}]}),
    ] {
        let mut body = json!({"name": format!("{restriction}"), "user_id": "bob", "scopes": ["orders:read"]});
        body.as_object_mut()
            .expect("an object")
            .append(restriction.clone().as_object_mut().expect("an object"));
        let key = text(&workspace.created(body).await, "key").to_owned();
        let refused = workspace.request_jwt(&key, &[]).await;
        refused.assert_oauth_error(400, "unauthorized_client");
        assert!(text(&refused.json(), "error_description").contains("endpoint rules, networks or limits"));
        workspace.tokens(&key, "").await;

        let free = workspace.key_of("bob", &["orders:read"]).await;
        let family = workspace.jwt(&free, &[("scope", "orders:read offline_access")]).await;
        assert_eq!(workspace.update(&workspace.admin, id_of(&free), &restriction).await.status, 200);
        let renewed = workspace.refresh(text(&family, "refresh_token")).await;
        renewed.assert_oauth_error(400, "unauthorized_client");
        assert_eq!(
            workspace.update(&workspace.admin, id_of(&free), &restored(&restriction)).await.status,
            200
        );
        let renewed = workspace.refresh(text(&family, "refresh_token")).await;
        assert_eq!(renewed.status, 200, "the refused request did not use up the refresh token: {renewed:?}");
    }
    workspace.contents().await;
}

/// A patch that removes what another one has set.
fn restored(restriction: &Value) -> Value {
    restriction.as_object().expect("an object").keys().map(|name| (name.clone(), Value::Null)).collect()
}

/// RFC 8707, section 2.2.
#[tokio::test]
async fn a_refresh_token_renews_jwts_for_the_api_of_its_grant_and_nothing_else() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["keys:write", "orders:read", "orders:write"]).await;
    let first = workspace.jwt(&key, &[("scope", "orders:read orders:write offline_access")]).await;
    assert_eq!(first["scope"], "orders:read orders:write offline_access");
    let refresh = async |tokens: &Value, more: &[(&str, &str)]| {
        let form = [("grant_type", "refresh_token"), ("refresh_token", text(tokens, "refresh_token"))];
        let form: Vec<_> = form.iter().chain(more).copied().collect();
        workspace.oauth("token", None, &form).await
    };
    let other = refresh(&first, &[("resource", OTHER_AUDIENCE)]).await;
    other.assert_oauth_error(400, "invalid_target");
    let second = refresh(&first, &[("scope", "orders:read")]).await.json();
    let third = refresh(&second, &[("resource", AUDIENCE)]).await.json();
    let keys = document(&workspace.api, "jwks.json").await.json();
    let mut ids = Vec::new();
    for (tokens, scope) in
        [(&first, "orders:read orders:write"), (&second, "orders:read"), (&third, "orders:read orders:write")]
    {
        assert!(verifies(&keys, tokens));
        let (_, claims) = decoded(tokens);
        assert_eq!((&claims["aud"], &claims["scope"]), (&json!(AUDIENCE), &json!(scope)));
        assert_eq!((&claims["sub"], &claims["user_id"]), (&json!(id_of(&key)), &json!("bob")));
        ids.push(text(&claims, "jti").to_owned());
    }
    let refreshed = events_of(&workspace.id, "bob", "token.refreshed").await;
    assert_eq!(refreshed.iter().map(|event| string_of(event, "token_id")).collect::<Vec<_>>(), ids[1..]);

    let patch = json!({"scopes": ["orders:read", "keys:write"]});
    assert_eq!(workspace.update(&workspace.admin, id_of(&key), &patch).await.status, 200);
    let fourth = refresh(&third, &[]).await.json();
    assert_eq!(decoded(&fourth).1["scope"], "orders:read", "the key lost the other one");

    let listed = workspace.list_tokens(&workspace.admin, id_of(&key), "").await.json();
    assert_eq!(
        listed["items"].as_array().map(Vec::len),
        Some(1),
        "the refresh token alone is stored: {listed}"
    );
    refresh(&third, &[]).await.assert_oauth_error(400, "invalid_grant");
    refresh(&fourth, &[]).await.assert_oauth_error(400, "invalid_grant");
    workspace.contents().await;
}

fn string_of(event: &Value, member: &str) -> String {
    text(event, member).to_owned()
}

#[tokio::test]
async fn a_refresh_token_of_a_grant_without_a_resource_gives_both_kinds() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["keys:read", "orders:read"]).await;
    let first = workspace.tokens(&key, "keys:read orders:read offline_access").await;
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", text(&first, "refresh_token")),
        ("resource", AUDIENCE),
    ];
    let second = workspace.oauth("token", None, &form).await.json();
    let (_, claims) = decoded(&second);
    assert_eq!((&claims["aud"], &claims["scope"]), (&json!(AUDIENCE), &json!("orders:read")));
    let third = workspace.refresh(text(&second, "refresh_token")).await.json();
    assert_eq!(third["scope"], "keys:read orders:read offline_access");
    assert!(workspace.accepts(text(&third, "access_token")).await);
    workspace.contents().await;
}

/// A function that issues JWTs like the deployed one.
async fn issuer(api: &crate::support::stack::Api) -> Function {
    let key = variable_of(api, "IssueTokenFunction", "JWT_SIGNING_KEY").await;
    Function::start("issue-token", &[("JWT_AUDIENCES", AUDIENCE), ("JWT_SIGNING_KEY", &key)]).await
}

fn request(key: &str, more: &str) -> Value {
    let client = format!("client_id={}&client_secret={key}", id_of(key));
    form_event("/oauth/token", &format!("grant_type=client_credentials&resource={AUDIENCE}&{client}{more}"))
}

/// No verification of a JWT reads the key, so a change that comes between its verification and the record must count.
#[tokio::test]
async fn no_jwt_is_issued_for_a_key_that_ends_meanwhile() {
    let workspace = Workspace::new().await;
    let function = issuer(&workspace.api).await;
    for (user, more) in [("bob", ""), ("carol", "&scope=offline_access")] {
        let [disabled, deleted, rotated, revoked] =
            [(); 4].map(|()| workspace.key_of(user, &["orders:read"]));
        let (disabled, deleted, rotated, revoked) = tokio::join!(disabled, deleted, rotated, revoked);
        let answer = function
            .invoke_while(request(&disabled, more), async {
                workspace
                    .update(&workspace.admin, id_of(&disabled), &json!({"disabled": true}))
                    .await
                    .assert_succeeded();
            })
            .await;
        assert_eq!((answered(&answer).0, &answered(&answer).1["error"]), (401, &json!("invalid_client")));
        let answer = function
            .invoke_while(request(&deleted, more), async {
                workspace.delete(&workspace.admin, id_of(&deleted)).await.assert_succeeded();
            })
            .await;
        assert_eq!((answered(&answer).0, &answered(&answer).1["error"]), (401, &json!("invalid_client")));
        let answer = function
            .invoke_while(request(&rotated, more), async {
                workspace.rotate(&workspace.admin, id_of(&rotated), &json!({})).await.assert_succeeded();
            })
            .await;
        assert_eq!((answered(&answer).0, &answered(&answer).1["error"]), (401, &json!("invalid_client")));
        assert_eq!(events_of(&workspace.id, user, "token.issued").await, [] as [Value; 0]);

        // The key itself still works, so the second attempt succeeds, in the new generation.
        let answer = function
            .invoke_while(request(&revoked, more), async {
                workspace.revoke_tokens(&workspace.admin, id_of(&revoked), "").await.assert_succeeded();
            })
            .await;
        assert_eq!(answered(&answer).0, 200, "{answer}");
        assert_eq!(events_of(&workspace.id, user, "token.issued").await.len(), 1);
    }
    workspace.contents().await;
}

#[tokio::test]
async fn no_jwt_is_issued_for_a_user_who_is_removed_meanwhile() {
    let workspace = Workspace::new().await;
    let function = issuer(&workspace.api).await;
    let key = workspace.key_of("bob", &["orders:read"]).await;
    let removal = Box::pin(async {
        workspace.remove("bob", "").await;
    });
    let answer = Box::pin(function.invoke_while(request(&key, ""), removal)).await;
    let (status, error) = answered(&answer);
    assert_eq!((status, &error["error"]), (400, &json!("unauthorized_client")), "{error}");
    assert_eq!(events_of(&workspace.id, "bob", "token.issued").await, [] as [Value; 0]);
}

#[tokio::test]
async fn a_failed_signature_uses_up_no_refresh_token_and_stops_no_other_token() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["orders:read"]).await;
    let tokens = workspace.jwt(&key, &[("scope", "offline_access")]).await;
    let nowhere = "arn:aws:kms:us-east-1:000000000000:key/11111111-2222-3333-4444-555555555555";
    let variables = [("JWT_AUDIENCES", AUDIENCE), ("JWT_SIGNING_KEY", nowhere)];
    let function = Function::start("issue-token", &variables).await;
    let refresh = format!("grant_type=refresh_token&refresh_token={}", text(&tokens, "refresh_token"));
    let (status, error) =
        answered(&function.invoke(form_event("/oauth/token", &refresh)).await.expect("a response"));
    assert_eq!((status, &error["error"]), (503, &json!("temporarily_unavailable")), "{error}");
    let client = format!("grant_type=client_credentials&client_id={}&client_secret={key}", id_of(&key));
    let (status, opaque) =
        answered(&function.invoke(form_event("/oauth/token", &client)).await.expect("a response"));
    assert_eq!(status, 200, "{opaque}");
    assert_eq!(workspace.refresh(text(&tokens, "refresh_token")).await.status, 200);
    workspace.contents().await;
}

#[tokio::test]
async fn a_deployment_without_audiences_issues_no_jwts() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &["orders:read"]).await;
    let function = Function::start("issue-token", &[]).await;
    let (status, error) = answered(&function.invoke(request(&key, "")).await.expect("a response"));
    assert_eq!((status, &error["error"]), (400, &json!("invalid_target")), "{error}");
}
