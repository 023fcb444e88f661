//! The rights of each kind of credential on every route that changes something, before and after the removal of its user.

use std::collections::BTreeSet;

use keygate_core::credential_class::CredentialClass;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::database;
use crate::support::eventually;
use crate::support::legacy::{imported, legacy_id};
use crate::support::oauth::{basic, token_id_of};
use crate::support::openapi;
use crate::support::people::Login;
use crate::support::stack::{Answer, variable};
use crate::support::workspace::{Workspace, id_of, text, unique};

const KINDS: [CredentialClass; 7] = [
    CredentialClass::CurrentSecret,
    CredentialClass::PreviousSecret,
    CredentialClass::TransferredSecret,
    CredentialClass::AccessToken,
    CredentialClass::LegacyKey,
    CredentialClass::Session,
    CredentialClass::Person,
];

/// The scopes of a session of these tests, and of the key that opens it, which has `sessions:write` too.
const SESSION_SCOPES: [&str; 3] = ["keys:read", "keys:write", "orders:read"];

/// The groups of the identity provider to which the stack gives `workspace:admin`, and `keys:write` with `orders:read`.
const ADMINISTRATORS: &str = "admins";
const DEVELOPERS: &str = "developers";

/// A request that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Create,
    Rotate(Target),
    Rename(Target),
    Disable(Target),
    Widen(Target),
    Nothing(Target),
    Delete(Target),
    RevokeTokens(Target),
    RevokeToken(Target),
    RemoveUser,
    HandOver,
    Reinstate,
    DeleteLegacyKey,
    OpenSession,
    EndSession,
    EndOwnSession,
    IssueToken,
    IssueRefreshToken,
    Refresh,
    RevokePresented,
}

/// The key that a change is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Own,
    Other,
}

const CHANGES: [Change; 28] = [
    Change::Create,
    Change::Rotate(Target::Own),
    Change::Rotate(Target::Other),
    Change::Rename(Target::Own),
    Change::Rename(Target::Other),
    Change::Disable(Target::Own),
    Change::Disable(Target::Other),
    Change::Widen(Target::Own),
    Change::Widen(Target::Other),
    Change::Nothing(Target::Own),
    Change::Nothing(Target::Other),
    Change::Delete(Target::Own),
    Change::Delete(Target::Other),
    Change::RevokeTokens(Target::Own),
    Change::RevokeTokens(Target::Other),
    Change::RevokeToken(Target::Own),
    Change::RevokeToken(Target::Other),
    Change::RemoveUser,
    Change::HandOver,
    Change::Reinstate,
    Change::DeleteLegacyKey,
    Change::OpenSession,
    Change::EndSession,
    Change::EndOwnSession,
    Change::IssueToken,
    Change::IssueRefreshToken,
    Change::Refresh,
    Change::RevokePresented,
];

impl Change {
    /// The route, and whether it is one of the OAuth API.
    fn route(self) -> (&'static str, &'static str, bool) {
        match self {
            Self::Create => ("POST", "/api-keys", false),
            Self::Rotate(_) => ("POST", "/api-keys/{id}/rotate", false),
            Self::Rename(_) | Self::Disable(_) | Self::Widen(_) | Self::Nothing(_) => {
                ("PATCH", "/api-keys/{id}", false)
            }
            Self::Delete(_) => ("DELETE", "/api-keys/{id}", false),
            Self::RevokeTokens(_) => ("DELETE", "/api-keys/{id}/tokens", false),
            Self::RevokeToken(_) => ("DELETE", "/api-keys/{id}/tokens/{token_id}", false),
            Self::RemoveUser | Self::HandOver => ("DELETE", "/users/{user_id}", false),
            Self::Reinstate => ("PUT", "/users/{user_id}", false),
            Self::DeleteLegacyKey => ("DELETE", "/legacy-keys/{id}", false),
            Self::OpenSession => ("POST", "/sessions", false),
            Self::EndSession => ("DELETE", "/sessions/{session_id}", false),
            Self::EndOwnSession => ("DELETE", "/sessions/current", false),
            Self::IssueToken | Self::IssueRefreshToken | Self::Refresh => ("POST", "/oauth/token", true),
            Self::RevokePresented => ("POST", "/oauth/revoke", true),
        }
    }

