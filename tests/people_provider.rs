//! People who sign in at a real identity provider: `oidc-provider`, with a client by other authors.

use std::net::TcpListener;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use chrono::Utc;
use reqwest::Method;
use ring::hmac;
use serde_json::{Value, json};

use crate::support::people::{
    CLIENT, Clock, Login, Outcome, PeopleAuthorizer, Provider, SigningKey, claims_of, unsigned, with,
};
use crate::support::stack::variable;
use crate::support::workspace::{Workspace, id_of, text, unique};

fn refused(reason: &str) -> Outcome {
    Outcome::Refused(reason.to_owned())
}

#[tokio::test]
async fn a_person_who_signs_in_manages_the_keys_that_their_group_permits() {
    let (workspace, elsewhere) = tokio::join!(Workspace::new(), Workspace::new());
    let (alice, boss) = (unique("alice"), unique("boss"));
    let login = Login { user: &alice, groups: "developers people-of-no-scope", workspace: &workspace.id };
    let token = login.access_token().await;

    let me = workspace.call(Method::GET, "/me", &token).await.json();
    for (member, value) in [
        ("user_id", json!(alice)),
        ("workspace_id", json!(workspace.id)),
        ("credential", json!("person")),
        ("scopes", json!(["keys:write", "orders:read"])),
        ("key_id", Value::Null),
    ] {
        assert_eq!(me[member], value, "{member}: {me}");
    }
    let expires_at = text(&me, "expires_at").parse::<chrono::DateTime<Utc>>().expect("a time");
    assert_eq!(json!(expires_at.timestamp()), claims_of(&token)["exp"]);

    let created = workspace.create(&token, &json!({"name": unique("own"), "scopes": ["orders:read"]})).await;
    assert_eq!(created.status, 201, "{created:?}");
    let created = created.json();
    assert_eq!((&created["user_id"], &created["created_by"]), (&json!(alice), &json!(alice)));
    assert!(workspace.accepts(text(&created, "key")).await);
    let wide = json!({"name": unique("wide"), "scopes": ["orders:write"]});
    workspace.create(&token, &wide).await.assert_problem(403, "insufficient_scope");

    let others = workspace.key_of("bob", &["orders:read"]).await;
    let foreign = elsewhere.key_of("bob", &["orders:read"]).await;
    let listed = workspace.list(&token, "").await.json();
    let ids: Vec<_> = listed["items"].as_array().expect("items").iter().map(|key| &key["id"]).collect();
    assert_eq!(ids, [&created["id"]]);
    workspace.get(&token, id_of(&others)).await.assert_problem(403, "insufficient_scope");

    let boss = Login { user: &boss, groups: "admins", workspace: &workspace.id }.access_token().await;
    assert_eq!(workspace.get(&boss, id_of(&others)).await.status, 200);
    workspace.get(&boss, id_of(&foreign)).await.assert_problem(404, "not_found");

    let events = workspace.activity(&format!("?actor={alice}")).await;
    let event =
        events["items"].as_array().expect("items").iter().find(|event| event["action"] == "key.created");
    assert_eq!(event.expect("the creation")["actor"], json!(alice), "{events}");
    workspace.contents().await;
}

