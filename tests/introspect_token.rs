//! `POST /oauth/introspect`, and the direct invocation with the same response.

use chrono::Utc;
use keygate_core::credential::{Credential, CredentialForm, KeyId};
use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::refused_clients::made_up;
use crate::support::database::{self, calls};
use crate::support::emulator::run;
use crate::support::eventually;
use crate::support::function::{Disturbance, Function, oauth_request, token_event};
use crate::support::legacy::{LEGACY, imported, legacy_id, legacy_key};
use crate::support::oauth::{answered, basic, token_id_of};
use crate::support::stack::pepper_versions_with;
use crate::support::workspace::{Workspace, id_of, text};

const SCOPE: &str = "tokens:introspect";

/// The settings of a function that enforces limits and accepts legacy keys.
const SETTINGS: [(&str, &str); 4] = [("AUTHORIZER_UNCACHED", "true"), LEGACY[0], LEGACY[1], LEGACY[2]];

/// The client of a backend.
async fn backend(workspace: &Workspace) -> String {
    basic(&workspace.key_of("svc:api", &[SCOPE]).await)
}

/// What the stack tells a client about a credential, and about a call if the form has one.
async fn introspect(workspace: &Workspace, client: &str, token: &str, call: &[(&str, &str)]) -> Value {
    let form = [&[("token", token)], call].concat();
    let answer = workspace.oauth("introspect", Some(client), &form).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.assert_uncached();
    answer.json()
}

/// A request of a client to a function of the test's own.
fn question(client: &str, token: &str, call: &str) -> Value {
    oauth_request("introspect", Some(client), &format!("token={token}{call}"))
}

/// RFC 7662, sections 2.2 and 4: whatever makes a credential inactive, the response is the same, with a call or without.
#[tokio::test]
async fn working_credentials_are_active_and_all_others_look_the_same() {
    let (workspace, elsewhere) = tokio::join!(Workspace::new(), Workspace::new());
    let server = backend(&workspace).await;
    let key = workspace.key_of("bob", &["orders:read"]).await;
    let tokens = workspace.tokens(&key, "orders:read offline_access").await;
    let (access, refresh) = (text(&tokens, "access_token"), text(&tokens, "refresh_token"));
    let used = workspace.tokens(&key, "orders:read offline_access").await;
    workspace.refresh(text(&used, "refresh_token")).await.assert_succeeded();
    let revoked = workspace.access_token(&key).await;
    workspace.oauth("revoke", None, &[("token", &revoked)]).await.assert_succeeded();
    let disabled = workspace.key_of("bob", &[]).await;
    let of_disabled = workspace.access_token(&disabled).await;
    workspace.update(&workspace.admin, id_of(&disabled), &json!({"disabled": true})).await.assert_succeeded();
    let expired = json!({"name": "short", "user_id": "bob", "expires_in": 1});
    let expired = text(&workspace.created(expired).await, "key").to_owned();
    workspace.until_refused(&expired).await;
    let of_removed = workspace.key_of("eve", &["orders:read"]).await;
    workspace.remove("eve", "").await;
    let stranger = elsewhere.access_token(&elsewhere.admin).await;
    let foreign_legacy = imported(&elsewhere, "bob", &[]).await;
    let session = workspace.session(&workspace.admin, "bob", &["keys:write"]).await;
    let unknown = made_up(&KeyId::generate(Utc::now()).to_string(), CredentialForm::ApiKey);
    let other_brand = Credential::generate(Utc::now()).to_text(&"xx".parse().expect("a brand"));

    for (case, token, active) in [
        ("an access token", access, true),
        ("a refresh token", refresh, true),
        ("an API key", &key, true),
        ("a refresh token that was used", text(&used, "refresh_token"), false),
        ("a revoked token", &revoked, false),
        ("a token of a disabled key", &of_disabled, false),
        ("a disabled key", &disabled, false),
        ("an expired key", &expired, false),
        ("a key of a removed user", &of_removed, false),
        ("a key with another secret", &made_up(id_of(&key), CredentialForm::ApiKey), false),
        ("a key that does not exist", &unknown, false),
        ("a token of another workspace", &stranger, false),
        ("the key of another workspace", &elsewhere.admin, false),
        ("a legacy key of another workspace", &foreign_legacy, false),
        ("a legacy key that was not imported", &legacy_key(), false),
        ("a session", text(&session, "session"), false),
        ("an access token as a refresh token", &access.replace("_tok_", "_ref_"), false),
        ("a key with another checksum", &format!("{}0", &key[..key.len() - 1]), false),
        ("a key of another deployment", other_brand.expose_secret(), false),
        ("nonsense", "x", false),
    ] {
        for call in [&[][..], &[("method", "GET"), ("path", "/orders")]] {
            let told = introspect(&workspace, &server, token, call).await;
            if active {
                let of_key = (&told["sub"], &told["client_id"], &told["scope"], &told["workspace_id"]);
                let expected =
                    (&json!("bob"), &json!(id_of(&key)), &json!("orders:read"), &json!(workspace.id));
                assert_eq!((&told["active"], of_key), (&json!(true), expected), "{case}: {told}");
                assert_eq!(told.get("allowed").is_some(), !call.is_empty(), "{case}: {told}");
            } else {
                assert_eq!(told, json!({"active": false}), "{case}");
            }
        }
    }
    let told = introspect(&workspace, &server, access, &[]).await;
    assert_eq!(told["jti"], token_id_of(access));
    assert!(told["exp"].as_i64() > told["iat"].as_i64(), "{told}");
    let told = introspect(&workspace, &server, refresh, &[("method", "GET"), ("path", "/")]).await;
    assert_eq!((&told["allowed"], &told["reason"]), (&json!(false), &json!("refresh_token")));
}

