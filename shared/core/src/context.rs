//! The context of an operation: on whose behalf it is done, by which request, and when.

use chrono::{DateTime, Utc};

use crate::audit_event::RequestOrigin;
use crate::caller::{Actor, Caller};
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
    /// On whose behalf the request changes something.
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
            origin: &self.origin,
            at: self.now,
        }
    }
}

/// The context of an audit event: everything that it says beside the action and its target.
#[derive(Clone, Copy, Debug)]
pub struct EventContext<'a> {
    /// The tenant.
    pub workspace_id: &'a WorkspaceId,
    /// The user who acts.
    pub actor: &'a UserId,
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
        Self { workspace_id, actor, origin: NO_REQUEST, at }
    }
}
