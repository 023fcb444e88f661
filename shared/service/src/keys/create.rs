//! Creating a key: over the management API, or the first administrator's key by a direct invocation.

use chrono::{DateTime, TimeDelta, Utc};
use keygate_core::audit_event::{Action, AuditEvent};
use keygate_core::caller::{Actor, Caller};
use keygate_core::context::{EventContext, RequestContext};
use keygate_core::credential::{self, Brand, Credential, KeyId};
use keygate_core::endpoint_rule::{EndpointRule, MAX_ENDPOINT_RULES};
use keygate_core::error::Error;
use keygate_core::fields::{self, FieldError, Fields};
use keygate_core::idempotency::{self, IdempotencyKey, IdempotencyRecord, IdempotentRequest};
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::key::{Generation, HashedKey, Key, LastUse, MAX_DESCRIPTION_LEN, Status, UsedKey, ttl};
use keygate_core::lifecycle::KeySchedule;
use keygate_core::limit::Limits;
use keygate_core::metadata::Metadata;
use keygate_core::name::Name;
use keygate_core::network::{MAX_NETWORKS, Network};
use keygate_core::pepper::{MacKey, Peppers};
use keygate_core::permissions::Permissions;
use keygate_core::response_size::{self, ResponseParts};
use keygate_core::scope::{MAX_SCOPES, Scope};
use keygate_core::time::whole_second;
use keygate_core::unicode;
use serde_json::{Value, json};

use crate::keys::expiry::MaxLifetime;
use crate::keys::settings::KeySettings;
use crate::keys::{RevealedKey, refused_to};
use crate::store::Store;
use crate::store::key_transactions::{CreationEntry, CreationOutcome};
use crate::store::workspaces::BootstrapMode;

/// The revision of a new key.
const FIRST_REVISION: u64 = 1;

/// A request to create a key.
#[derive(Debug, PartialEq, Eq)]
pub struct CreateKey {
    /// The name, unique in the workspace.
    pub name: Name,
    /// The purpose of the key.
    pub description: Option<String>,
    /// The expiry; `None` for a key that never expires.
    pub expires_at: Option<DateTime<Utc>>,
    /// The life of the key, if the request gives it instead of an expiry.
    pub expires_in: Option<TimeDelta>,
    /// The scopes that the backend gets.
    pub scopes: Vec<Scope>,
    /// The endpoint rules; without any, the key may be used everywhere.
    pub endpoints: Vec<EndpointRule>,
    /// The networks; without any, the key may be used from every address.
    pub networks: Vec<Network>,
    /// The metadata.
    pub metadata: Metadata,
    /// How many calls the key may make; without any limit, any number.
    pub limits: Limits,
    /// The owner; the caller, if absent.
    pub user_id: Option<UserId>,
}

impl CreateKey {
    /// Parses a request body.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: names every invalid field with its requirement.
    pub fn parse(body: &[u8], longest: MaxLifetime, now: DateTime<Utc>) -> Result<Self, Error> {
        let mut fields = Fields::parse(body)?;
        let name = fields.required("name", |value| {
            Name::parse(fields::string(value)?).map_err(|invalid| FieldError::new(&invalid))
        });
        let description = fields.optional("description", description);
        if let Some(demand) =
            longest.demand().filter(|_| !fields.has("expires_at") && !fields.has("expires_in"))
        {
            fields.refuse("expires_at", &demand);
        }
        let expires_at = fields.optional("expires_at", |value| longest.until(value, now));
        let expires_in = fields.optional("expires_in", |value| longest.from_now(value, now));
        let scopes = fields.optional("scopes", scopes).unwrap_or_default();
        let endpoints = fields.optional("endpoints", endpoints).unwrap_or_default();
        let networks = fields.optional("networks", networks).unwrap_or_default();
        let metadata = fields.optional("metadata", Metadata::parse).unwrap_or_default();
        let parts = ResponseParts {
            scopes: &scopes,
            endpoints: &endpoints,
            networks: &networks,
            metadata: &metadata,
        };
        if let Some(attribute) = parts.too_large(|_| true) {
            fields.refuse(attribute, response_size::MUST_FIT);
        }
        let limits = fields.optional("limits", Limits::parse).unwrap_or_default();
        let user_id = fields.optional("user_id", fields::owner);
        if expires_at.is_some() && expires_in.is_some() {
            fields.refuse("expires_in", "must not be sent together with expires_at");
        }
        fields.finish(name.map(|name| Self {
            name,
            description,
            expires_at: expires_at.or(expires_in),
            expires_in: expires_in.map(|expires_in| expires_in - whole_second(now)),
            scopes,
            endpoints,
            networks,
            metadata,
            limits,
            user_id,
        }))
    }

