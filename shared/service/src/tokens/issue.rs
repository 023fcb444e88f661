//! Issuing tokens: for a key (RFC 6749, section 4.4), or for a refresh token (section 6).
//!
//! A refresh token works once. The response to its use has the next refresh token, which begins the next step of its family.
//! A refresh token that is used again was copied, and its two holders cannot be told apart, so the whole family is revoked
//! (RFC 9700, section 4.14.2). A deployment may allow reuse within seconds, because the client may have lost the response or
//! sent the request twice: then the response has a sibling of the next refresh token instead.
//!
//! A client that names an API as its `resource` (RFC 8707) gets a JWT for it instead of a token that Keygate verifies. Nothing is
//! stored of a JWT, and nothing can end it before its expiry. So it lives shortly, and the transaction that records it requires
//! that its key still works. A refresh token of such a grant renews JWTs for this API and gives no other tokens.

use std::num::NonZeroU16;

use chrono::{DateTime, TimeDelta, Utc};
use keygate_core::audience::Audience;
use keygate_core::audit_event::{Action, AuditEvent};
use keygate_core::caller::Actor;
use keygate_core::credential::{Brand, Credential, CredentialForm, FamilyId, TokenId};
use keygate_core::credential_class::CredentialClass;
use keygate_core::endpoint_rule::EndpointRule;
use keygate_core::error::Error;
use keygate_core::jwt;
use keygate_core::key::{Key, KeyState};
use keygate_core::response_size::ResponseParts;
use keygate_core::rights::Operation;
use keygate_core::scope::{MAX_SCOPES, Scope, WORKSPACE_ADMIN};
use keygate_core::time::whole_second;
use keygate_core::token::{Family, HashedToken, RefreshUse, Token, TokenKey, TokenKind};
use keygate_core::verification::{PresentedSecret, Verification, VerifiedCredential, VerifiedToken};
use secrecy::{ExposeSecret, SecretString};
use serde::{Serialize, Serializer};

use crate::authorizer::verifier::Verifier;
use crate::store::WriteOutcome;
use crate::store::token_transactions::{NewAccessToken, Renewal, RevocationTarget, TokenStore};
use crate::tokens::client::ClientRequest;
use crate::tokens::jwt_signer::JwtSigner;
use crate::tokens::parameters::FormParameters;
use crate::tokens::settings::TokenSettings;
use crate::tokens::{OAuthError, RefusedCredential};

/// The scope that requests a refresh token (`OpenID` Connect Core 1.0, section 11). No token carries it.
const OFFLINE_ACCESS: &str = "offline_access";

/// The maximum number of attempts of a request whose family or key changes concurrently. It is higher than the number of
/// changes that a step of a family can have.
const ATTEMPTS: u32 = 8;

/// A token request.
#[derive(Debug)]
pub struct TokenRequest {
    grant: Grant,
    /// The requested scopes: `None` requests all, and an empty list requests none.
    scopes: Option<Vec<Scope>>,
    /// Whether a refresh token is requested.
    offline: bool,
    /// The requested life; `None` requests the maximum.
    expires_in: Option<TimeDelta>,
    /// The API for which a JWT is requested.
    resource: Option<String>,
}

#[derive(Debug)]
enum Grant {
    ClientCredentials,
    RefreshToken(Credential),
}

