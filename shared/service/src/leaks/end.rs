//! Ending leaked credentials, each by its kind and nothing else.
//!
//! The report itself is the proof: its sender has the secret, with which more harm could be done. A text that is not the right secret
//! of a stored credential ends nothing, and takes the reads and the comparisons of a wrong secret, whether or not its id exists.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use keygate_core::audit_event::{Action, AuditEvent};
use keygate_core::caller::Actor;
use keygate_core::context::{EventContext, RequestOrigin};
use keygate_core::credential::{Brand, Credential, CredentialForm, Malformed, SessionId};
use keygate_core::error::Error;
use keygate_core::identity::UserId;
use keygate_core::key::Key;
use keygate_core::leak::{self, Ended, LeakPolicy};
use keygate_core::legacy_credential::{LegacyCredential, LegacyRules};
use keygate_core::session::{self, Session};
use keygate_core::token::TokenKind;
use keygate_core::verification::{PresentedSecret, Verification, VerifiedCredential, VerifiedToken};

use tokio::time::Instant;

use crate::authorizer::verifier::Verifier;
use crate::concurrency::work_on;
use crate::sessions;
use crate::store::legacy_key_transactions::LegacyStore;
use crate::store::token_transactions::{RevocationTarget, TokenStore};
use crate::store::{Store, WriteOutcome};

/// The maximum number of attempts when the key changes concurrently.
const ATTEMPTS: usize = 4;

/// How long a report begins further ends. A thousand take two seconds; a hindered database may take longer, and what was begun then is
/// finished within [`REPORT_TIMEOUT`].
const BEGIN_WITHIN: Duration = Duration::from_secs(24);

/// The time limit of a report. It is shorter than the function's timeout, which is shorter than API Gateway's.
pub const REPORT_TIMEOUT: Duration = Duration::from_secs(27);

/// What a reported text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// The right secret of a credential. The credential has ended, with this report or before it.
    Credential,
    /// In the form of a credential of the deployment, with its checksum where the form has one, but not the secret of a stored one:
    /// it was made up, or its hash is gone, as that of a deleted key is.
    NotStored,
    /// In no form that a credential of the deployment has.
    Foreign,
}

/// Ends leaked credentials.
#[derive(Debug)]
pub struct LeakEnder {
    /// The brand, the first part of every credential.
    pub brand: Brand,
    /// What happens to a key whose current secret leaked.
    pub policy: LeakPolicy,
    /// Verifies reported texts against the stored credentials.
    pub verifier: Verifier,
    /// The keys.
    pub keys: Store,
    /// The tokens and sessions.
    pub tokens: TokenStore,
    /// The legacy keys, if the deployment accepts any.
    pub legacy: Option<(LegacyRules, LegacyStore)>,
}

/// The report that names a credential, for its event.
#[derive(Clone, Copy, Debug)]
struct Report<'a> {
    reporter: &'a UserId,
    origin: &'a RequestOrigin,
    now: DateTime<Utc>,
}

