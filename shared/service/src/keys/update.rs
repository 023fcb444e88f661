//! Changing the attributes of a key other than its secret.

use chrono::{DateTime, TimeDelta, Utc};
use keygate_core::audit_event::{Action, AuditEvent, EventDetails};
use keygate_core::context::RequestContext;
use keygate_core::credential::{Brand, KeyId};
use keygate_core::endpoint_rule::EndpointRule;
use keygate_core::error::Error;
use keygate_core::fields::{self, FieldError, Fields, Patch};
use keygate_core::key::{Key, UsedKey, ttl};
use keygate_core::key_action::KeyAction;
use keygate_core::lifecycle::{KeySchedule, announced_until};
use keygate_core::limit::Limits;
use keygate_core::metadata::{Metadata, MetadataPatch};
use keygate_core::name::Name;
use keygate_core::network::Network;
use keygate_core::response_size;
use keygate_core::scope::Scope;
use keygate_core::time::whole_second;

use crate::keys::create::{description, endpoints, networks, scopes};
use crate::keys::expiry::MaxLifetime;
use crate::keys::precondition::IfMatch;
use crate::keys::settings::KeySettings;
use crate::keys::{DetailedKey, find_used, refused_to};
use crate::store::Store;

/// A merge patch (RFC 7396) of a key.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct KeyPatch {
    name: Patch<Name>,
    description: Patch<String>,
    scopes: Patch<Vec<Scope>>,
    endpoints: Patch<Vec<EndpointRule>>,
    networks: Patch<Vec<Network>>,
    metadata: Patch<MetadataPatch>,
    limits: Patch<Limits>,
    expires_at: Patch<DateTime<Utc>>,
    disabled: Patch<bool>,
}

impl KeyPatch {
    /// Parses a request body. Null clears an optional field, and resets any other to its default.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: names every invalid field with its requirement.
    pub fn parse(body: &[u8], longest: MaxLifetime, now: DateTime<Utc>) -> Result<Self, Error> {
        let mut fields = Fields::parse(body)?;
        let parse_name =
            |value: &_| Name::parse(fields::string(value)?).map_err(|invalid| FieldError::new(&invalid));
        let name = fields.patched("name", parse_name);
        if name == Patch::Clear {
            fields.refuse("name", "must be a string");
        }
        let description = fields.patched("description", description);
        let scopes = fields.patched("scopes", scopes);
        let endpoints = fields.patched("endpoints", endpoints);
        let networks = fields.patched("networks", networks);
        let metadata = fields.patched("metadata", MetadataPatch::parse);
        let limits = fields.patched("limits", Limits::parse);
        let expires_at = fields.patched("expires_at", |value| longest.until(value, now));
        if let (Patch::Clear, Some(demand)) = (&expires_at, longest.demand()) {
            fields.refuse("expires_at", &demand);
        }
        let disabled = fields.patched("disabled", |value| {
            value.as_bool().ok_or_else(|| FieldError::new(&"must be true or false"))
        });
        fields.finish(Some(Self {
            name,
            description,
            scopes,
            endpoints,
            networks,
            metadata,
            limits,
            expires_at,
            disabled,
        }))
    }

    /// The key after the patch.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: after the patch, the metadata would be too large, or the key would not fit into a response of
    ///   the authorizer.
    fn applied_to(self, before: &Key, retention: TimeDelta, now: DateTime<Utc>) -> Result<Key, Error> {
        let set = [
            ("scopes", self.scopes != Patch::Unchanged),
            ("endpoints", self.endpoints != Patch::Unchanged),
            ("networks", self.networks != Patch::Unchanged),
            ("metadata", self.metadata != Patch::Unchanged),
        ];
        let mut after = before.clone();
        if let Patch::Set(name) = self.name {
            after.name = name;
        }
        self.description.apply(&mut after.description);
        self.scopes.apply_or(Vec::new(), &mut after.scopes);
        self.endpoints.apply_or(Vec::new(), &mut after.endpoints);
        self.networks.apply_or(Vec::new(), &mut after.networks);
        match self.metadata {
            Patch::Unchanged => {}
            Patch::Clear => after.metadata = Metadata::default(),
            Patch::Set(patch) => {
                let patched = after.metadata.patched(patch);
                after.metadata = patched.map_err(|error| Error::invalid(error.of("metadata")))?;
            }
        }
        self.limits.apply_or(Limits::default(), &mut after.limits);
        if self.expires_at != Patch::Unchanged {
            self.expires_at.apply(&mut after.expires_at);
            after.ttl = ttl(after.expires_at, retention);
            after.due_at = KeySchedule::from(&after).next_due(announced_until(before.due_at, now));
        }
        let mut disabled = before.disabled_at.is_some();
        self.disabled.apply_or(false, &mut disabled);
        after.disabled_at = disabled.then(|| before.disabled_at.unwrap_or(whole_second(now)));
        match after.response_parts().too_large(|name| set.contains(&(name, true))) {
            Some(attribute) => Err(Error::invalid(FieldError::new(&response_size::MUST_FIT).of(attribute))),
            None => Ok(after),
        }
    }
}

