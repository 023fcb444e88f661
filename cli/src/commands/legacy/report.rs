//! `keygate legacy report`.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, SecondsFormat, Utc};
use clap::Args;
use serde_json::{Value, json};

use super::import::accepts_none;
use crate::aws::AwsAccount;
use crate::context::Context;
use crate::failure::{Failure, Status};
use crate::output::Column;

const COLUMNS: [Column; 5] = [
    ("WORKSPACE", "workspace_id"),
    ("USER", "user_id"),
    ("KEYS", "keys"),
    ("USED", "used"),
    ("LAST USED", "last_used_at"),
];

/// List the users of legacy keys and their last use, the latest first, with AWS credentials
#[derive(Args)]
#[command(after_help = "Example:\n  keygate legacy report --workspace acme\n\n\
    It reads the index by id, which can be a moment behind the table, and no hash. The last use can be later by up to\n\
    LastUsedInterval. It takes cloudformation:DescribeStacks, and dynamodb:Scan of that index; with a workspace\n\
    dynamodb:Query of it and dynamodb:GetItem of the table of workspaces. It costs half a read unit for 4 kB.")]
pub(crate) struct Report {
    /// Users of a workspace [default: of all]
    #[arg(long)]
    workspace: Option<String>,
}

/// The legacy keys of one user.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Keys {
    count: u64,
    used: u64,
    /// In Unix seconds; 0 before the first use.
    last_used_at: i64,
}

/// The workspace and the id of a user.
type User = (String, String);
type Item = HashMap<String, AttributeValue>;

impl Report {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// The stack accepts no legacy keys, or a table cannot be read, or the workspace does not exist.
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        let aws = context.aws()?;
        let stack = aws.stack(context.stack())?;
        let table = stack.output("LegacyKeysTableName").map_err(|_| accepts_none(&stack))?;
        if let Some(workspace) = &self.workspace {
            aws.run(check_exists(&aws, &stack.output("WorkspacesTableName")?, workspace))?;
        }
        let users = aws.run(users(&aws, &table, self.workspace.as_deref(), Utc::now().timestamp()))?;
        context.output.list(&COLUMNS, &rows(users), false)
    }
}

/// A workspace exists from its bootstrap on.
async fn check_exists(aws: &AwsAccount, table: &str, workspace: &str) -> Result<(), Failure> {
    let get = aws
        .dynamodb()
        .get_item()
        .table_name(table)
        .key("workspace_id", AttributeValue::S(workspace.to_owned()))
        .key("entry", AttributeValue::S("BOOTSTRAP".to_owned()))
        .projection_expression("entry");
    let response = get.send().await.map_err(|error| aws.failure_of_sdk("DynamoDB", &error))?;
    response.item.map(|_| ()).ok_or_else(|| {
        Failure::new(Status::NotFound, format!("the workspace {workspace} does not exist"))
            .advise("check its name")
    })
}

/// The users of the keys that are not past their ttl, because `DynamoDB` may remove them late.
async fn users(
    aws: &AwsAccount,
    table: &str,
    workspace: Option<&str>,
    now: i64,
) -> Result<BTreeMap<User, Keys>, Failure> {
    const ATTRIBUTES: &str = "workspace_id, user_id, last_used_at";
    let now = AttributeValue::N(now.to_string());
    let dynamodb = aws.dynamodb();
    let mut users = BTreeMap::new();
    if let Some(workspace) = workspace {
        let mut items = dynamodb
            .query()
            .table_name(table)
            .index_name("by_id")
            .key_condition_expression("workspace_id = :workspace")
            .expression_attribute_values(":workspace", AttributeValue::S(workspace.to_owned()))
            .projection_expression(ATTRIBUTES)
            .filter_expression("#ttl > :now")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":now", now)
            .into_paginator()
            .items()
            .send();
        while let Some(item) = items.next().await {
            add(&mut users, &item.map_err(|error| aws.failure_of_sdk("DynamoDB", &error))?);
        }
    } else {
        let mut items = dynamodb
            .scan()
            .table_name(table)
            .index_name("by_id")
            .projection_expression(ATTRIBUTES)
            .filter_expression("#ttl > :now")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":now", now)
            .into_paginator()
            .items()
            .send();
        while let Some(item) = items.next().await {
            add(&mut users, &item.map_err(|error| aws.failure_of_sdk("DynamoDB", &error))?);
        }
    }
    Ok(users)
}

fn add(users: &mut BTreeMap<User, Keys>, item: &Item) {
    let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok()).cloned().unwrap_or_default();
    let last_used_at = item.get("last_used_at").and_then(|value| value.as_n().ok()?.parse().ok());
    let last_used_at = last_used_at.unwrap_or_default();
    let keys = users.entry((text("workspace_id"), text("user_id"))).or_default();
    keys.count += 1;
    keys.used += u64::from(last_used_at > 0);
    keys.last_used_at = keys.last_used_at.max(last_used_at);
}

/// The rows, the latest use first, then by workspace and user.
fn rows(users: BTreeMap<User, Keys>) -> Vec<Value> {
    let mut users: Vec<_> = users.into_iter().collect();
    users.sort_by_key(|(_, keys)| Reverse(keys.last_used_at));
    let last_used_at = |keys: Keys| {
        let time = DateTime::from_timestamp(keys.last_used_at, 0).filter(|_| keys.used > 0);
        time.map(|time| time.to_rfc3339_opts(SecondsFormat::Secs, true))
    };
    let row = |((workspace, user), keys): (User, Keys)| {
        json!({"workspace_id": workspace, "user_id": user, "keys": keys.count, "used": keys.used,
            "last_used_at": last_used_at(keys)})
    };
    users.into_iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_in_the_order_of_their_last_use() {
        let mut users = BTreeMap::new();
        for (workspace, user, last_used_at) in
            [("a", "carol", 0), ("b", "bob", 100), ("b", "bob", 0), ("a", "alice", 200), ("a", "bob", 0)]
        {
            let item = HashMap::from([
                ("workspace_id".to_owned(), AttributeValue::S(workspace.to_owned())),
                ("user_id".to_owned(), AttributeValue::S(user.to_owned())),
                ("last_used_at".to_owned(), AttributeValue::N(i64::to_string(&last_used_at))),
            ]);
            add(&mut users, &item);
        }
        let row = |workspace: &str, user: &str, keys: u64, used: u64, last: Value| json!({"workspace_id": workspace, "user_id": user, "keys": keys, "used": used, "last_used_at": last});
        let expected = [
            row("a", "alice", 1, 1, json!("1970-01-01T00:03:20Z")),
            row("b", "bob", 2, 1, json!("1970-01-01T00:01:40Z")),
            row("a", "bob", 1, 0, Value::Null),
            row("a", "carol", 1, 0, Value::Null),
        ];
        assert_eq!(rows(users), expected);
    }
}
