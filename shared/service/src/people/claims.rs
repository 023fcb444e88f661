//! The claims of a token whose signature was verified: whether Keygate accepts them, and who the person is.
//!
//! RFC 7519, section 4.1; RFC 8725, sections 3.8 to 3.12; RFC 9068, section 4, for access tokens; `OpenID` Connect Core 1.0, sections 2
//! and 3.1.3.7, for ID tokens.

use chrono::{DateTime, TimeDelta, Utc};
use keygate_core::decision::PersonRefusal;
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::scope::Scope;
use serde_json::{Map, Value};

use crate::people::settings::{ClaimName, PeopleSettings, TokenUse, WorkspaceSource};
use crate::people::token::VerifiedToken;

/// How far ahead the clock of the identity provider may be.
const LEEWAY: TimeDelta = TimeDelta::seconds(60);

/// The person that a token names, and what they may do.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Person {
    pub(super) workspace_id: WorkspaceId,
    pub(super) user_id: UserId,
    pub(super) scopes: Vec<Scope>,
    pub(super) expires_at: DateTime<Utc>,
}

impl Person {
    /// Decides on the claims of a token.
    pub(super) fn of(
        token: &VerifiedToken,
        settings: &PeopleSettings,
        now: DateTime<Utc>,
    ) -> Result<Self, PersonRefusal> {
        let claims = &token.claims;
        if text(claims, "iss")? != Some(settings.issuer.as_str()) {
            return Err(PersonRefusal::WrongIssuer);
        }
        match settings.token_use {
            TokenUse::Access => accept_access_token(token, &settings.audience)?,
            TokenUse::Id => accept_id_token(token, &settings.audience)?,
        }
        let expires_at = time(claims, "exp")?.ok_or(PersonRefusal::BadClaims)?;
        // Without leeway: nothing is allowed past the end of a credential.
        if expires_at <= now {
            return Err(PersonRefusal::Expired);
        }
        for name in ["nbf", "iat"] {
            if time(claims, name)?.is_some_and(|time| time > now + LEEWAY) {
                return Err(PersonRefusal::NotYetValid);
            }
        }
        Ok(Self {
            workspace_id: workspace(claims, &settings.workspace)?,
            user_id: user(claims, &settings.user_claim)?,
            scopes: scopes(claims, settings)?,
            expires_at,
        })
    }
}

/// Whether a token is an access token for the audience.
fn accept_access_token(token: &VerifiedToken, audience: &str) -> Result<(), PersonRefusal> {
    let claims = &token.claims;
    let has_kind = token.kind.as_deref().is_none_or(|kind| {
        ["at+jwt", "application/at+jwt", "JWT"].iter().any(|each| each.eq_ignore_ascii_case(kind))
    });
    // Claims of ID tokens (OpenID Connect Core, section 2), and Keycloak's `typ` of a token's purpose.
    let has_id_claims = ["nonce", "at_hash", "c_hash"].iter().any(|name| claims.contains_key(*name));
    let has_purpose = text(claims, "typ")?.is_none_or(|purpose| purpose == "Bearer");
    let token_use = text(claims, "token_use")?;
    let has_use = token_use.is_none_or(|token_use| token_use == "access");
    if !has_kind || has_id_claims || !has_purpose || !has_use || is_bound(claims) {
        return Err(PersonRefusal::WrongUse);
    }
    match audiences(claims)? {
        Some(audiences) if audiences.contains(&audience) => Ok(()),
        // Cognito's access tokens have no audience, but the client and their use.
        None if token_use.is_none() => Err(PersonRefusal::WrongAudience),
        None if text(claims, "client_id")? == Some(audience) => Ok(()),
        _ => Err(PersonRefusal::WrongAudience),
    }
}

/// Whether a token is an ID token for the audience alone.
fn accept_id_token(token: &VerifiedToken, audience: &str) -> Result<(), PersonRefusal> {
    let claims = &token.claims;
    let has_kind = token.kind.as_deref().is_none_or(|kind| kind.eq_ignore_ascii_case("JWT"));
    let has_purpose = text(claims, "typ")?.is_none_or(|purpose| purpose == "ID");
    let has_use = text(claims, "token_use")?.is_none_or(|token_use| token_use == "id");
    if !has_kind || !has_purpose || !has_use || is_bound(claims) {
        return Err(PersonRefusal::WrongUse);
    }
    let is_authorized = text(claims, "azp")?.is_none_or(|party| party == audience);
    if audiences(claims)?.as_deref() == Some(&[audience]) && is_authorized {
        Ok(())
    } else {
        Err(PersonRefusal::WrongAudience)
    }
}

