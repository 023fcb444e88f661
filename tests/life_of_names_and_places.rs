//! Random lives of keys: after every step the holders of names and the room in each user's quota are as a model predicts,
//! which has no entries and no counts. Only a key that has not expired holds a name, and only it takes a place in the quota.

use std::collections::BTreeMap;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use keygate::keys::delete;
use keygate::keys::expiry::MaxLifetime;
use keygate::keys::precondition::IfMatch;
use keygate::keys::purge::{RemovedKey, purge};
use keygate::keys::recount::recount;
use keygate::keys::settings::KeySettings;
use keygate::keys::update::{KeyPatch, KeyUpdater};
use keygate::store::{Store, WriteOutcome};
use keygate::users::process_removal::UserRemovalProcessor;
use keygate::users::remove::Removal;
use keygate_core::audit_event::{Action, AuditEvent};
use keygate_core::caller::{Actor, Caller, CallerKey};
use keygate_core::context::RequestContext;
use keygate_core::context::RequestOrigin;
use keygate_core::credential::KeyId;
use keygate_core::credential_class::CredentialKind;
use keygate_core::environment::Environment;
use keygate_core::error::Error;
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::key::HashedKey;
use keygate_core::limit::Limits;
use keygate_core::metadata::Metadata;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Strategy, any};
use proptest::prop_oneof;
use proptest::sample::{Index, select};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::database::{contents_of, string};
use crate::support::property;
use crate::support::stack::dynamodb;
use crate::support::tables::Tables;
use crate::support::workspace::unique;

const CASES: u32 = 8;
const STEPS: usize = 60;
const QUOTA: u32 = 3;
/// How long an expired key is kept, in seconds.
const RETENTION: i64 = 100;
/// The seconds after its expiry for which a key still holds its name and its place.
const SKEW: i64 = 2;
const NAMES: [&str; 4] = ["a", "b", "c", "d"];
const USERS: [&str; 2] = ["alice", "bob"];

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Time passes, in seconds.
    Wait(i64),
    Create {
        name: &'static str,
        user: &'static str,
        life: Option<i64>,
    },
    /// Gives a key an expiry in so many seconds, or none.
    Extend {
        key: Index,
        life: Option<i64>,
    },
    Rename {
        key: Index,
        name: &'static str,
    },
    /// Changes name and expiry in one request.
    Revive {
        key: Index,
        name: &'static str,
        life: i64,
    },
    Delete {
        key: Index,
    },
    /// Removes one user, hands the keys over to the other, and reinstates the first.
    HandOver {
        from: &'static str,
    },
    /// The database removes the keys that are past their retention.
    Purge,
    Recount,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let life = || option::weighted(0.8, 1..20_i64);
    let key = any::<Index>;
    let step = prop_oneof![
        3 => select(vec![1, 2, 3, 10]).prop_map(Step::Wait),
        1 => select(vec![RETENTION, RETENTION + 30]).prop_map(Step::Wait),
        6 => (select(&NAMES[..]), select(&USERS[..]), life())
            .prop_map(|(name, user, life)| Step::Create { name, user, life }),
        4 => (key(), life()).prop_map(|(key, life)| Step::Extend { key, life }),
        2 => (key(), select(&NAMES[..])).prop_map(|(key, name)| Step::Rename { key, name }),
        2 => (key(), select(&NAMES[..]), 1..20_i64)
            .prop_map(|(key, name, life)| Step::Revive { key, name, life }),
        1 => key().prop_map(|key| Step::Delete { key }),
        1 => select(&USERS[..]).prop_map(|from| Step::HandOver { from }),
        1 => select(vec![Step::Purge, Step::Recount]),
    ];
    vec(step, 1..STEPS)
}

/// The expiry in a patch.
#[derive(Clone, Copy, Debug)]
enum Expiry {
    Unchanged,
    Never,
    /// In so many seconds.
    In(i64),
}

/// A key as the model knows it.
#[derive(Clone, Debug)]
struct Known {
    name: &'static str,
    user: &'static str,
    expires_at: Option<i64>,
}

impl Known {
    fn has_lapsed(&self, now: i64) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at + SKEW <= now)
    }

    fn is_gone(&self, now: i64) -> bool {
        self.expires_at.is_some_and(|expires_at| expires_at + RETENTION <= now)
    }
}

