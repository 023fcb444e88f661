//! What the checks of a run share: its calls, its keys, and waiting.

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use http::StatusCode;
use keygate_core::error::chain;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::call::{Api, Response, SmokeCall};
use super::report::CheckResult;
use crate::api::retry_after;
use crate::aws::{AwsAccount, Stack};
use crate::failure::{Failure, Status};
use crate::http::Http;
use crate::retry::{MAX_ATTEMPTS, pause};

/// How long each key of a run lives, in seconds. A run that is killed leaves no key that works for longer.
pub(super) const LIFETIME_SECONDS: i64 = 3_600;
/// The output of a stack with legacy keys: the name of their import's function.
pub(super) const IMPORT_OUTPUT: &str = "ImportLegacyKeysFunctionName";
/// How long a change may take to be seen in an index of a list.
pub(super) const INDEX_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the background work for a removed user may take.
pub(super) const REMOVAL_TIMEOUT: Duration = Duration::from_mins(3);
/// How long a revocation may take where there is no cache.
const REVOCATION_TIMEOUT: Duration = Duration::from_secs(15);
/// The pause between two attempts of something that is waited for.
const PAUSE: Duration = Duration::from_secs(1);
/// How much of a response is shown, in characters.
const SHOWN: usize = 300;
/// No word of a response that is as long as a secret is shown. An id has 26 characters, a secret with its checksum 49.
const SECRET_LENGTH: usize = 40;

/// A check. It returns at the first call that has another response than it must have.
pub(super) type Check = fn(&mut Run) -> Result<(), Incomplete>;

/// Why a check ended before all of it was done.
#[derive(Debug)]
pub(super) enum Incomplete {
    /// The stack does something else than it must.
    Failed(String),
    /// The stack is not configured for it, or the caller lacks a right in AWS.
    NotChecked(String),
}

impl Incomplete {
    pub(super) fn failed(detail: impl Into<String>) -> Self {
        Self::Failed(detail.into())
    }

    pub(super) fn not_checked(reason: impl Into<String>) -> Self {
        Self::NotChecked(reason.into())
    }
}

/// A permission that the caller lacks is no failure of the stack.
impl From<Failure> for Incomplete {
    fn from(failure: Failure) -> Self {
        if failure.code.as_deref().is_some_and(|code| code.starts_with("AccessDenied")) {
            Self::NotChecked(failure.to_string())
        } else {
            Self::Failed(failure.to_string())
        }
    }
}

/// Ends a check unless something holds.
///
/// # Errors
///
/// It does not hold, as `otherwise` says.
pub(super) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), Incomplete> {
    if holds { Ok(()) } else { Err(Incomplete::Failed(otherwise())) }
}

/// The addresses that a run calls.
#[derive(Debug)]
pub(super) struct Addresses {
    pub(super) management: String,
    pub(super) oauth: String,
    /// Endpoints of the operator's own API.
    pub(super) endpoints: Vec<String>,
}

/// An API key of the run.
pub(super) struct Key {
    pub(super) id: String,
    pub(super) text: SecretString,
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Key {
    /// The key that a response created; `None` if it has none.
    pub(super) fn of(created: &Value) -> Option<Self> {
        let text = |member: &str| created[member].as_str().map(str::to_owned);
        Some(Self { id: text("id")?, text: text("key")?.into() })
    }
}

/// One run, in a workspace of its own.
pub(super) struct Run {
    http: Http,
    pub(super) aws: AwsAccount,
    pub(super) stack: Stack,
    pub(super) addresses: Addresses,
    pub(super) workspace: String,
    pub(super) administrator: Key,
    /// The users of the run who may have keys. The clean-up removes them.
    pub(super) users: BTreeSet<String>,
    /// Texts that no report may have, beside those with the form of a credential.
    hidden: Vec<SecretString>,
    calls: u64,
    /// The routes that had a success in this check.
    routes: BTreeSet<String>,
}

impl Run {
    pub(super) fn new(
        http: Http,
        aws: AwsAccount,
        stack: Stack,
        addresses: Addresses,
        workspace: String,
        administrator: Key,
    ) -> Self {
        let (users, routes) = (BTreeSet::new(), BTreeSet::new());
        Self {
            http,
            aws,
            stack,
            addresses,
            workspace,
            administrator,
            users,
            hidden: Vec::new(),
            calls: 0,
            routes,
        }
    }

    /// Makes a check, and returns its result.
    pub(super) fn measure(&mut self, name: &'static str, check: Check) -> CheckResult {
        (self.calls, self.routes) = (0, BTreeSet::new());
        let started_at = Instant::now();
        let mut outcome = check(self);
        if let Err(Incomplete::Failed(detail) | Incomplete::NotChecked(detail)) = &mut outcome {
            *detail = self.masked(detail);
        }
        CheckResult {
            name,
            outcome,
            calls: self.calls,
            elapsed: started_at.elapsed(),
            routes: std::mem::take(&mut self.routes),
        }
    }

    // --- Calls ---

