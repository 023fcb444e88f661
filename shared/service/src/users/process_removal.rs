//! Removing a user: the second step, which deletes their keys or transfers them.

use chrono::{DateTime, Utc};
use keygate_core::audit_event::{Action, AuditEvent};
use keygate_core::caller::Actor;
use keygate_core::credential::KeyId;
use keygate_core::error::Error;
use keygate_core::rotation::handed_over;

use crate::store::Store;
use crate::store::keys::UnhashedKey;
use crate::store::legacy_key_transactions::LegacyStore;
use crate::store::workspace_members::CountedMember;
use crate::users::remove::Removal;

/// The maximum number of attempts for a key that changes concurrently.
const ATTEMPTS: usize = 4;

/// Processes removals of users.
#[derive(Debug)]
pub struct UserRemovalProcessor {
    /// The store.
    pub store: Store,
    /// The legacy keys, if the deployment accepts any.
    pub legacy: Option<LegacyStore>,
    /// The maximum number of keys of a user.
    pub quota: u32,
}

/// The result of processing a removal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemovalSummary {
    /// The number of deleted keys.
    pub deleted: u32,
    /// The number of transferred keys.
    pub transferred: u32,
    /// Whether the removal is out of date, because the user was reinstated or removed again after it was requested. The
    /// remaining keys are left unchanged.
    pub superseded: bool,
}

impl UserRemovalProcessor {
    /// Marks the user as removed, unless they already are, and deletes or transfers each of their keys. After an
    /// interruption, calling it again processes the remaining keys.
    ///
    /// A key is deleted instead of transferred if the other user has the maximum number of keys or was removed too. A
    /// transferred key gets a hash that belongs to no secret. Its current secret works until the overlap ends, counted from
    /// the removal. Then the key has no secret until it is rotated.
    ///
    /// Legacy keys are deleted and never transferred, because only deleting them revokes their secret.
    ///
    /// # Errors
    ///
    /// - [`Error::Conflict`], [`Error::Busy`], [`Error::Unavailable`]: some keys are not processed yet. Try again.
    pub async fn process(&self, removal: &Removal, now: DateTime<Utc>) -> Result<RemovalSummary, Error> {
        let mut summary = RemovalSummary::default();
        let event = removal.event(removal.context(now));
        let removed_at = self
            .store
            .remove_user(Actor::Keygate, removal.workspace_and_user(), None, None, &event, removal.time)
            .await?;
        let Some(removed_at) = removed_at else {
            return Ok(RemovalSummary { superseded: true, ..summary });
        };
        let (workspace, user) = removal.workspace_and_user();
        let mut members = self.store.workspaces.counted_members(workspace, user).await?;
        // Expired keys come last: there may be very many, and they no longer work.
        members.sort_by_key(|member| member.expires_at.is_some_and(|expires_at| expires_at <= now));
        for CountedMember { member, .. } in members {
            match self.process_key(member.key_id, removal, removed_at, now).await {
                Ok(Some(Action::KeyTransferred)) => summary.transferred += 1,
                Ok(Some(_)) => summary.deleted += 1,
                Ok(None) => {}
                Err(Error::UserReinstated) => return Ok(RemovalSummary { superseded: true, ..summary }),
                Err(error) => return Err(error),
            }
        }
        if let Some(legacy) = &self.legacy {
            for key in legacy.keys.of_user(&removal.workspace_id, &removal.user_id).await? {
                let context = removal.context(now);
                let event = AuditEvent::for_key(Action::LegacyDeleted, context, key.key_id, &removal.user_id);
                match legacy
                    .delete_of_removed_user(&key, removal.workspace_and_user(), removed_at, &event)
                    .await
                {
                    Ok(deleted) => summary.deleted += u32::from(deleted.is_applied()),
                    Err(Error::UserReinstated) => return Ok(RemovalSummary { superseded: true, ..summary }),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(summary)
    }

    /// Deletes or transfers a key, and returns the action; `None` if the key no longer exists.
    async fn process_key(
        &self,
        id: KeyId,
        removal: &Removal,
        removed_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Option<Action>, Error> {
        for _ in 0..ATTEMPTS {
            let stored = self.store.keys.unhashed(id, now).await?.filter(|stored| {
                stored.record.workspace_id == removal.workspace_id && stored.record.user_id == removal.user_id
            });
            // The key was deleted meanwhile, or is past its `ttl`.
            let Some(stored) = stored else { return Ok(None) };
            match self.transfer(&stored, removal, removed_at, now).await {
                Ok(true) => return Ok(Some(Action::KeyTransferred)),
                Ok(false) | Err(Error::QuotaReached { .. } | Error::UserRemoved) => {}
                Err(Error::Conflict) => continue,
                Err(error) => return Err(error),
            }
            let event = AuditEvent::for_key(Action::KeyDeleted, removal.context(now), id, &removal.user_id)
                .with_metadata(&stored.record.metadata);
            match self.store.delete_key(Actor::Keygate, &stored, Some(removed_at), &event).await {
                Ok(()) => return Ok(Some(Action::KeyDeleted)),
                Err(Error::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Conflict)
    }

    /// Transfers the key, if the removal names a user to transfer it to. Returns whether it did.
    async fn transfer(
        &self,
        stored: &UnhashedKey,
        removal: &Removal,
        removed_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let Some(heir) = &removal.transfer_to else { return Ok(false) };
        let context = removal.context(now);
        let event = AuditEvent::for_key(Action::KeyTransferred, context, stored.record.key_id, heir)
            .with_metadata(&stored.record.metadata);
        let after = handed_over(&stored.record, heir, removal.overlap_ends(removed_at), now);
        self.store.transfer_key((&stored.record, &after), self.quota, removed_at, &event, now).await?;
        Ok(true)
    }
}
