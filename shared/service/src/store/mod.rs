//! Records in `DynamoDB`.
//!
//! Each table has a file of its own: [`keys`], [`workspaces`], [`tokens`], [`activity`], [`legacy_keys`]. Where a table is used for several
//! purposes, there is one more file for each, beginning with what is in it: `key_operations`, [`key_queries`], [`due_keys`],
//! [`unused_keys`]; `workspace_names`, [`workspace_members`], `workspace_users`, [`workspace_counters`], `idempotency_records`. The changes
//! that touch several tables in one transaction are in the files that end with `_transactions`. `item` and
//! `expression` build what is written, and `transaction` makes the changes of a transaction on behalf of an actor. Lists are pages of a
//! `paged_query`, see [`pagination`].
//!
//! A key is four items in two tables, kept in step with each other and with the audit trail:
//!
//! | table | item | says |
//! | --- | --- | --- |
//! | `keys` | the key | everything of it, its hash included |
//! | `workspaces` | `NAME#<folded name>` | which key has the name |
//! | `workspaces` | `MEMBER#<user>#<key id>` | the key is the user's, and whether it counts |
//! | `workspaces` | `USER#<user>` | how many of the user's keys count, and whether the user was removed |
//! | `activity` | an event | who made, changed or deleted it, or what time did to it |
//!
//! A key that has not expired has its name and counts. An expired one may have lost either: its name to another key that was given
//! it, its place to another key of the user's. It gets them back by a change of its own, if they are free. What it holds is not
//! read beforehand: a change takes for granted that the key holds both, on condition that it does, and is made again without what
//! the refusal showed to be lost.
//!
//! # Views of a key
//!
//! A role may read the attributes that its function needs, and no others: most functions read no hash. So a key is read in several
//! views.
//!
//! | view | has | is read from | by the roles of |
//! | --- | --- | --- | --- |
//! | [`HashedKey`](keygate_core::key::HashedKey) | everything | the table | the authorizer, the OAuth API, `create-key` for an idempotent repeat |
//! | [`UnhashedKey`](keys::UnhashedKey) | everything but hashes and the generation of tokens | the table | all that show or change a key |
//! | [`TokenKey`](keygate_core::token::TokenKey) | everything but hashes | the table | those that list, issue, check and revoke tokens |
//! | [`Key`](keygate_core::key::Key) | what a list shows | the indexes by workspace | `list-keys` |
//! | [`DueKey`](due_keys::DueKey) | the times that lead to events | the index `by_due` | `announce-lifecycle` |
//! | [`UnusedKey`](unused_keys::UnusedKey) | the times of use and of notice | the index by last use | `disable-unused-keys` |
//! | `RemovedKey` | the owner and the name | the stream of the table | `purge-keys` |

pub mod activity;
mod batch;
pub mod conditional_write;
pub mod due_keys;
mod expression;
mod held_entries;
mod idempotency_records;
mod item;
mod key_operations;
pub mod key_queries;
pub mod key_transactions;
pub mod keys;
pub mod legacy_key_transactions;
pub mod legacy_keys;
mod lifecycle_transactions;
mod live_tokens;
mod paged_query;
pub mod pagination;
mod quota;
pub mod reader;
mod tables;
pub mod token_transactions;
pub mod tokens;
mod transaction;
pub mod unused_keys;
mod user_transactions;
pub mod workspace_counters;
pub mod workspace_members;
mod workspace_names;
mod workspace_users;
pub mod workspaces;

pub use conditional_write::WriteOutcome;
pub use tables::Store;
