//! The limit windows of a key: one item of the table `usage`, which counts the calls that environments of the authorizer have
//! reserved ([`keygate_core::permits`]).
//!
//! | attribute | content |
//! | --- | --- |
//! | `entry` | `LIMITS` |
//! | `minute_0`, `minute_1`; likewise for each other unit | the last window with an even number, and that with an odd one: its `start`, and the `used` permits |
//! | `ttl` | a day after the end of the longest window |
//!
//! The item outlives its key, whose id is never used again, and ends by its `ttl`.

use std::collections::HashMap;

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue, ReturnValuesOnConditionCheckFailure};
use chrono::{DateTime, Utc};
use keygate_core::credential::KeyId;
use keygate_core::error::Error;
use keygate_core::permits::{Count, Counter, Counters, Reservation, Share, Slot};

use crate::store::item::{Item, broken, number, seconds, text};
use crate::store::usage::UsageTable;

/// The entry that holds the limit windows of a key.
const LIMITS: &str = "LIMITS";

/// The result of a reservation, with the counts that are stored now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReservationOutcome {
    /// The permits are reserved.
    Reserved(Counters),
    /// No permit is reserved: the counts are not those that the reservation was made for.
    Refused(Counters),
}

impl UsageTable {
    /// Reserves permits in one conditional write.
    ///
    /// The table's client must not repeat a request whose response was lost: the repeated one would reserve again. Without a
    /// response it is unknown whether permits are reserved, and none may be used.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond. Permits may be reserved, which nothing can use.
    /// - [`Error::Broken`]: the database refused the call, or its response does not have the reserved permits.
    pub async fn reserve_permits(
        &self,
        id: KeyId,
        reservation: &Reservation,
    ) -> Result<ReservationOutcome, Error> {
        let mut expressions = Expressions::default();
        reservation.shares.iter().for_each(|share| expressions.add(share));
        if let Some(ttl) = reservation.ttl {
            expressions.raise_ttl(ttl);
        }
        let update = self.client.update_item().table_name(&self.table).set_key(Some(limits_key(id)));
        match expressions.of(update).send().await {
            Ok(response) => {
                let counters = counters_of(id, &response.attributes.unwrap_or_default())?;
                let is_counted = |share: &Share| {
                    matches!(counters.count(share.window),
                        Count::Used(used) if (share.permits..=share.limit.calls()).contains(&used))
                };
                if reservation.shares.iter().all(is_counted) {
                    Ok(ReservationOutcome::Reserved(counters))
                } else {
                    Err(broken("limit window"))
                }
            }
            Err(failure) => match failure.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(refused)) => {
                    let counters = refused.item.as_ref().map(|item| counters_of(id, item)).transpose()?;
                    Ok(ReservationOutcome::Refused(counters.unwrap_or_default()))
                }
                _ => Err(Error::unavailable("DynamoDB", &failure)),
            },
        }
    }

    /// Reads the counts of a key, strongly consistent.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: the database did not respond.
    /// - [`Error::Broken`]: the item cannot be read, or has the id of another key.
    pub async fn limit_counters(&self, id: KeyId) -> Result<Counters, Error> {
        let read = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(limits_key(id)))
            .consistent_read(true);
        let response = read.send().await.map_err(|failure| Error::unavailable("DynamoDB", &failure))?;
        response.item.map_or_else(|| Ok(Counters::default()), |item| counters_of(id, &item))
    }
}

/// The terms of a reservation.
#[derive(Debug, Default)]
struct Expressions {
    conditions: Vec<String>,
    assignments: Vec<String>,
    names: HashMap<String, String>,
    values: Item,
}

impl Expressions {
    /// Adds the condition on one window, and its new count.
    fn add(&mut self, share: &Share) {
        let slot = attribute(share.window.into());
        let Share { limit, window, permits, begins } = share;
        self.names.extend([(format!("#{slot}"), slot.clone()), ("#start".to_owned(), "start".to_owned())]);
        self.values.insert(format!(":{slot}_start"), seconds(window.start));
        if *begins {
            self.conditions
                .push(format!("(attribute_not_exists(#{slot}) OR #{slot}.#start < :{slot}_start)"));
            self.assignments.push(format!("#{slot} = :{slot}"));
            let counter = [("start", seconds(window.start)), ("used", number(permits))];
            let counter = counter.map(|(name, value)| (name.to_owned(), value)).into();
            self.values.insert(format!(":{slot}"), AttributeValue::M(counter));
        } else {
            self.conditions.push(format!("#{slot}.#start = :{slot}_start AND #{slot}.#used <= :{slot}_most"));
            self.assignments.push(format!("#{slot}.#used = #{slot}.#used + :{slot}_permits"));
            self.names.insert("#used".to_owned(), "used".to_owned());
            self.values.insert(format!(":{slot}_most"), number(&limit.calls().saturating_sub(*permits)));
            self.values.insert(format!(":{slot}_permits"), number(permits));
        }
    }

