//! The part of Keygate that uses AWS, around the rules in [`keygate_core`]: tables, use cases, and the APIs that the Lambda
//! functions serve.
//!
//! A binary in `functions/` starts, creates its parts from this crate, and hands every event over. Decisions live here and in
//! [`keygate_core`].
//!
//! # A guided tour
//!
//! The folders are layers: each imports from its own folder and from those above it in this list, and a unit test reads the sources
//! to check that.
//!
//! 1. [`logging`] sends the log to standard output. `concurrency` works on several items at once. [`aws`] makes the clients of AWS: the
//!    SDK's for `DynamoDB` and for the keys of JWTs, and one `SigV4Client` for every other call and for the read that each
//!    authorization waits for; and it derives the peppers from KMS. [`startup`] is what most functions do first: [`start!`].
//! 2. [`store`] has one file or more for each table, and `*_transactions.rs` for changes of several tables. Each change that is added
//!    to a transaction returns a handle, which tells afterwards whether its condition failed.
//! 3. [`people`] verifies tokens of the adopter's identity provider (`OpenID` Connect), with the keys that it publishes.
//! 4. [`authorizer`] reads what is stored of a presented credential and decides on it. Its cache, and the work that it defers until
//!    after the response (last use, audit events, metrics), have files of their own.
//! 5. [`audit`], [`keys`], [`legacy`], [`tokens`], [`sessions`], [`leaks`], [`users`] and [`usage`] are the use cases, each in a file of its own beside what they
//!    share: `keys/rotate.rs` rotates a key.
//! 6. [`events`] publishes audit events on `EventBridge` and clears API Gateway's authorizer caches after a revocation.
//! 7. [`api`] reads events and writes responses: the authorizer's, those of the management API and of the OAuth API, and batches of
//!    streams and queues.
//!
//! # Where to change what
//!
//! | what | where |
//! | --- | --- |
//! | the message of a refusal of the management API | `api/problem.rs` |
//! | the policy that the authorizer returns, and its condition | `api/authorizer_response.rs` |
//! | the rights of a class of credential | [`keygate_core::rights`] |
//! | the length of a name | [`keygate_core::name`] |
//! | the writes after an authorization | `authorizer/deferred.rs` |
//! | which tokens of people are accepted, and their scopes | `people/claims.rs` |
//! | a time limit | `authorizer/settings.rs`, `aws/mod.rs`, `api/management.rs` |
//! | the audit event of a change | the use case, such as `keys/rotate.rs` |
//! | the reads of a table, and the conditions of its writes | the files of the table in `store/`; the authorizer's reads: `store/reader.rs` |
//! | an environment variable | `settings.rs` of its area, or the file that uses it; and `Environment` in the function's fragment of the template |
//! | a permission of a function, the projection of an index | `infra/template/functions/`, `infra/template/data.yaml` |

pub mod api;
pub mod audit;
pub mod authorizer;
pub mod aws;
mod concurrency;
pub mod events;
pub mod keys;
pub mod leaks;
pub mod legacy;
pub mod logging;
pub mod people;
pub mod sessions;
pub mod startup;
pub mod store;
#[cfg(test)]
mod structure;
pub mod tokens;
pub mod usage;
pub mod users;