/// With the reason in the log of an authorizer that has the settings of the deployed one.
#[tokio::test]
async fn a_token_that_is_not_for_keygate_is_refused() {
    let workspace = Workspace::new().await;
    let (issuer, audience) = (variable("KEYGATE_OIDC_ISSUER"), variable("KEYGATE_OIDC_AUDIENCE"));
    let (user, clock) = (unique("alice"), Clock::new());
    let login = Login { user: &user, groups: "admins", workspace: &workspace.id };
    let authorizer = PeopleAuthorizer::start(&issuer, &clock, &[]).await;
    let other_issuer = Provider::with_keys_of_stack().await;
    let (tokens, for_orders, of_other_issuer) = tokio::join!(
        login.at(&issuer, &audience),
        login.at(&issuer, "https://orders.example.com"),
        login.at(&other_issuer.issuer, &audience),
    );

    // What no provider issues is signed with its key.
    let (key, own, now) = (SigningKey::of_stack(), SigningKey::new("own"), Utc::now().timestamp());
    let own_with_its_id = SigningKey::new(text(&key.public, "kid"));
    let claims = claims_of(&tokens.access);
    let signed = |more: Value| key.sign(&key.header(&json!({})), &with(&claims, &more));
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a listener");
    let theirs = format!("https://{}/keys", listener.local_addr().expect("an address"));
    let forged = |more: Value| own_with_its_id.sign(&own_with_its_id.header(&more), &claims);
    let tampered = |more: Value| {
        let parts: Vec<_> = tokens.access.split('.').collect();
        let claims = URL_SAFE_NO_PAD.encode(with(&claims, &more).to_string());
        format!("{}.{claims}.{}", parts[0], parts[2])
    };
    let keyed = |secret: &[u8]| {
        let message = unsigned(&key.header(&json!({"alg": "HS256"})), &claims);
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message.as_bytes());
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(tag))
    };

    for token in [&tokens.access, &signed(json!({}))] {
        assert_eq!(authorizer.decide(token).await, Outcome::Allowed);
        assert_eq!(workspace.call(Method::GET, "/me", token).await.status, 200);
    }
    for (what, token, reason) in [
        ("an ID token", tokens.id.clone(), "wrong_use"),
        ("for another API", for_orders.access, "wrong_audience"),
        ("of another issuer", of_other_issuer.access, "wrong_issuer"),
        (
            "not signed",
            format!("{}.", unsigned(&key.header(&json!({"alg": "none"})), &claims)),
            "wrong_algorithm",
        ),
        ("the public key as a secret, JWK", keyed(key.public.to_string().as_bytes()), "wrong_algorithm"),
        ("the public key as a secret, PEM", keyed(pem(&key.public).as_bytes()), "wrong_algorithm"),
        ("expired", signed(json!({"exp": now - 1})), "expired"),
        ("without an end", signed(json!({"exp": null})), "bad_claims"),
        ("not yet valid", signed(json!({"nbf": now + 3600})), "not_yet_valid"),
        ("issued later", signed(json!({"iat": now + 3600})), "not_yet_valid"),
        ("of another key", own.sign(&own.header(&json!({})), &claims), "unknown_key"),
        ("with another group", tampered(json!({"groups": ["admins", "more"]})), "bad_signature"),
        ("with another workspace", tampered(json!({"workspace": "acme"})), "bad_signature"),
        ("of another user", tampered(json!({"sub": "svc:backend"})), "bad_signature"),
        ("of another key in jwk", forged(json!({"jwk": own_with_its_id.public})), "bad_signature"),
        ("of another key at jku", forged(json!({"jku": theirs})), "bad_signature"),
        ("of another key at x5u", forged(json!({"x5u": theirs})), "bad_signature"),
        ("of another key in x5c", forged(json!({"x5c": ["AAAA"]})), "bad_signature"),
        ("of a service account", signed(json!({"sub": "svc:backend"})), "bad_claims"),
        ("of Keygate", signed(json!({"sub": "keygate:lifecycle"})), "bad_claims"),
        ("of no workspace", signed(json!({"workspace": null})), "bad_claims"),
        ("of no existing workspace", signed(json!({"workspace": unique("nowhere")})), "no_workspace"),
        ("bound to a key of its holder", signed(json!({"cnf": {"jkt": "AAAA"}})), "wrong_use"),
    ] {
        assert_eq!(authorizer.decide(&token).await, refused(reason), "{what}");
        let answer = workspace.call(Method::GET, "/me", &token).await;
        assert_eq!(answer.status, 401, "{what}: {answer:?}");
        answer.assert_problem(401, "unauthorized");
    }
    assert!(listener.accept().is_err(), "an address in a header is called");

    // The other kind of token, where that is set.
    let settings = [("OIDC_TOKEN_USE", "id"), ("OIDC_AUDIENCE", CLIENT)];
    let of_id_tokens = PeopleAuthorizer::start(&issuer, &clock, &settings).await;
    assert_eq!(of_id_tokens.decide(&tokens.id).await, Outcome::Allowed);
    assert_eq!(of_id_tokens.decide(&tokens.access).await, refused("wrong_use"));
}