    fn target(self) -> Option<Target> {
        match self {
            Self::Rotate(target)
            | Self::Rename(target)
            | Self::Disable(target)
            | Self::Widen(target)
            | Self::Nothing(target)
            | Self::Delete(target)
            | Self::RevokeTokens(target)
            | Self::RevokeToken(target) => Some(target),
            Self::Create
            | Self::RemoveUser
            | Self::HandOver
            | Self::Reinstate
            | Self::DeleteLegacyKey
            | Self::OpenSession
            | Self::EndSession
            | Self::EndOwnSession
            | Self::IssueToken
            | Self::IssueRefreshToken
            | Self::Refresh
            | Self::RevokePresented => None,
        }
    }

    /// The status of a successful change.
    fn made(self) -> u16 {
        match self {
            Self::Create | Self::OpenSession => 201,
            Self::Delete(_)
            | Self::RevokeTokens(_)
            | Self::RevokeToken(_)
            | Self::Reinstate
            | Self::DeleteLegacyKey
            | Self::EndSession
            | Self::EndOwnSession => 204,
            Self::RemoveUser | Self::HandOver => 202,
            Self::Rotate(_)
            | Self::Rename(_)
            | Self::Disable(_)
            | Self::Widen(_)
            | Self::Nothing(_)
            | Self::IssueToken
            | Self::IssueRefreshToken
            | Self::Refresh
            | Self::RevokePresented => 200,
        }
    }
}

/// The refusal of a change by a user who is not removed, or none if the change succeeds.
fn refusal(kind: CredentialClass, change: Change) -> Option<(u16, &'static str)> {
    use Change::{
        Create, Delete, DeleteLegacyKey, Disable, EndOwnSession, EndSession, HandOver, IssueRefreshToken,
        IssueToken, Nothing, OpenSession, Refresh, Reinstate, RemoveUser, Rename, RevokePresented,
        RevokeToken, RevokeTokens, Rotate, Widen,
    };
    let insufficient = Some((403, "insufficient_credential"));
    match kind {
        // What is presented is no session.
        CredentialClass::CurrentSecret
        | CredentialClass::PreviousSecret
        | CredentialClass::TransferredSecret
        | CredentialClass::AccessToken
        | CredentialClass::LegacyKey
        | CredentialClass::Person
            if change == EndOwnSession =>
        {
            Some((404, "not_found"))
        }
        CredentialClass::CurrentSecret => None,
        CredentialClass::PreviousSecret => match change {
            Create | RemoveUser | HandOver | Reinstate | DeleteLegacyKey | IssueToken | Refresh
            | RevokePresented => None,
            IssueRefreshToken => Some((400, "invalid_scope")),
            OpenSession | EndSession | EndOwnSession => insufficient,
            Rotate(target) | Rename(target) | Disable(target) | Widen(target) | Nothing(target)
            | Delete(target) | RevokeTokens(target) | RevokeToken(target) => match target {
                Target::Own => insufficient,
                Target::Other => None,
            },
        },
        CredentialClass::TransferredSecret => match change {
            Create | Rotate(_) | Rename(_) | Disable(_) | Widen(_) | Nothing(_) | Delete(_)
            | RevokeTokens(_) | RevokeToken(_) | RemoveUser | HandOver | Reinstate | DeleteLegacyKey
            | OpenSession | EndSession | EndOwnSession => insufficient,
            IssueToken | IssueRefreshToken | RevokePresented => Some((400, "unauthorized_client")),
            // The refresh tokens of a key end with its handover.
            Refresh => Some((400, "invalid_grant")),
        },
        CredentialClass::AccessToken | CredentialClass::LegacyKey => match change {
            Rename(_) | Disable(_) | Nothing(_) | Delete(_) | RevokeTokens(_) | RevokeToken(_)
            | DeleteLegacyKey => None,
            Create | Rotate(_) | Widen(_) | RemoveUser | HandOver | Reinstate | OpenSession | EndSession
            | EndOwnSession => insufficient,
            IssueToken | IssueRefreshToken | Refresh | RevokePresented => Some((401, "invalid_client")),
        },
        // A session is never one of an administrator, and its targets are keys of its own user.
        CredentialClass::Session => match change {
            Create | Rotate(_) | Rename(_) | Disable(_) | Nothing(_) | Delete(_) | RevokeTokens(_)
            | RevokeToken(_) | DeleteLegacyKey | EndOwnSession => None,
            Widen(_) | RemoveUser | HandOver | Reinstate | OpenSession | EndSession => {
                Some((403, "insufficient_scope"))
            }
            IssueToken | IssueRefreshToken | Refresh | RevokePresented => Some((401, "invalid_client")),
        },
        // A person of the group of administrators; the next function has the others.
        CredentialClass::Person => match change {
            Create | Rotate(_) | Rename(_) | Disable(_) | Widen(_) | Nothing(_) | Delete(_)
            | RevokeTokens(_) | RevokeToken(_) | RemoveUser | HandOver | Reinstate | DeleteLegacyKey => None,
            OpenSession | EndSession | EndOwnSession => insufficient,
            IssueToken | IssueRefreshToken | Refresh | RevokePresented => Some((401, "invalid_client")),
        },
    }
}

