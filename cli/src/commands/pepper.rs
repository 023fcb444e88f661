//! `keygate pepper`.

use std::collections::{BTreeMap, HashMap};

use aws_sdk_dynamodb::types::AttributeValue;
use chrono::Utc;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::aws::{AwsAccount, Stack};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Column;

const COLUMNS: [Column; 5] = [
    ("VERSION", "version"),
    ("KEYS", "keys"),
    ("OVERLAPS", "overlaps"),
    ("TOKENS", "tokens"),
    ("LEGACY", "legacy"),
];

/// Watch the change to a new pepper
#[derive(Subcommand)]
pub(crate) enum Pepper {
    Status(StatusArguments),
}

/// Count the hashes of each pepper version, to see when an old version can be removed
#[derive(Args)]
#[command(
    name = "status",
    after_help = "Example:\n  keygate pepper status --stack keygate\n\n\
    It reads the version beside each hash, and no hash. It takes cloudformation:DescribeStacks, and dynamodb:Scan of\n\
    the tables of keys, tokens and legacy keys, at half a read unit for 4 kB."
)]
pub(crate) struct StatusArguments {}

/// The hashes of one version.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Counts {
    keys: u64,
    /// Old secrets that still work.
    overlaps: u64,
    tokens: u64,
    legacy: u64,
}

impl Pepper {
    /// Runs the command.
    ///
    /// # Errors
    ///
    /// The stack or a table cannot be read.
    pub(crate) fn run(self, context: &Context) -> Result<(), Failure> {
        let Self::Status(StatusArguments {}) = self;
        let aws = context.aws()?;
        let stack = aws.stack(context.stack())?;
        let counts = aws.run(count(&aws, &stack, Utc::now().timestamp()))?;
        let rows: Vec<Value> = counts
            .iter()
            .map(|(version, counts)| {
                json!({"version": version, "keys": counts.keys, "overlaps": counts.overlaps, "tokens": counts.tokens,
                    "legacy": counts.legacy})
            })
            .collect();
        context.output.list(&COLUMNS, &rows, false)
    }
}

async fn count(aws: &AwsAccount, stack: &Stack, now: i64) -> Result<BTreeMap<u64, Counts>, Failure> {
    let mut counts: BTreeMap<u64, Counts> = BTreeMap::new();
    hashed(aws, &stack.output("KeysTableName")?, now, |item| {
        counts.entry(number(item, "pepper_version")).or_default().keys += 1;
        if i128::from(number(item, "previous_expires_at")) > i128::from(now) {
            counts.entry(number(item, "previous_pepper_version")).or_default().overlaps += 1;
        }
    })
    .await?;
    hashed(aws, &stack.output("TokensTableName")?, now, |item| {
        counts.entry(number(item, "pepper_version")).or_default().tokens += 1;
    })
    .await?;
    // A stack without legacy keys has no such table.
    if let Ok(table) = stack.output("LegacyKeysTableName") {
        hashed(aws, &table, now, |item| {
            counts.entry(number(item, "pepper_version")).or_default().legacy += 1;
        })
        .await?;
    }
    Ok(counts)
}

type Item = HashMap<String, AttributeValue>;

fn number(item: &Item, name: &str) -> u64 {
    item.get(name).and_then(|value| value.as_n().ok()?.parse().ok()).unwrap_or_default()
}

/// Hands out the pepper versions of the items of a table. Items past their ttl are left out, because `DynamoDB` may remove
/// them late.
async fn hashed(aws: &AwsAccount, table: &str, now: i64, mut each: impl FnMut(&Item)) -> Result<(), Failure> {
    let mut items = aws
        .dynamodb()
        .scan()
        .table_name(table)
        .projection_expression("pepper_version, previous_pepper_version, previous_expires_at")
        .filter_expression("attribute_exists(pepper_version) AND (attribute_not_exists(#ttl) OR #ttl > :now)")
        .expression_attribute_names("#ttl", "ttl")
        .expression_attribute_values(":now", AttributeValue::N(now.to_string()))
        .into_paginator()
        .items()
        .send();
    while let Some(item) = items.next().await {
        each(&item.map_err(|error| aws.failure_of_sdk("DynamoDB", &error))?);
    }
    Ok(())
}
