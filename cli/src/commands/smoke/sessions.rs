//! A session of a user, its page code, and its end.

use secrecy::SecretString;
use serde_json::json;

use super::call::Call;
use super::run::{Ended, Run, ensure};

pub(super) fn check(run: &mut Run) -> Result<(), Ended> {
    let opener = run.create_key("smoke-backend", &["sessions:write", "keys:write", "orders:read"])?;
    let open = |scopes: &[&str]| {
        let body = json!({"user_id": "smoke-bob", "scopes": scopes, "ttl_seconds": 300});
        Call::management("POST /sessions").body(&body)
    };
    let created = run.expect(&open(&["keys:write", "orders:read"]).by(&opener.text), 201)?;
    let session = created.secret("session")?;
    let me = run.expect(&Call::management("GET /me").by(&session), 200)?.json();
    ensure(me["user_id"] == "smoke-bob" && me["opened_by"] == "smoke-backend", || {
        format!("GET /me of a session: {me}")
    })?;

    let from_page = exchange(run, &created.text("page_url")?)?;
    run.expect(&Call::management("GET /api-keys").by(&from_page), 200)?;
    run.refuse(&open(&["keys:write"]).by(&from_page), 403, "insufficient_scope")?;
    run.expect(&Call::management("DELETE /sessions/current").by(&from_page), 204)?;
    run.until_refused(&session, "an ended session")?;

    let other = run.expect(&open(&["keys:write"]).by(&opener.text), 201)?.text("id")?;
    let end = Call::management("DELETE /sessions/{session_id}").with("session_id", &other).by(&opener.text);
    run.expect(&end, 204)?;
    Ok(())
}

/// Exchanges the code in the URL of a page for the secret of its session. The code works once.
fn exchange(run: &mut Run, page_url: &str) -> Result<SecretString, Ended> {
    let (page, code) = page_url.split_once("#code=").unwrap_or((page_url, ""));
    ensure(page.starts_with("https://") && !code.is_empty(), || {
        format!("the page_url of a session: {page_url}")
    })?;
    let exchange = Call::management("POST /sessions/exchange").body(&json!({"code": code}));
    let session = run.expect(&exchange, 200)?.secret("session")?;
    run.refuse(&exchange, 400, "invalid_page_code")?;
    Ok(session)
}