/// RFC 7662, section 2.1: the endpoint requires authorization. RFC 6750, section 3.1: a client without the scope gets a 403.
#[tokio::test]
async fn introspection_takes_a_key_with_its_scope() {
    let workspace = Workspace::new().await;
    let plain = workspace.key_of("bob", &["keys:read", "orders:read"]).await;
    let token = workspace.access_token(&plain).await;
    let granted = workspace.key_of("svc:api", &[SCOPE]).await;
    let token_of_granted = workspace.access_token(&granted).await;
    let rotated = workspace.key_of("svc:old", &[SCOPE]).await;
    workspace
        .rotate(&workspace.admin, id_of(&rotated), &json!({"overlap_seconds": 600}))
        .await
        .assert_succeeded();
    let form = [("token", token.as_str())];
    for (case, authorization, expected) in [
        ("no client", None, Err((401, "invalid_client"))),
        ("a token", Some(format!("Bearer {token_of_granted}")), Err((401, "invalid_client"))),
        ("nonsense", Some("Basic x".to_owned()), Err((401, "invalid_client"))),
        ("a key without the scope", Some(basic(&plain)), Err((403, "insufficient_scope"))),
        (
            "a key without the scope, as bearer",
            Some(format!("Bearer {plain}")),
            Err((403, "insufficient_scope")),
        ),
        ("a key with the scope", Some(basic(&granted)), Ok(())),
        ("a key with the scope, as bearer", Some(format!("Bearer {granted}")), Ok(())),
        ("the old secret of such a key", Some(basic(&rotated)), Ok(())),
        ("an administrator", Some(basic(&workspace.admin)), Ok(())),
    ] {
        let answer = workspace.oauth("introspect", authorization.as_deref(), &form).await;
        match expected {
            Ok(()) => assert_eq!((answer.status, &answer.json()["active"]), (200, &json!(true)), "{case}"),
            Err((status, code)) => answer.assert_oauth_error(status, code),
        }
        if answer.status == 403 {
            let challenge = answer.header("www-authenticate").unwrap_or_default();
            assert!(challenge.contains("scope=\"tokens:introspect\""), "{case}: {challenge}");
        }
    }
}