/// The outcome of a change.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    NotFound,
    NameTaken(KeyId),
    QuotaReached,
}

impl Outcome {
    fn of<T>(made: Result<T, Error>) -> Self {
        match made {
            Ok(_) => Self::Done,
            Err(Error::NotFound) => Self::NotFound,
            Err(Error::NameTaken(Some(owner))) => Self::NameTaken(owner),
            Err(Error::QuotaReached { counted, quota: QUOTA }) if counted == QUOTA => Self::QuotaReached,
            Err(error) => panic!("{error:?}"),
        }
    }
}

#[derive(Debug, Default)]
struct Model(BTreeMap<String, Known>);

impl Model {
    fn nth(&self, index: Index) -> Option<(String, Known)> {
        let count = self.0.len();
        (count > 0)
            .then(|| self.0.iter().nth(index.index(count)))
            .flatten()
            .map(|(id, key)| (id.clone(), key.clone()))
    }

    /// Which key has a name.
    fn owner(&self, name: &str, now: i64) -> Option<KeyId> {
        let mut holders = self.0.iter().filter(|(_, key)| key.name == name && !key.has_lapsed(now));
        let owner = holders.next().map(|(id, _)| id.parse().expect("an id"));
        assert!(holders.next().is_none(), "two keys have the name {name}: {self:#?}");
        owner
    }

    fn has_room(&self, user: &str, now: i64) -> bool {
        let keys = self.0.values().filter(|key| key.user == user && !key.has_lapsed(now)).count();
        assert!(keys <= QUOTA as usize, "{user} has more keys than the quota: {self:#?}");
        keys < QUOTA as usize
    }

    /// The outcome of a change of a key to that name and expiry.
    fn change(&mut self, id: &str, name: &'static str, expires_at: Option<i64>, now: i64) -> Outcome {
        let key = &self.0[id];
        if key.is_gone(now) {
            return Outcome::NotFound;
        }
        let is_extended = key.expires_at != expires_at;
        let id_of = |owner: KeyId| owner.to_string();
        if let Some(owner) = self.owner(name, now).filter(|owner| id_of(*owner) != id)
            && (name != key.name || is_extended)
        {
            return Outcome::NameTaken(owner);
        }
        if is_extended && key.has_lapsed(now) && !self.has_room(key.user, now) {
            return Outcome::QuotaReached;
        }
        let user = key.user;
        self.0.insert(id.to_owned(), Known { name, user, expires_at });
        Outcome::Done
    }

    fn hand_over(&mut self, from: &'static str, to: &'static str, now: i64) {
        let mut keys: Vec<_> =
            self.0.iter().filter(|(_, key)| key.user == from && !key.is_gone(now)).collect();
        keys.sort_by_key(|(_, key)| key.expires_at.is_some_and(|expires_at| expires_at <= now));
        let ids: Vec<String> = keys.into_iter().map(|(id, _)| id.clone()).collect();
        for id in ids {
            if self.0[&id].has_lapsed(now) || self.has_room(to, now) {
                self.0.get_mut(&id).expect("the key").user = to;
            } else {
                self.0.remove(&id);
            }
        }
    }
}

/// A workspace, and the model of its keys.
struct Life<'a> {
    tables: &'a Tables,
    caller: Caller,
    updater: KeyUpdater,
    processor: UserRemovalProcessor,
    model: Model,
    now: DateTime<Utc>,
}

fn store(tables: &Tables) -> Store {
    let [keys, workspaces, activity, usage, _] = &tables.names;
    let variables = [
        ("KEYS_TABLE", keys),
        ("WORKSPACES_TABLE", workspaces),
        ("ACTIVITY_TABLE", activity),
        ("USAGE_TABLE", usage),
    ];
    let environment: Environment =
        variables.into_iter().map(|(name, value)| (name.to_owned(), value.clone())).collect();
    Store::new(dynamodb(), &environment).expect("a store")
}