impl TokenRequest {
    /// Parses the parameters of a request.
    ///
    /// # Errors
    ///
    /// - [`OAuthError::InvalidRequest`]: `grant_type` or `refresh_token` is missing, or `expires_in` is not a number of
    ///   seconds.
    /// - [`OAuthError::UnsupportedGrantType`]: the grant type is unknown.
    /// - [`OAuthError::InvalidGrant`]: `refresh_token` is not a refresh token.
    /// - [`OAuthError::InvalidScope`]: `scope` has invalid scopes, or too many.
    pub fn parse(parameters: &FormParameters, brand: &Brand) -> Result<Self, OAuthError> {
        let grant = match parameters.required("grant_type")? {
            "client_credentials" => Grant::ClientCredentials,
            "refresh_token" => match Credential::parse(parameters.required("refresh_token")?, brand) {
                Ok(credential) if matches!(credential.form, CredentialForm::RefreshToken(_)) => {
                    Grant::RefreshToken(credential)
                }
                _ => return Err(OAuthError::InvalidGrant("not a refresh token")),
            },
            _ => return Err(OAuthError::UnsupportedGrantType),
        };
        let expires_in = parameters.optional("expires_in").map(|seconds| {
            let digits = Some(seconds).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
            let seconds = digits.and_then(|digits| digits.parse().ok()).filter(|seconds| *seconds > 0);
            seconds.map(|seconds: u32| TimeDelta::seconds(seconds.into())).ok_or_else(|| {
                OAuthError::InvalidRequest("expires_in must be a whole number of seconds above 0.".to_owned())
            })
        });
        let mut offline = false;
        // A client that computes its list may send a `scope` without a scope. It requests no scopes, not all of them.
        let mut scopes: Option<Vec<Scope>> = None;
        if let Some(scope) = parameters.optional("scope") {
            let scopes = scopes.insert(Vec::new());
            for word in scope.split(' ').filter(|word| !word.is_empty()) {
                if word == OFFLINE_ACCESS {
                    offline = true;
                    continue;
                }
                let scope = word
                    .parse()
                    .map_err(|invalid| OAuthError::InvalidScope(format!("A scope {invalid}.")))?;
                if !scopes.contains(&scope) {
                    scopes.push(scope);
                }
                if scopes.len() > MAX_SCOPES {
                    let detail = format!("A token can have at most {MAX_SCOPES} scopes.");
                    return Err(OAuthError::InvalidScope(detail));
                }
            }
        }
        let resource = parameters.optional("resource").map(str::to_owned);
        Ok(Self { grant, scopes, offline, expires_in: expires_in.transpose()?, resource })
    }
}

/// The tokens in a response (RFC 6749, section 5.1). They are never shown again.
#[derive(Debug, Serialize)]
pub struct IssuedTokens {
    #[serde(serialize_with = "expose")]
    access_token: SecretString,
    token_type: &'static str,
    /// The life in seconds.
    expires_in: i64,
    #[serde(serialize_with = "expose_if_any", skip_serializing_if = "Option::is_none")]
    refresh_token: Option<SecretString>,
    scope: String,
}

fn expose<S: Serializer>(token: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(token.expose_secret())
}

#[expect(clippy::ref_option, reason = "the signature that serde's `serialize_with` calls")]
fn expose_if_any<S: Serializer>(token: &Option<SecretString>, serializer: S) -> Result<S::Ok, S::Error> {
    token.as_ref().map(ExposeSecret::expose_secret).serialize(serializer)
}

/// Issues tokens.
#[derive(Debug)]
pub struct TokenIssuer {
    /// The brand, the first part of every credential.
    pub brand: Brand,
    /// The verifier of credentials.
    pub verifier: Verifier,
    /// The store.
    pub store: TokenStore,
    /// The limits for tokens.
    pub settings: TokenSettings,
    /// The signer of JWTs, if the deployment issues any.
    pub jwts: Option<JwtSigner>,
}

