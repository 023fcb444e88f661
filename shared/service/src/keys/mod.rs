//! Use cases of keys, one per file.

pub mod announce;
pub mod create;
pub mod delete;
pub mod expiry;
pub mod get;
pub mod list;
pub mod policy;
pub mod precondition;
pub mod purge;
pub mod recount;
pub mod rotate;
pub mod settings;
pub mod unused;
pub mod update;

use chrono::{DateTime, Utc};
use keygate_core::caller::Caller;
use keygate_core::context::RequestContext;
use keygate_core::credential::{Brand, Credential, KeyId};
use keygate_core::error::Error;
use keygate_core::identity::UserId;
use keygate_core::key::{LastUse, Status, UsedKey};
use keygate_core::key_action::KeyAction;
use keygate_core::limit::{Limit, Limits, Period};
use keygate_core::metadata::Metadata;
use keygate_core::network::Network;
use keygate_core::permits::Counters;
use keygate_core::rights::Operation;
use keygate_core::scope::{KEYS_READ, KEYS_WRITE};
use keygate_core::time::rfc3339;
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};

use crate::store::keys::{KeysTable, UnhashedKey};
use crate::store::usage::UsageTable;

/// Finds a key in the caller's workspace. A key of another workspace is treated as missing.
pub(crate) async fn find(
    keys: &KeysTable,
    context: &RequestContext,
    id: KeyId,
) -> Result<UnhashedKey, Error> {
    let stored = keys.unhashed(id, context.now).await?;
    stored.filter(|stored| stored.record.workspace_id == context.caller.workspace_id).ok_or(Error::NotFound)
}

/// Finds a key in the caller's workspace, as [`find`] does, with its last use. Both reads are always made, so that the calls
/// do not tell whether another workspace has the key.
pub(crate) async fn find_used(
    keys: &KeysTable,
    usage: &UsageTable,
    context: &RequestContext,
    id: KeyId,
) -> Result<(UnhashedKey, Option<LastUse>), Error> {
    let (stored, last_use) = tokio::join!(find(keys, context, id), usage.last_use(id));
    Ok((stored?, last_use?))
}

/// The keys that a caller may read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum ReadableKeys<'a> {
    /// The keys of every user of the workspace.
    All,
    /// The keys of one user. A caller may read every key that they may change.
    Of(&'a UserId),
}

impl<'a> ReadableKeys<'a> {
    /// The keys that the caller's scopes allow to read: all with `keys:read`, the caller's own with `keys:write`. A session reads
    /// the keys of its user with either.
    ///
    /// # Errors
    ///
    /// - [`Error::InsufficientCredential`]: the caller presented the secret of a former user.
    /// - [`Error::InsufficientScope`]: the caller may not read keys.
    pub(crate) fn of(caller: &'a Caller) -> Result<Self, Error> {
        caller.may(Operation::ReadKeys)?;
        match caller.require(KEYS_READ) {
            Ok(()) if caller.session.is_some() => Ok(Self::Of(&caller.user_id)),
            Ok(()) => Ok(Self::All),
            Err(_) if caller.require(KEYS_WRITE).is_ok() => Ok(Self::Of(&caller.user_id)),
            Err(refused) => Err(refused),
        }
    }

    /// Requires that the caller may read keys of `user`.
    ///
    /// # Errors
    ///
    /// - [`Error::InsufficientScope`]: the caller may not.
    pub(crate) fn require(self, user: &UserId) -> Result<(), Error> {
        match self {
            Self::Of(own) if own != user => Err(Error::InsufficientScope(KEYS_READ.to_owned())),
            Self::All | Self::Of(_) => Ok(()),
        }
    }
}

/// Hides from the result of a change which key has the requested name, unless the caller may read that key.
///
/// # Errors
///
/// The error of the change, or [`Error::Unavailable`] if the owner of that key cannot be read.
pub(crate) async fn refused_to<T>(
    keys: &KeysTable,
    context: &RequestContext,
    made: Result<T, Error>,
) -> Result<T, Error> {
    let Err(Error::NameTaken(Some(owner))) = made else { return made };
    let may_read = match ReadableKeys::of(&context.caller) {
        Ok(ReadableKeys::All) => true,
        Ok(ReadableKeys::Of(user)) => {
            keys.unhashed(owner, context.now).await?.is_some_and(|stored| stored.record.user_id == *user)
        }
        Err(_) => false,
    };
    Err(Error::NameTaken(may_read.then_some(owner)))
}

/// For whom and when a key is shown.
#[derive(Clone, Copy, Debug)]
pub struct Viewer<'a> {
    /// The sender of the request; `None` for a view that does not depend on it.
    pub caller: Option<&'a Caller>,
    /// When the request arrived.
    pub now: DateTime<Utc>,
}

impl<'a> From<&'a RequestContext> for Viewer<'a> {
    fn from(context: &'a RequestContext) -> Self {
        Self { caller: Some(&context.caller), now: context.now }
    }
}