impl LeakEnder {
    /// Ends every credential among the reported texts, and says what each text is. A repeated text counts once. One failure does not
    /// keep the other credentials from being ended, and repeating the report ends the rest.
    ///
    /// # Errors
    ///
    /// - [`Error::UnknownPepper`]: a stored hash is under a pepper version that is not listed.
    /// - [`Error::Broken`]: a stored item cannot be read.
    /// - [`Error::Conflict`]: a key kept changing concurrently.
    /// - [`Error::Timeout`]: the time was over before every end was begun. A repetition continues.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn end_all<'a>(
        &self,
        texts: impl IntoIterator<Item = &'a str>,
        origin: &RequestOrigin,
        now: DateTime<Utc>,
    ) -> Result<HashMap<&'a str, Finding>, Error> {
        let report = Report { reporter: &UserId::of_leaks(), origin, now };
        let texts: BTreeSet<_> = texts.into_iter().collect();
        let (count, stop_at) = (texts.len(), Instant::now() + BEGIN_WITHIN);
        let ends = work_on(texts, stop_at, |text| async move { Ok((text, self.end(text, report).await?)) });
        let ended: Vec<_> = ends.collect().await;
        let found: HashMap<_, _> = ended.into_iter().collect::<Result<_, Error>>()?;
        if found.len() < count { Err(Error::Timeout(BEGIN_WITHIN)) } else { Ok(found) }
    }

    async fn end(&self, text: &str, report: Report<'_>) -> Result<Finding, Error> {
        match Credential::parse(text, &self.brand) {
            Ok(credential) => self.end_credential(&credential, report).await,
            // A text with this deployment's brand is never a legacy key.
            Err(Malformed::Brand) => match &self.legacy {
                Some((rules, store)) => match rules.recognise(text) {
                    Some(key) => self.end_legacy_key(&key, rules, store, report).await,
                    None => Ok(Finding::Foreign),
                },
                None => Ok(Finding::Foreign),
            },
            Err(_) => Ok(Finding::Foreign),
        }
    }

    async fn end_credential(&self, credential: &Credential, report: Report<'_>) -> Result<Finding, Error> {
        match credential.form {
            CredentialForm::Session(id) => return self.end_session(credential, id, report).await,
            CredentialForm::PageCode(id) => return self.end_page_code(credential, id, report).await,
            CredentialForm::ApiKey | CredentialForm::AccessToken(_) | CredentialForm::RefreshToken(_) => {}
        }
        for _ in 0..ATTEMPTS {
            match self.verifier.verify(credential, report.now).await?.verification {
                Verification::WrongSecret(_) | Verification::Unknown(_) => return Ok(Finding::NotStored),
                Verification::Verified(known) => match self.end_verified(&known, report).await? {
                    WriteOutcome::Applied => return Ok(Finding::Credential),
                    // The key was changed since it was read. The next verification shows whether the secret is still one of its secrets.
                    WriteOutcome::Stale => {}
                },
            }
        }
        Err(Error::Conflict)
    }

    /// Ends a key, its overlap or a token. The result is [`WriteOutcome::Stale`] if the key has changed since it was read.
    async fn end_verified(
        &self,
        known: &VerifiedCredential,
        report: Report<'_>,
    ) -> Result<WriteOutcome, Error> {
        let key = &known.key;
        match &known.presented {
            PresentedSecret::Current if key.leaked_at.is_some() => Ok(WriteOutcome::Applied),
            PresentedSecret::Current => match self.policy {
                LeakPolicy::Disable => {
                    let after = leak::disabled(key, report.now);
                    self.keys.disable_leaked_key(key, &after, &report.event(Ended::KeyDisabled, key)).await
                }
                LeakPolicy::Delete => self.delete_key(key, report).await,
            },
            PresentedSecret::Previous(..) => {
                let after = leak::without_overlap(key, report.now);
                self.keys.end_overlap(key, &after, &report.event(Ended::Overlap, key)).await
            }
            PresentedSecret::Token(token) => self.end_token(key, token, report).await,
            PresentedSecret::LegacyKey { .. } => {
                Err(Error::Broken("a legacy key was found by an id".to_owned()))
            }
        }
    }

    async fn delete_key(&self, key: &Key, report: Report<'_>) -> Result<WriteOutcome, Error> {
        let stored = self.keys.keys.unhashed(key.key_id, report.now).await?;
        let Some(stored) = stored.filter(|stored| stored.record.revision == key.revision) else {
            return Ok(WriteOutcome::Stale);
        };
        let event = report.event(Ended::KeyDeleted, key);
        match self.keys.delete_key(Actor::Keygate, &stored, None, &event).await {
            Ok(()) => Ok(WriteOutcome::Applied),
            Err(Error::Conflict) => Ok(WriteOutcome::Stale),
            Err(failure) => Err(failure),
        }
    }

    /// Revokes an access token alone, and a refresh token with its family: the tokens of the same grant (RFC 7009, section 2.1).
    async fn end_token(
        &self,
        key: &Key,
        VerifiedToken { token, family, is_revoked }: &VerifiedToken,
        report: Report<'_>,
    ) -> Result<WriteOutcome, Error> {
        let (target, ended) = match (token.kind, family) {
            (_, _) if *is_revoked => return Ok(WriteOutcome::Applied),
            (TokenKind::AccessToken, _) if token.expires_at <= report.now => {
                return Ok(WriteOutcome::Applied);
            }
            (TokenKind::RefreshToken, Some(family)) => {
                (RevocationTarget::Family(family, token.generation), Ended::TokenFamily)
            }
            (TokenKind::RefreshToken, None) => (RevocationTarget::Token(token), Ended::TokenFamily),
            (TokenKind::AccessToken, _) => (RevocationTarget::Token(token), Ended::AccessToken),
        };
        let event = report.event(ended, key).with_token(token.token_id);
        // A concurrent revocation has the same effect.
        let (WriteOutcome::Applied | WriteOutcome::Stale) =
            self.tokens.revoke(Actor::Keygate, key.key_id, target, &event).await?;
        Ok(WriteOutcome::Applied)
    }

    async fn end_session(
        &self,
        credential: &Credential,
        id: SessionId,
        report: Report<'_>,
    ) -> Result<Finding, Error> {
        let (key_id, Verifier { peppers, reader }) = (credential.key_id, &self.verifier);
        let (key, stored) = reader.session_with_key(key_id, id, report.now).await?;
        let Ok(opened) = session::verify(peppers, credential, key, stored)? else {
            return Ok(Finding::NotStored);
        };
        if opened.session.expires_at <= report.now {
            return Ok(Finding::Credential);
        }
        let event = report.session_event(Ended::Session, &opened.session);
        // A session that has ended meanwhile has ended.
        let (WriteOutcome::Applied | WriteOutcome::Stale) =
            self.tokens.end_session(Actor::Keygate, (key_id, id), &event).await?;
        Ok(Finding::Credential)
    }

    async fn end_page_code(
        &self,
        credential: &Credential,
        id: SessionId,
        report: Report<'_>,
    ) -> Result<Finding, Error> {
        let Verifier { peppers, reader } = &self.verifier;
        let (stored, session) = reader.page_code_with_session(credential.key_id, id).await?;
        let is_right = session::verify_code(peppers, credential, stored.as_ref(), report.now)?;
        let (Some(stored), Some(session)) = (stored.filter(|_| is_right), session) else {
            return Ok(Finding::NotStored);
        };
        let event = report.session_event(Ended::PageCode, &session);
        // A code that was used meanwhile has ended.
        let (WriteOutcome::Applied | WriteOutcome::Stale) =
            self.tokens.end_page_code(&stored, &event).await?;
        Ok(Finding::Credential)
    }

    async fn end_legacy_key(
        &self,
        key: &LegacyCredential,
        rules: &LegacyRules,
        store: &LegacyStore,
        report: Report<'_>,
    ) -> Result<Finding, Error> {
        let verified = self.verifier.verify_legacy(key, rules.sunset).await?.verification;
        let Verification::Verified(known) = verified else { return Ok(Finding::NotStored) };
        let VerifiedCredential { key, presented: PresentedSecret::LegacyKey { hash, .. }, .. } = *known
        else {
            return Err(Error::Broken("a legacy key was verified as another credential".to_owned()));
        };
        let event = report.event(Ended::LegacyKey, &key);
        match store.delete(Actor::Keygate, (&(&hash).into(), key.key_id), &event).await {
            // It was deleted meanwhile.
            Ok(()) | Err(Error::NoSuchLegacyKey) => Ok(Finding::Credential),
            Err(failure) => Err(failure),
        }
    }
}

impl Report<'_> {
    /// The event of a credential of a key.
    fn event(self, ended: Ended, key: &Key) -> AuditEvent {
        let context = EventContext {
            workspace_id: &key.workspace_id,
            actor: self.reporter,
            session: None,
            origin: self.origin,
            at: self.now,
        };
        AuditEvent::for_key(Action::KeyLeaked, context, key.key_id, &key.user_id)
            .with_metadata(&key.metadata)
            .with_end(ended)
    }

    /// The event of a session or its page code.
    fn session_event(self, ended: Ended, session: &Session) -> AuditEvent {
        let context = EventContext {
            workspace_id: &session.workspace_id,
            actor: self.reporter,
            session: None,
            origin: self.origin,
            at: self.now,
        };
        sessions::event(Action::KeyLeaked, context, session).with_end(ended)
    }
}
