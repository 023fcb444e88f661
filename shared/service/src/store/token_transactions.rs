//! Transactions that issue, refresh and revoke tokens.

use keygate_core::audit_event::AuditEvent;
use keygate_core::caller::Actor;
use keygate_core::credential::KeyId;
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::key::{Generation, KeyState};
use keygate_core::token::{Family, HashedToken, Token};

use crate::aws::dynamodb::DynamoDb;
use crate::store::activity::ActivityTable;
use crate::store::conditional_write::WriteOutcome;
use crate::store::keys::KeysTable;
use crate::store::live_tokens::{LiveTokensUpdate, TokenEnd};
use crate::store::tokens::TokensTable;
use crate::store::transaction::{ChangeHandle, Transaction, TransactionResult};
use crate::store::workspaces::WorkspacesTable;

/// The maximum number of attempts of a transaction when other tokens of the same key are counted concurrently.
const COUNT_ATTEMPTS: u32 = 10;

/// The tables of a function that issues or revokes tokens, or opens or ends sessions.
#[derive(Debug)]
pub struct TokenStore {
    /// The tokens and their hashes.
    pub tokens: TokensTable,
    /// The keys.
    pub keys: KeysTable,
    pub(super) workspaces: WorkspacesTable,
    pub(super) activity: ActivityTable,
    pub(super) client: DynamoDb,
}

/// A new access token, as a transaction records it.
#[derive(Clone, Copy, Debug)]
pub enum NewAccessToken<'a> {
    /// It is stored, and verified together with its key.
    Stored(&'a HashedToken),
    /// It is a JWT, which is not stored. No use of it reads the key, so the transaction requires that the key is not disabled and
    /// that its secrets are in the state that they had when the client was verified.
    Jwt(KeyState),
}

impl NewAccessToken<'_> {
    fn generation(&self) -> Generation {
        match self {
            Self::Stored(hashed) => hashed.token.generation,
            Self::Jwt(state) => state.generation,
        }
    }

    /// The place that it takes among the working tokens of its key, and its end. A JWT takes none.
    fn place(&self) -> Option<(TokenEnd, i64)> {
        match self {
            Self::Stored(hashed) => Some((TokenEnd::of_token(&hashed.token), 1)),
            Self::Jwt(_) => None,
        }
    }
}

/// The step of a family to which a new refresh token belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The token is the first one of the next step.
    Step,
    /// The token is a sibling of the first one of the current step.
    Sibling,
}

