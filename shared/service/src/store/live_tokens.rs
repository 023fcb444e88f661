//! The number of working tokens of a key: one item per key in the table `tokens`, written by the transactions that issue and
//! revoke tokens.
//!
//! | attribute | content |
//! | --- | --- |
//! | `live` | the number of counted tokens, never more than the bound |
//! | `ends` | this number by the times at which the tokens stop being counted, in seconds since 1970 |
//! | `token_generation` | the generation of the key to which the tokens belong |
//! | `ttl` | the latest of these times |
//!
//! Access tokens and unused refresh tokens are counted. Three rules keep `live` equal to the sum of `ends`, and never below
//! the number of working tokens:
//!
//! - A token is counted in the transaction that writes it, at a time not before its expiry. The condition is that `live`
//!   stays within the bound.
//! - A past time is removed with its number, on the condition that the number has not changed since it was read. Every token
//!   that was counted there has expired.
//! - A token is uncounted before its time only in the transaction that revokes or replaces it.
//!
//! A new generation of the key ends all of its tokens, and does not change this item. The first token of the new generation
//! replaces the item.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::num::ParseIntError;

use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem};
use chrono::{DateTime, Utc};
use keygate_core::error::Error;
use keygate_core::key::Generation;
use keygate_core::token::{Family, Token};
use serde::Deserialize;

use crate::store::expression::{self, Condition, UpdateExpression};
use crate::store::item::{Item, number};

/// The sort key of the item.
pub(super) const ENTRY: &str = "LIVE";

/// The maximum number of past times that one change removes, which bounds the length of its condition.
const MAX_EXPIRED_ENDS: usize = 50;

/// The time at which a token stops being counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct TokenEnd(i64);

impl TryFrom<String> for TokenEnd {
    type Error = ParseIntError;

    fn try_from(text: String) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

impl TokenEnd {
    /// The end of a token.
    pub(super) fn of_token(token: &Token) -> Self {
        Self::of(token.created_at, token.expires_at)
    }

    /// The end of the refresh tokens of a family, which is the same for all of them.
    pub(super) fn of_family(family: &Family) -> Self {
        Self::of(family.family_id.created_at(), family.expires_at)
    }

    /// The end of a life, rounded up by less than an eighth of the life or a second. The rounding keeps the number of
    /// different ends small, however many tokens a key has.
    fn of(begins_at: DateTime<Utc>, ends_at: DateTime<Utc>) -> Self {
        let life = (ends_at - begins_at).num_seconds();
        let step = u32::try_from(life / 16).unwrap_or(0).max(1).next_power_of_two();
        let (end, step) = (ends_at.timestamp(), i64::from(step));
        Self(end + (-end).rem_euclid(step))
    }

    fn has_passed(self, now: DateTime<Utc>) -> bool {
        self.0 <= now.timestamp()
    }
}

/// The stored item.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct LiveTokens {
    #[serde(flatten)]
    generation: Generation,
    live: u32,
    ends: BTreeMap<TokenEnd, u32>,
    ttl: i64,
}

/// A change of the item that keeps its rules, whatever changes the item has had since it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LiveTokensUpdate {
    generation: Generation,
    /// There is no item yet, or one of an earlier generation.
    is_new: bool,
    /// The change of the number at each end.
    counts: BTreeMap<TokenEnd, i64>,
    /// The past ends that the change removes, with their numbers.
    expired: BTreeMap<TokenEnd, u32>,
    /// The maximum of `live` before the change, so that it does not exceed the bound afterwards.
    max_before: Option<i64>,
    /// The new `ttl`, if it is later than the stored one.
    ttl: Option<TokenEnd>,
}

