//! The read in the path of an authorization of a person: whether their workspace exists, and whether they were removed from it.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::identity::{UserId, WorkspaceId};
use serde_dynamo::{AttributeValue, Item};
use serde_json::{Map, json};

use crate::aws::dynamodb_read_client::DynamoDbReadClient;
use crate::store::batch;
use crate::store::item::broken;
use crate::store::workspace_users::{REINSTATED_AT, REMOVED_AT, USER_PREFIX};
use crate::store::workspaces::{BOOTSTRAP, table_name};

/// What the table `workspaces` says about users of a workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserStanding {
    /// The workspace exists, and no user of these was removed. They need not have had a key.
    Present,
    /// A user of these was removed, or was and has been reinstated since.
    Removed,
    /// The workspace does not exist.
    NoWorkspace,
}

/// Reads from the table `workspaces` without the SDK's client.
#[derive(Debug)]
pub struct UserReader {
    client: DynamoDbReadClient,
    table: String,
}

impl UserReader {
    /// Reads the table name from the environment.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when the variable is missing.
    pub fn new(client: DynamoDbReadClient, environment: &Environment) -> Result<Self, InvalidVariable> {
        Ok(Self { client, table: table_name(environment)? })
    }

    /// Reads the entry of a workspace and those of users in one strongly consistent request, so that a removed user is refused
    /// immediately. With `since`, a user who was removed and reinstated after that time counts as removed.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond, or items were still unprocessed when the time was over.
    /// - [`Error::Broken`]: an item is of another workspace or has another form.
    pub async fn standing(
        &self,
        workspace: &WorkspaceId,
        users: &[&UserId],
        since: Option<DateTime<Utc>>,
    ) -> Result<UserStanding, Error> {
        // A request must not name an item twice.
        let user_entries: BTreeSet<_> = users.iter().map(|user| format!("{USER_PREFIX}{user}")).collect();
        let key = |entry: &str| json!({"workspace_id": {"S": workspace}, "entry": {"S": entry}});
        let entries = json!({
            "Keys": std::iter::once(BOOTSTRAP).chain(user_entries.iter().map(String::as_str)).map(key).collect::<Vec<_>>(),
            "ProjectionExpression": "workspace_id, entry, #removed_at, #reinstated_at",
            "ExpressionAttributeNames": {"#removed_at": REMOVED_AT, "#reinstated_at": REINSTATED_AT},
            "ConsistentRead": true,
        });
        let mut read =
            batch::get_directly(&self.client, Map::from_iter([(self.table.clone(), entries)])).await?;
        let (mut exists, mut is_removed) = (false, false);
        for item in read.remove(&self.table).unwrap_or_default() {
            let (of, entry) = (text(&item, "workspace_id")?, text(&item, "entry")?);
            if of == workspace.as_str() && entry == BOOTSTRAP {
                exists = true;
            } else if of == workspace.as_str() && user_entries.contains(entry) {
                is_removed |= item.get(REMOVED_AT).is_some();
                if let (Some(since), Some(reinstated_at)) = (since, time(&item, REINSTATED_AT)?) {
                    is_removed |= since <= reinstated_at;
                }
            } else {
                return Err(broken("workspace entry"));
            }
        }
        Ok(match (exists, is_removed) {
            (false, _) => UserStanding::NoWorkspace,
            (true, true) => UserStanding::Removed,
            (true, false) => UserStanding::Present,
        })
    }
}

/// A time in milliseconds, if the item has it.
fn time(item: &Item, attribute: &str) -> Result<Option<DateTime<Utc>>, Error> {
    let Some(value) = item.get(attribute) else { return Ok(None) };
    let AttributeValue::N(milliseconds) = value else { return Err(broken("workspace entry")) };
    let time = milliseconds.parse().ok().and_then(DateTime::from_timestamp_millis);
    time.map(Some).ok_or_else(|| broken("workspace entry"))
}

fn text<'a>(item: &'a Item, attribute: &str) -> Result<&'a str, Error> {
    match item.get(attribute) {
        Some(AttributeValue::S(text)) => Ok(text),
        _ => Err(broken("workspace entry")),
    }
}