    /// Makes a call, and returns its response, whatever its status. A call that is throttled is repeated.
    ///
    /// # Errors
    ///
    /// There was no response.
    pub(super) fn send(&mut self, call: &SmokeCall) -> Result<Response, Incomplete> {
        for attempt in 1.. {
            self.calls += 1;
            let request = call.request(&self.addresses)?;
            let response = self.http.send(request);
            let response = response.map_err(|error| {
                Incomplete::failed(format!("{}: no response: {}", call.route, chain(&error)))
            })?;
            let (head, body) = response.into_parts();
            let is_throttled = head.status == StatusCode::TOO_MANY_REQUESTS && attempt < MAX_ATTEMPTS;
            if is_throttled
                && pause(attempt, retry_after(&head.headers), &format!("{}: throttled", call.route))
            {
                continue;
            }
            let (status, headers) = (head.status, head.headers);
            return Ok(Response { route: call.route.clone(), status, headers, body });
        }
        unreachable!("the last attempt returns")
    }

    /// Makes a call, whose response must have this status.
    ///
    /// # Errors
    ///
    /// The response has another status, or none arrived.
    pub(super) fn expect(&mut self, call: &SmokeCall, status: u16) -> Result<Response, Incomplete> {
        let response = self.send(call)?;
        if response.status.as_u16() != status {
            return Err(self.unexpected(&response, &status.to_string()));
        }
        if response.status.is_success() && call.api != Api::Own {
            self.routes.insert(call.route.clone());
        }
        Ok(response)
    }

    /// Makes a call that must be refused, with this code of an error.
    ///
    /// # Errors
    ///
    /// The response is another one, or none arrived.
    pub(super) fn refuse(&mut self, call: &SmokeCall, status: u16, code: &str) -> Result<(), Incomplete> {
        let response = self.send(call)?;
        let body = response.json();
        // Problems of the management API have a `code`, and errors of the OAuth API an `error`.
        if response.status.as_u16() == status && (body["code"] == code || body["error"] == code) {
            return Ok(());
        }
        Err(self.unexpected(&response, &format!("{status} {code}")))
    }

    /// The failure of a call with another response than it must have.
    pub(super) fn unexpected(&self, response: &Response, expected: &str) -> Incomplete {
        // Masked before it is cut: a part of a secret could not be recognised.
        let body = self.masked(&String::from_utf8_lossy(&response.body));
        let shown: String = body.chars().take(SHOWN).collect();
        Incomplete::failed(format!(
            "{}: {}, expected {expected}: {shown}",
            response.route,
            response.status.as_u16()
        ))
    }

    // --- Keys ---

    /// The administrator's credential.
    pub(super) fn admin(&self) -> SecretString {
        self.administrator.text.clone()
    }

    /// Creates a key of a user as the administrator.
    ///
    /// # Errors
    ///
    /// It is not created.
    pub(super) fn create_key(&mut self, user_id: &str, scopes: &[&str]) -> Result<Key, Incomplete> {
        self.users.insert(user_id.to_owned());
        let name = format!("smoke {}", random_hex(4)?);
        let body =
            json!({"name": name, "user_id": user_id, "scopes": scopes, "expires_in": LIFETIME_SECONDS});
        let call = SmokeCall::management("POST /api-keys").by(&self.administrator.text).body(&body);
        let created = self.expect(&call, 201)?;
        new_key(&created)
    }

    /// Whether the stack accepts legacy keys, or has accepted them until their sunset. Without them, their routes do not exist.
    pub(super) fn has_legacy_keys(&self) -> bool {
        self.stack.output(IMPORT_OUTPUT).is_ok()
    }

    /// Ends a check for which a user needs two keys, if the stack allows a user one.
    ///
    /// # Errors
    ///
    /// The stack allows one.
    pub(super) fn needs_two_keys_of_a_user(&self) -> Result<(), Incomplete> {
        if self.stack.parameter("KeysPerUser") == Some("1") {
            return Err(Incomplete::not_checked("a user may have one key: KeysPerUser is 1"));
        }
        Ok(())
    }

    /// Whether the management API accepts a credential.
    ///
    /// # Errors
    ///
    /// It neither accepts nor refuses it.
    pub(super) fn works(&mut self, credential: &SecretString) -> Result<bool, Incomplete> {
        let response = self.send(&SmokeCall::management("GET /me").by(credential))?;
        match response.status {
            StatusCode::OK => Ok(true),
            StatusCode::UNAUTHORIZED => Ok(false),
            _ => Err(self.unexpected(&response, "200 or 401")),
        }
    }

    /// The text is not shown in a report.
    pub(super) fn hide(&mut self, secret: SecretString) {
        self.hidden.push(secret);
    }

    // --- Waiting ---

    /// Waits until something holds.
    ///
    /// # Errors
    ///
    /// It does not hold within the time, which `otherwise` says.
    pub(super) fn until(
        &mut self,
        within: Duration,
        otherwise: &str,
        mut holds: impl FnMut(&mut Self) -> Result<bool, Incomplete>,
    ) -> Result<(), Incomplete> {
        let deadline = Instant::now() + within;
        while !holds(self)? {
            let left = deadline.saturating_duration_since(Instant::now());
            ensure(!left.is_zero(), || format!("{otherwise} after {} s", within.as_secs()))?;
            std::thread::sleep(PAUSE.min(left));
        }
        Ok(())
    }

