//! Who calls, and what they may do.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use thiserror::Error as ThisError;

use crate::credential::{self, KeyId};
use crate::endpoint::{self, EndpointRule};
use crate::error::Error;
use crate::rights::OldSecret;
use crate::scope::{Scope, WORKSPACE_ADMIN};
use crate::time;
use crate::word::{consists_of, word};

word! {
    /// The tenant that a key, a user or an event belongs to: `[a-z0-9-]{1,64}`. Nothing crosses it.
    WorkspaceId is |text| consists_of(text, 1..=64, |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-')),
    or else
    /// A text that is no [`WorkspaceId`].
    InvalidWorkspaceId: "must be 1 to 64 characters of a-z, 0-9 and '-'"
}

word! {
    /// Who a key belongs to and acts as: an opaque id that the adopter chooses, `[A-Za-z0-9._:@|+='!~-]{1,128}`.
    ///
    /// It stands in paths and in the audit trail. So it is neither `.` nor `..`, which clients resolve before they send a
    /// path; and it is no credential, which would be kept and published with it.
    UserId or InvalidUserId, by check_user_id
}

fn check_user_id(text: &str) -> Result<(), InvalidUserId> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:@|+='!~-".contains(&byte);
    if !consists_of(text, 1..=128, allowed) {
        Err(InvalidUserId::Characters)
    } else if matches!(text, "." | "..") {
        Err(InvalidUserId::Dots)
    } else if is_reserved(text) && !text.starts_with(RESERVED) {
        Err(InvalidUserId::Reserved)
    } else if credential::is_within(text) {
        Err(InvalidUserId::Credential)
    } else {
        Ok(())
    }
}

/// A text that is no [`UserId`], or is none that a user can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum InvalidUserId {
    /// It is empty, too long, or has other characters.
    #[error("must be 1 to 128 characters of A-Z, a-z, 0-9 and . _ : @ | + = - ' ! ~")]
    Characters,
    /// In a path it is taken for a step up or for nothing.
    #[error("must not be . or ..")]
    Dots,
    /// It begins as Keygate's own ids do.
    #[error("must not begin with {RESERVED}, in any case")]
    Reserved,
    /// It is a credential, or contains one.
    #[error("{}", credential::MUST_NOT_BE)]
    Credential,
}

/// How the ids begin that stand in the audit trail for what no user did. In any other case the text begins no id at all, so
/// that nobody takes a user for one of them.
const RESERVED: &str = "keygate:";

fn is_reserved(text: &str) -> bool {
    text.get(..RESERVED.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(RESERVED))
}

impl UserId {
    /// Who does in the audit trail what an event of another system asks for.
    #[must_use]
    pub fn of_events() -> Self {
        Self(format!("{RESERVED}users"))
    }

    /// Who does in the audit trail what happens by the passing of time alone.
    #[must_use]
    pub fn of_clock() -> Self {
        Self(format!("{RESERVED}clock"))
    }

    /// Who does in the audit trail what is done to keys because nobody uses them.
    #[must_use]
    pub fn of_unused() -> Self {
        Self(format!("{RESERVED}unused"))
    }

    /// Who does in the audit trail what is imported.
    #[must_use]
    pub fn of_import() -> Self {
        Self(format!("{RESERVED}import"))
    }

    /// The user, if keys can be theirs: not an id that Keygate itself has in the audit trail.
    ///
    /// # Errors
    ///
    /// [`InvalidUserId::Reserved`] when it is such an id.
    pub fn somebody(self) -> Result<Self, InvalidUserId> {
        if is_reserved(&self.0) { Err(InvalidUserId::Reserved) } else { Ok(self) }
    }
}

/// On whose behalf a change is made.
#[derive(Clone, Copy, Debug)]
pub enum Actor<'a> {
    /// A user of the workspace, with whichever credential. A user who was removed changes nothing.
    User(&'a WorkspaceId, &'a UserId),
    /// Keygate itself: what time does, what an event asks for, and what is left of a removal that was accepted.
    Keygate,
}

/// The authenticated sender of a request: as the authorizer finds it, and as it tells the backend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Caller {
    /// The tenant of everything the caller can see.
    pub workspace_id: WorkspaceId,
    /// Whom the credential acts as.
    pub user_id: UserId,
    /// The key behind the credential.
    pub key_id: KeyId,
    /// That key's name.
    pub key_name: String,
    /// What the credential carries.
    pub scopes: Vec<Scope>,
    /// Where the credential may be used; everywhere, if there are none.
    pub endpoints: Vec<EndpointRule>,
    /// What was presented.
    pub credential: CredentialKind,
    /// Which secret of an API key it is, if not the current one.
    pub old_secret: Option<OldSecret>,
    /// When it stops working: what was presented, not the key behind it.
    #[serde(serialize_with = "time::serialize")]
    pub expires_at: Option<DateTime<Utc>>,
}