/// The same of a person who is in one group of the identity provider.
fn refusal_of_person(group: &str, change: Change) -> Option<(u16, &'static str)> {
    let refusal = refusal(CredentialClass::Person, change);
    let is_of_own_key = change.target() == Some(Target::Own) && !matches!(change, Change::Widen(_));
    match group {
        ADMINISTRATORS => refusal,
        // What no scope gives to people.
        _ if change.route().2 || change == Change::EndOwnSession => refusal,
        DEVELOPERS if is_of_own_key || change == Change::Create => None,
        DEVELOPERS if change.target() == Some(Target::Other) || change == Change::DeleteLegacyKey => {
            Some((403, "forbidden"))
        }
        _ => Some((403, "insufficient_scope")),
    }
}

#[test]
fn every_route_that_changes_something_has_its_row() {
    let mut changing: BTreeSet<_> = openapi::routes("openapi.yaml")
        .into_iter()
        .filter(|(method, _)| method != "GET" && method != "OPTIONS")
        // They take no credential but those in their bodies, which `sessions.rs`, `leaks.rs` and `leaks_of_github.rs` test.
        .filter(|(_, path)| path != "/sessions/exchange" && !path.starts_with("/leaks"))
        .map(|(method, path)| (method, path, false))
        .collect();
    let oauth = openapi::routes("oauth.yaml").into_iter().filter(|(_, path)| path != "/oauth/introspect");
    changing.extend(oauth.filter(|(method, _)| method == "POST").map(|(method, path)| (method, path, true)));
    let rows =
        CHANGES.map(Change::route).map(|(method, path, oauth)| (method.to_owned(), path.to_owned(), oauth));
    assert_eq!(changing, BTreeSet::from(rows));
}

/// A credential of one kind, with the key and the tokens that its changes need.
struct Credential {
    text: String,
    /// How it authenticates at the OAuth API.
    client: String,
    /// The key that it belongs to, as far as it is an API key.
    own_key: Option<String>,
    /// A refresh token and an access token that were made with the current secret of that key, if there are any left.
    refresh_token: String,
    access_token: String,
    /// The user of the keys that its changes are of, unless they are of its own key.
    target: String,
    /// A session that its key opened, or one that does not exist.
    session_id: String,
}