/// The public key in the form that libraries read from files (RFC 5480).
fn pem(public: &Value) -> String {
    const HEAD: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE";
    let [x, y] = ["x", "y"].map(|name| URL_SAFE_NO_PAD.decode(text(public, name)).expect("base64url"));
    let key = STANDARD.encode([STANDARD.decode(HEAD).expect("base64"), x, y].concat());
    format!("-----BEGIN PUBLIC KEY-----\n{}\n{}\n-----END PUBLIC KEY-----\n", &key[..64], &key[64..])
}

#[tokio::test]
async fn the_apis_of_adopters_refuse_people() {
    let workspace = Workspace::new().await;
    let user = unique("alice");
    let token = Login { user: &user, groups: "admins", workspace: &workspace.id }.access_token().await;
    assert_eq!(workspace.call(Method::GET, "/me", &token).await.status, 200);
    assert_eq!(workspace.api.examples(&Method::GET, "/echo", &token).await, [401, 403]);
    let connected = workspace.api.connect(Some(&format!("Bearer {token}"))).await;
    assert_ne!(connected, 101);
    assert_eq!(connected, workspace.api.connect(Some("Bearer not-a-key")).await);
}

#[tokio::test]
async fn a_removed_person_can_do_nothing_from_that_moment_until_they_are_reinstated() {
    let workspace = Workspace::new().await;
    let user = unique("alice");
    let token = Login { user: &user, groups: "admins", workspace: &workspace.id }.access_token().await;
    let created = workspace.create(&token, &json!({"name": unique("own")})).await.json();
    let own = text(&created, "id");
    let key = json!({"name": unique("more")});
    let attempts = async || {
        [
            workspace.call(Method::GET, "/me", &token).await,
            workspace.list(&token, "").await,
            workspace.get(&token, own).await,
            workspace.call(Method::GET, "/activity", &token).await,
            workspace.create(&token, &key).await,
            workspace.call(Method::PUT, &format!("/users/{user}"), &token).await,
        ]
    };
    let removed = workspace.call(Method::DELETE, &format!("/users/{user}"), &workspace.admin).await;
    assert_eq!(removed.status, 202, "{removed:?}");
    for answer in attempts().await {
        answer.assert_problem(401, "unauthorized");
    }
    workspace.when_cleared(&user).await;
    let reinstated = workspace.call(Method::PUT, &format!("/users/{user}"), &workspace.admin).await;
    assert_eq!(reinstated.status, 204, "{reinstated:?}");
    // The key was deleted with the user, and there is no removal left to undo.
    let statuses = attempts().await.map(|answer| answer.status);
    assert_eq!(statuses, [200, 200, 404, 200, 201, 409]);
    workspace.contents().await;
}

#[tokio::test]
async fn tokens_with_either_algorithm_are_accepted_until_they_expire() {
    let (workspace, user) = (Workspace::new().await, unique("alice"));
    let login = Login { user: &user, groups: "", workspace: &workspace.id };
    for algorithm in ["RS256", "ES256"] {
        let (provider, clock) = (Provider::start(&["--algorithm", algorithm]).await, Clock::new());
        let authorizer = PeopleAuthorizer::start(&provider.issuer, &clock, &[]).await;
        let token = login.at(&provider.issuer, &variable("KEYGATE_OIDC_AUDIENCE")).await.access;
        assert_eq!(authorizer.decide(&token).await, Outcome::Allowed, "{algorithm}");
        clock.set(500);
        assert_eq!(authorizer.decide(&token).await, Outcome::Allowed, "{algorithm}");
        clock.set(600);
        assert_eq!(authorizer.decide(&token).await, refused("expired"), "{algorithm}");
    }
}

/// A provider whose tokens outlive kept keys, an authorizer of its people, and a token that it has accepted.
async fn accepted(login: &Login<'_>, clock: &Clock) -> (Provider, PeopleAuthorizer, String) {
    let provider = Provider::start(&["--token-seconds", "9000"]).await;
    let authorizer = PeopleAuthorizer::start(&provider.issuer, clock, &[]).await;
    let token = login.at(&provider.issuer, &variable("KEYGATE_OIDC_AUDIENCE")).await.access;
    assert_eq!(authorizer.decide(&token).await, Outcome::Allowed);
    (provider, authorizer, token)
}

