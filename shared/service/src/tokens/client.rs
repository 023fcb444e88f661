//! Authentication of OAuth clients: a client is a key, presented in one of three ways (RFC 6749, section 2.3.1; RFC 6750,
//! section 2.1).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use keygate_core::authorization::Authorization;
use keygate_core::context::EventContext;
use keygate_core::context::RequestOrigin;
use keygate_core::credential::{Brand, Credential, CredentialForm, KeyId};
use keygate_core::credential_class::CredentialKind;
use keygate_core::key::Key;
use keygate_core::rights::Operation;
use keygate_core::verification::{Verification, VerifiedCredential};
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use crate::authorizer::verifier::Verifier;
use crate::tokens::parameters::FormParameters;
use crate::tokens::{OAuthError, RefusedCredential};

/// A request of an OAuth client.
#[derive(Debug)]
pub struct ClientRequest<'a> {
    /// The credentials in the `Authorization` header.
    pub authorization: Option<Authorization<'a>>,
    /// The parameters in the body.
    pub parameters: FormParameters,
    /// The request as the audit trail records it.
    pub origin: RequestOrigin,
    /// The time at which the request arrived.
    pub now: DateTime<Utc>,
}

impl ClientRequest<'_> {
    /// The client that the request presents.
    ///
    /// # Errors
    ///
    /// See [`PresentedClient::parse`].
    pub fn client(&self, brand: &Brand) -> Result<PresentedClient, OAuthError> {
        PresentedClient::parse(self.authorization, &self.parameters, brand)
    }

    /// The address of the sender, which the networks of a key are compared with.
    #[must_use]
    pub fn address(&self) -> Option<&str> {
        self.origin.source.as_deref()
    }

    /// The context of the audit events of the request, which acts on behalf of the user of `key`.
    #[must_use]
    pub fn event<'a>(&'a self, key: &'a Key) -> EventContext<'a> {
        EventContext {
            workspace_id: &key.workspace_id,
            actor: &key.user_id,
            session: None,
            origin: &self.origin,
            at: self.now,
        }
    }
}

/// The authentication scheme of a client, which a challenge repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuthScheme {
    /// HTTP Basic, or the id and the secret as parameters.
    Basic,
    /// The key as a bearer token.
    Bearer,
}

/// A client as a request presents it.
#[derive(Debug)]
pub enum PresentedClient {
    /// No client is presented.
    Absent,
    /// Only the id is presented, which proves nothing.
    Named(KeyId),
    /// The key is presented.
    Key(Credential, ClientAuthScheme),
}

impl PresentedClient {
    /// Reads the `Authorization` header and the parameters of a request.
    ///
    /// # Errors
    ///
    /// - [`OAuthError::InvalidRequest`]: the client is presented in more than one way, or a secret is presented without an
    ///   id.
    /// - [`OAuthError::InvalidClient`]: the credential is not a key, or does not match the id.
    pub fn parse(
        authorization: Option<Authorization<'_>>,
        parameters: &FormParameters,
        brand: &Brand,
    ) -> Result<Self, OAuthError> {
        let (id, secret) = (parameters.optional("client_id"), parameters.optional("client_secret"));
        if authorization.is_some() && secret.is_some() {
            let detail = "The client must authenticate in only one way.".to_owned();
            return Err(OAuthError::InvalidRequest(detail));
        }
        let presented = match (authorization, secret) {
            (Some(authorization), _) => of_header(authorization, brand)?,
            (None, Some(secret)) => {
                let id = id.ok_or_else(|| {
                    OAuthError::InvalidRequest("client_id is required with client_secret.".to_owned())
                })?;
                of_id_and_secret(id, secret, brand)?
            }
            (None, None) => {
                let unknown =
                    OAuthError::InvalidClient("client_id is not a key's id", ClientAuthScheme::Basic);
                let named = id.map(|id| id.parse().map(Self::Named)).transpose();
                return named.map_err(|_| unknown).map(|named| named.unwrap_or(Self::Absent));
            }
        };
        match (&presented, id) {
            (Self::Key(credential, scheme), Some(id)) if credential.key_id.to_string() != id => {
                Err(OAuthError::InvalidClient("client_id is another key's id", *scheme))
            }
            _ => Ok(presented),
        }
    }