/// A new credential of a kind for each change, all of one user, with the scope of an administrator. The scopes of a person are
/// those of their group, and a developer's own key has no others.
async fn credentials(
    workspace: &Workspace,
    kind: CredentialClass,
    user: &str,
    group: &str,
) -> Vec<Credential> {
    let mut credentials = Vec::new();
    let scope = if group == DEVELOPERS { "orders:read" } else { "workspace:admin" };
    let login = Login { user, groups: group, workspace: &workspace.id };
    let person = match kind {
        CredentialClass::Person => Some(login.access_token().await),
        _ => None,
    };
    let leaver = unique("leaver");
    let session_of = async |opener: &str, user: &str, scopes: &[&str], member: &str| {
        text(&workspace.session(opener, user, scopes).await, member).to_owned()
    };
    for _ in CHANGES {
        let owner = if kind == CredentialClass::TransferredSecret { &leaver } else { user };
        let key = workspace.key_of(owner, &[scope]).await;
        let tokens = workspace.tokens(&key, &format!("{scope} offline_access")).await;
        let token = |member| text(&tokens, member).to_owned();
        let (refresh_token, access_token) = (token("refresh_token"), token("access_token"));
        let own_key = Some(id_of(&key).to_owned());
        let text_of_key = key.clone();
        let text = match kind {
            CredentialClass::CurrentSecret | CredentialClass::TransferredSecret => key,
            CredentialClass::PreviousSecret => {
                let overlap = json!({"overlap_seconds": 3600});
                let rotated = workspace.rotate(&workspace.admin, id_of(&key), &overlap).await;
                assert_eq!(rotated.status, 200, "{rotated:?}");
                key
            }
            CredentialClass::AccessToken => access_token.clone(),
            CredentialClass::LegacyKey => imported(workspace, user, &["workspace:admin"]).await,
            CredentialClass::Session => {
                let opener = [&["sessions:write"][..], &SESSION_SCOPES].concat();
                let opener = workspace.key_of("svc:backend", &opener).await;
                session_of(&opener, user, &SESSION_SCOPES, "session").await
            }
            CredentialClass::Person => person.clone().expect("a token"),
        };
        let session_id = match kind {
            CredentialClass::CurrentSecret => session_of(&text_of_key, "alice", &["keys:write"], "id").await,
            _ => "01JD4A0000F9K3W7RT2M8Q0001".to_owned(),
        };
        let is_of_session = kind == CredentialClass::Session;
        let client = match kind {
            CredentialClass::LegacyKey | CredentialClass::Session | CredentialClass::Person => {
                format!("Bearer {text}")
            }
            _ => basic(&text),
        };
        // The key of a person is one of their own keys.
        let own_key = own_key.filter(|_| kind != CredentialClass::LegacyKey && !is_of_session);
        let target = if is_of_session { user } else { "target" }.to_owned();
        credentials.push(Credential {
            text,
            client,
            own_key,
            refresh_token,
            access_token,
            target,
            session_id,
        });
    }
    if kind == CredentialClass::TransferredSecret {
        workspace.remove(&leaver, &format!("?transfer_to={user}")).await;
    }
    credentials
}