/// RFC 7662, section 2.3, and RFC 6749, section 5.2.
#[tokio::test]
async fn a_parameter_that_is_wrong_is_named() {
    let workspace = Workspace::new().await;
    let server = backend(&workspace).await;
    let key = workspace.key_of("bob", &[]).await;
    for (form, parameter) in [
        (&[][..], "token"),
        (&[("method", "GET"), ("path", "/")], "token"),
        (&[("token", &key), ("path", "/")], "method"),
        (&[("token", &key), ("address", "203.0.113.7")], "method"),
        (&[("token", &key), ("method", "GET")], "path"),
        (&[("token", &key), ("method", "get"), ("path", "/")], "method"),
        (&[("token", &key), ("method", "GET"), ("path", "orders")], "path"),
        (&[("token", &key), ("method", "GET"), ("path", "/"), ("address", "localhost")], "address"),
    ] {
        let answer = workspace.oauth("introspect", Some(&server), form).await;
        answer.assert_oauth_error(400, "invalid_request");
        assert!(text(&answer.json(), "error_description").starts_with(parameter), "{form:?}: {answer:?}");
    }
}

/// One meaning with `docs/authorizer.md`.
#[tokio::test]
async fn a_call_is_decided_as_the_authorizer_decides_and_its_use_is_recorded() {
    let workspace = Workspace::new().await;
    let server = backend(&workspace).await;
    let restricted = json!({
        "name": "restricted", "user_id": "bob", "endpoints": ["GET /orders/*"], "networks": ["203.0.113.0/24", "127.0.0.0/8"],
        "metadata": {"env": "live"}, "limits": [{"calls": 2, "per": "month"}],
    });
    let key = text(&workspace.created(restricted).await, "key").to_owned();
    let told = introspect(&workspace, &server, &key, &[]).await;
    assert_eq!(
        [&told["endpoints"], &told["networks"], &told["metadata"], &told["limits"], &told["key_name"]],
        [
            &json!(["GET /orders/*"]),
            &json!(["203.0.113.0/24", "127.0.0.0/8"]),
            &json!({"env": "live"}),
            &json!(["2/month"]),
            &json!("restricted"),
        ],
    );
    let ask = async |credential: &str, method: &str, path: &str, address: Option<&str>| {
        let address = address.map(|address| ("address", address));
        let call: Vec<_> = [("method", method), ("path", path)].into_iter().chain(address).collect();
        let told = introspect(&workspace, &server, credential, &call).await;
        assert_eq!(told["active"], true, "{told}");
        (told["allowed"].clone(), told["reason"].clone(), told["retry_after"].as_u64())
    };
    let refused = |reason: &str| (json!(false), json!(reason), None);
    let allowed = (json!(true), Value::Null, None);
    let inside = Some("203.0.113.7");
    let token = workspace.access_token(&key).await;
    for (credential, method, path, address, expected) in [
        (&key, "POST", "/orders/7", inside, refused("outside_endpoints")),
        (&key, "GET", "/orders/../users", inside, refused("outside_endpoints")),
        (&key, "GET", "/orders/7", Some("198.51.100.1"), refused("outside_networks")),
        (&key, "GET", "/orders/6", None, refused("outside_networks")),
        (&key, "GET", "/orders/7", inside, allowed.clone()),
        (&token, "GET", "/orders/8", inside, allowed),
    ] {
        assert_eq!(ask(credential, method, path, address).await, expected, "{method} {path} {address:?}");
    }
    let (is_allowed, reason, retry_after) = ask(&token, "GET", "/orders/9", inside).await;
    assert_eq!(
        (is_allowed, reason),
        (json!(false), json!("limit_exceeded")),
        "tokens share the limits of their key"
    );
    assert!(retry_after.is_some_and(|seconds| (1..=31 * 86_400).contains(&seconds)), "{retry_after:?}");
    let told = introspect(&workspace, &server, &key, &[]).await;
    assert_eq!((&told["active"], told.get("allowed")), (&json!(true), None), "a full window is no end");
    eventually("all calls are in the trail", async || {
        let events = calls(&workspace.id, "bob").await;
        let counted = |outcome: &str| {
            let of_outcome = events.iter().filter(|event| event["outcome"] == outcome);
            of_outcome.filter_map(|event| event["count"].as_u64()).sum::<u64>()
        };
        (counted("allowed"), counted("refused")) == (2, 5)
    })
    .await;
    let events = calls(&workspace.id, "bob").await;
    let of_token =
        events.iter().find(|event| event["credential"] == "access_token" && event["outcome"] == "allowed");
    let of_token = of_token.expect("the call with the token");
    assert_eq!(
        [&of_token["method"], &of_token["path"], &of_token["source"]],
        ["GET", "/orders/8", "203.0.113.7"].map(|text| json!(text)).each_ref()
    );
    eventually("the last use is written", async || database::last_used_at(id_of(&key)).await > 0).await;
    let shown = workspace.get(&workspace.admin, id_of(&key)).await.json();
    assert_eq!(shown["last_used_from"], "203.0.113.7", "{shown}");
}

