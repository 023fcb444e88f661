//! Revoking tokens: by presenting a token (RFC 7009), or by its id over the management API.
//!
//! An access token is revoked alone. A refresh token is revoked with its family: the tokens of the same grant (RFC 7009,
//! section 2.1).

use keygate_core::audit_event::{Action, AuditEvent};
use keygate_core::caller::Actor;
use keygate_core::context::RequestContext;
use keygate_core::credential::{Brand, Credential, CredentialForm, KeyId, TokenId};
use keygate_core::error::Error;
use keygate_core::jwt::has_form_of_jwt;
use keygate_core::key::Key;
use keygate_core::key_action::KeyAction;
use keygate_core::rights::Operation;
use keygate_core::token::{Family, Token, TokenKind};
use keygate_core::verification::{PresentedSecret, Verification, VerifiedCredential};

use crate::authorizer::verifier::Verifier;
use crate::keys::find;
use crate::store::WriteOutcome;
use crate::store::token_transactions::{RevocationTarget, TokenStore};
use crate::tokens::OAuthError;
use crate::tokens::client::{ClientRequest, PresentedClient};

/// Revokes tokens.
#[derive(Debug)]
pub struct TokenRevoker {
    /// The brand, the first part of every credential.
    pub brand: Brand,
    /// The verifier of credentials.
    pub verifier: Verifier,
    /// The store.
    pub store: TokenStore,
}

impl TokenRevoker {
    /// Revokes the presented token. Holding the token is enough: the client need not authenticate, but if it does, it must
    /// be the client of the token. A token that does not exist or no longer works counts as revoked.
    ///
    /// # Errors
    ///
    /// - [`OAuthError::InvalidRequest`]: `token` is missing, or the client is presented in more than one way.
    /// - [`OAuthError::InvalidClient`], [`OAuthError::RefusedClient`], [`OAuthError::InvalidGrant`]: the client is not
    ///   authenticated, or not the client of the token.
    /// - [`OAuthError::UnsupportedTokenType`]: the token is an API key.
    /// - [`OAuthError::IrrevocableToken`]: the token is a JWT.
    /// - [`OAuthError::Failed`]: try again later.
    pub async fn revoke_presented(&self, request: &ClientRequest<'_>) -> Result<(), OAuthError> {
        let now = request.now;
        let token = request.parameters.required("token")?;
        let client = request.client(&self.brand)?;
        let presented = match Credential::parse(token, &self.brand) {
            Ok(Credential { form: CredentialForm::ApiKey, .. }) => {
                return Err(OAuthError::UnsupportedTokenType);
            }
            Ok(presented) => presented,
            Err(_) => {
                // A presented client is checked even if the token is not valid.
                if let PresentedClient::Key(..) = client {
                    client.authenticate(Operation::RevokePresentedToken, &self.verifier, request).await?;
                }
                // A client must not take it for revoked (RFC 7009, section 2.2.1).
                return if has_form_of_jwt(token) { Err(OAuthError::IrrevocableToken) } else { Ok(()) };
            }
        };
        client.must_be(presented.key_id, Operation::RevokePresentedToken, &self.verifier, request).await?;
        let Verification::Verified(known) = self.verifier.verify(&presented, now).await?.verification else {
            return Ok(());
        };
        if let VerifiedCredential { key, presented: PresentedSecret::Token(known), .. } = *known
            && !known.is_revoked
        {
            let event =
                AuditEvent::for_key(Action::TokenRevoked, request.event(&key), key.key_id, &key.user_id)
                    .with_token(known.token.token_id);
            let actor = Actor::User(&key.workspace_id, &key.user_id);
            let target = revoked(&known.token, known.family.as_ref());
            // A concurrent revocation has the same effect.
            let (WriteOutcome::Applied | WriteOutcome::Stale) =
                self.store.revoke(actor, key.key_id, target, &event).await?;
        }
        Ok(())
    }
}

/// Revokes a token of a key of the caller, or as an administrator of any user of the workspace.
///
/// # Errors
///
/// - [`Error::InsufficientScope`]: the caller may not write keys.
/// - [`Error::NotFound`], [`Error::NoSuchToken`]: the workspace has no such key, or the key has no such working token.
/// - [`Error::NotYourKey`]: the key is another user's, and the caller is not an administrator.
/// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
pub async fn revoke(
    store: &TokenStore,
    context: &RequestContext,
    key_id: KeyId,
    token_id: TokenId,
) -> Result<(), Error> {
    let key = key_of(store, context, key_id).await?;
    let token = store.tokens.unhashed(key_id, token_id).await?.ok_or(Error::NoSuchToken)?;
    let family = match (token.kind, token_id.family()) {
        (TokenKind::RefreshToken, Some(family)) => store.tokens.families(key_id, &[family]).await?.pop(),
        _ => None,
    };
    let event = event(context, &key).with_token(token_id);
    match store.revoke(context.actor(), key_id, revoked(&token, family.as_ref()), &event).await? {
        WriteOutcome::Applied => Ok(()),
        WriteOutcome::Stale => Err(Error::NoSuchToken),
    }
}

/// Revokes every token of a key of the caller, or as an administrator of any user of the workspace.
///
/// # Errors
///
/// - [`Error::InsufficientScope`]: the caller may not write keys.
/// - [`Error::NotFound`]: the workspace has no such key.
/// - [`Error::NotYourKey`]: the key is another user's, and the caller is not an administrator.
/// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
pub async fn revoke_all(store: &TokenStore, context: &RequestContext, key_id: KeyId) -> Result<(), Error> {
    let key = key_of(store, context, key_id).await?;
    store.revoke_all(context.actor(), key_id, &event(context, &key)).await
}

async fn key_of(store: &TokenStore, context: &RequestContext, id: KeyId) -> Result<Key, Error> {
    let caller = &context.caller;
    KeyAction::RevokeTokens.require_right(caller, id)?;
    let key = find(&store.keys, context, id).await?.record;
    KeyAction::RevokeTokens.require_permissions(caller, &key)?;
    Ok(key)
}

fn event(context: &RequestContext, key: &Key) -> AuditEvent {
    AuditEvent::for_key(Action::TokenRevoked, context.event(), key.key_id, &key.user_id)
}

/// The target of a revocation: the token, or its family.
fn revoked<'a>(token: &'a Token, family: Option<&'a Family>) -> RevocationTarget<'a> {
    match (token.kind, family) {
        (TokenKind::RefreshToken, Some(family)) => RevocationTarget::Family(family, token.generation),
        _ => RevocationTarget::Token(token),
    }
}