/// Makes a change with a credential.
async fn attempt(workspace: &Workspace, change: Change, credential: &Credential) -> Answer {
    let Credential { text: caller, client, own_key, refresh_token, access_token, target: user, session_id } =
        credential;
    let target = match change.target() {
        Some(Target::Own) => own_key.clone().expect("a key of its own"),
        _ => id_of(&workspace.key_of(user, &["orders:read"]).await).to_owned(),
    };
    let (method, path, is_oauth) = change.route();
    if is_oauth {
        let form: &[(&str, &str)] = match change {
            Change::Refresh => &[("grant_type", "refresh_token"), ("refresh_token", refresh_token)],
            Change::RevokePresented => &[("token", access_token)],
            Change::IssueRefreshToken => {
                &[("grant_type", "client_credentials"), ("scope", "workspace:admin offline_access")]
            }
            _ => &[("grant_type", "client_credentials")],
        };
        return workspace.oauth(path.rsplit('/').next().expect("an endpoint"), Some(client), form).await;
    }
    let path = path.replace("{session_id}", session_id);
    let mut path = path.replace("{id}", &target).replace("{user_id}", &unique("user"));
    if change == Change::DeleteLegacyKey {
        let legacy = imported(workspace, user, &[]).await;
        path = path.replace(&target, &legacy_id(workspace, &legacy).await);
    }
    if change == Change::HandOver {
        path.push_str("?transfer_to=svc:heir");
    }
    if let Change::RevokeToken(of) = change {
        let token = match of {
            Target::Own => access_token.clone(),
            Target::Other => {
                let key = workspace.key_of(user, &[]).await;
                path = path.replace(&target, id_of(&key));
                workspace.access_token(&key).await
            }
        };
        path = path.replace("{token_id}", token_id_of(&token));
    }
    let body: Option<Value> = match change {
        Change::Create => Some(json!({"name": unique("key")})),
        Change::Rename(_) => Some(json!({"name": unique("renamed")})),
        Change::Disable(_) => Some(json!({"disabled": true})),
        Change::Widen(_) => Some(json!({"scopes": ["orders:read", "orders:write", "workspace:admin"]})),
        Change::Rotate(_) | Change::Nothing(_) => Some(json!({})),
        Change::OpenSession => Some(json!({"user_id": "alice", "scopes": ["keys:write"]})),
        _ => None,
    };
    let url = format!("{}{path}", variable("KEYGATE_API_URL"));
    let method: Method = method.parse().expect("a method");
    workspace.api.send(method, &url, Some(caller), body.as_ref()).await
}

async fn assert_row(kind: CredentialClass) {
    assert_changes(kind, ADMINISTRATORS, |change| refusal(kind, change)).await;
}