/// Updates keys.
#[derive(Debug)]
pub struct KeyUpdater {
    /// The brand, the first part of every credential.
    pub brand: Brand,
    /// The store.
    pub store: Store,
    /// The limits for a user's keys.
    pub settings: KeySettings,
}

impl KeyUpdater {
    /// Changes a key of the caller, or as an administrator of any user of the workspace. A patch that changes nothing writes
    /// nothing. Disabling a key revokes its tokens permanently.
    ///
    /// # Errors
    ///
    /// - [`Error::InsufficientCredential`]: the caller presented the old secret of this key, or a credential that may not
    ///   widen keys.
    /// - [`Error::CallerRemoved`]: the caller's user was removed.
    /// - [`Error::InsufficientScope`], [`Error::InsufficientEndpoints`], [`Error::InsufficientNetworks`]: the caller may not
    ///   write keys; or the change widens the key, and the caller lacks a permission that the key has before or after it.
    /// - [`Error::LimitedCaller`]: the change widens the key, and the caller's own key has limits.
    /// - [`Error::LimitsNotEnforced`]: the key would get limits, which the deployment does not enforce.
    /// - [`Error::KeyLeaked`]: the key would be enabled, and is disabled for a leak.
    /// - [`Error::Invalid`]: after the change, the metadata would be too large, or the key would not fit into a response of
    ///   the authorizer.
    /// - [`Error::NotFound`]: the workspace has no such key.
    /// - [`Error::NotYourKey`]: the key is another user's, and the caller is not an administrator.
    /// - [`Error::PreconditionFailed`], [`Error::Conflict`]: the key has another revision, or changed concurrently.
    /// - [`Error::NameTaken`], [`Error::QuotaReached`], [`Error::UserRemoved`]: see [`Store::update_key`].
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn update(
        &self,
        context: &RequestContext,
        id: KeyId,
        patch: KeyPatch,
        if_match: &IfMatch,
    ) -> Result<DetailedKey, Error> {
        let (caller, now) = (&context.caller, context.now);
        KeyAction::Update.require_right(caller, id)?;
        let (stored, last_use) = find_used(&self.store.keys, &self.store.usage, context, id).await?;
        KeyAction::Update.require_permissions(caller, &stored.record)?;
        if_match.check(stored.record.revision)?;
        let mut after = patch.applied_to(&stored.record, self.settings.retention, now)?;
        if widens(&stored.record, &after) {
            KeyAction::Widen.require_right(caller, id)?;
            KeyAction::Widen.require_permissions(caller, &stored.record)?;
            caller.require_all(after.permissions())?;
            let mut new = after.scopes.iter().filter(|scope| !stored.record.scopes.contains(scope));
            new.try_for_each(|scope| caller.require_to_grant(scope))?;
        }
        if stored.record.leaked_at.is_some() && after.disabled_at.is_none() {
            return Err(Error::KeyLeaked);
        }
        if after.limits != stored.record.limits {
            self.settings.require_enforced(&after.limits)?;
        }
        if after == stored.record {
            self.store.change_nothing(context.actor()).await?;
        } else {
            after.revision += 1;
            let of_update = AuditEvent::for_key(Action::KeyUpdated, context.event(), id, &after.user_id);
            let details =
                EventDetails { changed: changed(&stored.record, &after), ..EventDetails::default() };
            let event = AuditEvent { details, ..of_update }.with_metadata(&after.metadata);
            let written = self
                .store
                .update_key(context.actor(), &stored, &after, self.settings.per_user, &event, now)
                .await;
            let written = refused_to(&self.store.keys, context, written).await;
            written.map_err(|error| if_match.lost(error))?;
        }
        Ok(DetailedKey::new(&UsedKey { record: after, last_use }, &self.brand, context.into()))
    }
}