/// The caller as `GET /me` shows it.
#[derive(Debug, Serialize)]
pub struct Me {
    #[serde(flatten)]
    caller: Caller,
    /// Whether what was presented is to be replaced by an API key.
    deprecated: bool,
    /// From when on no credential of this kind works.
    #[serde(serialize_with = "time::serialize")]
    sunset: Option<DateTime<Utc>>,
}

impl From<Caller> for Me {
    fn from(caller: Caller) -> Self {
        let sunset = caller.sunset();
        Self { caller, deprecated: sunset.is_some(), sunset }
    }
}

/// Which kind of credential was presented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// The key itself.
    ApiKey,
    /// A token that was made with it.
    AccessToken,
    /// A key of the adopter's earlier mechanism, which works until its sunset.
    LegacyKey,
}

impl CredentialKind {
    /// The kind in one word, as everybody is told.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::AccessToken => "access_token",
            Self::LegacyKey => "legacy_key",
        }
    }

    /// The kind as a sentence begins with it.
    #[must_use]
    pub fn noun(self) -> &'static str {
        match self {
            Self::ApiKey => "An API key",
            Self::AccessToken => "An access token",
            Self::LegacyKey => "A legacy key",
        }
    }
}

impl Caller {
    /// On whose behalf the caller changes something.
    #[must_use]
    pub fn actor(&self) -> Actor<'_> {
        Actor::User(&self.workspace_id, &self.user_id)
    }

    /// From when on no credential of this kind works: of a legacy key its sunset, which is when it expires.
    #[must_use]
    pub fn sunset(&self) -> Option<DateTime<Utc>> {
        self.expires_at.filter(|_| self.credential == CredentialKind::LegacyKey)
    }

    /// Whether the caller acts on everyone's keys.
    #[must_use]
    pub fn is_admin(&self) -> bool {
        self.scopes.iter().any(|held| held.as_str() == WORKSPACE_ADMIN)
    }

    /// Demands one scope; an administrator holds every one.
    ///
    /// # Errors
    ///
    /// - [`Error::InsufficientScope`]: the caller does not hold it.
    pub fn require(&self, scope: &str) -> Result<(), Error> {
        if self.is_admin() || self.scopes.iter().any(|held| held.as_str() == scope) {
            Ok(())
        } else {
            Err(Error::InsufficientScope(scope.to_owned()))
        }
    }

    /// Demands what handing out a key takes: every scope and endpoint rule of the one that is handed out.
    ///
    /// Nobody hands out more than they have. A caller without rules holds every rule. Any other holds what its own cover, and
    /// so never a key without rules; that goes for administrators too, who would have no use for rules that they can get
    /// around. Which credentials may hand out keys at all, [`crate::rights`] says.
    ///
    /// # Errors
    ///
    /// - [`Error::InsufficientScope`]: names the first scope that the caller does not hold.
    /// - [`Error::InsufficientEndpoints`]: names the first rule that it does not hold.
    pub fn require_all(&self, scopes: &[Scope], endpoints: &[EndpointRule]) -> Result<(), Error> {
        scopes.iter().try_for_each(|scope| self.require(scope.as_str()))?;
        if self.endpoints.is_empty() {
            return Ok(());
        }
        if endpoints.is_empty() {
            return Err(Error::InsufficientEndpoints(None));
        }
        match endpoints.iter().find(|rule| !endpoint::cover(&self.endpoints, rule)) {
            None => Ok(()),
            Some(rule) => Err(Error::InsufficientEndpoints(Some(rule.clone()))),
        }
    }

    /// Demands that the caller may act on the keys of `user`: its own, or anyone's as an administrator.
    ///
    /// # Errors
    ///
    /// - [`Error::NotYourKey`]: the user is another one and the caller no administrator.
    pub fn require_to_act_for(&self, user: &UserId) -> Result<(), Error> {
        if self.is_admin() || self.user_id == *user { Ok(()) } else { Err(Error::NotYourKey) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::{KEYS_READ, KEYS_WRITE};

    fn caller(scopes: &[&str]) -> Caller {
        Caller {
            workspace_id: "acme".parse().unwrap(),
            user_id: "alice".parse().unwrap(),
            key_id: "01JD3V6Y4N8Q2Z5X7W9B0C1D2E".parse().unwrap(),
            key_name: "ci".to_owned(),
            scopes: scopes.iter().map(|scope| scope.parse().unwrap()).collect(),
            endpoints: Vec::new(),
            credential: CredentialKind::ApiKey,
            old_secret: None,
            expires_at: None,
        }
    }

    fn rules(texts: &[&str]) -> Vec<EndpointRule> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_scope_is_held_word_for_word_or_by_an_administrator() {
        // held, demanded, granted
        let table: [(&[&str], &str, bool); 5] = [
            (&[], KEYS_READ, false),
            (&[KEYS_READ], KEYS_READ, true),
            (&[KEYS_READ], KEYS_WRITE, false),
            (&[WORKSPACE_ADMIN], "orders:refund", true),
            (&["workspace:admin.not"], KEYS_READ, false),
        ];
        for (held, demanded, granted) in table {
            assert_eq!(caller(held).require(demanded).is_ok(), granted, "{held:?} for {demanded}");
        }
    }

    #[test]
    fn nobody_hands_out_a_scope_they_do_not_hold() {
        let wanted: Vec<Scope> = ["keys:read", "orders:read"].map(|scope| scope.parse().unwrap()).into();
        assert!(caller(&["keys:read", "orders:read", "x"]).require_all(&wanted, &[]).is_ok());
        let refused = caller(&["keys:read"]).require_all(&wanted, &[]);
        assert!(matches!(refused, Err(Error::InsufficientScope(scope)) if scope == "orders:read"));
        assert!(caller(&[KEYS_WRITE]).require_all(&[Scope::workspace_admin()], &[]).is_err());
    }

    #[test]
    fn nobody_hands_out_an_endpoint_that_their_own_key_does_not_reach() {
        // held, demanded, granted
        let table: [(&[&str], &[&str], bool); 6] = [
            (&[], &[], true),
            (&[], &["* /*", "$connect"], true),
            (&["* /*", "$connect"], &[], false),
            (&["GET /orders/*"], &["GET /orders/7", "GET /orders/8/*"], true),
            (&["GET /orders/*"], &["GET /orders/7", "PUT /orders/7"], false),
            (&["GET /orders/*"], &["GET /orders"], false),
        ];
        for scopes in [&[][..], &[WORKSPACE_ADMIN]] {
            for (held, demanded, granted) in table {
                let caller = Caller { endpoints: rules(held), ..caller(scopes) };
                let answer = caller.require_all(&[], &rules(demanded));
                assert_eq!(answer.is_ok(), granted, "{held:?} for {demanded:?} with {scopes:?}");
            }
        }
    }

    #[test]
    fn only_administrators_act_for_others() {
        let (alice, bob) = ("alice".parse().unwrap(), "bob".parse().unwrap());
        assert!(caller(&[]).require_to_act_for(&alice).is_ok());
        assert!(matches!(caller(&[KEYS_WRITE]).require_to_act_for(&bob), Err(Error::NotYourKey)));
        assert!(caller(&[WORKSPACE_ADMIN]).require_to_act_for(&bob).is_ok());
    }

    #[test]
    fn ids_are_words_of_their_alphabets() {
        for valid in [
            "auth0|5f7c",
            "alice@example.com",
            "svc:deploy+1=a-b_c",
            "o'brien@example.com",
            "!a~",
            "...",
            ".a",
        ] {
            assert!(valid.parse::<UserId>().is_ok(), "{valid}");
        }
        for invalid in ["", "a b", "a#b", "a/b", "a%b", "ü", &"u".repeat(129)] {
            assert_eq!(invalid.parse::<UserId>(), Err(InvalidUserId::Characters), "{invalid}");
        }
        for invalid in ["", "Acme", "a_b", "a#b", &"w".repeat(65)] {
            assert!(invalid.parse::<WorkspaceId>().is_err(), "{invalid}");
        }
    }

    #[test]
    fn no_user_has_an_id_that_a_path_cannot_have() {
        for dots in [".", ".."] {
            assert_eq!(dots.parse::<UserId>(), Err(InvalidUserId::Dots));
        }
    }

    #[test]
    fn the_ids_of_keygate_are_no_users_in_whatever_case_and_are_in_the_trail_in_one() {
        for own in [UserId::of_clock(), UserId::of_events(), UserId::of_import(), UserId::of_unused()] {
            assert_eq!(own.as_str().parse::<UserId>().as_ref(), Ok(&own));
            assert_eq!(own.somebody(), Err(InvalidUserId::Reserved));
        }
        for look_alike in ["KEYGATE:clock", "Keygate:users", "keygatE:"] {
            assert_eq!(look_alike.parse::<UserId>(), Err(InvalidUserId::Reserved), "{look_alike}");
        }
        assert!("keygate".parse::<UserId>().and_then(UserId::somebody).is_ok());
    }

    #[test]
    fn a_credential_is_no_id_and_no_scope() {
        let key = "kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_00000000000000000000000000000000000000000001GekMi";
        for text in [key.to_owned(), key.replace("kg_", "other_"), format!("svc:{key}")] {
            assert_eq!(text.parse::<UserId>(), Err(InvalidUserId::Credential), "{text}");
            assert!(!InvalidUserId::Credential.to_string().contains(&text));
            assert!(text.parse::<Scope>().is_err() && text.parse::<WorkspaceId>().is_err());
        }
    }
}