impl TokenIssuer {
    /// Issues tokens for the grant of a request to the API at `issuer`. They carry the requested scopes, and never more than the
    /// key has.
    ///
    /// # Errors
    ///
    /// - [`OAuthError::InvalidRequest`], [`OAuthError::UnsupportedGrantType`]: see [`TokenRequest::parse`] and
    ///   [`ClientRequest::client`].
    /// - [`OAuthError::InvalidClient`], [`OAuthError::RefusedClient`]: the client does not authenticate with a working key.
    /// - [`OAuthError::InvalidScope`]: a scope is invalid, the key or the refresh token does not have it, or it is one of
    ///   Keygate's own, which a JWT does not carry.
    /// - [`OAuthError::InvalidTarget`]: no JWTs are issued for the resource, or the refresh token is for another one.
    /// - [`OAuthError::RestrictedKey`]: a JWT cannot say where, from which addresses or how often the key may be used.
    /// - [`OAuthError::InvalidGrant`], [`OAuthError::RefusedGrant`]: the refresh token does not work or belongs to another
    ///   client. If it was used before, its family is revoked.
    /// - [`OAuthError::Failed`]: the key has the maximum number of tokens ([`Error::TooManyTokens`]), or try again later.
    pub async fn issue(&self, request: &ClientRequest<'_>, issuer: &str) -> Result<IssuedTokens, OAuthError> {
        let wanted = TokenRequest::parse(&request.parameters, &self.brand)?;
        let client = request.client(&self.brand)?;
        // An attempt ends with a conflict if the key, or a token of the family, was changed or used concurrently.
        for _ in 0..ATTEMPTS {
            let done = match &wanted.grant {
                Grant::ClientCredentials => {
                    let client =
                        client.authenticate(Operation::ObtainAccessToken, &self.verifier, request).await?;
                    self.issue_for_key(client, &wanted, request, issuer).await
                }
                Grant::RefreshToken(presented) => {
                    let (key, used) = self.known(presented, request).await?;
                    client
                        .must_be(key.record.key_id, Operation::RenewTokens, &self.verifier, request)
                        .await?;
                    self.issue_for_refresh_token(&key, &used, &wanted, request, issuer).await
                }
            };
            match done {
                Err(OAuthError::Failed(Error::Conflict)) => {}
                done => return done,
            }
        }
        Err(Error::Busy.into())
    }

    async fn issue_for_key(
        &self,
        client: VerifiedCredential,
        wanted: &TokenRequest,
        request: &ClientRequest<'_>,
        issuer: &str,
    ) -> Result<IssuedTokens, OAuthError> {
        let now = request.now;
        let presented = client.class();
        if wanted.offline && !presented.may(Operation::ObtainRefreshToken, true) {
            let detail =
                format!("{OFFLINE_ACCESS} requires an API key with its current secret, not {presented}.");
            return Err(OAuthError::InvalidScope(detail));
        }
        let made_in_overlap = (presented == CredentialClass::PreviousSecret).then_some(client.key.rotation);
        // Tokens that are issued for an old secret end with its overlap.
        let client_ends_at = client.ends_at();
        let key = TokenKey { record: client.key, generation: client.generation };
        let target = self.target(wanted.resource.as_deref(), issuer)?;
        let is_admin = key.record.scopes.iter().any(|scope| scope.as_str() == WORKSPACE_ADMIN);
        let scopes = match &wanted.scopes {
            None => key.record.scopes.clone(),
            Some(scopes) => {
                held(scopes, |scope| is_admin || key.record.scopes.contains(scope), "key")?;
                scopes.clone()
            }
        };
        let endpoints = key.record.endpoints.clone();
        let mut draft = Draft { key: &key, scopes, endpoints, made_in_overlap, now };
        if target.is_some() {
            draft.fit_jwt(wanted)?;
        }
        draft.must_fit()?;
        let access_expires_at = self.access_expires_at(client_ends_at, wanted, target.as_ref(), now);
        let actor = Actor::User(&key.record.workspace_id, &key.record.user_id);
        let of_key = (actor, key.record.key_id);
        if !wanted.offline {
            let access = draft.token(TokenKind::AccessToken, TokenId::generate(now), access_expires_at);
            let access = self.access(access, &key.record, target.as_ref()).await?;
            let event = event(Action::TokenIssued, request, &key.record, &access);
            self.store.issue(of_key, access.stored(&key), None, &event, self.settings.per_key).await?;
            return Ok(shown(access, None, now));
        }
        let family_id = FamilyId::generate(now);
        let [access_id, refresh_id] = next(family_id, 0).expect("a new family has room");
        let expires_at = sooner(whole_second(now) + self.settings.refresh_lifetime, key.record.expires_at);
        let access = draft.token(TokenKind::AccessToken, access_id, access_expires_at.min(expires_at));
        let access = self.access(access, &key.record, target.as_ref()).await?;
        let refresh = self.opaque(draft.token(TokenKind::RefreshToken, refresh_id, expires_at));
        let family = Family {
            resource: target.map(|target| target.audience.clone()),
            ..Family::new(key.record.key_id, family_id, refresh_id, expires_at)
        };
        let event = event(Action::TokenIssued, request, &key.record, &access);
        let with_refresh = Some((&refresh.hashed, &family));
        self.store.issue(of_key, access.stored(&key), with_refresh, &event, self.settings.per_key).await?;
        Ok(shown(access, Some(refresh), now))
    }

