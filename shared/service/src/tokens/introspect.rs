//! Telling a resource server what a credential is worth (RFC 7662): for APIs that no API Gateway stands in front of.

use keygate_core::credential::{Brand, Credential};
use keygate_core::endpoint_rule::EndpointRule;
use keygate_core::identity::WorkspaceId;
use keygate_core::rights::Operation;
use keygate_core::scope::Scope;
use keygate_core::token::TokenKind;
use keygate_core::verification::{PresentedSecret, Verification};
use serde::Serialize;

use crate::authorizer::verifier::Verifier;
use crate::tokens::OAuthError;
use crate::tokens::client::ClientRequest;

/// What introspecting takes.
#[derive(Debug)]
pub struct Introspector {
    /// The word credentials begin with.
    pub brand: Brand,
    /// What compares them with what is stored.
    pub verifier: Verifier,
}

/// What a credential is worth (RFC 7662, section 2.2).
#[derive(Debug, Serialize)]
pub struct Introspection {
    /// Whether it works.
    active: bool,
    #[serde(flatten)]
    of_active: Option<Box<Active>>,
}

/// What is told of a credential that works.
#[derive(Debug, Serialize)]
struct Active {
    scope: String,
    /// The id of the key.
    client_id: String,
    token_type: &'static str,
    /// Of a token: when it stops working, and when it was made, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    iat: i64,
    /// The user.
    sub: String,
    /// Of a token: its id.
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    workspace_id: WorkspaceId,
    credential: &'static str,
    /// Where it may be used, if not everywhere. Nobody but the resource server enforces it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    endpoints: Vec<EndpointRule>,
}

impl Introspector {
    /// Says what the credential in `token` is worth to the client, which must come with a key. One of another workspace is
    /// worth nothing.
    ///
    /// # Errors
    ///
    /// - [`OAuthError::InvalidRequest`]: `token` is missing, or the client is presented in more than one way.
    /// - [`OAuthError::InvalidClient`], [`OAuthError::RefusedClient`]: the client does not come with a key that works.
    /// - [`OAuthError::Failed`]: try again later.
    pub async fn introspect(&self, request: &ClientRequest<'_>) -> Result<Introspection, OAuthError> {
        let now = request.now;
        let token = request.parameters.required("token")?;
        let client = request.client(&self.brand)?;
        let client = client.authenticate(Operation::Introspect, &self.verifier, now).await?.key;
        let worthless = Introspection { active: false, of_active: None };
        let Ok(presented) = Credential::parse(token, &self.brand) else { return Ok(worthless) };
        let Verification::Verified(known) = self.verifier.verify(&presented, now).await?.verification else {
            return Ok(worthless);
        };
        if known.key.workspace_id != client.workspace_id || known.works(now).is_err() {
            return Ok(worthless);
        }
        let ends_at = known.ends_at().map(|end| end.timestamp());
        let key = &known.key;
        let mut active = Active {
            scope: String::new(),
            client_id: key.key_id.to_string(),
            token_type: "Bearer",
            exp: None,
            iat: key.created_at.timestamp(),
            sub: key.user_id.to_string(),
            jti: None,
            workspace_id: key.workspace_id.clone(),
            credential: "refresh_token",
            endpoints: Vec::new(),
        };
        if let PresentedSecret::Token(known) = &known.presented {
            active.iat = known.token.created_at.timestamp();
            active.jti = Some(known.token.token_id.to_string());
        }
        match &known.presented {
            PresentedSecret::Token(known) if known.token.kind == TokenKind::RefreshToken => {
                let is_unused =
                    known.family.as_ref().is_some_and(|family| family.is_present(known.token.token_id));
                if !is_unused {
                    return Ok(worthless);
                }
                active.scope = words(&known.token.scopes);
                active.exp = ends_at;
            }
            _ => {
                let Ok(caller) = known.caller(now) else { return Ok(worthless) };
                active.scope = words(&caller.scopes);
                active.exp = caller.expires_at.map(|expires_at| expires_at.timestamp());
                active.endpoints = caller.endpoints;
                active.credential = caller.credential.word();
            }
        }
        Ok(Introspection { active: true, of_active: Some(Box::new(active)) })
    }
}

fn words(scopes: &[Scope]) -> String {
    scopes.iter().map(Scope::as_str).collect::<Vec<_>>().join(" ")
}