impl LiveTokensUpdate {
    /// Counts tokens that are about to be written, and uncounts those that they replace. `stored` must be read strongly
    /// consistent, because it may lead to a refusal.
    ///
    /// # Errors
    ///
    /// - [`Error::TooManyTokens`]: more than `bound` tokens would be counted.
    /// - [`Error::Busy`]: `generation` is out of date, and so is the caller's view of the key.
    pub(super) fn count(
        stored: Option<&LiveTokens>,
        generation: Generation,
        counts: impl IntoIterator<Item = (TokenEnd, i64)>,
        bound: u32,
        now: DateTime<Utc>,
    ) -> Result<Self, Error> {
        if stored.is_some_and(|stored| generation < stored.generation) {
            return Err(Error::Busy);
        }
        let stored = stored.filter(|stored| stored.generation == generation);
        let stored_at = |end: &TokenEnd| {
            stored.and_then(|stored| stored.ends.get(end)).map_or(0, |count| i64::from(*count))
        };
        let mut sums: BTreeMap<TokenEnd, i64> = BTreeMap::new();
        for (end, count) in counts {
            *sums.entry(end).or_default() += count;
        }
        // If the item was lost, replaced tokens are not in it and cannot be uncounted.
        let counts = sums.into_iter().map(|(end, count)| (end, count.max(-stored_at(&end))));
        let counts: BTreeMap<_, _> = counts.filter(|(_, count)| *count != 0).collect();

        let ends = stored.into_iter().flat_map(|stored| stored.ends.clone());
        let mut expired: Vec<_> =
            ends.filter(|(end, _)| end.has_passed(now) && !counts.contains_key(end)).collect();
        // If not all past ends fit into one change, those with tokens come first, because the others make no room.
        expired.sort_by_key(|(_, count)| Reverse(*count));
        let expired: BTreeMap<_, _> = expired.into_iter().take(MAX_EXPIRED_ENDS).collect();
        let last = counts.keys().max().copied();
        let mut change =
            Self { generation, is_new: stored.is_none(), counts, expired, max_before: None, ttl: None };
        let max_before = i64::from(bound) - change.total();
        if stored.map_or(0, |stored| i64::from(stored.live)) > max_before {
            return Err(Error::TooManyTokens(bound));
        }
        change.max_before = Some(max_before);
        change.ttl = last.filter(|last| stored.is_none_or(|stored| stored.ttl < last.0));
        Ok(change)
    }

    /// Uncounts `count` tokens that end before their time.
    pub(super) fn release(generation: Generation, end: TokenEnd, count: u32) -> Self {
        let counts = BTreeMap::from([(end, -i64::from(count))]);
        Self { generation, is_new: false, counts, expired: BTreeMap::new(), max_before: None, ttl: None }
    }

    /// Whether no token is counted or uncounted. Past ends alone are left for the next change.
    pub(super) fn counts_nothing(&self) -> bool {
        self.counts.is_empty()
    }

    /// The change of the total.
    fn total(&self) -> i64 {
        self.counts.values().sum::<i64>() - self.expired.values().map(|count| i64::from(*count)).sum::<i64>()
    }

    /// The change as an operation on the item with this key.
    pub(super) fn operation(&self, table: &str, key: Item) -> TransactWriteItem {
        if self.is_new { self.put(table, key) } else { self.update(table, key) }
    }

    fn put(&self, table: &str, mut item: Item) -> TransactWriteItem {
        let ends =
            self.counts.iter().map(|(TokenEnd(end), count)| (end.to_string(), number(count))).collect();
        item.insert("token_generation".to_owned(), number(&self.generation.number()));
        item.insert("live".to_owned(), number(&self.total()));
        item.insert("ends".to_owned(), AttributeValue::M(ends));
        item.insert("ttl".to_owned(), number(&self.ttl.map_or(0, |TokenEnd(ttl)| ttl)));
        let is_first = Condition::new("attribute_not_exists(entry) OR token_generation < :generation")
            .value(":generation", number(&self.generation.number()));
        expression::put(table, item, is_first)
    }