impl<'a> Life<'a> {
    fn new(tables: &'a Tables) -> Self {
        let caller = Caller {
            workspace_id: unique("life").parse().expect("a workspace"),
            user_id: "admin".parse().expect("a user"),
            key: Some(CallerKey {
                id: "01JD3V6Y4N8Q2Z5X7W9B0C1D2E".parse().expect("an id"),
                name: "admin".to_owned(),
                state: None,
            }),
            session: None,
            scopes: vec!["workspace:admin".parse().expect("a scope")],
            endpoints: Vec::new(),
            networks: Vec::new(),
            metadata: Metadata::default(),
            limits: Limits::default(),
            credential: CredentialKind::ApiKey,
            old_secret: None,
            expires_at: None,
        };
        let updater = KeyUpdater {
            brand: "kg".parse().expect("a brand"),
            store: store(tables),
            settings: KeySettings {
                per_user: QUOTA,
                retention: TimeDelta::seconds(RETENTION),
                max_lifetime: MaxLifetime(None),
                enforces_limits: false,
            },
        };
        let processor = UserRemovalProcessor { store: store(tables), legacy: None, quota: QUOTA };
        let (model, now) = (Model::default(), Utc::now().trunc_subsecs(0));
        Self { tables, caller, updater, processor, model, now }
    }

    fn seconds(&self) -> i64 {
        self.now.timestamp()
    }

    fn context(&self) -> RequestContext {
        RequestContext { caller: self.caller.clone(), origin: RequestOrigin::default(), now: self.now }
    }

    fn store(&self) -> &Store {
        &self.updater.store
    }

    async fn take(&mut self, step: Step) {
        // As fine as two removals of one user are told apart.
        self.now += TimeDelta::milliseconds(1);
        match step {
            Step::Wait(seconds) => self.now += TimeDelta::seconds(seconds),
            Step::Create { name, user, life } => self.create(name, user, life).await,
            Step::Extend { key, life } => {
                let Some((id, known)) = self.model.nth(key) else { return };
                let expiry = life.map_or(Expiry::Never, Expiry::In);
                self.update(&id, known.name, expiry).await;
            }
            Step::Rename { key, name } => {
                let Some((id, _)) = self.model.nth(key) else { return };
                self.update(&id, name, Expiry::Unchanged).await;
            }
            Step::Revive { key, name, life } => {
                let Some((id, _)) = self.model.nth(key) else { return };
                self.update(&id, name, Expiry::In(life)).await;
            }
            Step::Delete { key } => {
                let Some((id, known)) = self.model.nth(key) else { return };
                let is_gone = known.is_gone(self.seconds());
                let key_id = id.parse().expect("an id");
                let deleted = delete::delete(self.store(), &self.context(), key_id, &IfMatch::Absent).await;
                let expected = if is_gone { Outcome::NotFound } else { Outcome::Done };
                assert_eq!(Outcome::of(deleted), expected, "{known:?}");
                if !is_gone {
                    self.model.0.remove(&id);
                }
            }
            Step::HandOver { from } => self.hand_over(from).await,
            Step::Purge => self.purge().await,
            Step::Recount => {
                let stop_at = tokio::time::Instant::now() + std::time::Duration::from_mins(1);
                let recounted = recount(self.store(), self.now, stop_at).await.expect("a run");
                assert_eq!(recounted.corrected, 0, "every count is right");
            }
        }
    }

    async fn create(&mut self, name: &'static str, user: &'static str, life: Option<i64>) {
        let now = self.seconds();
        let expires_at = life.map(|life| now + life);
        let expected = match self.model.owner(name, now) {
            Some(owner) => Outcome::NameTaken(owner),
            None if !self.model.has_room(user, now) => Outcome::QuotaReached,
            None => Outcome::Done,
        };
        let id = KeyId::generate(self.now);
        let mut key = json!({
            "key_id": id.to_string(), "workspace_id": self.caller.workspace_id, "user_id": user, "name": name,
            "scopes": [], "created_at": now, "created_by": "admin", "revision": 1,
            "hash": vec![7; 32], "pepper_version": 1,
        });
        if let Some(expires_at) = expires_at {
            key["expires_at"] = json!(expires_at);
            key["ttl"] = json!(expires_at + RETENTION);
        }
        let new: HashedKey = serde_json::from_value(key).expect("a key");
        let context = self.context();
        let event = AuditEvent::for_key(Action::KeyCreated, context.event(), id, &new.record.user_id);
        let made = self.store().create_key(Actor::Keygate, &new, QUOTA, None, &event, self.now).await;
        assert_eq!(Outcome::of(made), expected, "{name} of {user} at {now}: {:#?}", self.model);
        if expected == Outcome::Done {
            self.model.0.insert(id.to_string(), Known { name, user, expires_at });
        }
    }

