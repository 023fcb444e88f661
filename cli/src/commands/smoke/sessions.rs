//! A session of a user, its page code, and its end.

use secrecy::SecretString;
use serde_json::json;

use super::call::SmokeCall;
use super::run::{Incomplete, Run, ensure};

pub(super) fn check(run: &mut Run) -> Result<(), Incomplete> {
    let opener = run.create_key("smoke-backend", &["sessions:write", "keys:write", "orders:read"])?;
    let open = |scopes: &[&str]| {
        let body = json!({"user_id": "smoke-bob", "scopes": scopes, "ttl_seconds": 300});
        SmokeCall::management("POST /sessions").body(&body)
    };
    let created = run.expect(&open(&["keys:write", "orders:read"]).by(&opener.text), 201)?;
    let session = created.secret("session")?;
    let me = run.expect(&SmokeCall::management("GET /me").by(&session), 200)?.json();
    ensure(me["user_id"] == "smoke-bob" && me["opened_by"] == "smoke-backend", || {
        format!("GET /me of a session: {me}")
    })?;

    let from_page = exchange(run, &created.text("page_url")?)?;
    run.expect(&SmokeCall::management("GET /api-keys").by(&from_page), 200)?;
    run.refuse(&open(&["keys:write"]).by(&from_page), 403, "insufficient_scope")?;
    run.expect(&SmokeCall::management("DELETE /sessions/current").by(&from_page), 204)?;
    run.until_refused(&session, "an ended session")?;

    let other = run.expect(&open(&["keys:write"]).by(&opener.text), 201)?;
    let (id, secret) = (other.text("id")?, other.secret("session")?);
    run.accepts(&secret, "a session")?;
    let end = SmokeCall::management("DELETE /sessions/{session_id}").with("session_id", &id).by(&opener.text);
    run.expect(&end, 204)?;
    run.until_refused(&secret, "a session that its opener ended")
}

/// Exchanges the code in the URL of a page for the secret of its session. The code works once.
fn exchange(run: &mut Run, page_url: &str) -> Result<SecretString, Incomplete> {
    let (page, code) = page_url.split_once("#code=").unwrap_or((page_url, ""));
    let is_page = page.starts_with("http") && !code.is_empty();
    ensure(is_page, || format!("the page_url of a session: {page}"))?;
    let exchange = SmokeCall::management("POST /sessions/exchange").body(&json!({"code": code}));
    let session = run.expect(&exchange, 200)?.secret("session")?;
    run.refuse(&exchange, 400, "invalid_page_code")?;
    Ok(session)
}