    /// The permissions of the new key.
    fn permissions(&self) -> Permissions<'_> {
        Permissions { scopes: &self.scopes, endpoints: &self.endpoints, networks: &self.networks }
    }

    /// In a session, adds the endpoint rules and networks of the key that opened it, if the request has none. The user of a page
    /// does not know them.
    fn within_session(mut self, caller: &Caller) -> Result<Self, Error> {
        if caller.session.is_none() {
            return Ok(self);
        }
        if self.endpoints.is_empty() {
            self.endpoints.clone_from(&caller.endpoints);
        }
        if self.networks.is_empty() {
            self.networks.clone_from(&caller.networks);
        }
        let Self { scopes, endpoints, networks, metadata, .. } = &self;
        match (ResponseParts { scopes, endpoints, networks, metadata }).too_large(|_| true) {
            Some(attribute) => Err(Error::invalid(FieldError::new(&response_size::MUST_FIT).of(attribute))),
            None => Ok(self),
        }
    }

    /// A canonical form of the request, which does not depend on its spelling or its time. A relative expiry stays relative.
    fn canonical(&self) -> Vec<u8> {
        let expires_at = self.expires_at.filter(|_| self.expires_in.is_none());
        let mut canonical = json!({
            "name": self.name,
            "description": self.description,
            "expires_at": expires_at.map(|time| time.timestamp()),
            "expires_in": self.expires_in.map(|life| life.num_seconds()),
            "scopes": self.scopes,
            "endpoints": self.endpoints,
            "user_id": self.user_id,
        });
        // An earlier version did not have these fields. A request that it recorded without them has the same form now.
        for (name, is_empty, value) in [
            ("networks", self.networks.is_empty(), json!(self.networks)),
            ("metadata", self.metadata.is_empty(), json!(self.metadata)),
            ("limits", self.limits.is_empty(), json!(self.limits)),
        ] {
            if !is_empty {
                canonical[name] = value;
            }
        }
        canonical.to_string().into_bytes()
    }
}

pub(super) fn description(value: &Value) -> Result<String, FieldError> {
    let text = fields::string(value)?.trim();
    if text.chars().count() > MAX_DESCRIPTION_LEN {
        return Err(FieldError::new(&format!("must have at most {MAX_DESCRIPTION_LEN} characters")));
    }
    if text.chars().any(|char| char.is_control() && char != '\n') {
        return Err(FieldError::new(&"must not have control characters other than line feeds"));
    }
    if text.chars().any(unicode::is_layout_control) {
        return Err(FieldError::new(&unicode::NO_LAYOUT_CONTROLS));
    }
    if credential::contains_credential(text) {
        return Err(FieldError::new(&credential::MUST_NOT_BE));
    }
    Ok(text.to_owned())
}

pub(crate) fn scopes(value: &Value) -> Result<Vec<Scope>, FieldError> {
    fields::distinct(value, MAX_SCOPES, "scopes")
}

pub(super) fn endpoints(value: &Value) -> Result<Vec<EndpointRule>, FieldError> {
    fields::distinct(value, MAX_ENDPOINT_RULES, "endpoint rules")
}

pub(super) fn networks(value: &Value) -> Result<Vec<Network>, FieldError> {
    fields::distinct(value, MAX_NETWORKS, "networks")
}