#[tokio::test]
async fn a_question_without_a_call_takes_no_permit_and_records_nothing() {
    let workspace = Workspace::new().await;
    let server = backend(&workspace).await;
    let limited = json!({"name": "limited", "user_id": "bob", "limits": [{"calls": 1, "per": "month"}]});
    let key = text(&workspace.created(limited).await, "key").to_owned();
    let introspector = Function::start("introspect-token", &SETTINGS).await;
    introspector.take_calls();
    for _ in 0..3 {
        let answer = introspector.invoke(question(&server, &key, "")).await.expect("a response");
        assert_eq!(answered(&answer).1["active"], true, "{answer}");
    }
    introspector.terminate().await;
    let operations: Vec<_> = introspector.take_calls().into_iter().map(|(operation, _)| operation).collect();
    assert_eq!(operations, ["GetItem"; 6], "the client and the key, and nothing else");
    assert_eq!(database::last_used_at(id_of(&key)).await, 0);
    assert!(calls(&workspace.id, "bob").await.is_empty());
}

/// What `docs/introspection.md` says of limits: over all environments of both functions.
#[tokio::test]
async fn the_authorizer_and_introspection_count_the_same_calls() {
    let workspace = Workspace::new().await;
    let server = backend(&workspace).await;
    let limited = json!({"name": "limited", "user_id": "bob", "limits": [{"calls": 3, "per": "month"}]});
    let key = text(&workspace.created(limited).await, "key").to_owned();
    let (introspector, authorizer) = tokio::join!(
        Function::start("introspect-token", &SETTINGS),
        Function::start("authorize", &[("AUTHORIZER_UNCACHED", "true")])
    );
    let call = "&method=GET&path=/orders";
    let mut allowed = 0;
    for _ in 0..4 {
        let policy = authorizer.invoke(token_event(&format!("Bearer {key}"))).await.expect("a policy");
        allowed += u32::from(policy["policyDocument"]["Statement"][0]["Effect"] == "Allow");
        let told = introspector.invoke(question(&server, &key, call)).await.expect("a response");
        allowed += u32::from(answered(&told).1["allowed"] == true);
    }
    assert_eq!(allowed, 3);
    let uncached = Function::start("introspect-token", &[]).await;
    let told = answered(&uncached.invoke(question(&server, &key, call)).await.expect("a response")).1;
    assert_eq!((&told["allowed"], &told["reason"]), (&json!(false), &json!("limits_not_enforced")), "{told}");
}

#[tokio::test]
async fn a_legacy_key_is_introspected_by_its_text() {
    let workspace = Workspace::new().await;
    let server = backend(&workspace).await;
    let key = imported(&workspace, "bob", &["orders:read"]).await;
    let told = introspect(&workspace, &server, &key, &[("method", "GET"), ("path", "/orders")]).await;
    let list = async || workspace.call(Method::GET, "/legacy-keys", &workspace.admin).await.json();
    eventually("its last use is recorded", async || list().await["items"][0]["last_used_at"].is_string())
        .await;
    let id = legacy_id(&workspace, &key).await;
    assert_eq!(
        [&told["active"], &told["allowed"], &told["credential"], &told["key_id"], &told["scope"]],
        [&json!(true), &json!(true), &json!("legacy_key"), &json!(id), &json!("orders:read")],
        "{told}"
    );
    assert_eq!(told["exp"], json!(4_102_444_799_i64), "the sunset");
    let after = [("LEGACY_SUNSET", "2020-01-01T00:00:00Z"), LEGACY[1]];
    let function = Function::start("introspect-token", &after).await;
    let told = answered(&function.invoke(question(&server, &key, "")).await.expect("a response")).1;
    assert_eq!(told, json!({"active": false}));
}

