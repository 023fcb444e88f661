//! The end of all keys of a run: its users are removed, and its administrator key deletes itself.

use super::call::Call;
use super::run::{Ended, REMOVAL, Run};

pub(super) fn check(run: &mut Run) -> Result<(), Ended> {
    let ended = end_users(run);
    // Last, and after a failure too.
    let admin = run.admin();
    let own = Call::management("DELETE /api-keys/{id}").with("id", &run.administrator.id).by(&admin);
    let deleted = run.expect(&own, 204);
    ended.and(deleted.map(|_| ())).map_err(|ended| match ended {
        Ended::Failed(detail) => Ended::failed(format!(
            "{detail}. Keys of the workspace {} may be left; they expire within an hour",
            run.workspace
        )),
        not_checked @ Ended::NotChecked(_) => not_checked,
    })
}

/// Removes every user of the run, and waits until only the administrator's key is left.
fn end_users(run: &mut Run) -> Result<(), Ended> {
    let admin = run.admin();
    let mut removed = Ok(());
    for user in run.users.clone() {
        let call = Call::management("DELETE /users/{user_id}").with("user_id", &user).by(&admin);
        removed = removed.and(run.expect(&call, 202).map(|_| ()));
    }
    removed?;
    run.until(REMOVAL, "the keys of removed users are still there", |run| {
        let own = run.administrator.id.clone();
        let list = Call::management("GET /api-keys").query("?limit=100").by(&admin);
        let listed = run.expect(&list, 200)?.json();
        Ok(listed["items"].as_array().is_some_and(|keys| keys.iter().all(|key| key["id"] == own.as_str())))
    })
}