    fn update(&self, table: &str, key: Item) -> TransactWriteItem {
        let mut update = UpdateExpression::new()
            .assign("#live = #live + :more")
            .alias("#live", "live")
            .alias("#ends", "ends")
            .value(":more", number(&self.total()));
        let mut condition = Condition::equal("token_generation", number(&self.generation.number()));
        for (index, (TokenEnd(end), count)) in self.counts.iter().enumerate() {
            update = update
                .assign(format!("#ends.#e{index} = if_not_exists(#ends.#e{index}, :zero) + :e{index}"))
                .alias(&format!("#e{index}"), &end.to_string())
                .value(&format!(":e{index}"), number(count))
                .value(":zero", number(&0));
            if *count < 0 {
                condition = condition
                    .and(format!("#ends.#e{index} >= :least{index}"))
                    .value(&format!(":least{index}"), number(&-count));
            }
        }
        for (index, (TokenEnd(end), count)) in self.expired.iter().enumerate() {
            update = update.remove_path(format!("#ends.#o{index}"));
            condition = condition
                .and(format!("#ends.#o{index} = :o{index}"))
                .alias(&format!("#o{index}"), &end.to_string())
                .value(&format!(":o{index}"), number(count));
        }
        if let Some(max_before) = self.max_before {
            condition = condition.and("#live <= :max_before").value(":max_before", number(&max_before));
        }
        if let Some(TokenEnd(ttl)) = self.ttl {
            update = update.set("ttl", number(&ttl));
            condition = condition.and("#ttl < :ttl");
        }
        expression::update(table, key, update, condition)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use keygate_core::credential::FamilyId;
    use keygate_core::token::TokenKind;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    fn token(begins_at: i64, life: i64) -> Token {
        Token {
            key_id: "01JD3V6Y4N8Q2Z5X7W9B0C1D2E".parse().unwrap(),
            token_id: "01JD4A0000F9K3W7RT2M8Q0001".parse().unwrap(),
            kind: TokenKind::AccessToken,
            scopes: Vec::new(),
            endpoints: Vec::new(),
            generation: Generation::default(),
            made_in_overlap: None,
            created_at: at(begins_at),
            expires_at: at(begins_at + life),
            last_used_at: None,
        }
    }

    /// The item after the database has applied a change; `None` if its condition fails.
    fn applied(stored: Option<&LiveTokens>, change: &LiveTokensUpdate) -> Option<LiveTokens> {
        if change.is_new {
            if stored.is_some_and(|stored| stored.generation >= change.generation) {
                return None;
            }
            let ends = change.counts.iter().map(|(end, count)| (*end, u32::try_from(*count).unwrap()));
            return Some(LiveTokens {
                generation: change.generation,
                live: u32::try_from(change.total()).unwrap(),
                ends: ends.collect(),
                ttl: change.ttl.unwrap().0,
            });
        }
        let mut after = stored.filter(|stored| stored.generation == change.generation)?.clone();
        let is_within = change.max_before.is_none_or(|most| i64::from(after.live) <= most);
        let is_later = change.ttl.is_none_or(|TokenEnd(ttl)| after.ttl < ttl);
        if !is_within
            || !is_later
            || change.expired.iter().any(|(end, count)| after.ends.get(end) != Some(count))
        {
            return None;
        }
        for end in change.expired.keys() {
            after.ends.remove(end);
        }
        for (end, count) in &change.counts {
            let before = i64::from(after.ends.get(end).copied().unwrap_or(0));
            after.ends.insert(*end, u32::try_from(before + count).ok()?);
        }
        after.live = u32::try_from(i64::from(after.live) + change.total()).unwrap();
        after.ttl = change.ttl.map_or(after.ttl, |TokenEnd(ttl)| ttl);
        Some(after)
    }

    #[test]
    fn ends_are_rounded_up_to_few_values() {
        for life in [1, 2, 15, 16, 59, 60, 600, 3600, 86_400, 30 * 86_400, 365 * 86_400] {
            let mut ends = std::collections::BTreeSet::new();
            for begins_at in 0..1000 {
                let token = token(begins_at * life / 1000, life);
                let TokenEnd(end) = TokenEnd::of_token(&token);
                let later = end - token.expires_at.timestamp();
                assert!((0..(life / 8).max(1)).contains(&later), "{life}: {later}");
                ends.insert(end);
            }
            assert!(ends.len() <= 33, "{life}: {}", ends.len());
        }
    }

    #[test]
    fn all_refresh_tokens_of_a_family_have_the_same_end() {
        let family_id = FamilyId::generate(at(0));
        let family = |expires_at| {
            let current = family_id.token(NonZeroU16::MIN);
            let key_id = "01JD3V6Y4N8Q2Z5X7W9B0C1D2E".parse().unwrap();
            Family::new(key_id, family_id, current, expires_at)
        };
        let TokenEnd(end) = TokenEnd::of_family(&family(at(30 * 86_400)));
        assert!(end >= at(30 * 86_400).timestamp());
        assert_eq!(TokenEnd::of_family(&family(at(30 * 86_400))), TokenEnd(end));
    }

    #[test]
    fn expired_and_revoked_tokens_make_room() {
        let generation = Generation::default();
        let counted = |stored: Option<&LiveTokens>, token: &Token, now| {
            let change =
                LiveTokensUpdate::count(stored, generation, [(TokenEnd::of_token(token), 1)], 2, at(now))?;
            Ok::<_, Error>(applied(stored, &change).expect("no other change"))
        };
        let [short, long] = [token(0, 10), token(0, 3600)];
        let one = counted(None, &short, 0).unwrap();
        let two = counted(Some(&one), &long, 0).unwrap();
        assert_eq!((two.live, two.ttl), (2, TokenEnd::of_token(&long).0));
        assert!(matches!(counted(Some(&two), &token(9, 10), 9), Err(Error::TooManyTokens(2))));
        let again = counted(Some(&two), &token(10, 10), 10).unwrap();
        assert_eq!((again.live, again.ends.len()), (2, 2));

        let freed =
            applied(Some(&again), &LiveTokensUpdate::release(generation, TokenEnd::of_token(&long), 1))
                .unwrap();
        assert_eq!(freed.live, 1);
        assert!(
            applied(Some(&freed), &LiveTokensUpdate::release(generation, TokenEnd::of_token(&long), 1))
                .is_none(),
            "once"
        );
        assert!(counted(Some(&freed), &long, 10).is_ok());
    }

    #[test]
    fn a_new_generation_replaces_an_earlier_one() {
        let second: Generation = serde_json::from_str(r#"{"token_generation":1}"#).unwrap();
        let counts = [(TokenEnd::of_token(&token(0, 10)), 1)];
        let change = LiveTokensUpdate::count(None, Generation::default(), counts, 1, at(0)).unwrap();
        let full = applied(None, &change).unwrap();
        let change = LiveTokensUpdate::count(Some(&full), second, counts, 1, at(0)).unwrap();
        let anew = applied(Some(&full), &change).unwrap();
        assert_eq!((anew.live, anew.generation), (1, second));
        assert!(applied(Some(&anew), &change).is_none(), "of two that begin it one does");
        assert!(matches!(
            LiveTokensUpdate::count(Some(&anew), Generation::default(), counts, 9, at(0)),
            Err(Error::Busy)
        ));
    }

    #[test]
    fn room_is_found_despite_many_ends_without_tokens() {
        let mut ends: BTreeMap<_, _> = (0..200).map(|second| (TokenEnd(at(second).timestamp()), 0)).collect();
        ends.insert(TokenEnd(at(199).timestamp()), 2);
        let ttl = at(199).timestamp();
        let full = LiveTokens { generation: Generation::default(), live: 2, ends, ttl };
        let counts = [(TokenEnd::of_token(&token(300, 10)), 2)];
        let change = LiveTokensUpdate::count(Some(&full), Generation::default(), counts, 2, at(300)).unwrap();
        assert_eq!(change.expired.len(), MAX_EXPIRED_ENDS);
        assert_eq!(applied(Some(&full), &change).unwrap().live, 2);
    }

    #[test]
    fn a_lost_count_starts_again() {
        let family_end = TokenEnd(at(86_400).timestamp());
        let counts = [(TokenEnd::of_token(&token(0, 10)), 1), (family_end, -2)];
        let change = LiveTokensUpdate::count(None, Generation::default(), counts, 1, at(0)).unwrap();
        assert_eq!(applied(None, &change).unwrap().live, 1);
    }

    /// A step of one of several concurrent issuers.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        /// Reads the item, the key's generation and the family.
        Read(usize),
        /// Writes a token with this life, if the item has not changed since it was read.
        Write(usize, i64),
        /// Writes an access token and a refresh token: that of a new family, the first one of the family's next step, or a
        /// sibling. The condition is that neither the item nor the family has changed since they were read.
        Renew(usize, i64, Renewed),
        /// Revokes the oldest working token.
        Revoke,
        /// Revokes the family.
        RevokeFamily(usize),
        /// Advances the time.
        Wait(i64),
        /// Revokes all tokens.
        Next,
    }

    #[derive(Clone, Copy, Debug)]
    enum Renewed {
        Begun,
        Step,
        Sibling,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let issuer = || 0_usize..3;
        let renewed = prop_oneof![Just(Renewed::Begun), Just(Renewed::Step), Just(Renewed::Sibling)];
        let step = prop_oneof![
            6 => issuer().prop_map(Step::Read),
            4 => (issuer(), 1_i64..100).prop_map(|(issuer, life)| Step::Write(issuer, life)),
            4 => (issuer(), 1_i64..100, renewed).prop_map(|(issuer, life, renewed)| Step::Renew(issuer, life, renewed)),
            1 => Just(Step::Revoke),
            1 => issuer().prop_map(Step::RevokeFamily),
            2 => (0_i64..60).prop_map(Step::Wait),
            1 => Just(Step::Next),
        ];
        vec(step, 0..200)
    }

    /// A family: its end, the number of refresh tokens of its step, its generation, and the number of its changes.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct ModelFamily {
        begins_at: i64,
        ends_at: i64,
        present: i64,
        generation: u64,
        changes: u64,
    }