/// A key as the management API shows it: without anything from which its secret could be checked.
#[derive(Debug, Serialize)]
pub struct ShownKey {
    id: String,
    name: String,
    description: Option<String>,
    prefix: String,
    user_id: String,
    created_by: String,
    created_at: String,
    expires_at: Option<String>,
    last_used_at: Option<String>,
    last_used_from: Option<String>,
    status: Status,
    /// When its secret was reported as leaked. The key stays disabled until a rotation without an overlap.
    leaked_at: Option<String>,
    scopes: Vec<String>,
    endpoints: Vec<String>,
    networks: Vec<Network>,
    metadata: Metadata,
    limits: Limits,
    /// What the caller may do with the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    can: Option<Vec<KeyAction>>,
}

impl ShownKey {
    /// The view of a key for its viewer.
    #[must_use]
    pub fn new(used: &UsedKey, brand: &Brand, viewer: Viewer<'_>) -> Self {
        let UsedKey { record: key, last_use } = used;
        Self {
            id: key.key_id.to_string(),
            name: key.name.to_string(),
            description: key.description.clone(),
            prefix: key.key_id.prefix(brand),
            user_id: key.user_id.to_string(),
            created_by: key.created_by.to_string(),
            created_at: rfc3339(key.created_at),
            expires_at: key.expires_at.map(rfc3339),
            last_used_at: last_use.as_ref().map(|last| rfc3339(last.at)),
            last_used_from: last_use.as_ref().and_then(|last| last.from.clone()),
            status: key.status(viewer.now),
            leaked_at: key.leaked_at.map(rfc3339),
            scopes: key.scopes.iter().map(ToString::to_string).collect(),
            endpoints: key.endpoints.iter().map(ToString::to_string).collect(),
            networks: key.networks.clone(),
            metadata: key.metadata.clone(),
            limits: key.limits.clone(),
            can: viewer.caller.map(|caller| KeyAction::of(caller, key)),
        }
    }
}

/// A single key, with attributes that a list does not show.
#[derive(Debug, Serialize)]
pub struct DetailedKey {
    #[serde(flatten)]
    shown: ShownKey,
    /// The end of the overlap, until which the previous secret works.
    previous_expires_at: Option<String>,
    #[serde(skip)]
    revision: u64,
}

impl DetailedKey {
    /// The view of `key` for its viewer.
    #[must_use]
    pub fn new(key: &UsedKey, brand: &Brand, viewer: Viewer<'_>) -> Self {
        let overlap_end = key.record.previous_expires_at.filter(|end| viewer.now < *end);
        Self {
            shown: ShownKey::new(key, brand, viewer),
            previous_expires_at: overlap_end.map(rfc3339),
            revision: key.record.revision,
        }
    }

    /// The revision of the key, which is its entity tag.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }
}

/// A single key with what is left of its limits, which only reading a key shows.
#[derive(Debug, Serialize)]
pub struct KeyWithWindows {
    #[serde(flatten)]
    detailed: DetailedKey,
    /// The present window of each limit; absent for a key without limits.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    limit_windows: Vec<ShownWindow>,
}

/// The present window of a limit.
#[derive(Debug, Serialize)]
struct ShownWindow {
    per: Period,
    /// The calls that no environment of the authorizer has reserved.
    left: u32,
    ends_at: String,
}

impl KeyWithWindows {
    /// The view of `key` for its viewer, with the counts of its limits.
    #[must_use]
    pub fn new(key: &UsedKey, counters: &Counters, brand: &Brand, viewer: Viewer<'_>) -> Self {
        let window = |limit: &Limit| {
            let window = limit.per().window(viewer.now);
            ShownWindow {
                per: limit.per(),
                left: counters.left(*limit, window),
                ends_at: rfc3339(window.end),
            }
        };
        let limit_windows = key.record.limits.as_slice().iter().map(window).collect();
        Self { detailed: DetailedKey::new(key, brand, viewer), limit_windows }
    }

    /// The revision of the key, which is its entity tag.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.detailed.revision
    }
}

/// A key with the text of its new secret. It is never shown again.
#[derive(Debug, Serialize)]
pub struct RevealedKey {
    #[serde(flatten)]
    detailed: DetailedKey,
    #[serde(serialize_with = "expose")]
    key: SecretString,
}

impl RevealedKey {
    /// The view of `key` at the time `now`, with its new credential.
    #[must_use]
    pub fn new(key: &UsedKey, credential: &Credential, brand: &Brand, now: DateTime<Utc>) -> Self {
        // What the caller may do changes with the secret that they use next.
        let viewer = Viewer { caller: None, now };
        Self { detailed: DetailedKey::new(key, brand, viewer), key: credential.to_text(brand) }
    }

    /// The revision of the key, which is its entity tag.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.detailed.revision
    }
}

fn expose<S: Serializer>(key: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(key.expose_secret())
}
