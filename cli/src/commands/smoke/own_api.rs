//! Endpoints of the operator's own API, behind the authorizer.

use http::StatusCode;
use keygate_core::scope::{MAX_SCOPES, Scope};

use super::call::{Call, Response};
use super::run::{Ended, Run, ensure};

pub(super) fn check(run: &mut Run) -> Result<(), Ended> {
    let endpoints = run.addresses.endpoints.clone();
    if endpoints.is_empty() {
        return Err(Ended::not_checked("no endpoint is given by --call"));
    }
    let scopes = scopes(run)?;
    let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
    for url in endpoints {
        let response = run.send(&Call::own(&url))?;
        if !is_refused(&response) {
            return Err(run.unexpected(&response, "401 or 403 without a credential"));
        }
        let key = run.create_key("smoke-bob", &scopes)?;
        let call = Call::own(&url).by(&key.text);
        let response = run.send(&call)?;
        // A response such as 500 is that of API Gateway if the authorizer fails, or cannot be invoked.
        if is_refused(&response) || response.status.is_server_error() {
            return Err(run.unexpected(&response, "a success with a key"));
        }
        let admin = run.admin();
        run.expect(&Call::management("DELETE /api-keys/{id}").with("id", &key.id).by(&admin), 204)?;
        let otherwise = format!(
            "GET {url}: a deleted key is still accepted, by a cache of the authorizer in API Gateway for instance,"
        );
        run.until(run.revocation(), &otherwise, |run| Ok(is_refused(&run.send(&call)?)))?;
    }
    Ok(())
}

fn is_refused(response: &Response) -> bool {
    [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&response.status)
}

/// The scopes that the stack describes, without Keygate's own: the endpoint may require one of them.
fn scopes(run: &mut Run) -> Result<Vec<String>, Ended> {
    let admin = run.admin();
    let policy = run.expect(&Call::management("GET /policy").by(&admin), 200)?.json();
    let described = policy["scopes"].as_array().cloned();
    ensure(described.is_some(), || format!("GET /policy: {policy}"))?;
    let described = described.unwrap_or_default();
    let names = described.iter().filter_map(|scope| scope["name"].as_str());
    let is_own = |name: &str| name.parse::<Scope>().is_ok_and(|scope| scope.is_own());
    Ok(names.filter(|name| !is_own(name)).take(MAX_SCOPES).map(str::to_owned).collect())
}