    impl ModelFamily {
        fn end(&self) -> TokenEnd {
            TokenEnd::of(at(self.begins_at), at(self.ends_at))
        }
    }

    #[derive(Clone, Default)]
    struct Model {
        stored: Option<LiveTokens>,
        generation: u64,
        family: Option<ModelFamily>,
        /// The access tokens with their generation.
        tokens: Vec<(Token, u64)>,
        now: i64,
    }

    fn generation(number: u64) -> Generation {
        serde_json::from_value(serde_json::json!({"token_generation": number})).unwrap()
    }

    impl Model {
        /// The number of working tokens.
        fn live(&self) -> i64 {
            let works =
                |(token, of): &&(Token, u64)| token.expires_at > at(self.now) && *of == self.generation;
            let access = i64::try_from(self.tokens.iter().filter(works).count()).unwrap();
            let works =
                |family: &&ModelFamily| family.ends_at > self.now && family.generation == self.generation;
            access + self.family.as_ref().filter(works).map_or(0, |family| family.present)
        }

        /// Counts tokens based on the state `read`, and returns whether the condition held.
        fn count(&mut self, read: &Self, counts: &[(TokenEnd, i64)], bound: u32) -> bool {
            let counts = counts.iter().copied();
            let change = LiveTokensUpdate::count(
                read.stored.as_ref(),
                generation(read.generation),
                counts,
                bound,
                at(self.now),
            );
            let after = change.ok().and_then(|change| applied(self.stored.as_ref(), &change));
            after.map(|after| self.stored = Some(after)).is_some()
        }