#[tokio::test]
async fn tokens_with_invented_keys_make_the_authorizer_read_the_keys_once_a_minute() {
    let (workspace, user, clock) = (Workspace::new().await, unique("alice"), Clock::new());
    let login = Login { user: &user, groups: "", workspace: &workspace.id };
    let (provider, authorizer, token) = accepted(&login, &clock).await;
    let read = provider.reads_of_keys();
    let invent = async || {
        for _ in 0..5 {
            let key = SigningKey::new(&unique("invented"));
            let invented = key.sign(&key.header(&json!({})), &claims_of(&token));
            assert_eq!(authorizer.decide(&invented).await, refused("unknown_key"));
        }
    };
    invent().await;
    assert_eq!(provider.reads_of_keys(), read);
    for reads in 1..=2 {
        clock.set(reads * 70);
        invent().await;
        assert_eq!(provider.reads_of_keys() - read, usize::try_from(reads).expect("a number"));
    }
    assert_eq!(authorizer.decide(&token).await, Outcome::Allowed);
}

#[tokio::test]
async fn kept_keys_serve_for_an_hour_while_the_provider_is_down_and_without_them_there_is_no_decision() {
    let (workspace, user, clock) = (Workspace::new().await, unique("alice"), Clock::new());
    let login = Login { user: &user, groups: "admins", workspace: &workspace.id };
    let (mut provider, authorizer, token) = accepted(&login, &clock).await;
    provider.stop();
    let never_up = PeopleAuthorizer::start(&provider.issuer, &clock, &[]).await;
    for (seconds, kept, new) in [
        (0, Outcome::Allowed, Outcome::NoDecision),
        (3_500, Outcome::Allowed, Outcome::NoDecision),
        (3_700, Outcome::NoDecision, Outcome::NoDecision),
    ] {
        clock.set(seconds);
        assert_eq!(authorizer.decide(&token).await, kept, "after {seconds} s");
        assert_eq!(never_up.decide(&token).await, new, "after {seconds} s");
    }
    let failure = "signing keys of the identity provider not fetched";
    for each in [&authorizer, &never_up] {
        assert!(each.0.log_lines().iter().any(|line| line["message"] == failure), "the alarm's line");
    }
    provider.resume().await;
    assert_eq!(authorizer.decide(&token).await, Outcome::NoDecision, "the last attempt was in this minute");
    clock.set(3_800);
    for each in [&authorizer, &never_up] {
        assert_eq!(each.decide(&token).await, Outcome::Allowed);
    }
}

#[tokio::test]
async fn a_signing_key_that_the_provider_has_removed_ends_with_the_kept_ones_and_a_new_one_works() {
    let (workspace, user, clock) = (Workspace::new().await, unique("alice"), Clock::new());
    let login = Login { user: &user, groups: "", workspace: &workspace.id };
    let (mut provider, idle, old) = accepted(&login, &clock).await;
    let busy = PeopleAuthorizer::start(&provider.issuer, &clock, &[]).await;
    assert_eq!(busy.decide(&old).await, Outcome::Allowed);

    provider.replace_keys().await;
    let new = login.at(&provider.issuer, &variable("KEYGATE_OIDC_AUDIENCE")).await.access;
    assert_eq!(busy.decide(&old).await, Outcome::Allowed);
    assert_eq!(busy.decide(&new).await, refused("unknown_key"), "the last read was in this minute");
    clock.set(70);
    assert_eq!(busy.decide(&new).await, Outcome::Allowed);
    assert_eq!(busy.decide(&old).await, refused("unknown_key"));

    // An authorizer that gets no token of the new key does not read the keys again before its hour ends.
    clock.set(3_500);
    assert_eq!(idle.decide(&old).await, Outcome::Allowed);
    clock.set(3_700);
    assert_eq!(idle.decide(&old).await, refused("unknown_key"));
    assert_eq!(idle.decide(&new).await, Outcome::Allowed);
}
