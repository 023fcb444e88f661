//! The domain of Keygate: API keys for AWS API Gateway.
//!
//! A team deploys Keygate into its own AWS account. Its users get API keys over HTTP; a custom authorizer in front of
//! the team's APIs accepts or refuses them. Only peppered hashes are stored, in `DynamoDB`, and the pepper comes out
//! of a KMS key that nobody can export.
//!
//! # A guided tour
//!
//! The modules are declared in the order in which a presented key travels:
//!
//! 1. [`config`] reads the environment once, when a function starts; [`logging`] decides what may reach the log.
//! 2. [`credential`] takes the presented text apart: `kg_key_<id>_<secret><checksum>`. What does not parse goes no
//!    further.
//! 3. [`pepper`] turns the secret into the hash that is stored and compares the two in constant time.
//! 4. [`scope`], [`endpoint`], [`rights`] and [`caller`] say what a caller may do, and where; [`record`] is what is stored of a key,
//!    [`activity`] what is remembered of its life, [`replay`] how a repeated create or rotation gets the same secret again, [`error`]
//!    what can go wrong, [`fields`] how all invalid fields are named at once, [`text`] how texts are compared, and [`page`] how a
//!    list is walked through. [`clock`] says what time does to a key.
//! 5. [`verify`] compares a credential with what is stored; [`authorize`] is the decision: a credential in, its caller or a
//!    reason for the refusal out. [`cache`] saves the reading where an operator wants that. [`afterwards`] is what is left
//!    to be written once the caller has its answer; [`calls`] counts them for the audit trail, and [`metrics`] for the
//!    operator.
//! 6. [`keys`] has one use case a file: create, get, list, update, rotate, delete, and those that nobody asks for: announce,
//!    unused, purge, recount. So have [`tokens`], [`users`], remove and reinstate, [`legacy`], import, list, get and delete, and
//!    [`audit`], to read the trail and to write into it what an access log says.
//! 7. [`store`] keeps records in `DynamoDB`, one file a table, and reads what is stored of a credential; [`kms`] derives
//!    the peppers; [`aws`] makes the clients of both, and [`async_invoke`] leaves to another function what takes longer than a
//!    request may.
//! 8. [`publish`] puts events on `EventBridge`, [`cache_invalidation`] clears API Gateway's caches.
//! 9. [`gateway`] reads API Gateway's authorizer events and writes its answers; [`http`] does the same for the management
//!    API, [`oauth`] for the OAuth API, [`background`] for batches of streams and queues.
//!
//! Dependencies point one way: functions → [`http`], [`oauth`], [`gateway`] → use cases → [`store`], [`kms`] → [`record`],
//! [`credential`]. The clock is an argument everywhere; randomness comes from the operating system.

mod invocation;
mod json;
mod time;
mod word;

pub mod text;

pub mod config;
pub mod logging;

pub mod credential;
pub mod pepper;

pub mod activity;
pub mod caller;
pub mod clock;
pub mod endpoint;
pub mod error;
pub mod fields;
pub mod page;
pub mod record;
pub mod replay;
pub mod rights;
pub mod scope;

pub mod calls;
pub mod metrics;

pub mod afterwards;
pub mod audit;
pub mod authorize;
pub mod cache;
pub mod keys;
pub mod legacy;
pub mod tokens;
pub mod users;
pub mod verify;

pub mod async_invoke;
pub mod aws;
pub mod kms;
pub mod store;

pub mod cache_invalidation;
pub mod publish;

pub mod background;
pub mod gateway;
pub mod http;
pub mod oauth;