/// Whether a token is bound to a key of its holder (RFC 7800), whose possession a bearer does not prove.
fn is_bound(claims: &Map<String, Value>) -> bool {
    claims.contains_key("cnf")
}

/// The audiences of a token: one string, or an array of strings (RFC 7519, section 4.1.3).
fn audiences(claims: &Map<String, Value>) -> Result<Option<Vec<&str>>, PersonRefusal> {
    claims.get("aud").map(|value| strings(value).ok_or(PersonRefusal::BadClaims)).transpose()
}

fn user(claims: &Map<String, Value>, name: &ClaimName) -> Result<UserId, PersonRefusal> {
    let user = name.find(claims).and_then(Value::as_str).ok_or(PersonRefusal::BadClaims)?;
    // An address that was not verified can be the address of another person.
    if name.is("email") && claims.get("email_verified") != Some(&Value::Bool(true)) {
        return Err(PersonRefusal::BadClaims);
    }
    let user: UserId = user.parse().map_err(|_| PersonRefusal::BadClaims)?;
    let user = user.reject_reserved().map_err(|_| PersonRefusal::BadClaims)?;
    if user.is_service_account() { Err(PersonRefusal::BadClaims) } else { Ok(user) }
}

fn workspace(claims: &Map<String, Value>, source: &WorkspaceSource) -> Result<WorkspaceId, PersonRefusal> {
    match source {
        WorkspaceSource::Fixed(workspace) => Ok(workspace.clone()),
        WorkspaceSource::Claim(name) => {
            let workspace = name.find(claims).and_then(Value::as_str).ok_or(PersonRefusal::BadClaims)?;
            workspace.parse().map_err(|_| PersonRefusal::BadClaims)
        }
    }
}

/// The scopes of every person, and those of the groups of this one. Groups without scopes count for nothing.
fn scopes(claims: &Map<String, Value>, settings: &PeopleSettings) -> Result<Vec<Scope>, PersonRefusal> {
    let groups = match settings.groups_claim.find(claims) {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(groups)) => groups.split_whitespace().collect(),
        Some(groups @ Value::Array(_)) => strings(groups).ok_or(PersonRefusal::BadClaims)?,
        Some(_) => return Err(PersonRefusal::BadClaims),
    };
    let of_groups = groups.iter().filter_map(|group| settings.group_scopes.get(*group)).flatten();
    let mut scopes: Vec<Scope> = Vec::new();
    for scope in settings.scopes.iter().chain(of_groups) {
        if !scopes.contains(scope) {
            scopes.push(scope.clone());
        }
    }
    Ok(scopes)
}

/// A string, or an array of strings.
fn strings(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(one) => Some(vec![one]),
        Value::Array(several) => several.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Result<Option<&'a str>, PersonRefusal> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(PersonRefusal::BadClaims),
    }
}

/// A time in seconds since 1970, which may have a fraction (RFC 7519, section 2: `NumericDate`).
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<DateTime<Utc>>, PersonRefusal> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let seconds = value.as_number().and_then(|number| {
        let whole = number.to_string();
        let whole = whole.split_once('.').map_or(whole.as_str(), |(whole, _)| whole);
        whole.parse().ok()
    });
    let time = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    time.map(Some).ok_or(PersonRefusal::BadClaims)
}

#[cfg(test)]
mod tests {
    use keygate_core::environment::Environment;
    use serde_json::json;

    use super::*;
    use crate::people::fixtures::now;

    const ISSUER: &str = "https://login.example.com";

    fn settings(more: &[(&'static str, &'static str)]) -> PeopleSettings {
        let variables = [("OIDC_ISSUER", ISSUER), ("OIDC_AUDIENCE", "keys"), ("OIDC_WORKSPACE", "acme")];
        // A later value replaces an earlier one.
        let environment: Environment = variables.into_iter().chain(more.iter().copied()).collect();
        PeopleSettings::from_environment(&environment).unwrap().unwrap()
    }

    /// The claims of a token that is accepted, with others.
    fn claims(others: &Value) -> Map<String, Value> {
        let time = now().timestamp();
        let mut claims =
            json!({"iss": ISSUER, "sub": "alice", "aud": "keys", "exp": time + 300, "iat": time})
                .as_object()
                .unwrap()
                .clone();
        for (name, value) in others.as_object().unwrap() {
            if value.is_null() {
                claims.remove(name);
            } else {
                claims.insert(name.clone(), value.clone());
            }
        }
        claims
    }

