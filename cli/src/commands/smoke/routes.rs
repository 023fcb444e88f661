//! Every route of both APIs with what it requires, and the check that each refuses callers who lack it.

use http::header;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::call::SmokeCall;
use super::run::{Incomplete, LIFETIME_SECONDS, Run, ensure};

/// What a route requires of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Requirement {
    /// Nothing of a caller. It is not for pages of other origins.
    Nothing,
    /// A credential in its body, and no caller.
    Body,
    /// A credential that works, with any scopes.
    Credential,
    /// A scope too.
    Scope,
}

use Requirement::{Body, Credential, Nothing, Scope};

/// The routes of the management API. All but those that take `Nothing` have a preflight (`OPTIONS`) too.
const MANAGEMENT: [(&str, Requirement); 26] = [
    ("POST /api-keys", Scope),
    ("GET /api-keys", Scope),
    ("GET /api-keys/{id}", Scope),
    ("PATCH /api-keys/{id}", Scope),
    ("DELETE /api-keys/{id}", Scope),
    ("POST /api-keys/{id}/rotate", Scope),
    ("GET /api-keys/{id}/usage", Scope),
    ("GET /api-keys/{id}/tokens", Scope),
    ("DELETE /api-keys/{id}/tokens", Scope),
    ("DELETE /api-keys/{id}/tokens/{token_id}", Scope),
    ("GET /legacy-keys", Scope),
    ("GET /legacy-keys/{id}", Scope),
    ("DELETE /legacy-keys/{id}", Scope),
    ("DELETE /users/{user_id}", Scope),
    ("PUT /users/{user_id}", Scope),
    ("GET /activity", Scope),
    ("POST /sessions", Scope),
    ("POST /sessions/exchange", Body),
    ("DELETE /sessions/current", Credential),
    ("DELETE /sessions/{session_id}", Scope),
    ("POST /leaks", Nothing),
    ("POST /leaks/github", Nothing),
    ("GET /console", Nothing),
    ("GET /console/{file}", Nothing),
    ("GET /me", Credential),
    ("GET /policy", Credential),
];

/// The routes of the OAuth API.
const OAUTH: [(&str, Requirement); 6] = [
    ("POST /oauth/token", Credential),
    ("POST /oauth/revoke", Body),
    ("POST /oauth/introspect", Scope),
    ("GET /.well-known/oauth-authorization-server", Nothing),
    ("GET /.well-known/openid-configuration", Nothing),
    ("GET /.well-known/jwks.json", Nothing),
];

/// A key without scopes, and another user's key that it tries to reach.
struct Callers {
    weak: SecretString,
    target_id: String,
}

/// Every route refuses a caller without a credential and one without scopes, and answers preflights.
pub(super) fn check(run: &mut Run) -> Result<(), Incomplete> {
    let weak = run.create_key("smoke-weak", &[])?;
    let target = run.create_key("smoke-target", &["orders:read"])?;
    let callers = Callers { weak: weak.text.clone(), target_id: target.id };
    for (route, requirement) in MANAGEMENT {
        let call = || filled(SmokeCall::management(route), &callers.target_id, body(route).as_ref());
        if matches!(requirement, Credential | Scope) {
            run.refuse(&call(), 401, "unauthorized")?;
        }
        if requirement == Scope {
            let is_there = !route.contains(" /legacy-keys") || run.has_legacy_keys();
            let (status, code) = if is_there { (403, "insufficient_scope") } else { (404, "not_found") };
            run.refuse(&call().by(&callers.weak), status, code)?;
        }
    }
    check_preflights(run, &callers)?;
    let form = [("grant_type", "client_credentials"), ("token", "none")];
    for (route, requirement) in OAUTH {
        if matches!(requirement, Credential | Scope) {
            run.refuse(&SmokeCall::oauth(route).form(&form), 401, "invalid_client")?;
        }
        if requirement == Scope {
            run.refuse(&SmokeCall::oauth(route).form(&form).by_client(&weak), 403, "insufficient_scope")?;
        }
    }
    run.expect(&SmokeCall::management("GET /me").by(&callers.weak), 200)?;
    Ok(())
}

