//! Random lives of keys: after every step exactly those secrets and tokens work that a small model predicts, and exactly
//! until the time that it predicts.

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::emulator;
use crate::support::function::token_event;
use crate::support::oauth::basic;
use crate::support::property;
use crate::support::stack::variable;
use crate::support::workspace::{Workspace, id_of, text, unique};

/// The number of lives, and the number of steps of each.
const LIVES: usize = 24;
const STEPS: usize = 12;
/// The number of lives at the same time.
const AT_ONCE: usize = 4;
/// No step is checked closer than this to the end of a secret, a token or the key.
const MARGIN: TimeDelta = TimeDelta::milliseconds(700);

/// A step in the life of a key.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// It is rotated with an overlap of so many seconds.
    Rotate(i64),
    /// It is rotated without an overlap, and its tokens go on as far as they can.
    RotateAndKeepTokens,
    /// Its user is removed, and it goes to the next one with an overlap of so many seconds.
    HandOver(i64),
    /// The user before, who was removed, is reinstated.
    Reinstate,
    /// It is switched off or on.
    Disable(bool),
    /// It gets an expiry in so many seconds, or none.
    Expire(Option<i64>),
    /// A token is made with the current secret, for so many seconds, with or without a refresh token.
    Issue(i64, bool),
    /// A token is made with the previous secret.
    IssueOld,
    /// Time passes, so that short overlaps and expiries end.
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => prop_oneof![Just(0), Just(2), Just(600), Just(86_400)].prop_map(Step::Rotate),
        1 => Just(Step::RotateAndKeepTokens),
        3 => prop_oneof![Just(0), Just(2), Just(600)].prop_map(Step::HandOver),
        1 => Just(Step::Reinstate),
        2 => any::<bool>().prop_map(Step::Disable),
        2 => prop_oneof![Just(None), Just(Some(2)), Just(Some(900))].prop_map(Step::Expire),
        4 => (prop_oneof![Just(2), Just(300), Just(900)], any::<bool>()).prop_map(|(life, offline)| Step::Issue(life, offline)),
        2 => Just(Step::IssueOld),
        2 => Just(Step::Wait),
    ]
}

/// A secret of the key, as its owner has it.
#[derive(Clone, Debug)]
struct Secret {
    text: String,
    /// It is of a user from whom the key was taken over.
    is_of_former_user: bool,
}

#[derive(Debug)]
struct Token {
    text: String,
    is_refresh: bool,
    ends: DateTime<Utc>,
    /// It was made with the previous secret.
    of_previous: bool,
}

/// Whether a credential works, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Worth {
    Nothing,
    /// It works until then, or without end.
    Until(Option<DateTime<Utc>>),
}

/// The expected state of a key: the secrets and tokens that work.
#[derive(Debug)]
struct Model {
    /// None, if the key was handed over and not rotated since.
    current: Option<String>,
    previous: Option<(Secret, DateTime<Utc>)>,
    expires: Option<DateTime<Utc>>,
    disabled: bool,
    tokens: Vec<Token>,
    /// All credentials that were ever issued. None of them may work unless a field above has it.
    all: Vec<String>,
}

impl Model {
    fn works(&self, now: DateTime<Utc>) -> bool {
        !self.disabled && self.expires.is_none_or(|end| now < end)
    }

    /// The secret in use: the one that a rotation with an overlap keeps.
    fn in_use(&self, now: DateTime<Utc>) -> Option<(Secret, Option<DateTime<Utc>>)> {
        if let Some(text) = &self.current {
            return Some((Secret { text: text.clone(), is_of_former_user: false }, None));
        }
        let (secret, end) = self.previous.as_ref().filter(|(_, end)| now < *end)?;
        Some((secret.clone(), Some(*end)))
    }

    /// Whether a credential works, and until when.
    fn end_of(&self, credential: &str, now: DateTime<Utc>) -> Worth {
        if !self.works(now) {
            return Worth::Nothing;
        }
        let previous = self.previous.as_ref().filter(|(secret, _)| secret.text == credential);
        let token = self.tokens.iter().find(|token| token.text == credential);
        let end = match (previous, token) {
            _ if self.current.as_deref() == Some(credential) => None,
            (Some((_, end)), _) => Some(*end),
            (None, Some(token)) => Some(token.ends),
            (None, None) => return Worth::Nothing,
        };
        if end.is_some_and(|end| end <= now) {
            return Worth::Nothing;
        }
        Worth::Until(self.expires.into_iter().chain(end).min())
    }

    /// The next time at which a secret, a token or the key ends by itself.
    fn next_end(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let tokens = self.tokens.iter().map(|token| token.ends);
        let ends = self.previous.iter().map(|(_, end)| *end).chain(self.expires).chain(tokens);
        ends.filter(|end| now < *end + MARGIN).min()
    }
}

struct Life {
    workspace: Workspace,
    id: String,
    user: String,
    former: Option<String>,
    model: Model,
}