    fn decide(
        kind: Option<&str>,
        others: &Value,
        settings: &PeopleSettings,
    ) -> Result<Person, PersonRefusal> {
        let token = VerifiedToken { kind: kind.map(str::to_owned), claims: claims(others) };
        Person::of(&token, settings, now())
    }

    /// The case, the type in the header, claims that differ (null for one that is missing), and the refusal, if it is refused.
    type Case = (&'static str, Option<&'static str>, Value, Option<PersonRefusal>);

    fn check(settings: &PeopleSettings, cases: Vec<Case>) {
        for (case, kind, others, refusal) in cases {
            assert_eq!(decide(kind, &others, settings).err(), refusal, "{case}: {kind:?} {others}");
        }
    }

    #[test]
    fn the_claims_of_every_token_are_checked_as_rfc_7519_and_rfc_8725_say() {
        let time = now().timestamp();
        let float = |seconds: i64| json!(format!("{seconds}.5").parse::<f64>().unwrap());
        check(
            &settings(&[]),
            vec![
                ("accepted", None, json!({}), None),
                (
                    "RFC 7519, 4.1.1: another issuer",
                    None,
                    json!({"iss": "https://evil.example.com"}),
                    Some(PersonRefusal::WrongIssuer),
                ),
                (
                    "RFC 7519, 4.1.1: a slash more",
                    None,
                    json!({"iss": format!("{ISSUER}/")}),
                    Some(PersonRefusal::WrongIssuer),
                ),
                ("RFC 8725, 3.8: no issuer", None, json!({"iss": null}), Some(PersonRefusal::WrongIssuer)),
                ("RFC 7519, 4.1.1: issuers", None, json!({"iss": [ISSUER]}), Some(PersonRefusal::BadClaims)),
                ("RFC 7519, 4.1.4: expired", None, json!({"exp": time}), Some(PersonRefusal::Expired)),
                ("RFC 7519, 4.1.4: expired long ago", None, json!({"exp": 1}), Some(PersonRefusal::Expired)),
                ("RFC 7519, 4.1.4: one second left", None, json!({"exp": time + 1}), None),
                ("RFC 7519, 2: a fraction", None, json!({"exp": float(time + 1)}), None),
                ("RFC 7519, 4.1.4: no expiry", None, json!({"exp": null}), Some(PersonRefusal::BadClaims)),
                (
                    "RFC 7519, 4.1.4: a text",
                    None,
                    json!({"exp": (time + 300).to_string()}),
                    Some(PersonRefusal::BadClaims),
                ),
                ("RFC 7519, 4.1.4: too large", None, json!({"exp": 1e300}), Some(PersonRefusal::BadClaims)),
                ("RFC 7519, 4.1.5: not yet, within the leeway", None, json!({"nbf": time + 60}), None),
                (
                    "RFC 7519, 4.1.5: not yet",
                    None,
                    json!({"nbf": time + 61}),
                    Some(PersonRefusal::NotYetValid),
                ),
                ("RFC 7519, 4.1.5: a text", None, json!({"nbf": "now"}), Some(PersonRefusal::BadClaims)),
                (
                    "RFC 7519, 4.1.6: issued in the future",
                    None,
                    json!({"iat": time + 61}),
                    Some(PersonRefusal::NotYetValid),
                ),
                (
                    "RFC 7800, 3: bound to a key",
                    None,
                    json!({"cnf": {"jkt": "x"}}),
                    Some(PersonRefusal::WrongUse),
                ),
            ],
        );
    }