/// Creates keys.
#[derive(Debug)]
pub struct KeyCreator {
    /// The brand, the first part of every credential.
    pub brand: Brand,
    /// The peppers for the hash of the secret.
    pub peppers: Peppers,
    /// The source of the secret of an idempotent creation.
    pub creation_key: MacKey,
    /// The store.
    pub store: Store,
    /// The limits for a user's keys.
    pub settings: KeySettings,
}

impl KeyCreator {
    /// Creates a key for the caller, or as an administrator for any user of the workspace. With an `Idempotency-Key`, a
    /// repeated request gets the same response.
    ///
    /// # Errors
    ///
    /// - [`Error::InsufficientScope`], [`Error::InsufficientEndpoints`], [`Error::InsufficientNetworks`]: the caller may not
    ///   write keys, or requests a permission that it does not have; for a repeated request, also one that its key has got
    ///   since.
    /// - [`Error::InsufficientCredential`]: the caller's credential may not create keys.
    /// - [`Error::LimitedCaller`]: the caller's key has limits.
    /// - [`Error::LimitsNotEnforced`]: the key would have limits, which the deployment does not enforce.
    /// - [`Error::CallerRemoved`]: the caller's user was removed, even if the request is a repeated one.
    /// - [`Error::NotYourKey`]: the key would be another user's, and the caller is not an administrator.
    /// - [`Error::NameTaken`], [`Error::QuotaReached`], [`Error::UserRemoved`]: see [`Store::create_key`].
    /// - [`Error::IdempotencyMismatch`]: the `Idempotency-Key` was used with another request.
    /// - [`Error::IdempotencyConflict`]: the key of the first request has changed since.
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn create(
        &self,
        context: &RequestContext,
        request: CreateKey,
        idempotency_key: Option<&IdempotencyKey>,
    ) -> Result<RevealedKey, Error> {
        let (caller, now) = (&context.caller, context.now);
        caller.require_to_create_keys()?;
        let canonical = request.canonical();
        let request = request.within_session(caller)?;
        let user_id = request.user_id.clone().unwrap_or_else(|| caller.user_id.clone());
        caller.require_to_act_for(&user_id)?;
        caller.require_all(request.permissions())?;
        request.scopes.iter().try_for_each(|scope| caller.require_to_grant(scope))?;
        self.settings.require_enforced(&request.limits)?;

        let idempotent = idempotency_key.map(|idempotency_key| IdempotentRequest {
            key: &self.creation_key,
            labels: &idempotency::CREATE,
            caller,
            idempotency_key,
            request: &canonical,
        });
        let begun =
            idempotent.as_ref().map(|idempotent| idempotent.first(KeyId::generate(now), FIRST_REVISION, now));
        let (credential, entry) =
            begun.map_or_else(|| (Credential::generate(now), None), |(c, r)| (c, Some(r)));
        let new = self.draft(context.event(), user_id, request, &credential);
        let owner = &new.record.user_id;
        let event = AuditEvent::for_key(Action::KeyCreated, context.event(), new.record.key_id, owner)
            .with_metadata(&new.record.metadata);
        let entry = entry.as_ref().map(CreationEntry::Idempotency);
        let written =
            self.store.create_key(context.actor(), &new, self.settings.per_user, entry, &event, now).await;
        match (refused_to(&self.store.keys, context, written).await?, idempotent) {
            (CreationOutcome::Created, _) => Ok(self.reveal(new, None, &credential, now)),
            (CreationOutcome::Repeated(record), Some(idempotent)) => {
                self.repeat_response(&idempotent, &record, now).await
            }
            (CreationOutcome::Repeated(_), None) => Err(remembered_for_nobody()),
        }
    }