/// The fields whose values a change modifies, named as in a patch.
fn changed(before: &Key, after: &Key) -> Vec<&'static str> {
    let fields = [
        ("name", before.name != after.name),
        ("description", before.description != after.description),
        ("scopes", before.scopes != after.scopes),
        ("endpoints", before.endpoints != after.endpoints),
        ("networks", before.networks != after.networks),
        ("metadata", before.metadata != after.metadata),
        ("limits", before.limits != after.limits),
        ("expires_at", before.expires_at != after.expires_at),
        ("disabled", before.disabled_at != after.disabled_at),
    ];
    fields.into_iter().filter(|(_, changed)| *changed).map(|(field, _)| field).collect()
}

/// Whether a change lets the holder of a key do more, or for longer: other permissions, more calls, a later expiry, or enabling the key.
/// Removing permissions counts too: otherwise a caller could remove them from a stronger key and then rotate it.
fn widens(before: &Key, after: &Key) -> bool {
    let lives_longer = match (before.expires_at, after.expires_at) {
        (Some(before), Some(after)) => before < after,
        (Some(_), None) => true,
        (None, _) => false,
    };
    let enabled = before.disabled_at.is_some() && after.disabled_at.is_none();
    let has_more = before.permissions() != after.permissions() || after.limits.exceed(&before.limits);
    has_more || lives_longer || enabled
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::parse_from_rfc3339("2026-11-22T10:00:00.9Z").unwrap().into()
    }

    fn parse(body: &Value, longest: Option<TimeDelta>) -> Result<KeyPatch, Error> {
        KeyPatch::parse(body.to_string().as_bytes(), MaxLifetime(longest), now())
    }

    fn wrong_places(body: &Value, longest: Option<TimeDelta>) -> Vec<String> {
        let Err(Error::Invalid { fields }) = parse(body, longest) else { panic!("{body} is valid") };
        fields.iter().map(|field| field.place.to_string()).collect()
    }

    #[test]
    fn absent_fields_are_unchanged_and_null_clears() {
        assert_eq!(parse(&json!({}), None).unwrap(), KeyPatch::default());
        let cleared = json!({"description": null, "scopes": null, "endpoints": null, "networks": null,
            "metadata": null, "limits": null, "expires_at": null, "disabled": null});
        let expected = KeyPatch {
            name: Patch::Unchanged,
            description: Patch::Clear,
            scopes: Patch::Clear,
            endpoints: Patch::Clear,
            networks: Patch::Clear,
            metadata: Patch::Clear,
            limits: Patch::Clear,
            expires_at: Patch::Clear,
            disabled: Patch::Clear,
        };
        assert_eq!(parse(&cleared, None).unwrap(), expected);
    }

    #[test]
    fn all_invalid_fields_are_reported_together() {
        let body = json!({"name": null, "description": 1, "scopes": ["A"], "endpoints": "*", "networks": "*",
            "metadata": {"env": 1}, "limits": {}, "expires_at": "2020-01-01T00:00:00Z",
            "disabled": "yes", "user_id": "bob"});
        let expected = [
            "/name",
            "/description",
            "/scopes/0",
            "/endpoints",
            "/networks",
            "/metadata/env",
            "/limits",
            "/expires_at",
            "/disabled",
            "/user_id",
        ];
        assert_eq!(wrong_places(&body, None), expected);
    }

    #[test]
    fn an_expiry_is_within_the_maximum_lifetime() {
        let days = Some(TimeDelta::days(30));
        assert_eq!(wrong_places(&json!({"expires_at": null}), days), ["/expires_at"]);
        assert_eq!(wrong_places(&json!({"expires_at": "2026-12-22T10:00:01Z"}), days), ["/expires_at"]);
        assert!(parse(&json!({"expires_at": "2026-12-22T10:00:00Z"}), days).is_ok());
        assert!(parse(&json!({"name": "a"}), days).is_ok());
    }
}