/// The tokens that one revocation revokes, as they were read.
#[derive(Clone, Copy, Debug)]
pub enum RevocationTarget<'a> {
    /// One token.
    Token(&'a Token),
    /// All tokens of a family, which belong to this generation.
    Family(&'a Family, Generation),
}

impl TokenStore {
    /// Reads the table names and the retention of the audit trail from the environment.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when a variable is missing or invalid.
    pub fn new(client: DynamoDb, environment: &Environment) -> Result<Self, InvalidVariable> {
        Ok(Self {
            tokens: TokensTable::new(client.clone(), environment)?,
            keys: KeysTable::new(client.clone(), environment)?,
            workspaces: WorkspacesTable::new(client.clone(), environment)?,
            activity: ActivityTable::new(client.clone(), environment)?,
            client,
        })
    }

    /// Writes the new tokens of a key, the family that a refresh token begins, and the event in one transaction. The key has at
    /// most `bound` working tokens afterwards.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::Conflict`]: the access token is a JWT, and the key was rotated, disabled or deleted, or its tokens were revoked.
    /// - [`Error::TooManyTokens`]: the key would have more than `bound` working tokens.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn issue(
        &self,
        (actor, key_id): (Actor<'_>, KeyId),
        access: NewAccessToken<'_>,
        refresh: Option<(&HashedToken, &Family)>,
        event: &AuditEvent,
        bound: u32,
    ) -> Result<(), Error> {
        let place = refresh.map(|(_, family)| (TokenEnd::of_family(family), 1));
        let places: Vec<_> = access.place().into_iter().chain(place).collect();
        for _ in 0..COUNT_ATTEMPTS {
            let count = self.count(key_id, access.generation(), &places, bound, event).await?;
            let mut transaction = Transaction::new(actor, &self.workspaces);
            transaction.add(self.activity.put(event)?);
            let key = self.add_access(&mut transaction, key_id, access)?;
            if let Some((token, family)) = refresh {
                transaction.add(self.tokens.put(token)?);
                transaction.add(self.tokens.put_family(family)?);
            }
            let counted = count.map(|count| transaction.add(self.tokens.count(key_id, &count)));
            match transaction.commit(&self.client).await? {
                TransactionResult::Committed => return Ok(()),
                TransactionResult::Cancelled(refused) if key.is_some_and(|key| refused.failed(key)) => {
                    return Err(Error::Conflict);
                }
                // Other tokens were counted meanwhile.
                TransactionResult::Cancelled(refused)
                    if counted.is_some_and(|counted| refused.failed(counted)) => {}
                TransactionResult::Cancelled(refused) => return Err(refused.unexpected()),
            }
        }
        Err(Error::Busy)
    }

    /// Writes the access token and the refresh token that replace a used refresh token, updates the family, and writes the
    /// event in one transaction. The key has at most `bound` working tokens afterwards.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::Conflict`]: the family was changed or revoked since it was read; or the access token is a JWT, and the key was
    ///   rotated, disabled or deleted, or its tokens were revoked.
    /// - [`Error::TooManyTokens`]: the key would have more than `bound` working tokens.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn refresh(
        &self,
        actor: Actor<'_>,
        (family, next): (&Family, Renewal),
        (access, refresh): (NewAccessToken<'_>, &HashedToken),
        event: &AuditEvent,
        bound: u32,
    ) -> Result<(), Error> {
        let key_id = family.key_id;
        // The first refresh token of a step replaces all those of the previous step.
        let more = match next {
            Renewal::Step => 1 - i64::from(family.present()),
            Renewal::Sibling => 1,
        };
        let places: Vec<_> =
            access.place().into_iter().chain([(TokenEnd::of_family(family), more)]).collect();
        for _ in 0..COUNT_ATTEMPTS {
            let count = self.count(key_id, access.generation(), &places, bound, event).await?;
            let mut transaction = Transaction::new(actor, &self.workspaces);
            let renewed = transaction.add(match next {
                Renewal::Step => self.tokens.next_step(family, refresh.token.token_id, event.at),
                Renewal::Sibling => self.tokens.add_sibling(family),
            });
            let key = self.add_access(&mut transaction, key_id, access)?;
            transaction.add(self.tokens.put(refresh)?);
            transaction.add(self.activity.put(event)?);
            let counted = count.map(|count| transaction.add(self.tokens.count(key_id, &count)));
            match transaction.commit(&self.client).await? {
                TransactionResult::Committed => return Ok(()),
                TransactionResult::Cancelled(refused)
                    if refused.failed(renewed) || key.is_some_and(|key| refused.failed(key)) =>
                {
                    return Err(Error::Conflict);
                }
                // Other tokens were counted meanwhile.
                TransactionResult::Cancelled(refused)
                    if counted.is_some_and(|counted| refused.failed(counted)) => {}
                TransactionResult::Cancelled(refused) => return Err(refused.unexpected()),
            }
        }
        Err(Error::Busy)
    }

    /// The change of the number of working tokens, if these places change it.
    async fn count(
        &self,
        key_id: KeyId,
        generation: Generation,
        places: &[(TokenEnd, i64)],
        bound: u32,
        event: &AuditEvent,
    ) -> Result<Option<LiveTokensUpdate>, Error> {
        if places.iter().all(|(_, count)| *count == 0) {
            return Ok(None);
        }
        let stored = self.tokens.live(key_id).await?;
        let count =
            LiveTokensUpdate::count(stored.as_ref(), generation, places.iter().copied(), bound, event.at)?;
        Ok(Some(count).filter(|count| !count.counts_nothing()))
    }

    /// Adds what a new access token needs: it is written, or its key is checked. The handle is that of the check.
    fn add_access(
        &self,
        transaction: &mut Transaction<'_>,
        key_id: KeyId,
        access: NewAccessToken<'_>,
    ) -> Result<Option<ChangeHandle>, Error> {
        match access {
            NewAccessToken::Stored(token) => {
                transaction.add(self.tokens.put(token)?);
                Ok(None)
            }
            NewAccessToken::Jwt(state) => Ok(Some(transaction.add(self.keys.check_state(key_id, state)))),
        }
    }

    /// Revokes a single token, or a family with all its tokens, and writes the event. The result is [`WriteOutcome::Stale`]
    /// if it was already revoked. The revoked tokens are uncounted as far as they are known; the access tokens of a family
    /// stay counted until they expire.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn revoke(
        &self,
        actor: Actor<'_>,
        key_id: KeyId,
        what: RevocationTarget<'_>,
        event: &AuditEvent,
    ) -> Result<WriteOutcome, Error> {
        let free = match what {
            RevocationTarget::Token(token) => {
                LiveTokensUpdate::release(token.generation, TokenEnd::of_token(token), 1)
            }
            RevocationTarget::Family(family, generation) => {
                LiveTokensUpdate::release(generation, TokenEnd::of_family(family), family.present())
            }
        };
        // The count must never prevent a revocation: neither when it is wrong, nor when a client requests tokens so often
        // that the item changes all the time.
        for free in [Some(free), None] {
            let mut transaction = Transaction::new(actor, &self.workspaces);
            let revoked = transaction.add(match what {
                RevocationTarget::Token(token) => self.tokens.delete(key_id, token.token_id),
                RevocationTarget::Family(family, _) => {
                    self.tokens.revoke_family(family, free.is_some(), event.at)
                }
            });
            transaction.add(self.activity.put(event)?);
            let freed = free.map(|free| transaction.add(self.tokens.count(key_id, &free)));
            let refused = match transaction.commit(&self.client).await {
                Ok(TransactionResult::Committed) => return Ok(WriteOutcome::Applied),
                Ok(TransactionResult::Cancelled(refused)) => refused,
                Err(Error::Busy) if freed.is_some() => continue,
                Err(failure) => return Err(failure),
            };
            if !refused.failed(revoked) && !freed.is_some_and(|freed| refused.failed(freed)) {
                return Err(refused.unexpected());
            }
        }
        Ok(WriteOutcome::Stale)
    }

    /// Revokes every token of a key with a single write, and writes the event.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::NotFound`]: the key was deleted meanwhile.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn revoke_all(&self, actor: Actor<'_>, key_id: KeyId, event: &AuditEvent) -> Result<(), Error> {
        let mut transaction = Transaction::new(actor, &self.workspaces);
        let key = transaction.add(self.keys.revoke_tokens(key_id));
        transaction.add(self.activity.put(event)?);
        match transaction.commit(&self.client).await?.outcome(key)? {
            WriteOutcome::Applied => Ok(()),
            WriteOutcome::Stale => Err(Error::NotFound),
        }
    }
}