/// A backend must not learn whether a key exists in another workspace, nor write into its trail.
#[tokio::test]
async fn a_credential_of_another_workspace_takes_the_calls_and_the_units_of_one_that_does_not_exist() {
    let (workspace, other) = tokio::join!(Workspace::new(), Workspace::new());
    let server = backend(&workspace).await;
    let foreign =
        other.created(json!({"name": "limited", "user_id": "bob", "limits": [{"calls": 5, "per": "day"}]}));
    let foreign = text(&foreign.await, "key").to_owned();
    let wrong = made_up(id_of(&foreign), CredentialForm::ApiKey);
    let unknown = made_up(&KeyId::generate(Utc::now()).to_string(), CredentialForm::ApiKey);
    let (foreign_legacy, unknown_legacy) = (imported(&other, "bob", &[]).await, legacy_key());
    let introspector = Function::start("introspect-token", &SETTINGS).await;
    for call in ["", "&method=GET&path=/orders&address=203.0.113.7"] {
        let mut costs = Vec::new();
        for token in [&unknown, &foreign, &wrong] {
            introspector.take_calls();
            introspector.take_capacity();
            let answer = introspector.invoke(question(&server, token, call)).await.expect("a response");
            introspector.frozen().await;
            let operations: Vec<_> = introspector.take_calls().into_iter().map(|(name, _)| name).collect();
            costs.push((answer, operations, introspector.take_capacity()));
        }
        assert_eq!(answered(&costs[0].0), (200, json!({"active": false})));
        assert_eq!(costs[0].1, ["GetItem", "GetItem"]);
        assert!(costs.iter().all(|cost| cost == &costs[0]), "{call}: {costs:#?}");
        for token in [&unknown_legacy, &foreign_legacy] {
            introspector.take_calls();
            let answer = introspector.invoke(question(&server, token, call)).await.expect("a response");
            introspector.frozen().await;
            assert_eq!(answered(&answer), (200, json!({"active": false})));
            let operations: Vec<_> = introspector.take_calls().into_iter().map(|(name, _)| name).collect();
            assert_eq!(operations, ["GetItem", "BatchGetItem"]);
        }
    }
    introspector.terminate().await;
    assert!(calls(&other.id, "bob").await.is_empty());
    assert_eq!(database::last_used_at(id_of(&foreign)).await, 0);
}

#[tokio::test]
async fn without_the_database_nothing_is_active() {
    let workspace = Workspace::new().await;
    let server = backend(&workspace).await;
    let limited = json!({"name": "limited", "user_id": "bob", "limits": [{"calls": 5, "per": "day"}]});
    let key = text(&workspace.created(limited).await, "key").to_owned();
    let direct =
        json!({"introspect": {"workspace_id": workspace.id, "token": key, "method": "GET", "path": "/"}});
    for disturbance in
        [Disturbance::Down, Disturbance::WritesFail, Disturbance::Denied, Disturbance::Says("{}")]
    {
        let introspector = Function::start("introspect-token", &SETTINGS).await;
        introspector.disturb(disturbance);
        let answer =
            introspector.invoke(question(&server, &key, "&method=GET&path=/")).await.expect("a response");
        let (status, body) = answered(&answer);
        if disturbance == Disturbance::Says("{}") {
            assert_eq!((status, &body["error"]), (401, &json!("invalid_client")), "{disturbance:?}: {body}");
        } else {
            assert!(status >= 500 && body.get("active").is_none(), "{disturbance:?}: {status} {body}");
        }
        let told = introspector.invoke(direct.clone()).await.expect("a response");
        assert_ne!(told["active"], true, "{disturbance:?}: {told}");
        let is_failed = told["status"].as_u64().is_some_and(|status| status >= 500);
        assert!(is_failed || told == json!({"active": false}), "{disturbance:?}: {told}");
    }
}