    /// Waits until the management API, which has no cache, refuses a revoked credential.
    ///
    /// # Errors
    ///
    /// It is still accepted.
    pub(super) fn until_refused(&mut self, credential: &SecretString, what: &str) -> Result<(), Incomplete> {
        let otherwise = format!("{what} is still accepted by GET /me");
        self.until(REVOCATION_TIMEOUT, &otherwise, |run| Ok(!run.works(credential)?))
    }

    /// Checks that a credential is accepted, so that its refusal afterwards shows something.
    ///
    /// # Errors
    ///
    /// It is refused.
    pub(super) fn accepts(&mut self, credential: &SecretString, what: &str) -> Result<(), Incomplete> {
        let is_accepted = self.works(credential)?;
        ensure(is_accepted, || format!("{what} is refused by GET /me"))
    }

    /// How long an API of the operator may accept a revoked credential, if API Gateway has no cache before it.
    pub(super) fn revocation_of_apis(&self) -> Duration {
        let seconds = self.stack.parameter("CacheSeconds").and_then(|value| value.parse().ok());
        REVOCATION_TIMEOUT + Duration::from_secs(seconds.unwrap_or_default())
    }

    // --- Reports ---

    /// A text without credentials.
    fn masked(&self, text: &str) -> String {
        let hide = |text: String, secret: &SecretString| text.replace(secret.expose_secret(), "…");
        without_credentials(&self.hidden.iter().fold(text.to_owned(), hide))
    }
}

/// The key that a response created.
///
/// # Errors
///
/// The body has no `id` or no `key`.
pub(super) fn new_key(response: &Response) -> Result<Key, Incomplete> {
    Key::of(&response.json())
        .ok_or_else(|| Incomplete::failed(format!("{}: no key in the response", response.route)))
}

/// Random bytes as a text.
///
/// # Errors
///
/// The system has none.
pub(super) fn random_hex(bytes: usize) -> Result<String, Failure> {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random)
        .map_err(|error| Failure::new(Status::Failed, format!("there are no random bytes: {error}")))?;
    Ok(hex::encode(random))
}

/// A text with `…` for each word that is as long as a secret, and for each JWT.
fn without_credentials(text: &str) -> String {
    let is_of_word =
        |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '.');
    let mut masked = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let is_word = is_of_word(first);
        let end = rest.find(|character| is_of_word(character) != is_word).unwrap_or(rest.len());
        let (part, others) = rest.split_at(end);
        if !is_word {
            masked.push_str(part);
        } else if part.starts_with("eyJ") {
            masked.push('…');
        } else {
            for piece in part.split_inclusive(|character: char| !character.is_ascii_alphanumeric()) {
                let letters = piece.trim_end_matches(|character: char| !character.is_ascii_alphanumeric());
                let is_secret = letters.len() >= SECRET_LENGTH;
                masked.push_str(if is_secret { "…" } else { letters });
                masked.push_str(&piece[letters.len()..]);
            }
        }
        rest = others;
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1uQGQy";
    const ID: &str = "01JD3V6Y4N8Q2Z5X7W9B0C1D2E";

    #[test]
    fn no_credential_of_any_form_is_shown() {
        for form in ["key", "tok", "ref", "ses", "cod"] {
            let ids = if form == "key" { ID.to_owned() } else { format!("{ID}_{ID}") };
            let shown = without_credentials(&format!(r#"{{"a":"kg_{form}_{ids}_{SECRET}","b":1}}"#));
            assert_eq!(shown, format!(r#"{{"a":"kg_{form}_{ids}_…","b":1}}"#));
        }
        let jwt = "eyJhbGciOiJSUzI1NiJ9.eyJhIjoxfQ.c2lnbmF0dXJl-_";
        assert_eq!(without_credentials(&format!("\"{jwt}\", {SECRET}\n")), "\"…\", …\n");
        let plain = "GET /api-keys/{id}: 500, expected 200: {\"message\":\"\u{e9} a_b-c.d\"}";
        assert_eq!(without_credentials(plain), plain);
    }

    #[test]
    fn a_key_is_not_shown_by_its_debug_form() {
        let key = Key::of(&json!({"id": ID, "key": SECRET})).unwrap();
        assert!(!format!("{key:?}").contains(SECRET));
        assert!(Key::of(&json!({"id": ID})).is_none());
    }

    #[test]
    fn a_permission_that_the_caller_lacks_in_aws_is_no_failure_of_the_stack() {
        let of_code = |code: &str| {
            let mut failure = Failure::new(Status::Refused, "Lambda refused");
            failure.code = Some(code.into());
            Incomplete::from(failure)
        };
        assert!(matches!(of_code("AccessDeniedException"), Incomplete::NotChecked(_)));
        assert!(matches!(of_code("ExpiredToken"), Incomplete::Failed(_)));
    }
}