    /// Creates an administrator's key for a direct invocation, which IAM has authorized.
    ///
    /// # Errors
    ///
    /// - [`Error::AlreadyBootstrapped`]: the workspace has users, and `break_glass` is not set.
    /// - [`Error::NameTaken`], [`Error::QuotaReached`], [`Error::UserRemoved`]: see [`Store::create_key`].
    /// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
    pub async fn bootstrap(&self, request: BootstrapKey, now: DateTime<Utc>) -> Result<RevealedKey, Error> {
        let (bootstrap, action) = if request.break_glass {
            (BootstrapMode::BreakGlass, Action::KeyBreakGlass)
        } else {
            (BootstrapMode::First, Action::KeyBootstrapped)
        };
        let longest = self.settings.max_lifetime.0.map(|_| self.settings.max_lifetime.latest(now));
        let key = CreateKey {
            name: request.name,
            description: None,
            expires_at: request.expires_at.or(longest),
            expires_in: None,
            scopes: vec![Scope::workspace_admin()],
            endpoints: Vec::new(),
            networks: Vec::new(),
            metadata: Metadata::default(),
            limits: Limits::default(),
            user_id: None,
        };
        let context = EventContext::without_request(&request.workspace_id, &request.user_id, now);
        let credential = Credential::generate(now);
        let new = self.draft(context, request.user_id.clone(), key, &credential);
        let event = AuditEvent::for_key(action, context, new.record.key_id, &request.user_id);
        let entry = Some(CreationEntry::Bootstrap(bootstrap));
        match self.store.create_key(Actor::Keygate, &new, self.settings.per_user, entry, &event, now).await? {
            CreationOutcome::Created => Ok(self.reveal(new, None, &credential, now)),
            CreationOutcome::Repeated(_) => Err(remembered_for_nobody()),
        }
    }

    fn draft(
        &self,
        context: EventContext<'_>,
        user_id: UserId,
        request: CreateKey,
        credential: &Credential,
    ) -> HashedKey {
        let EventContext { workspace_id, actor: created_by, at: now, .. } = context;
        let ttl = ttl(request.expires_at, self.settings.retention);
        let schedule = KeySchedule { expires_at: request.expires_at, ttl, previous_expires_at: None };
        let key = Key {
            key_id: credential.key_id,
            workspace_id: workspace_id.clone(),
            user_id,
            name: request.name,
            description: request.description,
            scopes: request.scopes,
            endpoints: request.endpoints,
            networks: request.networks,
            metadata: request.metadata,
            limits: request.limits,
            created_at: whole_second(now),
            created_by: created_by.clone(),
            revision: FIRST_REVISION,
            expires_at: request.expires_at,
            ttl,
            disabled_at: None,
            leaked_at: None,
            previous_expires_at: None,
            previous_transferred: false,
            unclaimed: false,
            rotation: 0,
            due_at: schedule.next_due(now),
        };
        let hash = self.peppers.hash(credential);
        HashedKey { record: key, hash, previous: None, generation: Generation::default() }
    }

    /// The response to a repeated request: the first response, if the key still has that secret and works.
    async fn repeat_response(
        &self,
        idempotent: &IdempotentRequest<'_>,
        record: &IdempotencyRecord,
        now: DateTime<Utc>,
    ) -> Result<RevealedKey, Error> {
        let credential = idempotent.repeat(record)?;
        let changed = || Error::IdempotencyConflict(record.key_id);
        let (stored, last_use) = tokio::try_join!(
            self.store.keys.hashed(record.key_id),
            self.store.usage.last_use(record.key_id)
        )?;
        let stored = stored.ok_or_else(changed)?;
        // The response contains a secret, so the caller needs every permission that the key has now.
        idempotent.caller.require_all(stored.record.permissions())?;
        let unchanged =
            self.peppers.verify(&credential, &stored.hash)? && stored.record.status(now) == Status::Active;
        if unchanged { Ok(self.reveal(stored, last_use, &credential, now)) } else { Err(changed()) }
    }

    fn reveal(
        &self,
        key: HashedKey,
        last_use: Option<LastUse>,
        credential: &Credential,
        now: DateTime<Utc>,
    ) -> RevealedKey {
        RevealedKey::new(&UsedKey { record: key.record, last_use }, credential, &self.brand, now)
    }
}