#[tokio::test]
async fn a_direct_invocation_asks_for_any_workspace_and_gets_the_same_object() {
    let (workspace, other) = tokio::join!(Workspace::new(), Workspace::new());
    let server = backend(&workspace).await;
    let key = workspace.key_of("bob", &["orders:read"]).await;
    let invoke = async |workspace: &Workspace, more: Value| {
        let mut query = json!({"workspace_id": workspace.id, "token": key});
        query.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        run(&workspace.api, "IntrospectTokenFunction", &json!({"introspect": query})).await
    };
    assert_eq!(
        invoke(&workspace, json!({})).await,
        introspect(&workspace, &server, &key, &[]).await,
        "one meaning"
    );
    let call = json!({"method": "GET", "path": "/orders", "address": "2001:db8::7"});
    let told = invoke(&workspace, call.clone()).await;
    assert_eq!((&told["active"], &told["allowed"]), (&json!(true), &json!(true)), "{told}");
    eventually("the call is in the trail", async || {
        calls(&workspace.id, "bob").await.iter().any(|event| event["source"] == "2001:db8::7")
    })
    .await;
    assert_eq!(invoke(&other, call).await, json!({"active": false}));
    let problem = invoke(&workspace, json!({"method": "get", "path": "/"})).await;
    assert_eq!((&problem["status"], &problem["errors"][0]["pointer"]), (&json!(400), &json!("/method")));
}

#[tokio::test]
async fn a_wrong_secret_is_in_the_trail_of_its_key_and_calls_are_not_if_the_deployment_records_none() {
    let workspace = Workspace::new().await;
    let (server, refused) = (backend(&workspace).await, workspace.key_of("svc:refused", &[]).await);
    let key = workspace.key_of("bob", &[]).await;
    let wrong = made_up(id_of(&key), CredentialForm::ApiKey);
    let call = "&method=GET&path=/orders&address=203.0.113.7";
    let silent = Function::start("introspect-token", &[("CALL_ACTIVITY", "off")]).await;
    for credential in [&key, &wrong] {
        silent.invoke(question(&server, credential, call)).await.expect("a response");
    }
    let wrong_client = basic(&made_up(id_of(&refused), CredentialForm::ApiKey));
    silent.invoke(question(&wrong_client, &key, call)).await.expect("a response");
    silent.terminate().await;
    assert!(calls(&workspace.id, "bob").await.is_empty());
    assert_eq!(calls(&workspace.id, "svc:refused").await.len(), 1, "refused clients are always recorded");
    let introspector = Function::start("introspect-token", &[]).await;
    introspector.invoke(question(&server, &wrong, call)).await.expect("a response");
    introspector.terminate().await;
    let [event] = calls(&workspace.id, "bob").await.try_into().expect("one event");
    assert_eq!(
        [&event["outcome"], &event["reason"], &event["source"]],
        ["refused", "wrong_secret", "203.0.113.7"].map(|text| json!(text)).each_ref()
    );
    assert!(event.get("path").is_none() && event.get("method").is_none(), "{event}");
}

#[tokio::test]
async fn a_call_renews_a_hash_under_an_older_pepper() {
    let workspace = Workspace::new().await;
    let (server, key) = (backend(&workspace).await, workspace.key_of("bob", &[]).await);
    let versions = pepper_versions_with("2");
    let settings = [("PEPPER_VERSIONS", versions.as_str()), ("CURRENT_PEPPER_VERSION", "2")];
    let introspector = Function::start("introspect-token", &settings).await;
    let version = async || database::key(id_of(&key)).await["pepper_version"].clone();
    introspector.invoke(question(&server, &key, "")).await.expect("a response");
    introspector.frozen().await;
    assert_eq!(version().await, json!(1), "a question without a call is no use");
    introspector.invoke(question(&server, &key, "&method=GET&path=/")).await.expect("a response");
    eventually("the key is rehashed", async || version().await == json!(2)).await;
    workspace.contents().await;
}