        fn take(&mut self, step: Step, read: &mut [Self; 3], bound: u32) {
            match step {
                Step::Read(issuer) => read[issuer] = self.clone(),
                Step::Write(issuer, life) => {
                    let token = token(self.now, life);
                    if self.count(&read[issuer], &[(TokenEnd::of_token(&token), 1)], bound) {
                        self.tokens.push((token, read[issuer].generation));
                    }
                }
                Step::Renew(issuer, life, renewed) => {
                    let read = &read[issuer];
                    let access = token(self.now, life);
                    let family = read.family.filter(|family| {
                        read.family == self.family
                            && family.ends_at > self.now
                            && family.generation == read.generation
                    });
                    let (after, more) = match (renewed, family) {
                        // The model has one family at a time.
                        (Renewed::Begun, None)
                            if self.family.is_none_or(|family| family.ends_at <= self.now) =>
                        {
                            let (begins_at, ends_at) = (self.now, self.now + 3 * life);
                            let of = read.generation;
                            (ModelFamily { begins_at, ends_at, present: 1, generation: of, changes: 0 }, 1)
                        }
                        (Renewed::Step, Some(family)) => {
                            (ModelFamily { present: 1, ..family }, 1 - family.present)
                        }
                        (Renewed::Sibling, Some(family)) => {
                            (ModelFamily { present: family.present + 1, ..family }, 1)
                        }
                        _ => return,
                    };
                    if self.count(read, &[(TokenEnd::of_token(&access), 1), (after.end(), more)], bound) {
                        self.tokens.push((access, read.generation));
                        self.family = Some(ModelFamily { changes: after.changes + 1, ..after });
                    }
                }
                Step::Revoke => {
                    let works = |(token, of): &(Token, u64)| {
                        token.expires_at > at(self.now) && *of == self.generation
                    };
                    if let Some(index) = self.tokens.iter().position(works) {
                        let (token, of) = self.tokens.remove(index);
                        let change = LiveTokensUpdate::release(generation(of), TokenEnd::of_token(&token), 1);
                        self.stored = applied(self.stored.as_ref(), &change).or(self.stored.take());
                    }
                }
                Step::RevokeFamily(issuer) => {
                    if let (Some(seen), true) = (read[issuer].family, read[issuer].family == self.family) {
                        let count = u32::try_from(seen.present).unwrap();
                        let change =
                            LiveTokensUpdate::release(generation(seen.generation), seen.end(), count);
                        self.stored = applied(self.stored.as_ref(), &change).or(self.stored.take());
                    }
                    self.family = None;
                }
                Step::Wait(seconds) => self.now += seconds,
                Step::Next => self.generation += 1,
            }
        }
    }

    proptest! {
        /// Three issuers read and write in any order, with any steps in between.
        #[test]
        fn working_tokens_never_exceed_the_bound_and_room_returns(steps in steps(), bound in 1_u32..9) {
            let mut model = Model::default();
            let mut read: [Model; 3] = Default::default();
            for step in steps {
                model.take(step, &mut read, bound);
                let live = model.live();
                prop_assert!(live <= i64::from(bound), "{live} of {bound} after {step:?}");
                if let Some(stored) = &model.stored {
                    prop_assert_eq!(stored.live, stored.ends.values().sum::<u32>());
                    prop_assert!(stored.live <= bound);
                    prop_assert!(stored.ends.iter().all(|(end, count)| end.0 <= stored.ttl || *count == 0));
                    let is_current = stored.generation == generation(model.generation);
                    prop_assert!(!is_current || i64::from(stored.live) >= live, "{step:?}");
                }
            }
            // After all of them have expired there is room for `bound` tokens.
            model.now += 1000;
            for _ in 0..bound {
                let now = model.clone();
                prop_assert!(model.count(&now, &[(TokenEnd::of_token(&token(now.now, 50)), 1)], bound));
            }
        }
    }
}
