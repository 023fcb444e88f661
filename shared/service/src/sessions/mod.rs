//! Use cases of sessions, one per file.

pub mod end;
pub mod exchange;
pub mod open;
pub mod settings;

use keygate_core::audit_event::{Action, AuditEvent};
use keygate_core::caller::CallerSession;
use keygate_core::context::EventContext;
use keygate_core::session::Session;
use secrecy::{ExposeSecret, SecretString};
use serde::Serializer;

/// An event about a session. Its target is the user of the session.
pub(crate) fn event(action: Action, context: EventContext<'_>, session: &Session) -> AuditEvent {
    let of_session = CallerSession { id: session.session_id, opened_by: session.opened_by.clone() };
    AuditEvent {
        session: Some(of_session),
        ..AuditEvent::for_key(action, context, session.key_id, &session.user_id)
    }
}

fn expose<S: Serializer>(text: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(text.expose_secret())
}
