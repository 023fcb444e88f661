//! Removal of users, with and without a transfer, and reinstatement.

use serde_json::json;

use super::call::SmokeCall;
use super::run::{INDEX_TIMEOUT, Incomplete, LIFETIME_SECONDS, REMOVAL_TIMEOUT, Run, ensure};

pub(super) fn check(run: &mut Run) -> Result<(), Incomplete> {
    let admin = run.admin();
    let of_user = |route, user| SmokeCall::management(route).with("user_id", user).by(&admin);
    let removed = run.create_key("smoke-carol", &["orders:read"])?;
    let moved = run.create_key("smoke-dave", &["orders:read"])?;
    run.accepts(&removed.text, "the key of a user who is not removed yet")?;
    run.refuse(&of_user("DELETE /users/{user_id}", "smoke-admin"), 409, "own_user")?;
    let removal = run.expect(&of_user("DELETE /users/{user_id}", "smoke-carol"), 202)?.json();
    ensure(removal["found"]["api_keys"] == 1, || format!("DELETE /users/{{user_id}}: {removal}"))?;
    run.users.insert("svc:smoke".to_owned());
    let transfer = of_user("DELETE /users/{user_id}", "smoke-dave").query("?transfer_to=svc:smoke");
    run.expect(&transfer, 202)?;

    run.until(REMOVAL_TIMEOUT, "the key of a removed user is still accepted by GET /me", |run| {
        Ok(!run.works(&removed.text)?)
    })?;
    run.until(REMOVAL_TIMEOUT, "the key of a removed user is not transferred", |run| {
        let shown = SmokeCall::management("GET /api-keys/{id}").with("id", &moved.id).by(&admin);
        Ok(run.expect(&shown, 200)?.json()["user_id"] == "svc:smoke")
    })?;
    run.expect(&SmokeCall::management("GET /me").by(&moved.text), 200)?;

    let late = json!({"name": "smoke late", "user_id": "smoke-carol", "expires_in": LIFETIME_SECONDS});
    run.refuse(&SmokeCall::management("POST /api-keys").by(&admin).body(&late), 409, "user_removed")?;
    run.expect(&of_user("PUT /users/{user_id}", "smoke-carol"), 204)?;
    run.create_key("smoke-carol", &[])?;

    run.until(INDEX_TIMEOUT, "the audit trail lacks the removal of a user", |run| {
        let query = "?action=user.removed";
        let trail = run.expect(&SmokeCall::management("GET /activity").query(query).by(&admin), 200)?.json();
        let events = trail["items"].as_array().map_or(&[][..], Vec::as_slice);
        let has = |user| events.iter().any(|event| event["target"] == user);
        Ok(has("smoke-carol") && has("smoke-dave"))
    })
}
