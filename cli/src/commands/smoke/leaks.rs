//! A leaked key ends, and a rotation without an overlap enables it.

use secrecy::ExposeSecret;
use serde_json::json;

use super::call::SmokeCall;
use super::run::{Incomplete, Key, Run, ensure};

pub(super) fn check(run: &mut Run) -> Result<(), Incomplete> {
    run.needs_two_keys_of_a_user()?;
    let owner = run.create_key("smoke-leaky", &["keys:write", "orders:read"])?;
    let key = run.create_key("smoke-leaky", &["orders:read"])?;
    let report = json!({"credentials": [made_up(key.text.expose_secret()), key.text.expose_secret()]});
    run.accepts(&key.text, "a key that is not reported yet")?;
    run.expect(&SmokeCall::management("POST /leaks").body(&report), 202)?;
    run.until_refused(&key.text, "a leaked key")?;
    report_without_a_signature(run, &owner)?;
    run.accepts(&owner.text, "a key whose report has no signature")?;
    if run.stack.parameter("LeakPolicy") == Some("delete") {
        return Ok(());
    }
    let call = |route| SmokeCall::management(route).with("id", &key.id).by(&owner.text);
    let shown = run.expect(&call("GET /api-keys/{id}"), 200)?.json();
    ensure(shown["status"] == "disabled" && shown["leaked_at"].is_string(), || {
        format!("a leaked key: {shown}")
    })?;
    run.refuse(&call("PATCH /api-keys/{id}").body(&json!({"disabled": false})), 409, "key_leaked")?;
    let new = run.expect(&call("POST /api-keys/{id}/rotate").body(&json!({})), 200)?.secret("key")?;
    run.accepts(&new, "a leaked key after its rotation")
}

/// Only GitHub can sign a report. Without a signature it ends nothing.
fn report_without_a_signature(run: &mut Run, owner: &Key) -> Result<(), Incomplete> {
    let matches = json!([{"token": owner.text.expose_secret(), "type": "smoke"}]);
    let report = SmokeCall::management("POST /leaks/github").body(&matches);
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
