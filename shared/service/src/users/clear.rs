//! Removing a user: the second step, which deletes their keys or hands them over.

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

/// How often a key is read again because somebody else changed it between the reading and the writing.
const ATTEMPTS: usize = 4;

/// What clearing users takes.
#[derive(Debug)]
pub struct UserClearer {
    /// Where keys are.
    pub store: Store,
    /// Where legacy keys are, if any are honoured.
    pub legacy: Option<LegacyStore>,
    /// How many keys a user may have.
    pub quota: u32,
}

/// What came of the keys of a removed user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClearSummary {
    /// So many were deleted.
    pub deleted: u32,
    /// So many are another user's now.
    pub transferred: u32,
    /// The removal is over: the user was reinstated since it was asked for, or is being removed anew.
    pub is_over: bool,
}

impl UserClearer {
    /// Marks the user as removed, unless they are, and deletes every key of theirs or hands it over. Run again, it goes on
    /// with what is left.
    ///
    /// A key that cannot be handed over, because the other user has as many as a user may have or was removed too, is
    /// deleted. One that is handed over gets a hash that is no secret's. The secret in use goes on until the overlap
    /// ends, counted from the removal; then there is no secret until the key is rotated.
    ///
    /// Legacy keys are deleted, and are never handed over: their secret cannot be taken from whoever has it but by that.
    ///
    /// # Errors
    ///
    /// - [`Error::Conflict`], [`Error::Busy`], [`Error::Unavailable`]: not everything is done yet. Try again.
    pub async fn clear(&self, removal: &Removal, now: DateTime<Utc>) -> Result<ClearSummary, Error> {
        let mut cleared = ClearSummary::default();
        let event = removal.event(removal.context(now));
        let removed_at =
            self.store.remove_user(Actor::Keygate, removal.whom(), None, None, &event, removal.time).await?;
        let Some(removed_at) = removed_at else {
            return Ok(ClearSummary { is_over: true, ..cleared });
        };
        let (workspace, user) = removal.whom();
        let mut members = self.store.workspaces.counted_members(workspace, user).await?;
        // Expired keys come last: there may be a great many, and they work no more.
        members.sort_by_key(|member| member.expires_at.is_some_and(|expires_at| expires_at <= now));
        for CountedMember { member, .. } in members {
            match self.clear_key(member.key_id, removal, removed_at, now).await {
                Ok(Some(Action::KeyTransferred)) => cleared.transferred += 1,
                Ok(Some(_)) => cleared.deleted += 1,
                Ok(None) => {}
                Err(Error::UserReinstated) => return Ok(ClearSummary { is_over: true, ..cleared }),
                Err(error) => return Err(error),
            }
        }
        if let Some(legacy) = &self.legacy {
            for key in legacy.keys.of_user(&removal.workspace_id, &removal.user_id).await? {
                let context = removal.context(now);
                let event = AuditEvent::for_key(Action::LegacyDeleted, context, key.key_id, &removal.user_id);
                match legacy.delete_of_removed_user(&key, removal.whom(), removed_at, &event).await {
                    Ok(deleted) => cleared.deleted += u32::from(deleted.is_applied()),
                    Err(Error::UserReinstated) => return Ok(ClearSummary { is_over: true, ..cleared }),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(cleared)
    }

    /// What was done to the key, if it was there.
    async fn clear_key(
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
            // Deleted meanwhile, or its time is over.
            let Some(stored) = stored else { return Ok(None) };
            match self.transfer(&stored, removal, removed_at, now).await {
                Ok(true) => return Ok(Some(Action::KeyTransferred)),
                Ok(false) | Err(Error::QuotaReached { .. } | Error::UserRemoved) => {}
                Err(Error::Conflict) => continue,
                Err(error) => return Err(error),
            }
            let event = AuditEvent::for_key(Action::KeyDeleted, removal.context(now), id, &removal.user_id);
            match self.store.delete_key(Actor::Keygate, &stored, Some(removed_at), &event).await {
                Ok(()) => return Ok(Some(Action::KeyDeleted)),
                Err(Error::Conflict) => {}
                Err(error) => return Err(error),
            }
        }
        Err(Error::Conflict)
    }

    /// Whether the removal hands keys over, and this one was.
    async fn transfer(
        &self,
        stored: &UnhashedKey,
        removal: &Removal,
        removed_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<bool, Error> {
        let Some(heir) = &removal.transfer_to else { return Ok(false) };
        let context = removal.context(now);
        let event = AuditEvent::for_key(Action::KeyTransferred, context, stored.record.key_id, heir);
        let after = handed_over(&stored.record, heir, removal.overlap_ends(removed_at), now);
        self.store.transfer_key((&stored.record, &after), self.quota, removed_at, &event, now).await?;
        Ok(true)
    }
}