    /// Authenticates the client for an operation and returns its key.
    ///
    /// # Errors
    ///
    /// - [`OAuthError::InvalidClient`]: the request presents no key, or one that does not exist.
    /// - [`OAuthError::RefusedClient`]: the key does not work, not from the sender's address, or has another secret.
    /// - [`OAuthError::UnauthorizedClient`]: the presented secret does not allow the operation.
    /// - [`OAuthError::Failed`]: the key could not be checked.
    pub async fn authenticate(
        &self,
        operation: Operation,
        verifier: &Verifier,
        request: &ClientRequest<'_>,
    ) -> Result<VerifiedCredential, OAuthError> {
        let Self::Key(credential, scheme) = self else {
            return Err(OAuthError::InvalidClient("no key", ClientAuthScheme::Basic));
        };
        let presented = Some(CredentialKind::ApiKey);
        let refused = match verifier.verify(credential, request.now).await?.verification {
            Verification::Verified(known) => match known.works_from(request.address(), request.now) {
                Ok(()) if known.class().may(operation, true) => return Ok(*known),
                Ok(()) => return Err(OAuthError::UnauthorizedClient(known.class())),
                Err(unfit) => RefusedCredential::of_unfit(known.key.owner(), presented, unfit),
            },
            Verification::WrongSecret(owner) => RefusedCredential::of_wrong_secret(owner, presented),
            Verification::Unknown(_) => return Err(OAuthError::InvalidClient("unknown key", *scheme)),
        };
        Err(OAuthError::RefusedClient(refused.into(), *scheme))
    }

    /// Checks that the client, if one is presented, is the key with this id.
    ///
    /// # Errors
    ///
    /// - [`OAuthError::InvalidClient`], [`OAuthError::RefusedClient`]: the presented key does not work.
    /// - [`OAuthError::UnauthorizedClient`]: the presented secret does not allow the operation.
    /// - [`OAuthError::InvalidGrant`]: the client is another key.
    /// - [`OAuthError::Failed`]: the key could not be checked.
    pub async fn must_be(
        &self,
        key_id: KeyId,
        operation: Operation,
        verifier: &Verifier,
        request: &ClientRequest<'_>,
    ) -> Result<(), OAuthError> {
        let presented = match self {
            Self::Absent => return Ok(()),
            Self::Named(id) => *id,
            Self::Key(..) => self.authenticate(operation, verifier, request).await?.key.key_id,
        };
        if presented == key_id { Ok(()) } else { Err(OAuthError::InvalidGrant("a token of another client")) }
    }
}

fn of_header(authorization: Authorization<'_>, brand: &Brand) -> Result<PresentedClient, OAuthError> {
    match authorization {
        Authorization::Bearer(token) => api_key(token, ClientAuthScheme::Bearer, brand),
        Authorization::Basic(encoded) => of_basic(encoded, brand),
        Authorization::Other => {
            Err(OAuthError::InvalidClient("neither Basic nor Bearer", ClientAuthScheme::Basic))
        }
    }
}

fn of_basic(encoded: &str, brand: &Brand) -> Result<PresentedClient, OAuthError> {
    let not_basic = || OAuthError::InvalidClient("malformed Basic credentials", ClientAuthScheme::Basic);
    let decoded = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| not_basic())?);
    let text = std::str::from_utf8(&decoded).map_err(|_| not_basic())?;
    let (id, secret) = text.split_once(':').ok_or_else(not_basic)?;
    // Both are encoded as in a form (RFC 6749, section 2.3.1): some clients encode the `_` of a key, others encode nothing.
    let decoded = |text| percent_decode_str(text).decode_utf8().map_err(|_| not_basic());
    let secret = Zeroizing::new(decoded(secret)?.into_owned());
    of_id_and_secret(&decoded(id)?, &secret, brand)
}