    #[test]
    fn an_access_token_is_for_the_audience_and_no_other_kind_of_token() {
        let cognito = |client: &str, token_use: &Value| json!({"aud": null, "client_id": client, "token_use": token_use});
        check(
            &settings(&[]),
            vec![
                ("RFC 9068, 2.1", Some("at+jwt"), json!({}), None),
                ("RFC 9068, 4", Some("application/AT+JWT"), json!({}), None),
                ("before RFC 9068", Some("JWT"), json!({}), None),
                (
                    "RFC 8725, 3.11: a logout token",
                    Some("logout+jwt"),
                    json!({}),
                    Some(PersonRefusal::WrongUse),
                ),
                ("RFC 8725, 3.11: a DPoP proof", Some("dpop+jwt"), json!({}), Some(PersonRefusal::WrongUse)),
                (
                    "OpenID Connect Core, 2: an ID token",
                    Some("JWT"),
                    json!({"nonce": "n"}),
                    Some(PersonRefusal::WrongUse),
                ),
                (
                    "OpenID Connect Core, 3.1.3.6: an ID token",
                    None,
                    json!({"at_hash": "h"}),
                    Some(PersonRefusal::WrongUse),
                ),
                ("Keycloak: an ID token", Some("JWT"), json!({"typ": "ID"}), Some(PersonRefusal::WrongUse)),
                ("Keycloak: an access token", Some("JWT"), json!({"typ": "Bearer"}), None),
                ("Cognito: an ID token", None, json!({"token_use": "id"}), Some(PersonRefusal::WrongUse)),
                ("RFC 7519, 4.1.3: one of several", None, json!({"aud": ["other", "keys"]}), None),
                (
                    "RFC 7519, 4.1.3: another",
                    None,
                    json!({"aud": "other"}),
                    Some(PersonRefusal::WrongAudience),
                ),
                (
                    "RFC 7519, 4.1.3: others",
                    None,
                    json!({"aud": ["keys2", "key"]}),
                    Some(PersonRefusal::WrongAudience),
                ),
                ("RFC 7519, 4.1.3: none", None, json!({"aud": []}), Some(PersonRefusal::WrongAudience)),
                (
                    "RFC 7519, 4.1.3: a number",
                    None,
                    json!({"aud": ["keys", 7]}),
                    Some(PersonRefusal::BadClaims),
                ),
                (
                    "RFC 8725, 3.9: no audience",
                    None,
                    json!({"aud": null}),
                    Some(PersonRefusal::WrongAudience),
                ),
                (
                    "a client without a use",
                    None,
                    json!({"aud": null, "client_id": "keys"}),
                    Some(PersonRefusal::WrongAudience),
                ),
                ("Cognito", None, cognito("keys", &json!("access")), None),
                (
                    "Cognito: another client",
                    None,
                    cognito("other", &json!("access")),
                    Some(PersonRefusal::WrongAudience),
                ),
                (
                    "Cognito: an ID token of the client",
                    None,
                    cognito("keys", &json!("id")),
                    Some(PersonRefusal::WrongUse),
                ),
                (
                    "a client beside another audience",
                    None,
                    json!({"aud": "other", "client_id": "keys"}),
                    Some(PersonRefusal::WrongAudience),
                ),
            ],
        );
    }

    #[test]
    fn an_id_token_is_for_the_client_alone() {
        check(
            &settings(&[("OIDC_TOKEN_USE", "id")]),
            vec![
                ("OpenID Connect Core, 2", Some("JWT"), json!({"nonce": "n", "at_hash": "h"}), None),
                ("without a type", None, json!({"azp": "keys", "token_use": "id", "typ": "ID"}), None),
                ("one audience in an array", None, json!({"aud": ["keys"]}), None),
                (
                    "3.1.3.7, step 3: more audiences",
                    None,
                    json!({"aud": ["keys", "other"]}),
                    Some(PersonRefusal::WrongAudience),
                ),
                (
                    "3.1.3.7, step 3: another",
                    None,
                    json!({"aud": "other"}),
                    Some(PersonRefusal::WrongAudience),
                ),
                (
                    "2: no audience",
                    None,
                    json!({"aud": null, "client_id": "keys"}),
                    Some(PersonRefusal::WrongAudience),
                ),
                (
                    "3.1.3.7, step 5: another party",
                    None,
                    json!({"azp": "other"}),
                    Some(PersonRefusal::WrongAudience),
                ),
                ("RFC 9068, 2.1: an access token", Some("at+jwt"), json!({}), Some(PersonRefusal::WrongUse)),
                (
                    "Keycloak: an access token",
                    Some("JWT"),
                    json!({"typ": "Bearer"}),
                    Some(PersonRefusal::WrongUse),
                ),
                (
                    "Cognito: an access token",
                    None,
                    json!({"token_use": "access"}),
                    Some(PersonRefusal::WrongUse),
                ),
            ],
        );
    }

