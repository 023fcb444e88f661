//! Transactions that issue, refresh and revoke tokens.

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
    pub(super) client: Client,
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
    pub fn new(client: Client, environment: &Environment) -> Result<Self, InvalidVariable> {
        Ok(Self {
            tokens: TokensTable::new(client.clone(), environment)?,
            keys: KeysTable::new(client.clone(), environment)?,
            workspaces: WorkspacesTable::new(client.clone(), environment)?,
            activity: ActivityTable::new(client.clone(), environment)?,
            client,
        })
    }

    /// Writes new tokens of a key, their family if it is new, and the event in one transaction. The key has at most `bound`
    /// working tokens afterwards.
    ///
    /// # Errors
    ///
    /// - [`Error::CallerRemoved`]: the actor was removed.
    /// - [`Error::TooManyTokens`]: the key would have more than `bound` working tokens.
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
                // Other tokens were counted meanwhile.
                TransactionResult::Cancelled(refused) if refused.failed(counted) => {}
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
    /// - [`Error::Conflict`]: the family was changed or revoked since it was read.
    /// - [`Error::TooManyTokens`]: the key would have more than `bound` working tokens.
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
            // The first refresh token of a step replaces all those of the previous step.
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
                // Other tokens were counted meanwhile.
                TransactionResult::Cancelled(refused) if refused.failed(counted) => {}
                TransactionResult::Cancelled(refused) => return Err(refused.unexpected()),
            }
        }
        Err(Error::Busy)
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
