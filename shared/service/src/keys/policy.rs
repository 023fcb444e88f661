//! What a caller may ask for when they create a key, for a page that shows a form.

use chrono::{DateTime, Utc};
use keygate_core::context::RequestContext;
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::legacy_credential;
use keygate_core::limit;
use keygate_core::rights::Operation;
use keygate_core::scope_description::{GrantableScope, ScopeDescriptions};
use keygate_core::time::rfc3339;
use serde::Serialize;

use crate::keys::expiry::MaxLifetime;
use crate::keys::settings::per_user;
use crate::store::workspaces::WorkspacesTable;

/// The settings of a deployment that a policy shows.
#[derive(Clone, Debug)]
pub struct PolicySettings {
    per_user: u32,
    max_lifetime: MaxLifetime,
    enforces_limits: bool,
    legacy_sunset: Option<DateTime<Utc>>,
    scopes: ScopeDescriptions,
}

impl PolicySettings {
    /// Reads the settings from the environment: those that the creation of keys has, the sunset and the descriptions of scopes.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when a variable is out of its range or has another form than it must have.
    pub fn from_environment(environment: &Environment) -> Result<Self, InvalidVariable> {
        Ok(Self {
            per_user: per_user(environment)?,
            max_lifetime: MaxLifetime::from_environment(environment)?,
            enforces_limits: limit::are_enforced(environment)?,
            legacy_sunset: legacy_credential::sunset(environment)?,
            scopes: ScopeDescriptions::from_environment(environment)?,
        })
    }
}

/// What a caller may ask for when they create a key.
#[derive(Debug, Serialize)]
pub struct Policy {
    /// Whether the caller may create keys at all.
    may_create_keys: bool,
    /// The longest life of a key in days; `None` if a key may live without an expiry.
    max_lifetime_days: Option<i64>,
    keys: Places,
    /// Whether the caller may grant scopes that are not listed.
    any_scope: bool,
    scopes: Vec<GrantableScope>,
    /// Whether keys may have limits.
    limits_enforced: bool,
    /// When legacy keys stop working; `None` if the deployment accepts none.
    legacy_sunset: Option<String>,
}

/// The places for keys of the caller's user.
#[derive(Debug, Serialize)]
struct Places {
    /// The maximum number of unexpired keys.
    quota: u32,
    /// How many more keys fit.
    left: u32,
}

/// The policy for a caller. As for `GET /me`, every caller may see it.
///
/// # Errors
///
/// - [`Error::InsufficientCredential`]: the caller's credential may not see who it is.
/// - [`Error::Unavailable`]: the database did not respond.
pub async fn policy(
    workspaces: &WorkspacesTable,
    settings: &PolicySettings,
    context: &RequestContext,
) -> Result<Policy, Error> {
    let RequestContext { caller, now, .. } = context;
    caller.may(Operation::ReadSelf)?;
    let counted = workspaces.counted_unexpired(&caller.workspace_id, &caller.user_id, *now).await?;
    let quota = settings.per_user;
    let may_create_keys = caller.require_to_create_keys().is_ok() && caller.rules_allow("POST", "/api-keys");
    Ok(Policy {
        may_create_keys,
        max_lifetime_days: settings.max_lifetime.0.map(|longest| longest.num_days()),
        keys: Places { quota, left: quota.saturating_sub(counted) },
        any_scope: may_create_keys && caller.is_admin(),
        scopes: settings.scopes.grantable_by(caller),
        limits_enforced: settings.enforces_limits,
        legacy_sunset: settings.legacy_sunset.map(rfc3339),
    })
}
