//! Removing a user over the management API: both steps, and the number of the user's keys.

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

/// The time limit of the count. The second step must start within the same request, even if the count fails.
const BUDGET: Duration = Duration::from_secs(2);

/// The hint for a removal that found no key: the id may be misspelt.
const NOTHING_FOUND: &str = "No key of this user was found. User ids are case-sensitive, so check the spelling. \
                             If the user was removed before, their keys may be gone already.";

/// The number of a user's keys by kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct KeysFound {
    /// The API keys, including expired and disabled ones.
    pub api_keys: usize,
    /// The legacy keys. Their index is eventually consistent.
    pub legacy_keys: usize,
}

/// The response to a removal, with the number of keys found.
#[derive(Debug, Serialize)]
pub struct RemovalResponse {
    #[serde(flatten)]
    removal: Removal,
    found: KeysFound,
    hint: Option<&'static str>,
}

impl RemovalResponse {
    /// The response to a removal that found these keys.
    #[must_use]
    pub fn new(removal: Removal, found: KeysFound) -> Self {
        let found_nothing = found.api_keys == 0 && found.legacy_keys == 0;
        Self { removal, found, hint: found_nothing.then_some(NOTHING_FOUND) }
    }
}

/// Removes a user of the caller's workspace, counts their keys, and starts the second step.
///
/// # Errors
///
/// See [`UserRemover::remove`], [`count`] and [`AsyncInvoker::invoke`]. After an error of the last two the user is removed,
/// and the same request can be sent again.
pub async fn remove_user(
    remover: &UserRemover,
    removal_processor: &AsyncInvoker,
    context: &RequestContext,
    user_id: UserId,
    keys: KeyDisposition,
) -> Result<RemovalResponse, Error> {
    let removal = remover.remove(context, user_id, keys).await?;
    let found = count(&remover.store.workspaces, remover.legacy.as_ref(), &removal, context.now).await;
    // The second step starts even if the count failed, because the removal must not depend on a repeated request.
    removal_processor.invoke(&removal).await?;
    Ok(RemovalResponse::new(removal, found?))
}

/// Counts the keys of a user who is marked as removed, before the second step starts.
///
/// The mark must come first: afterwards no API key can be created for the user, so that a strongly consistent count is
/// complete. The second step must come later, because it deletes the keys to be counted.
///
/// # Errors
///
/// - [`Error::Unavailable`]: the database did not respond, or not in time.
/// - [`Error::Broken`]: an entry is not valid.
pub async fn count(
    workspaces: &WorkspacesTable,
    legacy: Option<&LegacyKeysTable>,
    removal: &Removal,
    now: DateTime<Utc>,
) -> Result<KeysFound, Error> {
    let (workspace, user) = removal.workspace_and_user();
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
    // The entry of a key that DynamoDB removed at the end of its retention exists until the key is purged.
    let api_keys = members.iter().filter(|member| member.gone_at.is_none_or(|gone_at| now < gone_at)).count();
    Ok(KeysFound { api_keys, legacy_keys })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_removal_that_found_no_key_has_a_hint() {
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
