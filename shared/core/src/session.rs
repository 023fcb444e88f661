//! Sessions: an adopter's backend opens one for a user, who then manages their own keys for a limited time.
//!
//! A session belongs to the key that opened it. It ends with the secret that opened it, when the key is disabled or its tokens
//! are revoked, and when the key loses the right to open sessions. It never has more scopes, endpoint rules or calls than that
//! key has now. Its secret exists twice, for the backend and for the page: the page gets its own in exchange for a page code,
//! which works once.

use std::ops::RangeInclusive;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::caller::{Caller, CallerKey, CallerSession};
use crate::credential::{Credential, KeyId, SessionId};
use crate::credential_class::CredentialKind;
use crate::decision::Refusal;
use crate::identity::{UserId, WorkspaceId};
use crate::key::{Key, KeyState, Status};
use crate::metadata::Metadata;
use crate::pepper::{PageHash, Peppers, SecretHash, UnknownPepper};
use crate::scope::{SESSIONS_WRITE, Scope, TOKENS_INTROSPECT, USERS_WRITE, WORKSPACE_ADMIN};
use crate::token::TokenKey;
use crate::verification::InactiveReason;

/// The range of the life of a session, in seconds.
pub const SESSION_SECONDS: RangeInclusive<i64> = 60..=43_200;

/// The life of a session that does not request one, in seconds.
pub const DEFAULT_SESSION_SECONDS: i64 = 900;

/// How long a page code works.
pub const PAGE_CODE_LIFE: TimeDelta = TimeDelta::seconds(60);

/// The scopes that no session has, because they act for other users.
const NEVER_IN_A_SESSION: [&str; 4] = [WORKSPACE_ADMIN, USERS_WRITE, SESSIONS_WRITE, TOKENS_INTROSPECT];

/// Whether a session may have a scope.
#[must_use]
pub fn may_have(scope: &Scope) -> bool {
    !NEVER_IN_A_SESSION.contains(&scope.as_str())
}

/// A session without the hashes of its secrets. Times are whole seconds, stored as seconds since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The key that opened it.
    pub key_id: KeyId,
    /// Its public id.
    #[serde(rename = "entry", with = "session_entry")]
    pub session_id: SessionId,
    /// The tenant.
    pub workspace_id: WorkspaceId,
    /// The user that it acts as.
    pub user_id: UserId,
    /// The user whose key opened it.
    pub opened_by: UserId,
    /// The scopes that were granted. It has those that its key still has.
    pub scopes: Vec<Scope>,
    /// The state of its key when it was opened.
    #[serde(flatten)]
    pub key_state: KeyState,
    /// When it was opened.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub created_at: DateTime<Utc>,
    /// When it ends at the latest.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub expires_at: DateTime<Utc>,
}

/// A session with the hashes of its secrets.
#[derive(Debug, Serialize, Deserialize)]
pub struct HashedSession {
    /// The session.
    #[serde(flatten)]
    pub session: Session,
    /// The hash of the secret that the backend got.
    #[serde(flatten)]
    pub hash: SecretHash,
    /// The hash of the secret that the page got, once it has exchanged its code.
    #[serde(flatten)]
    pub page: Option<PageHash>,
}

/// A page code with its hash.
#[derive(Debug, Serialize, Deserialize)]
pub struct HashedPageCode {
    /// The key that opened the session.
    pub key_id: KeyId,
    /// The session that the code begins.
    #[serde(rename = "entry", with = "page_code_entry")]
    pub session_id: SessionId,
    /// The hash of the code.
    #[serde(flatten)]
    pub hash: SecretHash,
    /// When it stops working.
    #[serde(with = "chrono::serde::ts_seconds")]
    pub expires_at: DateTime<Utc>,
}

entry! { session_entry, SessionId, "SESSION#" }

entry! { page_code_entry, SessionId, "CODE#" }

/// A session with the key that opened it, as both are stored now.
#[derive(Clone, Debug)]
pub struct OpenedSession {
    /// The session.
    pub session: Session,
    /// The key.
    pub key: TokenKey,
}