impl Life {
    async fn begin() -> Self {
        let workspace = Workspace::new().await;
        let user = unique("user");
        let key = workspace.key_of(&user, &["orders:read"]).await;
        let model = Model {
            current: Some(key.clone()),
            previous: None,
            expires: None,
            disabled: false,
            tokens: Vec::new(),
            all: vec![key.clone()],
        };
        let id = id_of(&key).to_owned();
        Self { workspace, id, user, former: None, model }
    }

    /// Waits until no end is closer than the margin.
    async fn settle(&self) {
        let now = Utc::now();
        if let Some(end) = self.model.next_end(now).filter(|end| (*end - now).abs() < MARGIN) {
            tokio::time::sleep((end + MARGIN - now).to_std().unwrap_or_default()).await;
        }
    }

    async fn take(&mut self, step: Step) {
        self.settle().await;
        match step {
            Step::Rotate(overlap) => {
                self.rotate(&json!({"overlap_seconds": overlap}), overlap, overlap == 0).await;
            }
            Step::RotateAndKeepTokens => self.rotate(&json!({"revoke_tokens": false}), 0, false).await,
            Step::HandOver(overlap) => self.hand_over(overlap).await,
            Step::Reinstate => {
                let Some(former) = &self.former else { return };
                let answer = self
                    .workspace
                    .call(Method::PUT, &format!("/users/{former}"), &self.workspace.admin)
                    .await;
                assert_eq!(answer.status, 204, "{answer:?}");
            }
            Step::Disable(disabled) => {
                self.update(&json!({"disabled": disabled})).await;
                if disabled && !self.model.disabled {
                    self.model.tokens.clear();
                }
                self.model.disabled = disabled;
            }
            Step::Expire(seconds) => {
                let expires = seconds.map(|seconds| whole(Utc::now()) + TimeDelta::seconds(seconds + 1));
                let shown = self.update(&json!({"expires_at": expires.map(|at| at.to_rfc3339())})).await;
                assert_eq!(time(&shown["expires_at"]), expires);
                self.model.expires = expires;
            }
            Step::Issue(seconds, offline) => {
                let Some(current) = self.model.current.clone() else { return };
                self.issue(&current, seconds, offline, false).await;
            }
            Step::IssueOld => {
                let now = Utc::now();
                let Some((previous, end)) = self.model.previous.clone().filter(|(_, end)| now < *end) else {
                    return;
                };
                if previous.is_of_former_user {
                    let form = [("grant_type", "client_credentials")];
                    let refused = self.workspace.oauth("token", Some(&basic(&previous.text)), &form).await;
                    assert!(matches!(refused.status, 400 | 401), "until {end}: {refused:?}");
                } else {
                    self.issue(&previous.text, 900, false, true).await;
                }
            }
            Step::Wait => {
                let now = Utc::now();
                if let Some(end) = self.model.next_end(now).filter(|end| *end < now + TimeDelta::seconds(4)) {
                    let pause = (end + MARGIN - now).to_std().unwrap_or_default();
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn rotate(&mut self, body: &Value, overlap: i64, revokes: bool) {
        let now = Utc::now();
        let in_use = self.model.in_use(now);
        let rotated = self.workspace.rotate(&self.workspace.admin, &self.id, body).await;
        assert_eq!(rotated.status, 200, "{rotated:?}");
        let rotated = rotated.json();
        let end = time(&rotated["previous_expires_at"]);
        assert_eq!(end.is_some(), in_use.is_some() && overlap > 0, "{rotated}");
        if let Some(end) = end {
            assert!((end - now - TimeDelta::seconds(overlap)).num_seconds().abs() <= 1, "{rotated}");
        }
        let model = &mut self.model;
        // The secret before ends now, if it is not the one in use, and its tokens with it.
        model.tokens.retain(|token| !token.of_previous && !revokes);
        model.previous = in_use.zip(end).map(|((secret, _), end)| (secret, end));
        let text = text(&rotated, "key").to_owned();
        model.all.push(text.clone());
        model.current = Some(text);
    }

    async fn hand_over(&mut self, overlap: i64) {
        let heir = unique("user");
        let in_use = self.model.in_use(Utc::now());
        let query = format!("?transfer_to={heir}&overlap_seconds={overlap}");
        let before = Utc::now();
        self.workspace.remove(&self.user, &query).await;
        let removed_by = Utc::now();
        let shown = self.workspace.get(&self.workspace.admin, &self.id).await.json();
        assert_eq!(shown["user_id"], json!(heir), "{shown}");
        let end = time(&shown["previous_expires_at"]);
        let model = &mut self.model;
        model.tokens.clear();
        model.current = None;
        model.previous = None;
        if let Some((secret, promised)) = in_use {
            let latest = removed_by + TimeDelta::seconds(overlap);
            let latest = promised.map_or(latest, |promised| promised.min(latest));
            if let Some(end) = end {
                assert!(end <= latest + TimeDelta::seconds(1), "{shown}");
                model.previous = Some((Secret { is_of_former_user: true, ..secret }, end));
            } else {
                let earliest = before + TimeDelta::seconds(overlap);
                let earliest = promised.map_or(earliest, |promised| promised.min(earliest));
                assert!(earliest <= Utc::now() + TimeDelta::seconds(1), "it should go on: {shown}");
            }
        } else {
            assert_eq!(end, None, "no secret was in use: {shown}");
        }
        self.former = Some(std::mem::replace(&mut self.user, heir));
    }

    async fn update(&self, patch: &Value) -> Value {
        let answer = self.workspace.update(&self.workspace.admin, &self.id, patch).await;
        assert_eq!(answer.status, 200, "{patch}: {answer:?}");
        answer.json()
    }

    async fn issue(&mut self, secret: &str, seconds: i64, offline: bool, of_previous: bool) {
        let now = Utc::now();
        let works = self.model.end_of(secret, now);
        let seconds = seconds.to_string();
        let scope = if offline { "orders:read offline_access" } else { "orders:read" };
        let form = [("grant_type", "client_credentials"), ("expires_in", &seconds), ("scope", scope)];
        let answer = self.workspace.oauth("token", Some(&basic(secret)), &form).await;
        let Worth::Until(end) = works else {
            answer.assert_oauth_error(401, "invalid_client");
            return;
        };
        assert_eq!(answer.status, 200, "{answer:?}");
        let issued = answer.json();
        for member in ["access_token", "refresh_token"] {
            let Some(token) = issued[member].as_str() else { continue };
            let is_refresh = member == "refresh_token";
            let ends = self.stored_end(token).await;
            assert!(end.is_none_or(|end| ends <= end), "{member} ends {ends}, and its key or secret {end:?}");
            self.model.all.push(token.to_owned());
            self.model.tokens.push(Token { text: token.to_owned(), is_refresh, ends, of_previous });
        }
    }

    async fn stored_end(&self, token: &str) -> DateTime<Utc> {
        let token_id = token.split('_').nth(3).expect("a token");
        let stored = crate::support::database::token(&self.id, token_id).await;
        DateTime::from_timestamp(stored["expires_at"].as_i64().expect("a time"), 0).expect("a time")
    }

    /// Compares all credentials that were ever issued with the model.
    async fn check(&self, steps: &[Step]) {
        self.settle().await;
        for credential in &self.model.all {
            let is_refresh =
                self.model.tokens.iter().any(|token| token.text == *credential && token.is_refresh);
            // A busy machine can let a credential end between the call and the comparison.
            let before = self.model.end_of(credential, Utc::now());
            let found = if is_refresh || credential.contains("_ref_") {
                self.introspected(credential).await
            } else {
                self.authorized(credential).await
            };
            let after = self.model.end_of(credential, Utc::now());
            assert!(
                found == before || found == after,
                "{credential} is {found:?}, not {after:?}, after {steps:?}: {:#?}",
                self.model
            );
        }
    }

    async fn authorized(&self, credential: &str) -> Worth {
        let event = token_event(&format!("Bearer {credential}"));
        let function = variable("KEYGATE_AUTHORIZER_FUNCTION");
        let policy = emulator::invoke(&self.workspace.api, &function, &event).await;
        if policy["errorMessage"] == "Unauthorized" {
            return Worth::Nothing;
        }
        let condition = &policy["policyDocument"]["Statement"][0]["Condition"];
        Worth::Until(time(&condition["DateLessThan"]["aws:CurrentTime"][0]))
    }

    async fn introspected(&self, credential: &str) -> Worth {
        let answer = self
            .workspace
            .oauth("introspect", Some(&basic(&self.workspace.admin)), &[("token", credential)])
            .await;
        let answer = answer.json();
        if answer["active"] != true {
            return Worth::Nothing;
        }
        Worth::Until(answer["exp"].as_i64().and_then(|seconds| DateTime::from_timestamp(seconds, 0)))
    }
}

fn time(value: &Value) -> Option<DateTime<Utc>> {
    value.as_str().map(|text| DateTime::parse_from_rfc3339(text).expect("RFC 3339").into())
}

fn whole(time: DateTime<Utc>) -> DateTime<Utc> {
    DateTime::from_timestamp(time.timestamp(), 0).expect("a time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_those_secrets_and_tokens_work_that_the_life_of_a_key_leaves() {
    let seed = property::seed();
    let mut runner = TestRunner::new(property::config(seed));
    let lives = prop::collection::vec(prop::collection::vec(step(), STEPS), LIVES);
    let lives = lives.new_tree(&mut runner).expect("steps").current();
    for lives in lives.chunks(AT_ONCE) {
        let living: Vec<_> = lives
            .iter()
            .map(|steps| {
                let steps = steps.clone();
                tokio::spawn(async move {
                    let mut life = Life::begin().await;
                    for taken in 1..=steps.len() {
                        life.take(steps[taken - 1]).await;
                        life.check(&steps[..taken]).await;
                    }
                    life.workspace.contents().await;
                })
            })
            .collect();
        for life in living {
            if let Err(failure) = life.await {
                panic!("again with KEYGATE_SEED={seed}: {failure}");
            }
        }
    }
}