    fn raise_ttl(&mut self, ttl: DateTime<Utc>) {
        self.conditions.push("(attribute_not_exists(#ttl) OR #ttl < :ttl)".to_owned());
        self.assignments.push("#ttl = :ttl".to_owned());
        self.names.insert("#ttl".to_owned(), "ttl".to_owned());
        self.values.insert(":ttl".to_owned(), seconds(ttl));
    }

    /// The update with these terms, whose response has the whole item in either case.
    fn of(self, update: UpdateItemFluentBuilder) -> UpdateItemFluentBuilder {
        update
            .condition_expression(self.conditions.join(" AND "))
            .update_expression(format!("SET {}", self.assignments.join(", ")))
            .set_expression_attribute_names(Some(self.names))
            .set_expression_attribute_values(Some(self.values))
            .return_values(ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
    }
}

fn limits_key(id: KeyId) -> Item {
    HashMap::from([("key_id".to_owned(), text(&id)), ("entry".to_owned(), text(LIMITS))])
}

/// The attribute that holds the count in a slot. The authorizer's role lists all of them.
fn attribute(slot: Slot) -> String {
    format!("{}_{}", slot.per.word(), u8::from(slot.is_odd))
}

/// Reads the item of a key.
fn counters_of(id: KeyId, item: &Item) -> Result<Counters, Error> {
    if item.get("key_id") != Some(&text(&id)) || item.get("entry") != Some(&text(LIMITS)) {
        return Err(broken("limit window"));
    }
    let mut counters = Counters::default();
    for slot in Slot::all() {
        if let Some(stored) = item.get(&attribute(slot)) {
            let counter: Counter =
                serde_dynamo::from_attribute_value(stored.clone()).map_err(|_| broken("limit window"))?;
            counters.set(slot, counter);
        }
    }
    if let Some(ttl) = item.get("ttl") {
        let ttl: i64 = serde_dynamo::from_attribute_value(ttl.clone()).map_err(|_| broken("limit window"))?;
        counters.ttl = Some(DateTime::from_timestamp(ttl, 0).ok_or_else(|| broken("limit window"))?);
    }
    Ok(counters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use keygate_core::limit::{Limit, Period};

    fn id() -> KeyId {
        "01JD3V6Y4N8Q2Z5X7W9B0C1D2E".parse().unwrap()
    }

    fn item(attributes: &[(&str, AttributeValue)]) -> Item {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        limits_key(id()).into_iter().chain(attributes).collect()
    }

    fn counter(start: i64, used: AttributeValue) -> AttributeValue {
        AttributeValue::M(HashMap::from([("start".to_owned(), number(&start)), ("used".to_owned(), used)]))
    }

    #[test]
    fn counts_are_read_from_the_slot_of_their_window() {
        let limit = Limit::new(10, Period::Minute).unwrap();
        let stored = item(&[
            ("minute_0", counter(120, number(&7))),
            ("minute_1", counter(60, number(&10))),
            ("ttl", number(&90_000)),
        ]);
        let counters = counters_of(id(), &stored).unwrap();
        let count =
            |second| counters.count(Period::Minute.window(DateTime::from_timestamp(second, 0).unwrap()));
        assert_eq!((count(121), count(60), count(180)), (Count::Used(7), Count::Used(10), Count::None));
        assert_eq!(count(0), Count::Passed);
        assert_eq!(counters.left(limit, Period::Minute.window(DateTime::from_timestamp(121, 0).unwrap())), 3);
        assert_eq!(counters.ttl.map(|ttl| ttl.timestamp()), Some(90_000));
    }

    #[test]
    fn an_item_that_cannot_be_read_is_an_error_and_not_taken_for_no_calls() {
        let other = "01JD3V6Y4N8Q2Z5X7W9B0C1D2F".parse().unwrap();
        assert!(counters_of(other, &item(&[])).is_err());
        assert!(counters_of(id(), &HashMap::from([("key_id".to_owned(), text(&id()))])).is_err());
        for (name, broken) in [
            ("second_0", counter(0, text("1"))),
            ("second_0", counter(0, number(&-1))),
            ("day_1", counter(0, number(&5_000_000_000_i64))),
            ("month_0", text("")),
            ("hour_1", AttributeValue::M(HashMap::new())),
            ("ttl", text("never")),
        ] {
            assert!(counters_of(id(), &item(&[(name, broken.clone())])).is_err(), "{name}: {broken:?}");
        }
    }
}
