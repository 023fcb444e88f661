//! The end of all keys of a run: its users are removed, and its administrator key deletes itself.
//!
//! A removal ends the legacy keys of a user too.

use serde_json::Value;

use super::call::SmokeCall;
use super::run::{Incomplete, REMOVAL_TIMEOUT, Run};

pub(super) fn check(run: &mut Run) -> Result<(), Incomplete> {
    let ended = end_users(run);
    // Last, and after a failure too.
    let admin = run.admin();
    let own = SmokeCall::management("DELETE /api-keys/{id}").with("id", &run.administrator.id).by(&admin);
    let deleted = run.expect(&own, 204);
    ended.and(deleted.map(|_| ())).map_err(|ended| match ended {
        Incomplete::Failed(detail) => Incomplete::failed(format!(
            "{detail}. Keys of the workspace {} may be left. API keys expire within an hour, and a legacy key at LegacySunset",
            run.workspace
        )),
        not_checked @ Incomplete::NotChecked(_) => not_checked,
    })
}

/// Removes every user of the run, and waits until only the administrator's key is left.
fn end_users(run: &mut Run) -> Result<(), Incomplete> {
    let admin = run.admin();
    let mut removed = Ok(());
    for user in run.users.clone() {
        let call = SmokeCall::management("DELETE /users/{user_id}").with("user_id", &user).by(&admin);
        removed = removed.and(run.expect(&call, 202).map(|_| ()));
    }
    removed?;
    let has_legacy_keys = run.has_legacy_keys();
    run.until(REMOVAL_TIMEOUT, "the keys of removed users are still there", |run| {
        let own = run.administrator.id.clone();
        let mut all = |route, is_own: &dyn Fn(&Value) -> bool| {
            let listed =
                run.expect(&SmokeCall::management(route).query("?limit=100").by(&admin), 200)?.json();
            Ok::<_, Incomplete>(listed["items"].as_array().is_some_and(|keys| keys.iter().all(is_own)))
        };
        Ok(all("GET /api-keys", &|key| key["id"] == own.as_str())?
            && (!has_legacy_keys || all("GET /legacy-keys", &|_| false)?))
    })
}
