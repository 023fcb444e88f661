//! One `TransactWriteItems` request: built change by change, committed on behalf of an actor, and retried after conflicts
//! with other transactions.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::{CancellationReason, TransactWriteItem};
use chrono::Utc;
use keygate_core::caller::Actor;
use keygate_core::error::Error;
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::random::generate_ulid;
use tokio::time::Instant;

use crate::aws::backoff::Backoff;
use crate::store::conditional_write::WriteOutcome;
use crate::store::item::Item;
use crate::store::workspace_users::REMOVED_AT;
use crate::store::workspaces::WorkspacesTable;

/// How long a transaction is retried after conflicts. All transactions of one caller check the caller's entry, so a busy
/// caller conflicts with itself. The handler still has time to respond afterwards.
const RETRY_BUDGET: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(25);
const MAX_PAUSE: Duration = Duration::from_millis(400);

/// The changes of a transaction.
///
/// A removed user must not change anything, whichever credential they still have. So each transaction of a user has the
/// condition that their entry in the table `workspaces` has no mark of removal, and in a session also the entry of the user who
/// opened it. A transaction can have only one operation on an item, so a transaction that changes such an entry puts the
/// condition on that operation.
#[derive(Debug)]
pub(super) struct Transaction<'a> {
    workspaces: &'a WorkspacesTable,
    /// The users on whose behalf it is made.
    actors: Vec<ActingUser<'a>>,
    items: Vec<TransactWriteItem>,
}

/// A user on whose behalf a transaction is made.
#[derive(Debug)]
struct ActingUser<'a> {
    workspace: &'a WorkspaceId,
    user: &'a UserId,
    /// The change of their own entry, if the transaction has one.
    own_entry: Option<ChangeHandle>,
}

/// One change of a transaction, with which a caller asks whether its condition failed.
#[derive(Clone, Copy, Debug)]
pub(super) struct ChangeHandle(usize);

/// The result of a transaction.
#[derive(Debug)]
pub(super) enum TransactionResult {
    /// All items are written.
    Committed,
    /// No item is written, because a condition failed.
    Cancelled(Cancellation),
}

impl TransactionResult {
    /// The outcome of a transaction that only the condition of `change` is expected to refuse.
    ///
    /// # Errors
    ///
    /// - [`Error::Broken`]: the transaction was refused for another reason.
    pub(super) fn outcome(self, change: ChangeHandle) -> Result<WriteOutcome, Error> {
        match self {
            Self::Committed => Ok(WriteOutcome::Applied),
            Self::Cancelled(refused) if refused.failed(change) => Ok(WriteOutcome::Stale),
            Self::Cancelled(refused) => Err(refused.unexpected()),
        }
    }
}

/// The reasons why a transaction was refused: one for each of its changes, in their order.
#[derive(Debug)]
pub(super) struct Cancellation(Vec<CancellationReason>);

impl Cancellation {
    /// Whether the condition of a change failed.
    pub(super) fn failed(&self, change: ChangeHandle) -> bool {
        self.code(change) == Some("ConditionalCheckFailed")
    }

    /// The stored item of a change whose condition returns it.
    pub(super) fn existing_item(&self, ChangeHandle(index): ChangeHandle) -> Option<&Item> {
        self.0.get(index).and_then(CancellationReason::item)
    }

    /// The error for unexpected reasons. It has only their codes, because messages and items contain stored data.
    pub(super) fn unexpected(&self) -> Error {
        let codes: Vec<_> = self.0.iter().map(|reason| reason.code().unwrap_or("None")).collect();
        Error::Broken(format!("a transaction was refused: {}", codes.join(", ")))
    }

    fn code(&self, ChangeHandle(index): ChangeHandle) -> Option<&str> {
        self.0.get(index).and_then(CancellationReason::code)
    }

    /// Whether the same transaction may succeed a little later.
    fn is_transient(&self) -> bool {
        let mut codes =
            self.0.iter().filter_map(CancellationReason::code).filter(|code| *code != "None").peekable();
        codes.peek().is_some() && codes.all(is_transient)
    }

    /// Whether the condition on an actor's entry is undecided, because another transaction was changing the entry. Until it
    /// is decided no other reason counts, because another reason may reveal something that a removed actor must not learn.
    fn leaves_actor_undecided(&self, actors: &[ChangeHandle]) -> bool {
        actors.iter().any(|actor| self.code(*actor).is_some_and(is_transient))
    }

    /// Whether the condition on an actor's entry failed because the actor was removed. A condition that can fail for other
    /// reasons returns the item.
    fn actor_was_removed(&self, actors: &[ChangeHandle]) -> bool {
        actors.iter().any(|actor| {
            self.failed(*actor) && self.existing_item(*actor).is_none_or(|user| user.contains_key(REMOVED_AT))
        })
    }
}

fn is_transient(code: &str) -> bool {
    matches!(code, "TransactionConflict" | "ThrottlingError" | "ProvisionedThroughputExceeded")
}

impl<'a> Transaction<'a> {
    /// Begins a transaction on behalf of an actor.
    pub(super) fn new(actor: Actor<'a>, workspaces: &'a WorkspacesTable) -> Self {
        let acting = |workspace, user| ActingUser { workspace, user, own_entry: None };
        let actors = match actor {
            Actor::User(workspace, user) => vec![acting(workspace, user)],
            Actor::Session { workspace, user, opened_by } if user == opened_by => {
                vec![acting(workspace, user)]
            }
            Actor::Session { workspace, user, opened_by } => {
                vec![acting(workspace, user), acting(workspace, opened_by)]
            }
            Actor::Keygate => Vec::new(),
        };
        Self { workspaces, actors, items: Vec::new() }
    }

