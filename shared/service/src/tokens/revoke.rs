//! Revoking tokens: by presenting one (RFC 7009), or by id over the management API.
//!
//! An access token is revoked alone. With a refresh token goes its family: the tokens that came of the same grant (RFC 7009,
//! section 2.1).

use keygate_core::audit_event::{Action, AuditEvent};
use keygate_core::caller::Actor;
use keygate_core::context::RequestContext;
use keygate_core::credential::{Brand, Credential, CredentialForm, KeyId, TokenId};
use keygate_core::error::Error;
use keygate_core::key::Key;
use keygate_core::rights::Operation;
use keygate_core::scope::KEYS_WRITE;
use keygate_core::token::{Family, Token, TokenKind};
use keygate_core::verification::{PresentedSecret, Verification, VerifiedCredential};

use crate::authorizer::verifier::Verifier;
use crate::keys::find;
use crate::store::WriteOutcome;
use crate::store::token_transactions::{RevocationTarget, TokenStore};
use crate::tokens::OAuthError;
use crate::tokens::client::{ClientRequest, PresentedClient};

/// What revoking tokens takes.
#[derive(Debug)]
pub struct TokenRevoker {
    /// The word credentials begin with.
    pub brand: Brand,
    /// What compares them with what is stored.
    pub verifier: Verifier,
    /// Where tokens are.
    pub store: TokenStore,
}

impl TokenRevoker {
    /// Revokes the token that a request presents. To hold the token is enough: the client need not be authenticated, and must
    /// be the token's own if it is. A token that does not exist, or does not work any more, is as good as revoked.
    ///
    /// # Errors
    ///
    /// - [`OAuthError::InvalidRequest`]: `token` is missing, or the client is presented in more than one way.
    /// - [`OAuthError::InvalidClient`], [`OAuthError::RefusedClient`], [`OAuthError::InvalidGrant`]: the client is not who it
    ///   says, or not the token's.
    /// - [`OAuthError::UnsupportedTokenType`]: it is an API key.
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
                // Who sends nonsense must be no impostor either.
                if let PresentedClient::Key(..) = client {
                    client.authenticate(Operation::RevokePresentedToken, &self.verifier, now).await?;
                }
                return Ok(());
            }
        };
        client.must_be(presented.key_id, Operation::RevokePresentedToken, &self.verifier, now).await?;
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
            // A token that was revoked meanwhile is revoked.
            let (WriteOutcome::Applied | WriteOutcome::Stale) =
                self.store.revoke(actor, key.key_id, target, &event).await?;
        }
        Ok(())
    }
}

/// Revokes a token of a key of the caller, or as an administrator of anyone's of the workspace.
///
/// # Errors
///
/// - [`Error::InsufficientScope`]: the caller may not write keys.
/// - [`Error::NotFound`], [`Error::NoSuchToken`]: the workspace has no such key, or the key no such token that works.
/// - [`Error::NotYourKey`]: the key is another user's, and the caller is no administrator.
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

/// Revokes every token of a key of the caller, or as an administrator of anyone's of the workspace.
///
/// # Errors
///
/// - [`Error::InsufficientScope`]: the caller may not write keys.
/// - [`Error::NotFound`]: the workspace has no such key.
/// - [`Error::NotYourKey`]: the key is another user's, and the caller is no administrator.
/// - [`Error::Busy`], [`Error::Unavailable`]: try again later.
pub async fn revoke_all(store: &TokenStore, context: &RequestContext, key_id: KeyId) -> Result<(), Error> {
    let key = key_of(store, context, key_id).await?;
    store.revoke_all(context.actor(), key_id, &event(context, &key)).await
}

async fn key_of(store: &TokenStore, context: &RequestContext, id: KeyId) -> Result<Key, Error> {
    let caller = &context.caller;
    caller.require(KEYS_WRITE)?;
    caller.may_to(Operation::RevokeTokens, id)?;
    let key = find(&store.keys, context, id).await?.record;
    caller.require_to_act_for(&key.user_id)?;
    Ok(key)
}

fn event(context: &RequestContext, key: &Key) -> AuditEvent {
    AuditEvent::for_key(Action::TokenRevoked, context.event(), key.key_id, &key.user_id)
}

/// What goes with a token.
fn revoked<'a>(token: &'a Token, family: Option<&'a Family>) -> RevocationTarget<'a> {
    match (token.kind, family) {
        (TokenKind::RefreshToken, Some(family)) => RevocationTarget::Family(family, token.generation),
        _ => RevocationTarget::Token(token),
    }
}
