//! The calls of keys by hour, in the table `usage`: one item for each key and hour with calls, until its `ttl`. Deleting a key
//! leaves them behind.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use keygate_core::credential::KeyId;
use keygate_core::error::Error;
use keygate_core::usage::{CallCounts, Per};
use serde::Deserialize;

use crate::store::item::{Item, broken, number, seconds, text};
use crate::store::usage::UsageTable;

/// The beginning of the entries. The hour follows, so that the entries of a key are in the order of time.
const PREFIX: &str = "CALLS#";

/// The calls of a key in an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HourlyCalls {
    /// The key.
    pub key_id: KeyId,
    /// The beginning of the hour.
    pub hour: DateTime<Utc>,
    /// The calls.
    pub counts: CallCounts,
}

#[derive(Deserialize)]
struct StoredCalls {
    #[serde(with = "chrono::serde::ts_seconds")]
    hour: DateTime<Utc>,
    #[serde(with = "chrono::serde::ts_seconds")]
    ttl: DateTime<Utc>,
    #[serde(flatten)]
    counts: CallCounts,
}

impl UsageTable {
    /// Adds calls to those of their key and hour, which are kept for `retention`.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond. The calls may be added nevertheless.
    pub async fn add_calls(&self, calls: HourlyCalls, retention: TimeDelta) -> Result<(), Error> {
        let HourlyCalls { key_id, hour, counts } = calls;
        self.client
            .update_item()
            .table_name(&self.table)
            .set_key(Some(entry_key(key_id, hour)))
            .update_expression("ADD allowed :allowed, refused :refused SET #hour = :hour, #ttl = :ttl")
            .expression_attribute_names("#hour", "hour")
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":allowed", number(&counts.allowed))
            .expression_attribute_values(":refused", number(&counts.refused))
            .expression_attribute_values(":hour", seconds(hour))
            .expression_attribute_values(":ttl", seconds(hour + retention))
            .send()
            .await
            .map(drop)
            .map_err(|failure| Error::unavailable("DynamoDB", &failure))
    }

    /// Reads the calls of a key in the hours that contain the instants from `from` until `to`, which is excluded. The read is
    /// eventually consistent. Hours past their `ttl` are skipped.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    /// - [`Error::Broken`]: an item is not valid.
    pub async fn calls_by_hour(
        &self,
        key_id: KeyId,
        (from, to): (DateTime<Utc>, DateTime<Utc>),
        now: DateTime<Utc>,
    ) -> Result<Vec<(DateTime<Utc>, CallCounts)>, Error> {
        let mut hours = Vec::new();
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .key_condition_expression("key_id = :key AND entry BETWEEN :first AND :last")
            .expression_attribute_values(":key", text(&key_id))
            .expression_attribute_values(":first", text(&entry(from)))
            .expression_attribute_values(":last", text(&entry(to)))
            .into_paginator()
            .items()
            .send();
        while let Some(item) = pages.next().await {
            let item = item.map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
            let stored: StoredCalls = serde_dynamo::from_item(item).map_err(|_| broken("number of calls"))?;
            if stored.ttl > now && stored.hour < to {
                hours.push((stored.hour, stored.counts));
            }
        }
        Ok(hours)
    }
}

fn entry(at: DateTime<Utc>) -> String {
    format!("{PREFIX}{}", Per::Hour.start(at).format("%Y-%m-%dT%H"))
}

fn entry_key(key_id: KeyId, hour: DateTime<Utc>) -> Item {
    HashMap::from([("key_id".to_owned(), text(&key_id)), ("entry".to_owned(), text(&entry(hour)))])
}
