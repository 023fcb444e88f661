//! Ending a session before its time.

use keygate_core::audit_event::Action;
use keygate_core::context::RequestContext;
use keygate_core::credential::{KeyId, SessionId};
use keygate_core::error::Error;
use keygate_core::rights::Operation;
use keygate_core::scope::SESSIONS_WRITE;

use crate::sessions::event;
use crate::store::WriteOutcome;
use crate::store::token_transactions::TokenStore;

/// Ends a session that the caller's key opened.
///
/// # Errors
///
/// - [`Error::InsufficientScope`], [`Error::InsufficientCredential`]: the caller may not open sessions, and so not end them.
/// - [`Error::NoSuchSession`]: the caller's key opened no such session, or the session has ended.
/// - [`Error::CallerRemoved`]: the caller's user was removed.
/// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
pub async fn end(store: &TokenStore, context: &RequestContext, id: SessionId) -> Result<(), Error> {
    let caller = &context.caller;
    caller.require(SESSIONS_WRITE)?;
    caller.may(Operation::OpenSession)?;
    let key = caller.key.as_ref().ok_or(Error::NoSuchSession)?;
    delete(store, context, key.id, id).await
}

/// Ends the session that is presented.
///
/// # Errors
///
/// - [`Error::NoSuchSession`]: the caller presented no session, or it has ended.
/// - [`Error::CallerRemoved`]: the user of the session, or the one who opened it, was removed.
/// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
pub async fn end_own(store: &TokenStore, context: &RequestContext) -> Result<(), Error> {
    let caller = &context.caller;
    let (Some(session), Some(key)) = (&caller.session, &caller.key) else {
        return Err(Error::NoSuchSession);
    };
    caller.may(Operation::EndOwnSession)?;
    delete(store, context, key.id, session.id).await
}

async fn delete(
    store: &TokenStore,
    context: &RequestContext,
    key_id: KeyId,
    id: SessionId,
) -> Result<(), Error> {
    let session = store.tokens.session(key_id, id).await?.ok_or(Error::NoSuchSession)?;
    let ended = event(Action::SessionEnded, context.event(), &session);
    match store.end_session(context.actor(), (key_id, id), &ended).await? {
        WriteOutcome::Applied => Ok(()),
        WriteOutcome::Stale => Err(Error::NoSuchSession),
    }
}