    async fn update(&mut self, id: &str, name: &'static str, expiry: Expiry) {
        let now = self.seconds();
        let mut patch = json!({"name": name});
        let expires_at = match expiry {
            Expiry::Unchanged => self.model.0[id].expires_at,
            Expiry::Never => None,
            Expiry::In(life) => Some(now + life),
        };
        if !matches!(expiry, Expiry::Unchanged) {
            let time = expires_at.and_then(|expires_at| DateTime::from_timestamp(expires_at, 0));
            patch["expires_at"] = time.map_or(Value::Null, |time| json!(time.to_rfc3339()));
        }
        let patch = KeyPatch::parse(patch.to_string().as_bytes(), MaxLifetime(None), self.now);
        let (patch, id_of_key) = (patch.expect("a patch"), id.parse().expect("an id"));
        let before = format!("{:#?}", self.model);
        let expected = self.model.change(id, name, expires_at, now);
        let made = self.updater.update(&self.context(), id_of_key, patch, &IfMatch::Absent).await;
        assert_eq!(Outcome::of(made), expected, "{id} {name} {expires_at:?} at {now}: {before}");
    }

    async fn hand_over(&mut self, from: &'static str) {
        let to = if from == USERS[0] { USERS[1] } else { USERS[0] };
        let workspace: &WorkspaceId = &self.caller.workspace_id;
        let event = json!({"workspace_id": workspace, "user_id": from, "transfer_to": to}).to_string();
        let removal = Removal::parse(event.as_bytes(), self.now).expect("a removal");
        let summary = self.processor.process(&removal, self.now).await.expect("it is done");
        assert!(!summary.superseded);
        let user: UserId = from.parse().expect("a user");
        self.now += TimeDelta::milliseconds(1);
        let context = self.context();
        let event = AuditEvent::for_user(Action::UserReinstated, context.event(), &user);
        let reinstated =
            self.store().reinstate_user(Actor::Keygate, (workspace, &user), &event, self.now).await;
        assert_eq!(reinstated.expect("it is done"), WriteOutcome::Applied);
        self.model.hand_over(from, to, self.seconds());
    }

    async fn purge(&mut self) {
        let now = self.seconds();
        let gone: Vec<_> = self.model.0.iter().filter(|(_, key)| key.is_gone(now)).collect();
        let gone: Vec<_> = gone.into_iter().map(|(id, key)| (id.clone(), key.clone())).collect();
        for (id, key) in gone {
            self.tables.remove_key(&id).await;
            let removed = json!({"key_id": id, "workspace_id": self.caller.workspace_id, "user_id": key.user,
                "name_folded": key.name, "expires_at": key.expires_at});
            let removed: RemovedKey = serde_json::from_value(removed).expect("a key");
            for is_first in [true, false] {
                assert_eq!(purge(self.store(), &removed, self.now).await.expect("it is done"), is_first);
            }
            self.model.0.remove(&id);
        }
    }

    /// Checks that the tables fit together, and hold the keys that the model has.
    async fn check(&self) {
        let contents = contents_of(self.caller.workspace_id.as_str(), &self.tables.names).await;
        contents.assert_consistent_at(self.seconds());
        let stored = contents.keys.iter().map(|key| {
            let text = |name: &str| string(&key[name]);
            (text("key_id"), (text("name"), text("user_id"), key["expires_at"].as_i64()))
        });
        let known = self.model.0.iter();
        let known =
            known.map(|(id, key)| (id.clone(), (key.name.to_owned(), key.user.to_owned(), key.expires_at)));
        assert_eq!(stored.collect::<BTreeMap<_, _>>(), known.collect());
        for user in USERS {
            self.model.has_room(user, self.seconds());
            let entry = contents.entries.get(&format!("USER#{user}"));
            let counted = entry.map_or(0, |entry| entry["key_count"].as_u64().expect("a count"));
            assert!(counted <= QUOTA.into(), "{contents:#?}");
        }
    }
}

#[test]
fn whatever_happens_only_keys_that_have_not_expired_have_names_and_take_places() {
    let runtime: Runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let tables = runtime.block_on(Tables::new());
    property::check(&steps(), CASES, 200, |steps| {
        runtime.block_on(async {
            let mut life = Life::new(&tables);
            for step in steps {
                life.take(step).await;
                life.check().await;
            }
            Ok(())
        })
    });
}
