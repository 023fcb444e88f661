//! Transactions that make, renew and revoke tokens.

use aws_sdk_dynamodb::Client;
use keygate_core::audit_event::AuditEvent;
use keygate_core::caller::Actor;
use keygate_core::credential::KeyId;
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::key::Generation;
use keygate_core::token::{Family, HashedToken, Token, TokenKind};

use crate::store::activity::ActivityTable;
use crate::store::conditional_write::WriteOutcome;
use crate::store::keys::KeysTable;
use crate::store::live_tokens::{LiveTokensUpdate, TokenEnd};
use crate::store::tokens::TokensTable;
use crate::store::transaction::{Transaction, TransactionResult};
use crate::store::workspaces::WorkspacesTable;

/// How often tokens are counted anew because others of the same key were counted at the same time.
const COUNT_ATTEMPTS: u32 = 10;

/// The tables of a function that makes, changes or removes tokens.
#[derive(Debug)]
pub struct TokenStore {
    /// Tokens and their hashes.
    pub tokens: TokensTable,
    /// Keys.
    pub keys: KeysTable,
    workspaces: WorkspacesTable,
    activity: ActivityTable,
    client: Client,
}

/// What a refresh token gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The first refresh token of its family's next step.
    Step,
    /// A sibling of the first refresh token of the present step.
    Sibling,
}

/// What is revoked at once, as it was read.
#[derive(Clone, Copy, Debug)]
pub enum RevocationTarget<'a> {
    /// One token.
    Token(&'a Token),
    /// Every token of a family, which are of that generation.
    Family(&'a Family, Generation),
}

impl TokenStore {
    /// Takes the names of the tables and the audit trail's retention from the environment.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when one of them is missing or wrong.
    pub fn new(client: Client, environment: &Environment) -> Result<Self, InvalidVariable> {
        Ok(Self {
            tokens: TokensTable::new(client.clone(), environment)?,
            keys: KeysTable::new(client.clone(), environment)?,
            workspaces: WorkspacesTable::new(client.clone(), environment)?,
            activity: ActivityTable::new(client.clone(), environment)?,
            client,
        })
    }

    /// Writes new tokens of a key, with the family that they begin, if any, and the event: all of them or none. Not more than
    /// `bound` tokens of the key work afterwards.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::TooManyTokens`]: the key would have more tokens that work than the bound.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn issue(
        &self,
        actor: Actor<'_>,
        tokens: &[HashedToken],
        family: Option<&Family>,
        event: &AuditEvent,
        bound: u32,
    ) -> Result<(), Error> {
        let Some(Token { key_id, generation, .. }) = tokens.first().map(|first| &first.token) else {
            return Ok(());
        };
        let end = |token: &Token| match (token.kind, family) {
            (TokenKind::RefreshToken, Some(family)) => TokenEnd::of_family(family),
            _ => TokenEnd::of_token(token),
        };
        for _ in 0..COUNT_ATTEMPTS {
            let stored = self.tokens.live(*key_id).await?;
            let counts = tokens.iter().map(|hashed| (end(&hashed.token), 1));
            let count = LiveTokensUpdate::count(stored.as_ref(), *generation, counts, bound, event.at)?;
            let mut transaction = Transaction::new(actor, &self.workspaces);
            transaction.add(self.activity.put(event)?);
            for token in tokens {
                transaction.add(self.tokens.put(token)?);
            }
            if let Some(family) = family {
                transaction.add(self.tokens.put_family(family)?);
            }
            let counted = transaction.add(self.tokens.count(*key_id, &count));
            match transaction.commit(&self.client).await? {
                TransactionResult::Committed => return Ok(()),
                // Other tokens were counted since.
                TransactionResult::Cancelled(refused) if refused.failed(counted) => {}
                TransactionResult::Cancelled(refused) => return Err(refused.unexpected()),
            }
        }
        Err(Error::Busy)
    }

    /// Writes the access token and the refresh token that using a refresh token of a family gets, moves the family along, and
    /// writes the event: all of it or nothing. Not more than `bound` tokens of the key work afterwards.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::Conflict`]: the family was changed or revoked since it was read.
    /// - [`Error::TooManyTokens`]: the key would have more tokens that work than the bound.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn refresh(
        &self,
        actor: Actor<'_>,
        (family, next): (&Family, Renewal),
        tokens: &[HashedToken; 2],
        event: &AuditEvent,
        bound: u32,
    ) -> Result<(), Error> {
        let [access, refresh] = tokens;
        let (key_id, generation) = (family.key_id, access.token.generation);
        for _ in 0..COUNT_ATTEMPTS {
            let stored = self.tokens.live(key_id).await?;
            // The first refresh token of a step takes the place of all of the step before.
            let more = match next {
                Renewal::Step => 1 - i64::from(family.present()),
                Renewal::Sibling => 1,
            };
            let counts = [(TokenEnd::of_token(&access.token), 1), (TokenEnd::of_family(family), more)];
            let count = LiveTokensUpdate::count(stored.as_ref(), generation, counts, bound, event.at)?;
            let mut transaction = Transaction::new(actor, &self.workspaces);
            let renewed = transaction.add(match next {
                Renewal::Step => self.tokens.next_step(family, refresh.token.token_id, event.at),
                Renewal::Sibling => self.tokens.add_sibling(family),
            });
            transaction.add(self.tokens.put(access)?);
            transaction.add(self.tokens.put(refresh)?);
            transaction.add(self.activity.put(event)?);
            let counted = transaction.add(self.tokens.count(key_id, &count));
            match transaction.commit(&self.client).await? {
                TransactionResult::Committed => return Ok(()),
                TransactionResult::Cancelled(refused) if refused.failed(renewed) => {
                    return Err(Error::Conflict);
                }
                // Other tokens were counted since.
                TransactionResult::Cancelled(refused) if refused.failed(counted) => {}
                TransactionResult::Cancelled(refused) => return Err(refused.unexpected()),
            }
        }
        Err(Error::Busy)
    }

    /// Revokes a token alone, or a family with all its tokens, and writes the event; [`WriteOutcome::Stale`] if that was done before. What ends so
    /// is not counted any more, as far as it is known: the access tokens of a family are, until they expire.
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
        // Nothing that is counted keeps anything from being revoked: neither another number than was thought, nor a client that gets
        // tokens all the time and so is always at work on the item.
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

    /// Revokes every token of a key, and writes the event. It takes one write, however many there are.
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
