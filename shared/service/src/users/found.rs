//! A removal over the management API: both of its steps, and how many keys the removed user has.

use std::time::Duration;

use chrono::{DateTime, Utc};
use keygate_core::context::RequestContext;
use keygate_core::error::Error;
use keygate_core::identity::UserId;
use serde::Serialize;

use crate::aws::async_invoke::AsyncInvoker;
use crate::store::legacy_keys::LegacyKeysTable;
use crate::store::workspaces::WorkspacesTable;
use crate::users::remove::{KeyDisposition, Removal, UserRemover};

/// How long counting may take. The removal has to be handed over within the same request, whatever becomes of the count.
const BUDGET: Duration = Duration::from_secs(2);

/// The hint where a removal found no key: the id may be misspelt.
const NOTHING_FOUND: &str = "No key of this user was found. User ids are case-sensitive, so check the spelling. \
                             If the user was removed before, their keys may be gone already.";

/// How many keys of each kind a user has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct KeysFound {
    /// API keys, expired and disabled ones included.
    pub api_keys: usize,
    /// Legacy keys, as far as their index has them by now.
    pub legacy_keys: usize,
}

/// The response to a removal, with the number of keys that it found.
#[derive(Debug, Serialize)]
pub struct RemovalResponse {
    #[serde(flatten)]
    removal: Removal,
    found: KeysFound,
    hint: Option<&'static str>,
}

impl RemovalResponse {
    /// The response to a removal that found so many keys.
    #[must_use]
    pub fn new(removal: Removal, found: KeysFound) -> Self {
        let found_nothing = found.api_keys == 0 && found.legacy_keys == 0;
        Self { removal, found, hint: found_nothing.then_some(NOTHING_FOUND) }
    }
}

/// Removes a user of the caller's workspace, counts their keys, and begins the second step.
///
/// # Errors
///
/// As [`UserRemover::remove`], [`count`] and [`AsyncInvoker::invoke`] say. After an error of the last two the user is removed,
/// and the same request can be sent again.
pub async fn remove_user(
    remover: &UserRemover,
    clear_user: &AsyncInvoker,
    context: &RequestContext,
    user_id: UserId,
    keys: KeyDisposition,
) -> Result<RemovalResponse, Error> {
    let removal = remover.remove(context, user_id, keys).await?;
    let found = count(&remover.store.workspaces, remover.legacy.as_ref(), &removal, context.now).await;
    // Also where the count has failed: the removal must not wait for somebody to ask again.
    clear_user.invoke(&removal).await?;
    Ok(RemovalResponse::new(removal, found?))
}

/// Counts the keys of a user whose removal is marked already, and not handed over yet.
///
/// The mark has to come first: after it no API key can be made for the user, so that a strongly consistent count misses
/// none. Handing over has to come afterwards: it begins to delete what is counted.
///
/// # Errors
///
/// - [`Error::Unavailable`]: the database did not answer, or not in time.
/// - [`Error::Broken`]: an entry is not as it should be.
pub async fn count(
    workspaces: &WorkspacesTable,
    legacy: Option<&LegacyKeysTable>,
    removal: &Removal,
    now: DateTime<Utc>,
) -> Result<KeysFound, Error> {
    let (workspace, user) = removal.whom();
    let legacy_keys = async {
        match legacy {
            Some(legacy) => legacy.count_of_user(workspace, user).await,
            None => Ok(0),
        }
    };
    let counts = async { tokio::try_join!(workspaces.members(workspace, user), legacy_keys) };
    let (members, legacy_keys) = tokio::time::timeout(BUDGET, counts).await.map_err(|_| {
        Error::Unavailable { service: "DynamoDB", cause: "counting keys took too long".to_owned() }
    })??;
    // An entry outlives a key that DynamoDB has removed at the end of its retention, until it is purged.
    let api_keys = members.iter().filter(|member| member.gone_at.is_none_or(|gone_at| now < gone_at)).count();
    Ok(KeysFound { api_keys, legacy_keys })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_removal_that_found_nothing_says_so_and_no_other_does() {
        let removal = || {
            let event = json!({"workspace_id": "acme", "user_id": "Bob@example.com"}).to_string();
            Removal::parse(event.as_bytes(), Utc::now()).unwrap()
        };
        for (api_keys, legacy_keys, is_told) in [(0, 0, true), (1, 0, false), (0, 1, false)] {
            let response = RemovalResponse::new(removal(), KeysFound { api_keys, legacy_keys });
            let response = serde_json::to_value(&response).unwrap();
            assert_eq!(response["found"], json!({"api_keys": api_keys, "legacy_keys": legacy_keys}));
            assert_eq!(response["user_id"], "Bob@example.com");
            let hint = response["hint"].as_str();
            assert_eq!(hint.is_some_and(|hint| hint.contains("case-sensitive")), is_told, "{response}");
        }
    }
}
