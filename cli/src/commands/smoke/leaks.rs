//! A leaked key ends, and a rotation without an overlap enables it.

use secrecy::ExposeSecret;
use serde_json::json;

use super::call::Call;
use super::run::{Ended, Key, Run, ensure};

pub(super) fn check(run: &mut Run) -> Result<(), Ended> {
    let owner = run.create_key("smoke-bob", &["keys:write", "orders:read"])?;
    let key = run.create_key("smoke-bob", &["orders:read"])?;
    let report = json!({"credentials": [made_up(key.text.expose_secret()), key.text.expose_secret()]});
    run.expect(&Call::management("POST /leaks").body(&report), 202)?;
    run.until_refused(&key.text, "a leaked key")?;
    report_without_a_signature(run, &owner)?;
    if run.stack.parameter("LeakPolicy") == Some("delete") {
        return Ok(());
    }
    let call = |route| Call::management(route).with("id", &key.id).by(&owner.text);
    let shown = run.expect(&call("GET /api-keys/{id}"), 200)?.json();
    ensure(shown["status"] == "disabled" && shown["leaked_at"].is_string(), || {
        format!("a leaked key: {shown}")
    })?;
    run.refuse(&call("PATCH /api-keys/{id}").body(&json!({"disabled": false})), 409, "key_leaked")?;
    let new = run.expect(&call("POST /api-keys/{id}/rotate").body(&json!({})), 200)?.secret("key")?;
    run.until_accepted(&new, "a leaked key after its rotation")
}

/// Only GitHub can sign a report. Without a signature it ends nothing: `owner` is used afterwards.
fn report_without_a_signature(run: &mut Run, owner: &Key) -> Result<(), Ended> {
    let matches = json!([{"token": owner.text.expose_secret(), "type": "smoke"}]);
    let report = Call::management("POST /leaks/github").body(&matches);
    if run.stack.parameter("GitHubReports") == Some("true") {
        run.refuse(&report, 403, "invalid_signature")
    } else {
        run.refuse(&report, 404, "not_found")
    }
}

/// A key that was never issued: its checksum is wrong.
fn made_up(key: &str) -> String {
    let last = if key.ends_with('0') { '1' } else { '0' };
    let mut made_up: String = key.to_owned();
    made_up.pop();
    made_up.push(last);
    made_up
}