/// The error for a recorded request without an `Idempotency-Key`. The key is not written, so its secret must not be shown.
fn remembered_for_nobody() -> Error {
    Error::Broken("a request without an Idempotency-Key was there before".to_owned())
}

/// A direct invocation: `{"bootstrap": {"workspace_id", "user_id", "name", "expires_in"?, "break_glass"?}}`. An event of an API
/// never has this form, because it has members that API Gateway writes.
#[derive(Debug)]
pub struct BootstrapKey {
    /// The workspace that gets an administrator.
    pub workspace_id: WorkspaceId,
    /// The administrator.
    pub user_id: UserId,
    /// The name of the key.
    pub name: Name,
    /// When the key expires; without it as late as the deployment allows, or never.
    pub expires_at: Option<DateTime<Utc>>,
    /// Whether to create the key even if the workspace has users.
    pub break_glass: bool,
}

impl BootstrapKey {
    /// Parses an event.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: the event is not a bootstrap, or names every invalid field of it.
    pub fn parse(event: &[u8], longest: MaxLifetime, now: DateTime<Utc>) -> Result<Self, Error> {
        let mut fields = Fields::parse(event)?.inner("bootstrap")?;
        let workspace_id = fields.required("workspace_id", fields::parsed);
        let user_id = fields.required("user_id", fields::owner);
        let name = fields.required("name", |value| {
            Name::parse(fields::string(value)?).map_err(|invalid| FieldError::new(&invalid))
        });
        let expires_at = fields.optional("expires_in", |value| longest.from_now(value, now));
        let break_glass = fields.optional("break_glass", fields::boolean);
        let made = match (workspace_id, user_id, name) {
            (Some(workspace_id), Some(user_id), Some(name)) => {
                let break_glass = break_glass.unwrap_or_default();
                Some(Self { workspace_id, user_id, name, expires_at, break_glass })
            }
            _ => None,
        };
        fields.finish(made)
    }
}