    #[test]
    fn a_user_is_no_service_account_no_part_of_keygate_and_has_a_verified_address() {
        let refused = Some(PersonRefusal::BadClaims);
        check(
            &settings(&[]),
            vec![
                ("a service account", None, json!({"sub": "svc:deploy"}), refused),
                ("a service account in capitals", None, json!({"sub": "SVC:deploy"}), refused),
                ("Keygate itself", None, json!({"sub": "keygate:users"}), refused),
                ("Keygate in capitals", None, json!({"sub": "Keygate:users"}), refused),
                ("empty", None, json!({"sub": ""}), refused),
                ("too long", None, json!({"sub": "a".repeat(129)}), refused),
                ("another character", None, json!({"sub": "alice/bob"}), refused),
                ("a number", None, json!({"sub": 7}), refused),
                ("missing", None, json!({"sub": null}), refused),
            ],
        );
        for claim in ["email", "/email"] {
            let settings = settings(&[("OIDC_USER_CLAIM", claim)]);
            let verified =
                |verified: &Value| json!({"email": "alice@example.com", "email_verified": verified});
            let person = decide(None, &verified(&json!(true)), &settings).unwrap();
            assert_eq!(person.user_id.as_str(), "alice@example.com");
            for not in [json!(false), json!("true"), Value::Null, json!(1)] {
                assert_eq!(decide(None, &verified(&not), &settings).err(), refused, "{not}");
            }
        }
    }

    #[test]
    fn the_workspace_is_fixed_or_one_claim_and_a_token_cannot_choose_another() {
        let person = decide(None, &json!({"workspace": "other", "workspace_id": "other"}), &settings(&[]));
        assert_eq!(person.unwrap().workspace_id.as_str(), "acme");
        let settings = settings(&[("OIDC_WORKSPACE", ""), ("OIDC_WORKSPACE_CLAIM", "/custom/tenant")]);
        let person = decide(None, &json!({"custom": {"tenant": "globex"}, "tenant": "acme"}), &settings);
        assert_eq!(person.unwrap().workspace_id.as_str(), "globex");
        for tenant in [json!("Globex"), json!("#keygate"), json!(["globex"]), Value::Null] {
            let refused = decide(None, &json!({"custom": {"tenant": tenant}}), &settings);
            assert_eq!(refused.err(), Some(PersonRefusal::BadClaims), "{tenant}");
        }
    }

    #[test]
    fn groups_map_to_the_listed_scopes_and_to_nothing_else() {
        const GROUPS: &str = r#"{"admins": "workspace:admin", "dev": "keys:read keys:write", "a/b": "a"}"#;
        let settings_of = |claim| {
            settings(&[
                ("OIDC_SCOPES", "keys:write"),
                ("OIDC_GROUP_SCOPES", GROUPS),
                ("OIDC_GROUPS_CLAIM", claim),
            ])
        };
        let scopes = |claim, others: &Value| {
            let person = decide(None, others, &settings_of(claim))?;
            Ok(person.scopes.iter().map(|scope| scope.as_str().to_owned()).collect::<Vec<_>>().join(" "))
        };
        for (claim, others, expected) in [
            ("groups", json!({}), Ok("keys:write")),
            ("groups", json!({"groups": []}), Ok("keys:write")),
            ("groups", json!({"groups": ["dev"]}), Ok("keys:write keys:read")),
            ("groups", json!({"groups": "dev admins"}), Ok("keys:write keys:read workspace:admin")),
            ("groups", json!({"groups": ["dev admins", "Admins", "workspace:admin"]}), Ok("keys:write")),
            ("groups", json!({"scope": "workspace:admin", "scopes": ["workspace:admin"]}), Ok("keys:write")),
            ("groups", json!({"groups": ["dev", 7]}), Err(PersonRefusal::BadClaims)),
            ("groups", json!({"groups": {"dev": true}}), Err(PersonRefusal::BadClaims)),
            ("/realm_access/roles", json!({"realm_access": {"roles": ["dev"]}}), Ok("keys:write keys:read")),
            ("/realm_access/roles", json!({"groups": ["dev"]}), Ok("keys:write")),
            (
                "https://acme.example.com/groups",
                json!({"https://acme.example.com/groups": ["dev"]}),
                Ok("keys:write keys:read"),
            ),
            ("cognito:groups", json!({"cognito:groups": ["admins"]}), Ok("keys:write workspace:admin")),
            ("/a~1b/0", json!({"a/b": ["dev"]}), Ok("keys:write keys:read")),
        ] {
            assert_eq!(scopes(claim, &others), expected.map(str::to_owned), "{claim}: {others}");
        }
    }
}
