//! The life of a key, by its owner.

use http::header;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use super::call::SmokeCall;
use super::run::{INDEX_TIMEOUT, Incomplete, Key, LIFETIME_SECONDS, Run, ensure, new_key, random_hex};

pub(super) fn check(run: &mut Run) -> Result<(), Incomplete> {
    run.needs_two_keys_of_a_user()?;
    let owner = run.create_key("smoke-owner", &["keys:read", "keys:write", "orders:read"])?;
    see_the_caller(run, &owner)?;
    let key = create(run, &owner)?;
    change(run, &owner, &key)?;
    list(run, &owner)?;
    let secret = rotate(run, &owner, &key)?;
    end(run, &owner, &key, &secret)
}

fn see_the_caller(run: &mut Run, owner: &Key) -> Result<(), Incomplete> {
    let me = run.expect(&SmokeCall::management("GET /me").by(&owner.text), 200)?.json();
    let expected = run.workspace.clone();
    ensure(me["user_id"] == "smoke-owner" && me["workspace_id"] == expected.as_str(), || {
        format!("GET /me: {me}")
    })?;
    let policy = run.expect(&SmokeCall::management("GET /policy").by(&owner.text), 200)?.json();
    let scopes = policy["scopes"].as_array().map_or(&[][..], Vec::as_slice);
    let may_grant = scopes.iter().any(|scope| scope["name"] == "orders:read");
    ensure(may_grant && policy["may_create_keys"] == true, || format!("GET /policy: {policy}"))
}

/// Creates a key twice by one `Idempotency-Key`, and tries what must be refused.
fn create(run: &mut Run, owner: &Key) -> Result<Key, Incomplete> {
    let once = random_hex(16)?;
    let body = json!({"name": "smoke idempotent", "scopes": ["orders:read"], "expires_in": LIFETIME_SECONDS});
    let create = || SmokeCall::management("POST /api-keys").by(&owner.text);
    let created = run.expect(&create().body(&body).idempotency_key(&once), 201)?;
    let repeated = run.expect(&create().body(&body).idempotency_key(&once), 201)?;
    ensure(created.text("key")? == repeated.text("key")?, || {
        "POST /api-keys: an idempotent create returned another key".to_owned()
    })?;
    let mut other = body.clone();
    other["name"] = "smoke other".into();
    run.refuse(&create().body(&other).idempotency_key(&once), 422, "idempotency_mismatch")?;
    run.refuse(&create().body(&body), 409, "name_taken")?;
    let wider = json!({"name": "smoke wider", "scopes": ["orders:write"], "expires_in": LIFETIME_SECONDS});
    run.refuse(&create().body(&wider), 403, "insufficient_scope")?;
    run.refuse(&create().body(&json!({"name": ""})), 400, "invalid_request")?;
    new_key(&created)
}

fn change(run: &mut Run, owner: &Key, key: &Key) -> Result<(), Incomplete> {
    let call = |route| SmokeCall::management(route).with("id", &key.id).by(&owner.text);
    let shown = run.expect(&call("GET /api-keys/{id}"), 200)?;
    let tag = shown.header(&header::ETAG)?;
    let change = |body| call("PATCH /api-keys/{id}").body(&body).header(header::IF_MATCH, tag);
    run.expect(&change(json!({"description": "changed"})), 200)?;
    run.refuse(&change(json!({"description": "again"})), 412, "precondition_failed")?;
    let usage = run.expect(&call("GET /api-keys/{id}/usage").query("?per=day"), 200)?.json();
    let is_unused =
        usage["items"].as_array().and_then(|days| days.last()).is_some_and(|day| day["allowed"] == 0);
    ensure(is_unused, || format!("GET /api-keys/{{id}}/usage of a new key: {usage}"))
}

fn list(run: &mut Run, owner: &Key) -> Result<(), Incomplete> {
    for query in
        ["", "?sort=name&limit=1", "?sort=user&user_id=smoke-owner", "?sort=last_used_at&status=unused"]
    {
        run.until(INDEX_TIMEOUT, &format!("GET /api-keys{query} is empty"), |run| {
            let listed =
                run.expect(&SmokeCall::management("GET /api-keys").query(query).by(&owner.text), 200)?;
            Ok(listed.json()["items"].as_array().is_some_and(|items| !items.is_empty()))
        })?;
    }
    Ok(())
}

/// Rotates the key with an overlap and without. Returns its last secret.
fn rotate(run: &mut Run, owner: &Key, key: &Key) -> Result<SecretString, Incomplete> {
    let once = random_hex(16)?;
    let rotate = |body| {
        SmokeCall::management("POST /api-keys/{id}/rotate").with("id", &key.id).by(&owner.text).body(&body)
    };
    let with_overlap = || rotate(json!({"overlap_seconds": 600})).idempotency_key(&once);
    let rotated = run.expect(&with_overlap(), 200)?.secret("key")?;
    let repeated = run.expect(&with_overlap(), 200)?.secret("key")?;
    let is_same = rotated.expose_secret() == repeated.expose_secret();
    ensure(is_same && rotated.expose_secret() != key.text.expose_secret(), || {
        "POST /api-keys/{id}/rotate: an idempotent rotation returned another key".to_owned()
    })?;
    for secret in [&key.text, &rotated] {
        run.expect(&SmokeCall::management("GET /me").by(secret), 200)?;
    }
    let last = run.expect(&rotate(json!({})), 200)?.secret("key")?;
    run.until_refused(&key.text, "a secret from before two rotations")?;
    run.until_refused(&rotated, "a secret from before a rotation without an overlap")?;
    Ok(last)
}

/// Disables, enables and deletes the key.
fn end(run: &mut Run, owner: &Key, key: &Key, secret: &SecretString) -> Result<(), Incomplete> {
    let call = |route| SmokeCall::management(route).with("id", &key.id).by(&owner.text);
    run.expect(&call("PATCH /api-keys/{id}").body(&json!({"disabled": true})), 200)?;
    run.until_refused(secret, "a disabled key")?;
    run.expect(&call("PATCH /api-keys/{id}").body(&json!({"disabled": false})), 200)?;
    run.accepts(secret, "an enabled key")?;
    run.expect(&call("DELETE /api-keys/{id}"), 204)?;
    run.until_refused(secret, "a deleted key")?;
    run.refuse(&call("GET /api-keys/{id}"), 404, "not_found")
}