    async fn issue_for_refresh_token(
        &self,
        key: &TokenKey,
        VerifiedToken { token: used, family, .. }: &VerifiedToken,
        wanted: &TokenRequest,
        request: &ClientRequest<'_>,
        issuer: &str,
    ) -> Result<IssuedTokens, OAuthError> {
        let now = request.now;
        let family = family.as_ref().ok_or(OAuthError::InvalidGrant("a refresh token without a family"))?;
        let renewal = match family.judge(used.token_id, self.settings.refresh_reuse, now) {
            RefreshUse::Next => Renewal::Step,
            RefreshUse::Again => Renewal::Sibling,
            RefreshUse::Copied => {
                return self.revoke_copied(&key.record, used, family, request).await;
            }
        };
        let granted = family.resource.as_ref().map(Audience::as_str);
        let target = match (granted, wanted.resource.as_deref()) {
            // RFC 8707, section 2.2: no other resource than that of the grant.
            (Some(granted), Some(resource)) if granted != resource => {
                return Err(OAuthError::InvalidTarget("The refresh token is for another resource."));
            }
            (granted, resource) => self.target(resource.or(granted), issuer)?,
        };
        let scopes = match &wanted.scopes {
            None => used.scopes.clone(),
            Some(scopes) => {
                held(scopes, |scope| used.scopes.contains(scope), "refresh token")?;
                scopes.clone()
            }
        };
        let [access_id, refresh_id] = next(family.family_id, family.last_number())
            .ok_or(OAuthError::InvalidGrant("the family has no numbers left"))?;
        let expires_at = sooner(family.expires_at, key.record.expires_at);
        let mut draft = Draft { key, scopes, endpoints: used.endpoints.clone(), made_in_overlap: None, now };
        if target.is_some() {
            // Nothing compares the scopes of a JWT with those of its key later.
            draft.keep_held();
            draft.fit_jwt(wanted)?;
        }
        let access_expires_at =
            self.access_expires_at(key.record.expires_at, wanted, target.as_ref(), now).min(expires_at);
        let access = draft.token(TokenKind::AccessToken, access_id, access_expires_at);
        let access = self.access(access, &key.record, target.as_ref()).await?;
        // The new token has the scopes of the previous one, even if this request names fewer (RFC 6749, section 6).
        let draft = Draft { scopes: used.scopes.clone(), ..draft };
        let refresh = self.opaque(draft.token(TokenKind::RefreshToken, refresh_id, expires_at));
        let event = event(Action::TokenRefreshed, request, &key.record, &access);
        let actor = Actor::User(&key.record.workspace_id, &key.record.user_id);
        let tokens = (access.stored(key), &refresh.hashed);
        self.store.refresh(actor, (family, renewal), tokens, &event, self.settings.per_key).await?;
        Ok(shown(access, Some(refresh), now))
    }

