//! Records in `DynamoDB`.
//!
//! Each table has its own file: [`keys`], [`workspaces`], [`tokens`], [`activity`], [`usage`],
//! [`legacy_keys`]. A table with several
//! purposes has one more file for each: `key_operations`, [`key_queries`], [`due_keys`] and [`unused_keys`];
//! `workspace_names`, [`workspace_members`], `workspace_users` and [`user_reader`], [`workspace_counters`] and `idempotency_records`; `sessions`; [`limit_windows`].
//! Transactions over several tables are in the files that end with `_transactions`. `item` and `expression` build requests,
//! and `transaction` commits changes on behalf of an actor. Lists are pages of a `paged_query`, see [`pagination`].
//!
//! A key is five items in three tables, which transactions keep consistent with each other and with the audit trail:
//!
//! | table | item | content |
//! | --- | --- | --- |
//! | `keys` | the key | all attributes, including its hash |
//! | `workspaces` | `NAME#<folded name>` | which key has the name |
//! | `workspaces` | `MEMBER#<user>#<key id>` | the key belongs to the user, and whether it is counted |
//! | `workspaces` | `USER#<user>` | the number of the user's counted keys, and whether the user was removed |
//! | `usage` | `LAST` | the last use of the key |
//! | `activity` | an event | the actor and the change |
//!
//! A key that has not expired has its name and is counted. An expired key may have lost its name to a new key of that name,
//! and its place in the count to another key of the user. A change of its own regains them if they are free. A change does
//! not read these entries first: it assumes that the key has both, with a condition for each, and is repeated without those
//! that the refusal showed to be lost.
//!
//! # Views of a key
//!
//! A role may read only the attributes that its function needs, and most functions read no hash. So there are several views
//! of a key.
//!
//! | view | attributes | source | roles |
//! | --- | --- | --- | --- |
//! | [`HashedKey`](keygate_core::key::HashedKey) | all | the table | authorizer, OAuth API, idempotent `create-key` |
//! | [`UnhashedKey`](keys::UnhashedKey) | all but the hashes and the token generation | the table | showing or changing a key |
//! | [`TokenKey`](keygate_core::token::TokenKey) | all but the hashes | the table | listing, issuing, introspecting, revoking tokens; sessions |
//! | [`UsedKey`](keygate_core::key::UsedKey) | the attributes that a list shows, and the last use | the indexes by workspace, the tables | `list-keys` |
//! | [`DueKey`](due_keys::DueKey) | the times that lead to lifecycle events | the index `by_due` | `announce-lifecycle` |
//! | [`UnusedKey`](unused_keys::UnusedKey) | the times of use and of notice | the index by last use, the table | `disable-unused-keys` |
//! | `RemovedKey` | the owner and the name | the stream of the table | `purge-keys` |

pub mod activity;
mod batch;
pub mod conditional_write;
pub mod due_keys;
mod expression;
mod held_entries;
pub mod hourly_calls;
mod idempotency_records;
mod item;
mod key_operations;
pub mod key_queries;
pub mod key_transactions;
pub mod keys;
mod leak_transactions;
pub mod legacy_key_transactions;
pub mod legacy_keys;
mod lifecycle_transactions;
pub mod limit_windows;
mod live_tokens;
mod paged_query;
pub mod pagination;
mod quota;
pub mod reader;
mod session_transactions;
mod sessions;
mod tables;
pub mod token_transactions;
pub mod tokens;
mod transaction;
pub mod unused_keys;
pub mod usage;
pub mod user_reader;
mod user_transactions;
pub mod workspace_counters;
pub mod workspace_members;
mod workspace_names;
mod workspace_users;
pub mod workspaces;

pub use conditional_write::WriteOutcome;
pub use tables::Store;
