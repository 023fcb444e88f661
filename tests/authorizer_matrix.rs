//! Every state of a credential, in every kind of event, for every form of response.

use keygate_core::credential::{Credential, CredentialForm, KeyId, Secret};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::support::function::{Function, event};
use crate::support::legacy::{LEGACY, imported, legacy_key};
use crate::support::workspace::{Workspace, id_of, text};

/// AWS's published sample of each kind of event, and the refusal that its API expects.
const EVENTS: [(&str, Refused); 5] = [
    ("authorize-rest-token", Refused::ByError),
    ("authorize-rest-request", Refused::ByError),
    ("authorize-websocket", Refused::ByError),
    ("authorize-http-1.0", Refused::ByPolicy),
    ("authorize-http-2.0", Refused::InTheConfiguredForm),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    ByError,
    ByPolicy,
    InTheConfiguredForm,
}

/// The sample with an `Authorization` header, in each place where the sample has headers.
fn carrying(name: &str, authorization: Option<&str>) -> Value {
    let mut event = event(name);
    if event["type"] == "TOKEN" {
        event["authorizationToken"] = json!(authorization.unwrap_or_default());
    } else if let Some(authorization) = authorization {
        event["headers"]["Authorization"] = json!(authorization);
        if event.get("multiValueHeaders").is_some() {
            event["multiValueHeaders"]["Authorization"] = json!([authorization]);
        }
    }
    event
}

/// A well-formed key with that id and a secret that was never issued.
fn made_up(id: KeyId) -> String {
    let credential =
        Credential { key_id: id, form: CredentialForm::ApiKey, secret: Secret::from_bytes(&[7; 32].into()) };
    credential.to_text(&"kg".parse().expect("a brand")).expose_secret().to_owned()
}

#[tokio::test]
async fn a_credential_is_accepted_or_refused_alike_in_every_kind_of_event_and_form_of_response() {
    let workspace = Workspace::new().await;
    let valid = workspace.key_of("bob", &["orders:read"]).await;
    let rotated = workspace.created(json!({"name": "rotated"})).await;
    let overlap = json!({"overlap_seconds": 3600});
    workspace.rotate(&workspace.admin, text(&rotated, "id"), &overlap).await.assert_succeeded();
    let replaced = workspace.key_of("bob", &[]).await;
    workspace.rotate(&workspace.admin, id_of(&replaced), &json!({})).await.assert_succeeded();
    let disabled = workspace.key_of("bob", &[]).await;
    workspace.update(&workspace.admin, id_of(&disabled), &json!({"disabled": true})).await.assert_succeeded();
    let deleted = workspace.key_of("bob", &[]).await;
    workspace.delete(&workspace.admin, id_of(&deleted)).await.assert_succeeded();
    let expired = workspace.created(json!({"name": "short", "expires_in": 1})).await;
    workspace.until_refused(text(&expired, "key")).await;
    let legacy = imported(&workspace, "bob", &[]).await;

    let bearer = |key: &str| Some(format!("Bearer {key}"));
    let states = [
        ("valid", bearer(&valid), true),
        ("valid, in another case of the scheme", Some(format!("bEaReR {valid}")), true),
        ("replaced, in the overlap", bearer(text(&rotated, "key")), true),
        ("replaced, without an overlap", bearer(&replaced), false),
        ("absent", None, false),
        ("of another scheme", Some(format!("Basic {valid}")), false),
        ("malformed", bearer(&valid[..valid.len() - 1]), false),
        ("two in one header", bearer(&format!("{valid},Bearer {valid}")), false),
        ("of an unknown key", bearer(&made_up(KeyId::generate(chrono::Utc::now()))), false),
        ("wrong", bearer(&made_up(id_of(&valid).parse().expect("an id"))), false),
        ("of an expired key", bearer(text(&expired, "key")), false),
        ("of a disabled key", bearer(&disabled), false),
        ("of a deleted key", bearer(&deleted), false),
        ("a legacy key", bearer(&legacy), true),
        ("of an unknown legacy key", bearer(&legacy_key()), false),
        ("of another shape than legacy keys", bearer(&legacy[1..]), false),
    ];
    for form in ["policy", "simple"] {
        let settings = [("AUTHORIZER_RESPONSE", form), LEGACY[0], LEGACY[1]];
        let authorizer = Function::start("authorize", &settings).await;
        for (name, refused) in EVENTS {
            for (state, authorization, accepted) in &states {
                let answer = authorizer.invoke(carrying(name, authorization.as_deref())).await;
                assert_decision(&answer, (*accepted, refused), form, &format!("{state}: {name}, {form}"));
            }
        }
    }
    // The kinds that are deployed here, as their clients see them.
    for (state, authorization, accepted) in &states {
        let authorization = authorization.as_deref();
        let (rest, http, websocket) = tokio::join!(
            workspace.api.rest_example(authorization),
            workspace.api.http_example(authorization),
            workspace.api.connect(authorization)
        );
        let expected = match (accepted, authorization) {
            (true, _) => (200, 200),
            (false, None) => (401, 401),
            (false, Some(_)) => (401, 403),
        };
        assert_eq!((rest.status, http.status), expected, "{state}: REST, HTTP");
        // Of a WebSocket API's `Unauthorized` the emulator makes a 500, where AWS makes a 401.
        assert_eq!(websocket == 101, *accepted, "{state}: WebSocket, {websocket}");
    }
}