    /// Revokes the family of a refresh token that was used twice.
    async fn revoke_copied(
        &self,
        key: &Key,
        used: &Token,
        family: &Family,
        request: &ClientRequest<'_>,
    ) -> Result<IssuedTokens, OAuthError> {
        let event = AuditEvent::for_key(Action::TokenReused, request.event(key), key.key_id, &key.user_id)
            .with_token(used.token_id);
        let actor = Actor::User(&key.workspace_id, &key.user_id);
        let whole_family = RevocationTarget::Family(family, used.generation);
        // A concurrent revocation has the same effect.
        let (WriteOutcome::Applied | WriteOutcome::Stale) =
            self.store.revoke(actor, key.key_id, whole_family, &event).await?;
        Err(OAuthError::InvalidGrant("the refresh token was used before"))
    }

    /// The presented token with its key, if both work for the sender of the request.
    async fn known(
        &self,
        presented: &Credential,
        request: &ClientRequest<'_>,
    ) -> Result<(TokenKey, Box<VerifiedToken>), OAuthError> {
        let refused = match self.verifier.verify(presented, request.now).await?.verification {
            Verification::Verified(known) => match (known.works_from(request.address(), request.now), *known)
            {
                (
                    Ok(()),
                    VerifiedCredential { key, generation, presented: PresentedSecret::Token(token) },
                ) => {
                    return Ok((TokenKey { record: key, generation }, token));
                }
                (Ok(()), _) => return Err(OAuthError::InvalidGrant("not a token")),
                (Err(unfit), known) => RefusedCredential::of_unfit(known.key.owner(), None, unfit),
            },
            Verification::WrongSecret(owner) => RefusedCredential::of_wrong_secret(owner, None),
            Verification::Unknown(_) => return Err(OAuthError::InvalidGrant("unknown token")),
        };
        Err(OAuthError::RefusedGrant(refused.into()))
    }

    /// The API that a JWT is requested for, if one is.
    fn target<'a>(
        &'a self,
        resource: Option<&str>,
        issuer: &'a str,
    ) -> Result<Option<Target<'a>>, OAuthError> {
        let Some(resource) = resource else { return Ok(None) };
        let signer = self.jwts.as_ref();
        let signer =
            signer.ok_or(OAuthError::InvalidTarget("This server issues no tokens for a resource."))?;
        Ok(Some(Target { signer, audience: signer.audience(resource)?, issuer }))
    }

    fn access_expires_at(
        &self,
        end: Option<DateTime<Utc>>,
        wanted: &TokenRequest,
        target: Option<&Target<'_>>,
        now: DateTime<Utc>,
    ) -> DateTime<Utc> {
        let most = target.map_or(self.settings.access_lifetime, |target| target.signer.settings.lifetime);
        let life = wanted.expires_in.map_or(most, |life| life.min(most));
        sooner(whole_second(now) + life, end)
    }

    /// The access token in the form that is requested. A JWT is signed before anything is written, because a failed signature must
    /// not use up a refresh token.
    async fn access(
        &self,
        token: Token,
        key: &Key,
        target: Option<&Target<'_>>,
    ) -> Result<NewAccess, OAuthError> {
        let Some(Target { signer, audience, issuer }) = target else {
            return Ok(NewAccess::Opaque(self.opaque(token)));
        };
        let text = signer.sign(issuer, audience, key, &token).await?;
        Ok(NewAccess::Jwt(token, text))
    }

    /// The token with a new secret.
    fn opaque(&self, token: Token) -> NewToken {
        let form = match token.kind {
            TokenKind::AccessToken => CredentialForm::AccessToken(token.token_id),
            TokenKind::RefreshToken => CredentialForm::RefreshToken(token.token_id),
        };
        let credential = Credential::draw(token.key_id, form);
        let hash = self.verifier.peppers.hash(&credential);
        NewToken { hashed: HashedToken { token, hash }, text: credential.to_text(&self.brand) }
    }
}

