//! Endpoints of the operator's own API, behind the authorizer.

use http::StatusCode;
use keygate_core::scope::{MAX_SCOPES, Scope};

use super::call::{Response, SmokeCall};
use super::run::{Incomplete, Run, ensure};

pub(super) fn check(run: &mut Run) -> Result<(), Incomplete> {
    let endpoints = run.addresses.endpoints.clone();
    if endpoints.is_empty() {
        return Err(Incomplete::not_checked("no endpoint is given by --call"));
    }
    let scopes = scopes(run)?;
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
    for url in endpoints {
        let response = run.send(&SmokeCall::own(&url))?;
        if !is_refused(&response) {
            return Err(run.unexpected(&response, "401 or 403 without a credential"));
        }
        let key = run.create_key("smoke-caller", &scopes)?;
        let call = SmokeCall::own(&url).by(&key.text);
        let response = run.send(&call)?;
        // API Gateway responds with a 5xx if the authorizer fails or cannot be invoked, and with 429 before it asks.
        let is_undecided =
            response.status.is_server_error() || response.status == StatusCode::TOO_MANY_REQUESTS;
        if is_refused(&response) || is_undecided {
            return Err(run.unexpected(&response, "neither 401, 403, 429 nor 5xx with a key"));
        }
        let admin = run.admin();
        run.expect(&SmokeCall::management("DELETE /api-keys/{id}").with("id", &key.id).by(&admin), 204)?;
        let otherwise = format!(
            "GET {url}: a deleted key is still accepted, by a cache of the authorizer in API Gateway for instance,"
        );
        run.until(run.revocation_of_apis(), &otherwise, |run| Ok(is_refused(&run.send(&call)?)))?;
    }
    Ok(())
}

fn is_refused(response: &Response) -> bool {
    [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&response.status)
}

/// The scopes that the stack describes, without Keygate's own: the endpoint may require one of them.
fn scopes(run: &mut Run) -> Result<Vec<String>, Incomplete> {
    let admin = run.admin();
    let policy = run.expect(&SmokeCall::management("GET /policy").by(&admin), 200)?.json();
    let described = policy["scopes"].as_array().cloned();
    ensure(described.is_some(), || format!("GET /policy: {policy}"))?;
    let described = described.unwrap_or_default();
    let names = described.iter().filter_map(|scope| scope["name"].as_str());
    let is_own = |name: &str| name.parse::<Scope>().is_ok_and(|scope| scope.is_own());
    Ok(names.filter(|name| !is_own(name)).take(MAX_SCOPES).map(str::to_owned).collect())
}