/// Compares a presented session with the stored one, in constant time. A session whose key is not stored is unknown. The work is
/// the same for a session with one secret, with two, and for none.
///
/// # Errors
///
/// - [`UnknownPepper`]: no secret matched, and a hash was made under a pepper that the deployment does not list. The credential
///   may be right.
pub fn verify(
    peppers: &Peppers,
    credential: &Credential,
    key: Option<TokenKey>,
    stored: Option<HashedSession>,
) -> Result<Result<OpenedSession, Refusal>, UnknownPepper> {
    let (Some(key), Some(HashedSession { session, hash, page })) = (key, stored) else {
        peppers.verify_nothing(credential);
        peppers.verify_nothing(credential);
        return Ok(Err(Refusal::Unknown(Some(credential.key_id))));
    };
    let of_backend = peppers.verify(credential, &hash);
    let of_page = if let Some(page) = page {
        peppers.verify(credential, &SecretHash::from(&page))
    } else {
        peppers.verify_nothing(credential);
        Ok(false)
    };
    match (of_backend, of_page) {
        (Ok(true), _) | (_, Ok(true)) => Ok(Ok(OpenedSession { session, key })),
        (Ok(false), Ok(false)) => Ok(Err(Refusal::WrongSecret(credential.key_id))),
        (Err(unknown), _) | (_, Err(unknown)) => Err(unknown),
    }
}

/// Whether a presented page code is the stored one and works at an instant. The work is the same if no code is stored.
///
/// # Errors
///
/// - [`UnknownPepper`]: the stored hash was made under a pepper that the deployment does not list. The code may be right.
pub fn verify_code(
    peppers: &Peppers,
    code: &Credential,
    stored: Option<&HashedPageCode>,
    now: DateTime<Utc>,
) -> Result<bool, UnknownPepper> {
    let Some(stored) = stored else {
        peppers.verify_nothing(code);
        return Ok(false);
    };
    let is_right = peppers.verify(code, &stored.hash)?;
    Ok(is_right && now < stored.expires_at)
}

impl OpenedSession {
    /// The caller at an instant.
    ///
    /// It acts as the user of the session, with the scopes that the key that opened it still has, under that key's endpoint
    /// rules and limits. Its networks bind the keys that are made through it.
    ///
    /// # Errors
    ///
    /// As [`Self::works`].
    pub fn caller(&self, now: DateTime<Utc>) -> Result<Caller, InactiveReason> {
        let expires_at = self.works(now)?;
        let (session, key) = (&self.session, &self.key.record);
        let scopes = session.scopes.iter().filter(|scope| has(key, scope.as_str())).cloned().collect();
        Ok(Caller {
            workspace_id: session.workspace_id.clone(),
            user_id: session.user_id.clone(),
            key: Some(CallerKey { id: key.key_id, name: key.name.to_string(), state: None }),
            session: Some(CallerSession { id: session.session_id, opened_by: session.opened_by.clone() }),
            scopes,
            endpoints: key.endpoints.clone(),
            networks: key.networks.clone(),
            metadata: Metadata::default(),
            limits: key.limits.clone(),
            credential: CredentialKind::Session,
            old_secret: None,
            expires_at: Some(expires_at),
        })
    }

    /// Checks that the session works at an instant, and returns when it ends: with its time, its key, or the overlap in which the
    /// secret that opened it still works.
    ///
    /// # Errors
    ///
    /// - [`InactiveReason::Disabled`]: its key is disabled.
    /// - [`InactiveReason::Revoked`]: the secret that opened it works no more, the tokens of its key were revoked, or its key may
    ///   not open sessions any more.
    /// - [`InactiveReason::Expired`]: its end has passed, or that of its key.
    pub fn works(&self, now: DateTime<Utc>) -> Result<DateTime<Utc>, InactiveReason> {
        let (session, key) = (&self.session, &self.key.record);
        match key.status(now) {
            Status::Active => {}
            Status::Expired => return Err(InactiveReason::Expired),
            Status::Disabled => return Err(InactiveReason::Disabled),
        }
        let is_of_key = session.workspace_id == key.workspace_id && session.opened_by == key.user_id;
        if !is_of_key || session.key_state.generation != self.key.generation || !has(key, SESSIONS_WRITE) {
            return Err(InactiveReason::Revoked);
        }
        let overlap_end = match key.rotation.checked_sub(session.key_state.rotation) {
            Some(0) => None,
            Some(1) if !key.previous_transferred && key.in_overlap(now) => key.previous_expires_at,
            _ => return Err(InactiveReason::Revoked),
        };
        let ends = [Some(session.expires_at), key.expires_at, overlap_end];
        let end = ends.into_iter().flatten().min().unwrap_or(session.expires_at);
        if end <= now { Err(InactiveReason::Expired) } else { Ok(end) }
    }
}