fn shown(access: NewAccess, refresh: Option<NewToken>, now: DateTime<Utc>) -> IssuedTokens {
    let token = access.token();
    let scopes = token.scopes.iter().map(Scope::as_str);
    let scope: Vec<&str> = scopes.chain(refresh.as_ref().map(|_| OFFLINE_ACCESS)).collect();
    IssuedTokens {
        token_type: "Bearer",
        expires_in: (token.expires_at - whole_second(now)).num_seconds(),
        scope: scope.join(" "),
        access_token: access.into_text(),
        refresh_token: refresh.map(|refresh| refresh.text),
    }
}

/// The API that a JWT is for.
struct Target<'a> {
    signer: &'a JwtSigner,
    audience: &'a Audience,
    issuer: &'a str,
}

/// The common attributes of the tokens of one request.
struct Draft<'a> {
    key: &'a TokenKey,
    scopes: Vec<Scope>,
    endpoints: Vec<EndpointRule>,
    /// For tokens that are issued for a previous secret: the key's counter of hash changes.
    made_in_overlap: Option<u64>,
    now: DateTime<Utc>,
}

/// A new token with its hash, and its text.
struct NewToken {
    hashed: HashedToken,
    text: SecretString,
}

/// A new access token.
enum NewAccess {
    /// It is stored.
    Opaque(NewToken),
    /// It is a JWT with this text, and not stored.
    Jwt(Token, SecretString),
}

impl NewAccess {
    fn token(&self) -> &Token {
        match self {
            Self::Opaque(new) => &new.hashed.token,
            Self::Jwt(token, _) => token,
        }
    }

    /// What the transaction does about it.
    fn stored(&self, key: &TokenKey) -> NewAccessToken<'_> {
        match self {
            Self::Opaque(new) => NewAccessToken::Stored(&new.hashed),
            Self::Jwt(..) => NewAccessToken::Jwt(KeyState::of(&key.record, key.generation)),
        }
    }

    fn into_text(self) -> SecretString {
        match self {
            Self::Opaque(new) => new.text,
            Self::Jwt(_, text) => text,
        }
    }
}

impl Draft<'_> {
    /// Checks the size of the scopes: an administrator may request scopes for a token that the key does not list.
    fn must_fit(&self) -> Result<(), OAuthError> {
        let parts = ResponseParts {
            scopes: &self.scopes,
            endpoints: &self.endpoints,
            ..self.key.record.response_parts()
        };
        if parts.fit() {
            return Ok(());
        }
        Err(OAuthError::InvalidScope("The scopes do not fit into an authorizer's response.".to_owned()))
    }

    /// Leaves out what a JWT must not carry: Keygate's own scopes, with which an API could do nothing but call Keygate as the client.
    fn fit_jwt(&mut self, wanted: &TokenRequest) -> Result<(), OAuthError> {
        if !jwt::can_represent(&self.key.record) || !self.endpoints.is_empty() {
            return Err(OAuthError::RestrictedKey);
        }
        // One that the client names is refused and not left out in silence.
        if let Some(own) = wanted.scopes.iter().flatten().find(|scope| scope.is_own()) {
            return Err(OAuthError::InvalidScope(format!(
                "A JWT does not carry {own}, a scope of Keygate itself."
            )));
        }
        self.scopes.retain(|scope| !scope.is_own());
        Ok(())
    }

    /// Leaves out scopes that the key has lost since they were granted.
    fn keep_held(&mut self) {
        let held = &self.key.record.scopes;
        let is_admin = held.iter().any(|scope| scope.as_str() == WORKSPACE_ADMIN);
        self.scopes.retain(|scope| is_admin || held.contains(scope));
    }

    fn token(&self, kind: TokenKind, token_id: TokenId, expires_at: DateTime<Utc>) -> Token {
        Token {
            key_id: self.key.record.key_id,
            token_id,
            kind,
            scopes: self.scopes.clone(),
            endpoints: self.endpoints.clone(),
            generation: self.key.generation,
            made_in_overlap: self.made_in_overlap,
            created_at: whole_second(self.now),
            expires_at,
            last_used_at: None,
        }
    }
}

