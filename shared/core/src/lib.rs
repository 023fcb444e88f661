//! Core.

#[macro_use]
mod newtype;

#[cfg(test)]
mod fixtures;

pub mod audit_event;
pub mod caller;
pub mod credential;
pub mod credential_class;
pub mod decision;
pub mod endpoint_rule;
pub mod environment;
pub mod error;
pub mod fields;
pub mod idempotency;
pub mod identity;
pub mod json;
pub mod key;
pub mod legacy_credential;
pub mod legacy_key;
pub mod lifecycle;
pub mod name;
pub mod pepper;
pub mod random;
pub mod rights;
pub mod rotation;
pub mod scope;
pub mod text;
pub mod time;
pub mod token;
pub mod verification;