/// Whether a key holds a scope, itself or as that of an administrator.
fn has(key: &Key, scope: &str) -> bool {
    key.scopes.iter().any(|held| held.as_str() == scope || held.as_str() == WORKSPACE_ADMIN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credential::CredentialForm;
    use crate::fixtures::{at, credential, key, key_id, peppers, rules, scopes};
    use crate::key::Generation;
    use crate::pepper::MACS_BEGUN;

    fn session_id() -> SessionId {
        "01JD4A0000F9K3W7RT2M8Q0001".parse().unwrap()
    }

    /// A key of `backend` that may open sessions, never expires and was rotated three times.
    fn opener() -> TokenKey {
        let record = Key {
            user_id: "backend".parse().unwrap(),
            scopes: scopes(&["keys:write", "orders:read", SESSIONS_WRITE]),
            expires_at: None,
            rotation: 3,
            ..key()
        };
        TokenKey { record, generation: Generation::from_number(5) }
    }

    /// A session of `alice` from second 0 to second 900.
    fn session() -> Session {
        Session {
            key_id: key_id(),
            session_id: session_id(),
            workspace_id: "acme".parse().unwrap(),
            user_id: "alice".parse().unwrap(),
            opened_by: "backend".parse().unwrap(),
            scopes: scopes(&["keys:write", "orders:read"]),
            key_state: KeyState { rotation: 3, generation: Generation::from_number(5) },
            created_at: at(0),
            expires_at: at(900),
        }
    }

    fn opened(key: Key) -> OpenedSession {
        OpenedSession { session: session(), key: TokenKey { record: key, ..opener() } }
    }

    #[test]
    fn a_session_acts_as_its_user_with_what_its_key_has_now() {
        let key = Key {
            endpoints: rules(&["* /api-keys/*"]),
            networks: vec!["203.0.113.0/24".parse().unwrap()],
            ..opener().record
        };
        let caller = opened(key).caller(at(0)).unwrap();
        assert_eq!((caller.user_id.as_str(), caller.credential), ("alice", CredentialKind::Session));
        assert_eq!(caller.session.unwrap().opened_by.as_str(), "backend");
        assert_eq!(caller.scopes, scopes(&["keys:write", "orders:read"]));
        assert_eq!((caller.endpoints, caller.networks.len()), (rules(&["* /api-keys/*"]), 1));
        assert_eq!(caller.expires_at, Some(at(900)));

        let narrowed = Key { scopes: scopes(&["keys:write", SESSIONS_WRITE]), ..opener().record };
        assert_eq!(opened(narrowed).caller(at(0)).unwrap().scopes, scopes(&["keys:write"]));
        let admin = Key { scopes: scopes(&[WORKSPACE_ADMIN]), ..opener().record };
        assert_eq!(opened(admin).caller(at(0)).unwrap().scopes, scopes(&["keys:write", "orders:read"]));
    }

    #[test]
    fn a_session_ends_with_the_secret_that_opened_it() {
        let rotated = |rotation, overlap: Option<i64>, previous_transferred| {
            let previous_expires_at = overlap.map(at);
            let key = Key { previous_expires_at, previous_transferred, rotation, ..opener().record };
            opened(key).works(at(10))
        };
        assert_eq!(rotated(3, None, false), Ok(at(900)));
        assert_eq!(rotated(3, Some(60), false), Ok(at(900)), "of an earlier rotation");
        assert_eq!(rotated(4, Some(60), false), Ok(at(60)), "with the overlap");
        for (rotation, overlap, transferred) in [
            (4, None, false),
            (4, Some(10), false),
            (4, Some(60), true),
            (5, Some(60), false),
            (2, None, false),
        ] {
            let ended = rotated(rotation, overlap, transferred);
            assert_eq!(ended, Err(InactiveReason::Revoked), "{rotation} {overlap:?} {transferred}");
        }
    }

    #[test]
    fn a_session_ends_with_its_time_its_key_and_the_right_of_its_key() {
        let table = [
            (Key { expires_at: Some(at(300)), ..opener().record }, 299, Ok(at(300))),
            (Key { expires_at: Some(at(300)), ..opener().record }, 300, Err(InactiveReason::Expired)),
            (opener().record, 899, Ok(at(900))),
            (opener().record, 900, Err(InactiveReason::Expired)),
            (Key { disabled_at: Some(at(0)), ..opener().record }, 1, Err(InactiveReason::Disabled)),
            (Key { scopes: scopes(&["keys:write"]), ..opener().record }, 1, Err(InactiveReason::Revoked)),
            (Key { user_id: "heir".parse().unwrap(), ..opener().record }, 1, Err(InactiveReason::Revoked)),
        ];
        for (key, now, expected) in table {
            assert_eq!(opened(key.clone()).works(at(now)), expected, "{key:?}");
        }
        let key = TokenKey { generation: Generation::from_number(6), ..opener() };
        assert_eq!(OpenedSession { session: session(), key }.works(at(1)), Err(InactiveReason::Revoked));
    }

    #[test]
    fn scopes_that_act_for_others_are_in_no_session() {
        for scope in [WORKSPACE_ADMIN, USERS_WRITE, SESSIONS_WRITE, TOKENS_INTROSPECT] {
            assert!(!may_have(&scope.parse().unwrap()), "{scope}");
        }
        assert!(may_have(&"keys:write".parse().unwrap()));
    }

    #[test]
    fn both_secrets_of_a_session_open_it_and_no_other_does_with_the_same_work() {
        let peppers = peppers(&[1]);
        let [of_backend, of_page, other] =
            [1, 2, 3].map(|byte| credential(CredentialForm::Session(session_id()), byte));
        let code = credential(CredentialForm::PageCode(session_id()), 1);
        let stored = |with_page: bool| HashedSession {
            session: session(),
            hash: peppers.hash(&of_backend),
            page: with_page.then(|| PageHash::from(peppers.hash(&of_page))),
        };
        let verified = |presented: &Credential, key, stored| {
            MACS_BEGUN.set(0);
            let verified = verify(&peppers, presented, key, stored).unwrap();
            (verified.map(|opened| opened.session), MACS_BEGUN.get())
        };
        assert_eq!(verified(&of_backend, Some(opener()), Some(stored(true))).0, Ok(session()));
        let work = verified(&of_page, Some(opener()), Some(stored(true))).1;
        for (presented, key, stored, expected) in [
            (&of_page, Some(opener()), Some(stored(true)), Ok(session())),
            (&of_backend, Some(opener()), Some(stored(false)), Ok(session())),
            (&of_page, Some(opener()), Some(stored(false)), Err(Refusal::WrongSecret(key_id()))),
            (&other, Some(opener()), Some(stored(true)), Err(Refusal::WrongSecret(key_id()))),
            (&code, Some(opener()), Some(stored(true)), Err(Refusal::WrongSecret(key_id()))),
            (&of_page, None, Some(stored(true)), Err(Refusal::Unknown(Some(key_id())))),
            (&of_page, Some(opener()), None, Err(Refusal::Unknown(Some(key_id())))),
        ] {
            assert_eq!(verified(presented, key, stored), (expected, work));
        }
        let unlisted = crate::fixtures::peppers(&[2]);
        assert!(verify(&unlisted, &of_backend, Some(opener()), Some(stored(true))).is_err());
    }

    #[test]
    fn a_page_code_works_for_a_minute_and_its_secret_opens_no_session() {
        let peppers = peppers(&[1]);
        let code = credential(CredentialForm::PageCode(session_id()), 1);
        let stored = HashedPageCode {
            key_id: key_id(),
            session_id: session_id(),
            hash: peppers.hash(&code),
            expires_at: at(0) + PAGE_CODE_LIFE,
        };
        let works = |presented: &Credential, stored: Option<&HashedPageCode>, now| {
            verify_code(&peppers, presented, stored, at(now)).unwrap()
        };
        assert!(works(&code, Some(&stored), 59));
        assert!(!works(&code, Some(&stored), 60));
        assert!(!works(&code, None, 0));
        assert!(!works(&credential(CredentialForm::PageCode(session_id()), 2), Some(&stored), 0));
        assert!(!works(&credential(CredentialForm::Session(session_id()), 1), Some(&stored), 0));
        let unlisted = crate::fixtures::peppers(&[2]);
        assert!(verify_code(&unlisted, &code, Some(&stored), at(0)).is_err());
    }
}