fn assert_decision(
    answer: &Result<Value, String>,
    (accepted, refused): (bool, Refused),
    form: &str,
    which: &str,
) {
    let answer = match answer {
        Err(error) => {
            assert_eq!(
                (error.as_str(), accepted, refused),
                ("Unauthorized", false, Refused::ByError),
                "{which}"
            );
            return;
        }
        Ok(answer) => answer,
    };
    assert!(accepted || refused != Refused::ByError, "{which}: {answer}");
    if refused == Refused::InTheConfiguredForm && form == "simple" {
        assert_eq!(answer["isAuthorized"], accepted, "{which}");
    } else {
        let effect = if accepted { "Allow" } else { "Deny" };
        assert_eq!(answer["policyDocument"]["Statement"][0]["Effect"], effect, "{which}");
        assert_eq!(answer["policyDocument"]["Statement"].as_array().map(Vec::len), Some(1), "{which}");
    }
    assert_eq!(answer["context"].get("userId").is_some(), accepted, "{which}");
}

#[tokio::test]
async fn a_policy_has_the_rules_of_a_key_and_a_simple_response_evaluates_them_only_where_it_may() {
    let workspace = Workspace::new().await;
    let created = workspace.created(json!({"name": "a", "endpoints": ["GET /request", "$connect"]})).await;
    let bearer = format!("Bearer {}", text(&created, "key"));
    for form in ["policy", "simple", "simple-uncached"] {
        let authorizer = Function::start("authorize", &[("AUTHORIZER_RESPONSE", form)]).await;
        for (name, refused) in EVENTS {
            let event = carrying(name, Some(&bearer));
            let arn = event["methodArn"].as_str().or(event["routeArn"].as_str()).expect("an ARN").to_owned();
            let answer = authorizer.invoke(event).await.expect("a response");
            if refused == Refused::InTheConfiguredForm && form != "policy" {
                // The ARN in the sample is that of GET /request.
                assert_eq!(answer["isAuthorized"], form == "simple-uncached", "{name}, {form}");
                continue;
            }
            let stage = arn.split('/').take(2).collect::<Vec<_>>().join("/");
            let statements = &answer["policyDocument"]["Statement"];
            assert_eq!(statements[0]["Effect"], "Allow", "{name}, {form}");
            assert_eq!(
                statements[0]["Resource"],
                json!([format!("{stage}/GET/request"), format!("{stage}/$connect")]),
                "{name}, {form}"
            );
            assert_eq!(statements[1]["Effect"], "Deny", "{name}, {form}");
        }
    }
}

#[tokio::test]
async fn a_second_credential_beside_a_valid_one_is_refused_wherever_it_stands() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let bearer = format!("Bearer {key}");
    let authorizer = Function::start("authorize", &[]).await;
    for (name, refused) in EVENTS.into_iter().filter(|(name, _)| *name != "authorize-rest-token") {
        let event = carrying(name, Some(&bearer));
        let mut changes = vec![
            ("/headers/authorization", json!(bearer)),
            ("/queryStringParameters/access_token", json!("x")),
            ("/queryStringParameters/key", json!(key)),
        ];
        if event.get("multiValueHeaders").is_some() {
            changes[0] = ("/multiValueHeaders/authorization", json!([bearer]));
            changes.push(("/multiValueHeaders/Authorization", json!([bearer, bearer])));
        }
        for (place, value) in changes {
            let mut event = event.clone();
            let (object, member) = place.rsplit_once('/').expect("a member of an object");
            event.pointer_mut(object).expect(place)[member] = value;
            let answer = authorizer.invoke(event).await;
            assert_decision(&answer, (false, refused), "policy", &format!("{name} with another at {place}"));
        }
    }
}