fn of_id_and_secret(id: &str, secret: &str, brand: &Brand) -> Result<PresentedClient, OAuthError> {
    let presented = api_key(secret, ClientAuthScheme::Basic, brand)?;
    match &presented {
        PresentedClient::Key(credential, _) if credential.key_id.to_string() == id => Ok(presented),
        _ => Err(OAuthError::InvalidClient("the id is another key's", ClientAuthScheme::Basic)),
    }
}

fn api_key(text: &str, scheme: ClientAuthScheme, brand: &Brand) -> Result<PresentedClient, OAuthError> {
    match Credential::parse(text, brand) {
        Ok(credential) if credential.form == CredentialForm::ApiKey => {
            Ok(PresentedClient::Key(credential, scheme))
        }
        Ok(_) => Err(OAuthError::InvalidClient("a token in place of a key", scheme)),
        Err(_) => Err(OAuthError::InvalidClient("not a key", scheme)),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn brand() -> Brand {
        "kg".parse().unwrap()
    }

    /// The way in which a request presents its client, as one word.
    fn presented(authorization: Option<&str>, body: &str) -> String {
        let request = ClientRequest {
            authorization: authorization.and_then(Authorization::parse),
            parameters: FormParameters::parse(body.as_bytes()).unwrap(),
            origin: RequestOrigin::default(),
            now: Utc::now(),
        };
        match request.client(&brand()) {
            Ok(PresentedClient::Absent) => "nobody".to_owned(),
            Ok(PresentedClient::Named(_)) => "named".to_owned(),
            Ok(PresentedClient::Key(_, scheme)) => format!("{scheme:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn a_client_is_presented_in_one_of_three_ways() {
        let now = Utc::now();
        let (key, other) = (Credential::generate(now), Credential::generate(now));
        let (id, other_id) = (key.key_id, other.key_id);
        let key = key.to_text(&brand());
        let key = key.expose_secret();
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        let form = |id: KeyId| format!("client_id={id}&client_secret={key}");
        for (authorization, body, expected) in [
            (None, String::new(), "nobody"),
            (None, format!("client_id={id}"), "named"),
            (None, form(id), "Basic"),
            (Some(basic(&format!("{id}:{key}"))), String::new(), "Basic"),
            (Some(basic(&format!("{id}:{key}"))), format!("client_id={id}"), "Basic"),
            (Some(basic(&format!("{id}:{}", key.replace('_', "%5F")))), String::new(), "Basic"),
            (Some(format!("bearer  {key}")), String::new(), "Bearer"),
            (Some(format!("Bearer {key}")), form(id), "invalid request"),
            (None, format!("client_secret={key}"), "invalid request"),
            (None, "client_id=alice".to_owned(), "invalid client: client_id is not a key's id"),
            (None, form(other_id), "invalid client: the id is another key's"),
            (
                Some(basic(&format!("{other_id}:{key}"))),
                String::new(),
                "invalid client: the id is another key's",
            ),
            (
                Some(format!("Bearer {key}")),
                format!("client_id={other_id}"),
                "invalid client: client_id is another key's id",
            ),
            (Some(basic(key)), String::new(), "invalid client: malformed Basic credentials"),
            (Some("Basic ?".to_owned()), String::new(), "invalid client: malformed Basic credentials"),
            (Some("Digest x".to_owned()), String::new(), "invalid client: neither Basic nor Bearer"),
            (Some("Bearer".to_owned()), String::new(), "invalid client: not a key"),
        ] {
            assert_eq!(presented(authorization.as_deref(), &body), expected, "{body}");
        }
    }

    #[test]
    fn a_token_is_not_a_client() {
        let now = Utc::now();
        let key_id = KeyId::generate(now);
        let token_id = keygate_core::credential::TokenId::generate(now);
        for kind in [CredentialForm::AccessToken(token_id), CredentialForm::RefreshToken(token_id)] {
            let token = Credential::draw(key_id, kind).to_text(&brand());
            let header = format!("Bearer {}", token.expose_secret());
            assert_eq!(presented(Some(&header), ""), "invalid client: a token in place of a key");
        }
    }
}
