//! The rules of Keygate: what a credential is, what it may do, and what time does to it.
//!
//! Everything here is a value or a pure function. The crate knows neither AWS nor tokio, reads no clock and opens no
//! connection: `now` is an argument, and stored items arrive as parsed structs. The crate `keygate` reads and writes them,
//! calls KMS, and speaks the protocols of API Gateway and OAuth. Only [`random`] and
//! [`environment`] ask the operating system for something.
//!
//! # A guided tour
//!
//! The modules, in the order in which a presented credential passes them; [`authorization`] parses the header that holds it:
//!
//! 1. [`credential`]: the text of an API key or token, its ids, its checksum. [`legacy_credential`]: keys of an adopter's
//!    earlier mechanism.
//! 2. [`pepper`]: the hash of a secret, and its comparison in constant time.
//! 3. [`key`], [`token`], [`legacy_key`]: the stored items.
//! 4. [`verification`]: credential and stored items together; who calls with it at an instant, or why it does not work.
//!    [`decision`] adds the refusals that need no stored item.
//! 5. [`caller`]: the authenticated caller, and the scopes, endpoint rules and networks that it must hold. [`rights`]: what each
//!    [class of credential](credential_class) may do, with any scopes. [`context`]: the caller, the request and the time of an
//!    operation.
//!
//! Changes of a key follow [`rotation`] (which secret stays valid), [`lifecycle`] (notices, expiry, end of an overlap) and
//! [`idempotency`] (the same secret for a repeated request), and are recorded as [`audit_event`]s. Requests are parsed with
//! [`strict_json`], [`fields`] and [`query_parameters`], settings with [`environment`]. A use case fails
//! with an [`error`]; a parser has an error type of its own.
//!
//! | question | place |
//! | --- | --- |
//! | How long may a name be, and when are two names the same? | [`name`], [`unicode`] |
//! | Which characters does a user's id take? | [`identity`] |
//! | Which scopes have a meaning in Keygate? | [`scope`] |
//! | Which calls does `GET /orders/*` allow? | [`endpoint_rule`] |
//! | How many calls may a key make, and who counts them? | [`limit`], [`permits`] |
//! | Where is a token kept within the scopes and endpoints of its key? | [`verification::VerifiedCredential::caller`] |
//! | When does a session end? | [`session`] |
//! | From which addresses may a key be used? | [`network`] |
//! | What does a backend without the authorizer ask about a call? | [`call`] |
//! | How large may the attributes of a key be together? | [`response_size`] |
//! | What does a JWT say, and which keys get none? | [`jwt`], [`jwk`] |
//! | How exact is a time? | [`time`] |
//! | What does the IAM policy look like? | `keygate`, `api/authorizer_response.rs` |
//!
//! # Example
//!
//! Parse a presented credential, and compare it with the stored hash:
//!
//! ```
//! use keygate_core::credential::{Brand, Credential};
//! use keygate_core::pepper::{MacKey, Peppers};
//!
//! let brand: Brand = "kg".parse()?;
//! let peppers = Peppers::new(vec![MacKey::new(1, &[7; 32].into())], 1);
//! let text = "kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_00000000000000000000000000000000000000000001GekMi";
//! let stored = peppers.hash(&Credential::parse(text, &brand)?);
//!
//! assert!(peppers.verify(&Credential::parse(text, &brand)?, &stored)?);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[macro_use]
mod newtype;

#[cfg(test)]
mod fixtures;

pub mod audience;
pub mod audit_event;
pub mod authorization;
pub mod call;
pub mod caller;
pub mod context;
pub mod credential;
pub mod credential_class;
pub mod decision;
pub mod endpoint_rule;
pub mod environment;
pub mod error;
pub mod fields;
pub mod idempotency;
pub mod identity;
pub mod jwk;
pub mod jwt;
pub mod key;
pub mod key_action;
pub mod leak;
pub mod legacy_credential;
pub mod legacy_key;
pub mod lifecycle;
pub mod limit;
pub mod metadata;
pub mod name;
pub mod network;
pub mod pepper;
pub mod permissions;
pub mod permits;
pub mod query_parameters;
pub mod random;
pub mod response_size;
pub mod rights;
pub mod rotation;
pub mod scope;
pub mod scope_description;
pub mod session;
pub mod strict_json;
pub mod time;
pub mod token;
pub mod unicode;
pub mod usage;
pub mod verification;
