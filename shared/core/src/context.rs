//! The context of an operation: on whose behalf it is done, by which request, and when.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use percent_encoding::percent_decode_str;

use crate::caller::{Actor, Caller, CallerSession};
use crate::credential;
use crate::identity::{UserId, WorkspaceId};

/// The context of a request to the management API. It is read once, before the use case.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// The authenticated sender.
    pub caller: Caller,
    /// The request as the audit trail records it.
    pub origin: RequestOrigin,
    /// When the request arrived. No use case reads the clock.
    pub now: DateTime<Utc>,
}

impl RequestContext {
    /// The user on whose behalf the request changes something.
    #[must_use]
    pub fn actor(&self) -> Actor<'_> {
        self.caller.actor()
    }

    /// The context of the audit events of this request.
    #[must_use]
    pub fn event(&self) -> EventContext<'_> {
        EventContext {
            workspace_id: &self.caller.workspace_id,
            actor: &self.caller.user_id,
            session: self.caller.session.as_ref(),
            origin: &self.origin,
            at: self.now,
        }
    }
}

/// The context of an audit event: its content except the action and its target.
#[derive(Clone, Copy, Debug)]
pub struct EventContext<'a> {
    /// The tenant.
    pub workspace_id: &'a WorkspaceId,
    /// The user who acts.
    pub actor: &'a UserId,
    /// The session in which they act, if they do.
    pub session: Option<&'a CallerSession>,
    /// The request that causes the event.
    pub origin: &'a RequestOrigin,
    /// When it happens.
    pub at: DateTime<Utc>,
}

impl<'a> EventContext<'a> {
    /// The context of an event that no request to an API causes: of a direct invocation, or of background work.
    #[must_use]
    pub fn without_request(workspace_id: &'a WorkspaceId, actor: &'a UserId, at: DateTime<Utc>) -> Self {
        const NO_REQUEST: &RequestOrigin = &RequestOrigin { method: None, path: None, source: None };
        Self { workspace_id, actor, session: None, origin: NO_REQUEST, at }
    }
}

/// The request that caused an event. A direct invocation has neither method, path nor source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestOrigin {
    /// HTTP method.
    pub method: Option<String>,
    /// Path as sent, without the stage. For a call, the route if it is known.
    pub path: Option<String>,
    /// IP address of the sender.
    pub source: Option<String>,
}

/// The maximum length of a text of a request that is stored, in bytes.
const MAX_KEPT_TEXT_BYTES: usize = 512;

impl RequestOrigin {
    /// Whether a text of a request may be stored: it is not too long, and contains no credential, even if it is
    /// percent-encoded several times.
    #[must_use]
    pub fn may_keep(text: &str) -> bool {
        let mut text = Cow::Borrowed(text);
        loop {
            if text.len() > MAX_KEPT_TEXT_BYTES || credential::contains_credential(&text) {
                return false;
            }
            // Ends, because each step that decodes something shortens the text.
            let decoded = percent_decode_str(&text).decode_utf8_lossy().into_owned();
            if decoded == *text {
                return true;
            }
            text = Cow::Owned(decoded);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::KEY_TEXT;

    #[test]
    fn a_text_is_kept_unless_it_is_long_or_a_credential_however_it_is_encoded() {
        let key = KEY_TEXT;
        let encoded = key.replace('_', "%5F");
        for text in [
            format!("/users/{key}"),
            format!("/users/{encoded}"),
            format!("/users/{}", encoded.replace('%', "%25")),
            format!("/users/{}", key.replace('k', "%6b").replace('G', "%2547")),
            "a".repeat(MAX_KEPT_TEXT_BYTES + 1),
        ] {
            assert!(!RequestOrigin::may_keep(&text), "{text}");
        }
        for text in
            ["", "/users/bob%40example.com", "/100%", "/%ff%25", &"%25".repeat(MAX_KEPT_TEXT_BYTES / 3)]
        {
            assert!(RequestOrigin::may_keep(text), "{text}");
        }
    }
}