/// Every preflight allows an origin that the stack lists. A stack that lists none answers no preflight.
fn check_preflights(run: &mut Run, callers: &Callers) -> Result<(), Incomplete> {
    let origins = run.stack.parameter("CorsAllowOrigins").unwrap_or_default();
    let listed = origins.split(',').next().unwrap_or_default().to_owned();
    let origin = if listed.starts_with("http") { listed.as_str() } else { "https://app.example.com" };
    for route in preflights() {
        let call = filled(SmokeCall::management(&route), &callers.target_id, None)
            .header(header::ORIGIN, origin)
            .header(header::ACCESS_CONTROL_REQUEST_METHOD, "GET");
        if listed.is_empty() {
            run.refuse(&call, 404, "not_found")?;
            continue;
        }
        let response = run.expect(&call, 204)?;
        let allowed = response.header(&header::ACCESS_CONTROL_ALLOW_ORIGIN)?;
        ensure(allowed == listed, || format!("{route}: it allows the origin {allowed} instead of {listed}"))?;
    }
    Ok(())
}

fn filled(call: SmokeCall, target_id: &str, body: Option<&Value>) -> SmokeCall {
    let call =
        ["id", "token_id", "session_id"].into_iter().fold(call, |call, name| call.with(name, target_id));
    let call = call.with("user_id", "smoke-stranger");
    match body {
        Some(body) => call.body(body),
        None => call,
    }
}

/// A body that the route would accept.
fn body(route: &str) -> Option<Value> {
    match route {
        // A stack may require an expiry (MaxLifetimeDays).
        "POST /api-keys" => Some(json!({"name": "refused", "expires_in": LIFETIME_SECONDS})),
        "PATCH /api-keys/{id}" => Some(json!({"description": "refused"})),
        "POST /sessions" => Some(json!({"user_id": "smoke-bob", "scopes": ["keys:write"]})),
        _ => None,
    }
}

/// The routes of preflights, each path once.
fn preflights() -> Vec<String> {
    let with_preflight = MANAGEMENT.iter().filter(|(_, requirement)| *requirement != Nothing);
    let paths = with_preflight.filter_map(|(route, _)| Some(route.split_once(' ')?.1));
    let mut routes: Vec<_> = paths.map(|path| format!("OPTIONS {path}")).collect();
    routes.sort();
    routes.dedup();
    routes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The operations of a document of `infra/`.
    fn documented(document: &str) -> Vec<String> {
        let paths = document.split_once("\npaths:\n").unwrap().1.split_once("\ncomponents:").unwrap().0;
        let (mut path, mut routes) = ("", Vec::new());
        for line in paths.lines() {
            if let Some(name) = line.strip_prefix("  /") {
                path = name.trim_end_matches(':');
            } else if let Some(method) = line.strip_prefix("    ").and_then(|line| line.strip_suffix(':'))
                && ["get", "put", "post", "patch", "delete", "options"].contains(&method)
            {
                routes.push(format!("{} /{path}", method.to_uppercase()));
            }
        }
        routes.sort();
        routes
    }

    fn listed(table: &[(&str, Requirement)], others: Vec<String>) -> Vec<String> {
        let mut routes: Vec<_> = table.iter().map(|(route, _)| (*route).to_owned()).chain(others).collect();
        routes.sort();
        routes
    }

    #[test]
    fn the_tables_have_every_documented_route() {
        const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../infra/");
        let read = |name: &str| std::fs::read_to_string(format!("{ROOT}{name}")).unwrap();
        assert_eq!(listed(&MANAGEMENT, preflights()), documented(&read("openapi.yaml")));
        assert_eq!(listed(&OAUTH, Vec::new()), documented(&read("oauth.yaml")));
    }
}