    /// Adds a change of an item that is not a user's entry.
    pub(super) fn add(&mut self, item: TransactWriteItem) -> ChangeHandle {
        self.items.push(item);
        ChangeHandle(self.items.len() - 1)
    }

    /// Adds a change of the entry of `user`. If that user is an actor, `item` must have the condition that they are not
    /// removed, and must return the stored item if it has other conditions.
    pub(super) fn add_user(&mut self, user: &UserId, item: TransactWriteItem) -> ChangeHandle {
        let change = self.add(item);
        if let Some(actor) = self.actors.iter_mut().find(|actor| actor.user == user) {
            actor.own_entry = Some(change);
        }
        change
    }

    /// Whether a user is an actor.
    pub(super) fn is_actor(&self, user: &UserId) -> bool {
        self.actors.iter().any(|actor| actor.user == user)
    }

    /// Commits the transaction: all changes or none.
    ///
    /// A conflict with another transaction is retried under the same idempotency token, so that a transaction whose response
    /// was lost is not committed twice. The pauses grow and are random, so that competing transactions do not collide again.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: an actor is a user who was removed. It has precedence over every other reason.
    /// - [`Error::Busy`]: the conflict did not end in time.
    /// - [`Error::Unavailable`]: the database did not respond, or refused the transaction for a reason other than a
    ///   condition.
    pub(super) async fn commit(mut self, client: &Client) -> Result<TransactionResult, Error> {
        let mut actors = Vec::new();
        for ActingUser { workspace, user, own_entry } in std::mem::take(&mut self.actors) {
            actors.push(
                own_entry.unwrap_or_else(|| self.add(self.workspaces.check_not_removed(workspace, user))),
            );
        }
        let request = client
            .transact_write_items()
            .set_transact_items(Some(self.items))
            .client_request_token(generate_ulid(Utc::now()).to_string());
        let mut backoff = Backoff::new(FIRST_PAUSE, MAX_PAUSE, Instant::now() + RETRY_BUDGET);
        for attempt in 0.. {
            let Err(failure) = request.clone().send().await else {
                return Ok(TransactionResult::Committed);
            };
            match failure.as_service_error() {
                Some(TransactWriteItemsError::TransactionCanceledException(canceled)) => {
                    let refused = Cancellation(canceled.cancellation_reasons().to_vec());
                    if refused.actor_was_removed(&actors) {
                        return Err(Error::CallerRemoved);
                    }
                    if !refused.is_transient() && !refused.leaves_actor_undecided(&actors) {
                        return Ok(TransactionResult::Cancelled(refused));
                    }
                }
                Some(TransactWriteItemsError::TransactionInProgressException(_)) => {}
                _ => return Err(Error::unavailable("DynamoDB", &failure)),
            }
            tracing::debug!(attempt, "transaction conflict");
            if !backoff.pause().await {
                break;
            }
        }
        Err(Error::Busy)
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::types::AttributeValue;

    use super::*;

    fn refused(codes: &[&str]) -> Cancellation {
        Cancellation(codes.iter().map(|code| CancellationReason::builder().code(*code).build()).collect())
    }

    #[test]
    fn only_transient_reasons_are_retried() {
        for (codes, passing) in [
            (&["None", "TransactionConflict", "None"][..], true),
            (&["ThrottlingError", "ProvisionedThroughputExceeded"], true),
            (&["TransactionConflict", "ConditionalCheckFailed"], false),
            (&["ValidationError"], false),
            (&["None", "None"], false),
            (&[], false),
        ] {
            assert_eq!(refused(codes).is_transient(), passing, "{codes:?}");
        }
    }

    /// A cancellation with two reasons. The second one is that of the actor's entry, with the returned item.
    fn of_actor(other: &str, own: &str, item: Option<&[&str]>) -> Cancellation {
        let reason = |code: &str| CancellationReason::builder().code(code);
        let item = item.map(|names| {
            names.iter().map(|name| ((*name).to_owned(), AttributeValue::N("1".to_owned()))).collect()
        });
        Cancellation(vec![reason(other).build(), reason(own).set_item(item).build()])
    }

    #[test]
    fn removal_of_the_actor_has_precedence_over_other_reasons() {
        let failed = "ConditionalCheckFailed";
        for (other, own, item, removed) in [
            ("None", failed, None, true),
            (failed, failed, None, true),
            ("TransactionConflict", failed, None, true),
            (failed, failed, Some(&["key_count", REMOVED_AT][..]), true),
            (failed, failed, Some(&["key_count"]), false),
            (failed, "None", None, false),
        ] {
            let refused = of_actor(other, own, item);
            assert_eq!(refused.actor_was_removed(&[ChangeHandle(1)]), removed, "{other} {own} {item:?}");
            assert!(!refused.actor_was_removed(&[]), "Keygate is never removed");
        }
    }

    #[test]
    fn no_reason_counts_while_the_condition_on_the_actor_is_undecided() {
        let refused = of_actor("ConditionalCheckFailed", "TransactionConflict", None);
        assert!(!refused.is_transient() && refused.leaves_actor_undecided(&[ChangeHandle(1)]));
        assert!(!of_actor("TransactionConflict", "None", None).leaves_actor_undecided(&[ChangeHandle(1)]));
        assert!(!refused.leaves_actor_undecided(&[]));
    }
}
