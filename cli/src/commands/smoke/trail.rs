//! The audit trail of the run itself.

use super::call::SmokeCall;
use super::run::{INDEX_TIMEOUT, Incomplete, Run};

pub(super) fn check(run: &mut Run) -> Result<(), Incomplete> {
    let admin = run.admin();
    for query in ["", "?actor=smoke-admin", "?action=key.created", "?action=key.bootstrapped"] {
        run.until(INDEX_TIMEOUT, &format!("GET /activity{query} is empty"), |run| {
            let trail = run.expect(&SmokeCall::management("GET /activity").query(query).by(&admin), 200)?;
            Ok(trail.json()["items"].as_array().is_some_and(|events| !events.is_empty()))
        })?;
    }
    Ok(())
}