async fn assert_changes(
    kind: CredentialClass,
    group: &str,
    refusal: impl Fn(Change) -> Option<(u16, &'static str)>,
) {
    let workspace = Workspace::new().await;
    for removed in [false, true] {
        let user = unique("user");
        let mut credentials = credentials(&workspace, kind, &user, group).await;
        if removed {
            // A removed user gets no keys.
            for credential in &mut credentials {
                "target".clone_into(&mut credential.target);
            }
            database::mark_removed(&workspace.id, &user, true).await;
        }
        for (change, credential) in CHANGES.into_iter().zip(&credentials) {
            if change.target() == Some(Target::Own) && credential.own_key.is_none() {
                continue;
            }
            let answer = attempt(&workspace, change, credential).await;
            let case = format!("{change:?} with {kind:?}, removed: {removed}");
            let is_oauth = change.route().2;
            let expected = match refusal(change) {
                // The authorizer of the management API refuses the session of a removed user, and a removed person.
                _ if removed
                    && !is_oauth
                    && matches!(kind, CredentialClass::Session | CredentialClass::Person) =>
                {
                    Some((401, "unauthorized"))
                }
                None if removed && is_oauth => Some((400, "unauthorized_client")),
                None if removed => Some((403, "caller_removed")),
                refusal => refusal,
            };
            match expected {
                None => assert_eq!(answer.status, change.made(), "{case}: {answer:?}"),
                Some((status, code)) => {
                    let member = if is_oauth { "error" } else { "code" };
                    assert_eq!((answer.status, &answer.json()[member]), (status, &json!(code)), "{case}");
                }
            }
        }
        if removed {
            database::mark_removed(&workspace.id, &user, false).await;
        }
    }
    // The tables are consistent once all keys of removed users are handed over or deleted.
    let is_cleared = async || database::is_cleared_of_removed(&workspace.id).await;
    eventually("no removed user has a key", is_cleared).await;
    workspace.contents().await;
}

#[tokio::test]
async fn a_key_with_its_current_secret_makes_every_change_unless_its_user_is_removed() {
    assert_row(CredentialClass::CurrentSecret).await;
}

#[tokio::test]
async fn a_previous_secret_changes_everything_but_its_own_key() {
    assert_row(CredentialClass::PreviousSecret).await;
}

#[tokio::test]
async fn the_secret_of_a_former_user_changes_nothing() {
    assert_row(CredentialClass::TransferredSecret).await;
}

#[tokio::test]
async fn an_access_token_takes_away_and_makes_nothing() {
    assert_row(CredentialClass::AccessToken).await;
}

#[tokio::test]
async fn a_legacy_key_takes_away_and_makes_nothing() {
    assert_row(CredentialClass::LegacyKey).await;
}

#[tokio::test]
async fn a_session_changes_the_keys_of_its_user_and_nothing_else() {
    assert_row(CredentialClass::Session).await;
}

#[tokio::test]
async fn a_person_changes_what_their_group_permits_and_gets_no_session_and_no_token() {
    for group in [ADMINISTRATORS, DEVELOPERS, "of-no-scope"] {
        assert_changes(CredentialClass::Person, group, |change| refusal_of_person(group, change)).await;
    }
}

#[tokio::test]
async fn every_kind_of_credential_has_its_row_and_sees_who_it_is() {
    let workspace = Workspace::new().await;
    for kind in KINDS {
        // A kind that is added does not compile until it has its row above.
        let (credential, old_secret) = match kind {
            CredentialClass::CurrentSecret => ("api_key", Value::Null),
            CredentialClass::PreviousSecret => ("api_key", json!("previous")),
            CredentialClass::TransferredSecret => ("api_key", json!("transferred")),
            CredentialClass::AccessToken => ("access_token", Value::Null),
            CredentialClass::LegacyKey => ("legacy_key", Value::Null),
            CredentialClass::Session => ("session", Value::Null),
            CredentialClass::Person => ("person", Value::Null),
        };
        let user = unique("user");
        let caller = credentials(&workspace, kind, &user, ADMINISTRATORS).await.remove(0).text;
        let me = workspace.call(Method::GET, "/me", &caller).await.json();
        assert_eq!((&me["user_id"], &me["credential"]), (&json!(user), &json!(credential)), "{me}");
        assert_eq!(me["old_secret"], old_secret, "{me}");
        let read = workspace.list(&caller, "").await;
        let may_read = kind != CredentialClass::TransferredSecret;
        assert_eq!(read.status, if may_read { 200 } else { 403 }, "{kind:?}: {read:?}");
        if matches!(kind, CredentialClass::Session | CredentialClass::Person) {
            continue;
        }
        let backend = workspace.api.rest_example(Some(&format!("Bearer {caller}"))).await.json();
        assert_eq!(backend["caller"]["oldSecret"], old_secret, "{backend}");
    }
}

/// A repeat of a create returns a secret, so it is refused like every other change.
#[tokio::test]
async fn a_removed_user_gets_no_secret_out_of_a_repeated_create() {
    let workspace = Workspace::new().await;
    let boss = workspace.key_of("boss", &["workspace:admin"]).await;
    for for_user in ["boss", "svc:other"] {
        let (body, key) = (json!({"name": unique("key"), "user_id": for_user}), unique("idempotency"));
        let headers = [("Idempotency-Key", key.as_str())];
        let send = || workspace.send((Method::POST, ""), &boss, &headers, Some(&body));
        let first = send().await;
        assert_eq!(first.status, 201, "{first:?}");
        assert_eq!(send().await.text, first.text);
        database::mark_removed(&workspace.id, "boss", true).await;
        send().await.assert_problem(403, "caller_removed");
        database::mark_removed(&workspace.id, "boss", false).await;
    }
}
