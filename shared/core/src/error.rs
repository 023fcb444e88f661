//! The errors of the use cases. They name no type of an SDK and no HTTP status.

use std::time::Duration;

use serde::Serialize;
use thiserror::Error as ThisError;

use crate::credential::KeyId;
use crate::credential_class::CredentialClass;
use crate::endpoint_rule::EndpointRule;
use crate::network::Network;
use crate::pepper::UnknownPepper;

/// Why a use case failed. Unless a variant says otherwise, nothing was changed.
#[derive(Debug, ThisError)]
pub enum Error {
    /// The request is invalid. Every invalid field is named.
    // Its sender chose the names, so they go back to the sender and not to the log.
    #[error("the request has {} invalid fields", fields.len())]
    Invalid {
        /// At least one.
        fields: Vec<InvalidField>,
    },
    /// The request's body is longer than this many bytes.
    #[error("the request has more than {0} bytes")]
    TooLarge(usize),
    /// The request's body is in another format than JSON.
    #[error("the request is not application/json")]
    NotJson,
    /// The request's body has a content coding.
    #[error("the request has a content coding")]
    Coded,
    /// The caller does not hold this scope.
    #[error("the caller lacks a scope that the request requires")]
    InsufficientScope(String),
    /// The endpoint rules of the caller's own key do not cover this one, or (`None`) a key without rules.
    #[error("the caller's endpoint rules do not cover {}", .0.as_ref().map_or("a key without rules", EndpointRule::as_str))]
    InsufficientEndpoints(Option<EndpointRule>),
    /// The networks of the caller's own key do not contain this one, or (`None`) every address.
    #[error("the caller's networks do not contain {}", .0.map_or("every address".to_owned(), |network| network.to_string()))]
    InsufficientNetworks(Option<Network>),
    /// The caller's key has limits, and the operation would give it calls beyond them.
    #[error("the caller's key has limits")]
    LimitedCaller,
    /// The key would have limits, and the deployment does not say that no authorizer cache stands before its APIs.
    #[error("limits are not enforced: AuthorizerUncached is not true")]
    LimitsNotEnforced,
    /// The class of the caller's credential does not have the right to the operation, with any scopes.
    #[error("the operation is not permitted with {0}")]
    InsufficientCredential(CredentialClass),
    /// The key belongs to another user of the workspace and the caller is not an administrator.
    #[error("the key belongs to another user")]
    NotYourKey,
    /// The user has more keys than can be sorted for a list of them.
    #[error("the user has more keys than can be sorted")]
    TooManyKeys,
    /// There is no such key in the caller's workspace.
    #[error("no such key")]
    NotFound,
    /// A browser asks whether a page may call, and the deployment allows no origin.
    #[error("no origin is allowed")]
    NoOrigin,
    /// The key has no such token, or not any more.
    #[error("no such token")]
    NoSuchToken,
    /// The caller's key opened no such session, or the session has ended.
    #[error("no such session")]
    NoSuchSession,
    /// The keys page has no such file.
    #[error("no such file")]
    NoSuchFile,
    /// The text is not a page code that works: it is unknown, used or expired, or its session has ended.
    #[error("no working page code")]
    InvalidPageCode,
    /// There is no such legacy key in the caller's workspace.
    #[error("no such legacy key")]
    NoSuchLegacyKey,
    /// The deployment accepts no legacy keys: no sunset is configured.
    #[error("the deployment accepts no legacy keys")]
    NoLegacyKeys,
    /// The deployment accepts no reports of GitHub.
    #[error("the deployment accepts no reports of GitHub")]
    NoGitHubReports,
    /// GitHub did not sign the report, or not with a key that it publishes.
    #[error("the signature is missing or not valid")]
    InvalidSignature,
    /// The workspace does not exist: no administrator's key was ever created for it.
    #[error("no such workspace")]
    NoSuchWorkspace,
    /// A key of the workspace has the name. Its id, if the caller may read that key.
    #[error("the name is taken")]
    NameTaken(Option<KeyId>),
    /// The user has as many keys as a user may have.
    #[error("the user has {counted} counted keys, and the quota is {quota}")]
    QuotaReached {
        /// The number of the user's keys that count. It exceeds the quota if the quota was larger when they were created.
        counted: u32,
        /// The maximum number of keys that count.
        quota: u32,
    },
    /// The key has the maximum number of working tokens.
    #[error("the key has {0} working tokens, the maximum")]
    TooManyTokens(u32),
    /// The user was removed and has not been reinstated.
    #[error("the user was removed")]
    UserRemoved,
    /// The caller's own user was removed: nothing is changed on their behalf, whichever credential they still have.
    #[error("the caller's user was removed")]
    CallerRemoved,
    /// The user was reinstated, or removed anew, while their keys were being deleted.
    #[error("the user was reinstated meanwhile")]
    UserReinstated,
    /// The workspace does not know the user, and has an entry for as many removed users as it may that it did not know.
    #[error("{0} users unknown in the workspace were removed already, the maximum")]
    RemovalLimit(u32),
    /// The caller would remove or reinstate their own user.
    #[error("the user is the caller")]
    OwnUser,
    /// The workspace has users already, and the invocation did not say `break_glass`.
    #[error("the workspace is bootstrapped already")]
    AlreadyBootstrapped,
    /// The key is disabled, because its secret was reported as leaked. Only a rotation without an overlap enables it.
    #[error("the key is disabled, because its secret leaked")]
    KeyLeaked,
    /// The key was changed at the same time.
    #[error("the key was changed at the same time")]
    Conflict,
    /// The key is not in the state that the request is for.
    #[error("the key's revision does not match If-Match")]
    PreconditionFailed,
    /// The `Idempotency-Key` was used with another request.
    #[error("the Idempotency-Key was used with another request")]
    IdempotencyMismatch,
    /// The `Idempotency-Key` made or rotated a key that has another secret by now or does not work, so that the first
    /// response would be outdated.
    #[error(
        "the key {0}, created or rotated with this Idempotency-Key, was rotated, disabled or deleted since, or has expired"
    )]
    IdempotencyConflict(KeyId),
    /// Transactions on the same items kept conflicting.
    #[error("the transaction conflicted with others in every attempt")]
    Busy,
    /// The request took too long. A change may or may not have been made.
    #[error("the request was not handled within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The database or KMS did not respond, or its response was invalid. A change may or may not have been made.
    #[error("{service} failed: {cause}")]
    Unavailable {
        /// The service that failed.
        service: &'static str,
        /// The whole chain of causes. It goes to the log, never to a client.
        cause: String,
    },
    /// A hash was made under a pepper that is not listed.
    #[error(transparent)]
    UnknownPepper(#[from] UnknownPepper),
    /// An internal invariant is broken: a stored item that cannot be read, or a request that lacks the authorizer's context.
    #[error("{0}")]
    Broken(String),
}

impl Error {
    /// The error of a request with one invalid field.
    #[must_use]
    pub fn invalid(field: InvalidField) -> Self {
        Self::Invalid { fields: vec![field] }
    }

    /// Whether the same request may succeed a little later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Busy | Self::Timeout(_) | Self::Unavailable { .. })
    }

    /// A failure of `service`, with the texts of `cause` and of everything that caused it.
    ///
    /// Only texts made for display are kept: the debug form of an SDK's error can hold a whole response, hashes
    /// included.
    #[must_use]
    pub fn unavailable(service: &'static str, cause: &dyn std::error::Error) -> Self {
        Self::Unavailable { service, cause: chain(cause) }
    }
}

/// The texts of an error and of everything that caused it.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// One invalid field of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InvalidField {
    /// The place of the field.
    #[serde(flatten)]
    pub place: Place,
    /// The rule that the value breaks, such as "must be true or false".
    pub detail: String,
}

/// The place of an invalid field in a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ThisError)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// In the body, at this JSON pointer (RFC 6901); the empty pointer is the whole body.
    #[error("{0}")]
    Pointer(String),
    /// In this query parameter.
    #[error("?{0}")]
    Parameter(String),
    /// In this header.
    #[error("{0}:")]
    Header(String),
}