#[cfg(test)]
mod tests {
    use keygate_core::error::Place;
    use serde_json::json;

    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::parse_from_rfc3339("2026-11-22T10:00:00.9Z").unwrap().into()
    }

    fn parse(body: &Value) -> Result<CreateKey, Error> {
        CreateKey::parse(body.to_string().as_bytes(), MaxLifetime(None), now())
    }

    fn wrong_places(body: &Value) -> Vec<String> {
        let Err(Error::Invalid { fields }) = parse(body) else { panic!("{body} is valid") };
        fields.iter().map(|field| field.place.to_string()).collect()
    }

    #[test]
    fn a_name_is_sufficient() {
        let key = parse(&json!({"name": " ci "})).unwrap();
        assert_eq!(key.name.to_string(), "ci");
        assert_eq!(
            (key.description, key.expires_at, key.scopes, key.user_id),
            (None, None, Vec::new(), None)
        );
    }

    #[test]
    fn null_means_absent() {
        let all_null = json!({"name": "ci", "description": null, "expires_at": null, "expires_in": null, "scopes": null,
            "endpoints": null, "networks": null, "metadata": null, "limits": null, "user_id": null});
        assert_eq!(parse(&all_null).unwrap(), parse(&json!({"name": "ci"})).unwrap());
        assert_eq!(wrong_places(&json!({"name": null})), ["/name"]);
    }

    #[test]
    fn all_invalid_fields_are_reported_together() {
        let body = json!({
            "name": "", "description": "d".repeat(501), "expires_at": "yesterday", "expires_in": 0,
            "scopes": ["keys:read", "Keys"], "endpoints": ["GET /orders", "GET orders"],
            "networks": ["10.0.0.0/8", "10.0.0.1/8"], "metadata": {"env": 1},
            "limits": [{"calls": 0, "per": "day"}], "user_id": "a b", "a/b~": 1,
        });
        let places = wrong_places(&body);
        let expected = [
            "/name",
            "/description",
            "/expires_at",
            "/expires_in",
            "/scopes/1",
            "/endpoints/1",
            "/networks/1",
            "/metadata/env",
            "/limits/0",
            "/user_id",
            "/a~1b~0",
        ];
        assert_eq!(places, expected);
    }

    #[test]
    fn a_body_must_be_an_object() {
        for body in ["", "nul", "[]", "\"name\"", "{\"name\":\"ci\"", "{\"name\":\"ci\"} x", "\u{0}"] {
            let Err(Error::Invalid { fields }) = CreateKey::parse(body.as_bytes(), MaxLifetime(None), now())
            else {
                panic!("{body}")
            };
            assert_eq!(fields.len(), 1, "{body}");
            assert_eq!(fields[0].place, Place::Pointer(String::new()), "{body}");
        }
        assert!(CreateKey::parse(b"\xff\xfe", MaxLifetime(None), now()).is_err());
    }

    #[test]
    fn a_syntax_error_is_described() {
        let Err(Error::Invalid { fields }) = CreateKey::parse(b"{\"name\":\"a\",}", MaxLifetime(None), now())
        else {
            panic!("it is JSON")
        };
        assert_eq!(fields[0].detail, "must be JSON: trailing comma at line 1 column 13");
        let marked = "\u{FEFF}{\"name\":\"a\"}";
        assert!(CreateKey::parse(marked.as_bytes(), MaxLifetime(None), now()).is_ok());
    }

    #[test]
    fn a_repeated_field_is_invalid() {
        let body = br#"{"name":"a","expires_in":3600,"scopes":["a"],"expires_in":null,"scopes":["workspace:admin"]}"#;
        let Err(Error::Invalid { fields }) = CreateKey::parse(body, MaxLifetime(None), now()) else {
            panic!("it is ambiguous")
        };
        let said: Vec<_> = fields.iter().map(|field| format!("{} {}", field.place, field.detail)).collect();
        assert_eq!(said, ["/expires_in is repeated", "/scopes is repeated"]);
    }

    #[test]
    fn no_field_may_contain_a_credential() {
        let key = "kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_00000000000000000000000000000000000000000001GekMi";
        let body = json!({"name": key, "description": format!("use {key}"), "scopes": [key], "user_id": key,
            "endpoints": [format!("GET /{key}")], "networks": [key], "metadata": {"env": key}, key: key});
        let Err(Error::Invalid { fields }) = parse(&body) else { panic!("it is valid") };
        let places: Vec<_> = fields.iter().map(|field| field.place.to_string()).collect();
        assert_eq!(
            places,
            [
                "/name",
                "/description",
                "/scopes/0",
                "/endpoints/0",
                "/networks/0",
                "/metadata/env",
                "/user_id",
                "/[credential]"
            ]
        );
        assert!(fields.iter().all(|field| !field.detail.contains("GekMi")));
    }

    #[test]
    fn a_description_may_contain_line_feeds_but_no_other_control_characters() {
        let described = |text: &str| parse(&json!({"name": "a", "description": text}));
        assert!(described("one\ntwo 👩‍💻").is_ok());
        for text in ["a\u{202E}b", "a\u{2028}b", "a\u{2066}b", "a\tb"] {
            assert!(described(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn fields_of_another_type_are_invalid() {
        let body = json!({"name": 1, "description": {}, "expires_at": 5, "expires_in": 1.5, "scopes": "a", "user_id": []});
        assert_eq!(wrong_places(&body).len(), 6);
        assert_eq!(wrong_places(&json!({"name": "a", "scopes": [1]})), ["/scopes/0"]);
        assert_eq!(wrong_places(&json!({"name": "a", "user_id": "keygate:clock"})), ["/user_id"]);
        assert_eq!(wrong_places(&json!({"name": "a", "scopes": ["a", "a"]})), ["/scopes/1"]);
        let many: Vec<String> = (0..51).map(|index| format!("s{index}")).collect();
        assert_eq!(wrong_places(&json!({"name": "a", "scopes": many})), ["/scopes"]);
    }

    #[test]
    fn endpoints_are_at_most_20_different_rules_that_fit_into_a_response() {
        let rules = |count| (0..count).map(|index| format!("GET /{index}")).collect::<Vec<_>>();
        let key = parse(&json!({"name": "a", "endpoints": rules(20)})).unwrap();
        assert_eq!(key.endpoints.len(), 20);
        let long = "a".repeat(180);
        for (endpoints, place) in [
            (json!(rules(21)), "/endpoints"),
            (json!("GET /"), "/endpoints"),
            (json!([7]), "/endpoints/0"),
            (json!(["GET /", "GET /"]), "/endpoints/1"),
            (json!(["a", "b", "c"].map(|path| format!("* /{path}{long}/*"))), "/endpoints"),
        ] {
            assert_eq!(wrong_places(&json!({"name": "a", "endpoints": endpoints})), [place], "{endpoints}");
        }
    }

    #[test]
    fn an_expiry_is_in_the_future_in_whole_seconds() {
        let expiry = |body| parse(&body).unwrap().expires_at.unwrap().to_rfc3339();
        assert_eq!(expiry(json!({"name": "a", "expires_in": 60})), "2026-11-22T10:01:00+00:00");
        assert_eq!(
            expiry(json!({"name": "a", "expires_at": "2026-11-22T12:00:01.9+02:00"})),
            "2026-11-22T10:00:01+00:00"
        );
        for past in
            ["2026-11-22T10:00:00Z", "2020-01-01T00:00:00Z", "2127-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]
        {
            assert_eq!(wrong_places(&json!({"name": "a", "expires_at": past})), ["/expires_at"], "{past}");
        }
        for wrong in [json!(0), json!(-1), json!(i64::MAX), json!(u64::MAX), json!("60")] {
            assert_eq!(wrong_places(&json!({"name": "a", "expires_in": wrong})), ["/expires_in"]);
        }
        for (number, is_explained) in [(json!(3600.0), true), (json!(36e2), true), (json!("3600"), false)] {
            let Err(Error::Invalid { fields }) = parse(&json!({"name": "a", "expires_in": number})) else {
                panic!("{number} is written with digits")
            };
            assert_eq!(fields[0].detail.contains("without a decimal point"), is_explained, "{number}");
        }
        let both = json!({"name": "a", "expires_in": 60, "expires_at": "2027-01-01T00:00:00Z"});
        assert_eq!(wrong_places(&both), ["/expires_in"]);
    }

    #[test]
    fn the_canonical_form_depends_on_neither_spelling_nor_time() {
        let canonical = |body: &str, seconds| {
            let now = now() + TimeDelta::seconds(seconds);
            CreateKey::parse(body.as_bytes(), MaxLifetime(None), now).expect(body).canonical()
        };
        let first = r#"{"name":"ci","scopes":["a:b"],"expires_in":3600}"#;
        for same in [
            r#"{ "expires_in": 3600, "scopes": ["a:b"], "name": "ci" }"#,
            r#"{"name":" \u0063i ","scopes":["a:b"],"expires_in":3600,"description":null,"endpoints":[],"limits":[]}"#,
        ] {
            assert_eq!(canonical(same, 500), canonical(first, 0), "{same}");
        }
        for other in [
            r#"{"name":"CI","scopes":["a:b"],"expires_in":3600}"#,
            r#"{"name":"ci","scopes":["a:b"],"expires_in":3601}"#,
            r#"{"name":"ci","scopes":["a:b"],"expires_at":"2026-11-22T11:00:00Z"}"#,
            r#"{"name":"ci","scopes":["a:b"]}"#,
            r#"{"name":"ci","scopes":["a:c"],"expires_in":3600}"#,
            r#"{"name":"ci","scopes":["a:b"],"expires_in":3600,"endpoints":["GET /"]}"#,
            r#"{"name":"ci","scopes":["a:b"],"expires_in":3600,"limits":[{"calls":1,"per":"day"}]}"#,
            r#"{"name":"ci","scopes":["a:b"],"expires_in":3600,"user_id":"bob"}"#,
            r#"{"name":"ci","scopes":["a:b"],"expires_in":3600,"description":"nightly"}"#,
        ] {
            assert_ne!(canonical(other, 0), canonical(first, 0), "{other}");
        }
        let [utc, elsewhere] = ["2026-11-23T10:00:00Z", "2026-11-23T12:00:00+02:00"]
            .map(|time| canonical(&json!({"name": "ci", "expires_at": time}).to_string(), 0));
        assert_eq!(utc, elsewhere);
        let [ordered, unordered] = [
            r#"{"name":"ci","limits":[{"calls":1,"per":"second"},{"calls":2,"per":"day"}]}"#,
            r#"{"name":"ci","limits":[{"per":"day","calls":2},{"per":"second","calls":1}]}"#,
        ]
        .map(|body| canonical(body, 0));
        assert_eq!(ordered, unordered);
    }

    #[test]
    fn with_a_maximum_lifetime_keys_need_an_expiry_within_it() {
        let days = MaxLifetime(Some(TimeDelta::days(30)));
        let places = |body: Value| match CreateKey::parse(body.to_string().as_bytes(), days, now()) {
            Ok(_) => Vec::new(),
            Err(Error::Invalid { fields }) => fields.iter().map(|field| field.place.to_string()).collect(),
            Err(error) => panic!("{error}"),
        };
        assert_eq!(places(json!({"name": "a"})), ["/expires_at"]);
        assert_eq!(places(json!({"name": "a", "expires_at": null})), ["/expires_at"]);
        assert_eq!(places(json!({"name": "a", "expires_in": 30 * 86_400})), Vec::<String>::new());
        assert_eq!(places(json!({"name": "a", "expires_in": 30 * 86_400 + 1})), ["/expires_in"]);
        assert_eq!(places(json!({"name": "a", "expires_at": "2026-12-22T10:00:01Z"})), ["/expires_at"]);
    }

    #[test]
    fn a_bootstrap_is_a_separate_object() {
        let longest = MaxLifetime(Some(TimeDelta::days(30)));
        let parse = |event: &Value| BootstrapKey::parse(event.to_string().as_bytes(), longest, now());
        let key = parse(&json!({"bootstrap": {"workspace_id": "acme", "user_id": "alice", "name": "first"}}))
            .unwrap();
        assert!(!key.break_glass && key.expires_at.is_none());
        let within = |seconds: i64| {
            let fields =
                json!({"workspace_id": "acme", "user_id": "alice", "name": "first", "expires_in": seconds});
            parse(&json!({"bootstrap": fields}))
        };
        assert_eq!(within(3_600).unwrap().expires_at, Some(whole_second(now()) + TimeDelta::hours(1)));
        assert!(within(0).is_err() && within(30 * 86_400 + 1).is_err());
        assert!(parse(&json!({"bootstrap": {"workspace_id": "acme", "user_id": "a", "name": "n", "break_glass": true}}))
            .unwrap()
            .break_glass);
        let Err(Error::Invalid { fields }) =
            parse(&json!({"bootstrap": {"workspace_id": "A", "scopes": []}}))
        else {
            panic!("invalid")
        };
        assert_eq!(fields.len(), 4);
        for event in [
            json!({"bootstrap": {"workspace_id": "acme", "user_id": "a", "name": "n"}, "resource": "/{proxy+}"}),
            json!({"body": "{\"bootstrap\":{}}"}),
            json!({"bootstrap": []}),
            json!({"bootstrap": {"workspace_id": "acme", "user_id": "keygate:users", "name": "n"}}),
            json!({"bootstrap": {"workspace_id": "acme", "user_id": "..", "name": "n"}}),
            json!([]),
        ] {
            assert!(parse(&event).is_err(), "{event}");
        }
    }
}
