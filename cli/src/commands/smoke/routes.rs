//! Every route of both APIs with what it takes, and the check that each refuses callers who lack it.

use secrecy::SecretString;
use serde_json::{Value, json};

use super::call::Call;
use super::run::{Ended, Run};

/// What a route takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Takes {
    /// Nothing of a caller. It is not for pages of other origins.
    Nothing,
    /// A credential in its body, and no caller.
    Body,
    /// A credential that works, with any scopes.
    Credential,
    /// A scope too.
    Scope,
}

use Takes::{Body, Credential, Nothing, Scope};

/// The routes of the management API. All but those that take `Nothing` have a preflight (`OPTIONS`) too.
const MANAGEMENT: [(&str, Takes); 26] = [
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
const OAUTH: [(&str, Takes); 6] = [
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
pub(super) fn check(run: &mut Run) -> Result<(), Ended> {
    let weak = run.create_key("smoke-weak", &[])?;
    let target = run.create_key("smoke-bob", &["orders:read"])?;
    let callers = Callers { weak: weak.text.clone(), target_id: target.id };
    for (route, takes) in MANAGEMENT {
        let call = || filled(Call::management(route), &callers.target_id, body(route).as_ref());
        if matches!(takes, Credential | Scope) {
            run.refuse(&call(), 401, "unauthorized")?;
        }
        if takes == Scope {
            run.refuse(&call().by(&callers.weak), 403, "insufficient_scope")?;
        }
    }
    for preflight in preflights() {
        let call = filled(Call::management(&preflight), &callers.target_id, None);
        run.expect(&call, 204)?;
    }
    let form = [("grant_type", "client_credentials"), ("token", "none")];
    for (route, takes) in OAUTH {
        if matches!(takes, Credential | Scope) {
            run.refuse(&Call::oauth(route).form(&form), 401, "invalid_client")?;
        }
        if takes == Scope {
            run.refuse(&Call::oauth(route).form(&form).by_client(&weak), 403, "insufficient_scope")?;
        }
    }
    run.expect(&Call::management("GET /me").by(&callers.weak), 200)?;
    Ok(())
}

fn filled(call: Call, target_id: &str, body: Option<&Value>) -> Call {
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
        "POST /api-keys" => Some(json!({"name": "refused"})),
        "PATCH /api-keys/{id}" => Some(json!({"description": "refused"})),
        "POST /sessions" => Some(json!({"user_id": "smoke-bob", "scopes": ["keys:write"]})),
        _ => None,
    }
}

/// The routes of preflights, each path once.
fn preflights() -> Vec<String> {
    let with_preflight = MANAGEMENT.iter().filter(|(_, takes)| *takes != Nothing);
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

    fn listed(table: &[(&str, Takes)], others: Vec<String>) -> Vec<String> {
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