fn held(wanted: &[Scope], is_held: impl Fn(&Scope) -> bool, by: &str) -> Result<(), OAuthError> {
    match wanted.iter().find(|scope| !is_held(scope)) {
        None => Ok(()),
        Some(scope) => Err(OAuthError::InvalidScope(format!("The {by} does not have the scope {scope}."))),
    }
}

/// The ids of the access token and the refresh token that follow the token with this number.
fn next(family: FamilyId, number: u16) -> Option<[TokenId; 2]> {
    let [access, refresh] = [number.checked_add(1)?, number.checked_add(2)?];
    Some([family.token(NonZeroU16::new(access)?), family.token(NonZeroU16::new(refresh)?)])
}

fn sooner(time: DateTime<Utc>, end: Option<DateTime<Utc>>) -> DateTime<Utc> {
    end.map_or(time, |end| time.min(end))
}

fn event(action: Action, request: &ClientRequest<'_>, key: &Key, access: &NewAccess) -> AuditEvent {
    AuditEvent::for_key(action, request.event(key), key.key_id, &key.user_id)
        .with_token(access.token().token_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<TokenRequest, OAuthError> {
        TokenRequest::parse(&FormParameters::parse(body.as_bytes()).unwrap(), &"kg".parse().unwrap())
    }

    #[test]
    fn a_scope_is_a_list_and_offline_access_requests_a_refresh_token() {
        // scope, scopes, offline
        let table: [(&str, Option<&[&str]>, bool); 7] = [
            ("", None, false),
            ("a", Some(&["a"]), false),
            ("a++b+a", Some(&["a", "b"]), false),
            ("offline_access", Some(&[]), true),
            ("++offline_access+", Some(&[]), true),
            ("+", Some(&[]), false),
            ("b+offline_access+a", Some(&["b", "a"]), true),
        ];
        for (scope, scopes, offline) in table {
            let request = parse(&format!("grant_type=client_credentials&scope={scope}")).unwrap();
            let scopes = scopes.map(|scopes| scopes.iter().map(|scope| scope.parse().unwrap()).collect());
            assert_eq!((request.scopes, request.offline), (scopes, offline), "{scope}");
        }
        for invalid in ["A", "a%0Ab", "\"a\"", "*", "a:*"] {
            let refused = parse(&format!("grant_type=client_credentials&scope={invalid}"));
            assert!(matches!(refused, Err(OAuthError::InvalidScope(_))), "{invalid}");
        }
    }

    #[test]
    fn a_life_is_a_whole_number_of_seconds() {
        for (expires_in, valid) in [
            ("1", true),
            ("86400", true),
            ("0", false),
            ("-1", false),
            ("+1", false),
            ("1.5", false),
            ("x", false),
        ] {
            let request = parse(&format!("grant_type=client_credentials&expires_in={expires_in}"));
            assert_eq!(request.is_ok(), valid, "{expires_in}");
        }
    }

    #[test]
    fn a_family_ends_when_its_token_numbers_are_used_up() {
        let family = FamilyId::generate(Utc::now());
        let numbers = |number| next(family, number).map(|ids| ids.map(TokenId::number));
        assert_eq!(numbers(0), Some([1, 2]));
        assert_eq!(numbers(u16::MAX - 2), Some([u16::MAX - 1, u16::MAX]));
        assert_eq!(numbers(u16::MAX - 1), None);
        let [access, refresh] = next(family, 2).unwrap();
        assert_eq!((access.family(), refresh.family()), (Some(family), Some(family)));
        assert_eq!(TokenId::generate(Utc::now()).family(), None);
    }
}
