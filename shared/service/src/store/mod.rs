//! Records in `DynamoDB`: one file a table, and here the changes that touch several of them in one transaction.
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
pub mod pagination;
mod quota;
pub mod reader;
mod tables;
pub mod token_transactions;
pub mod tokens;
mod transaction;
pub mod unused_keys;
mod user_transactions;
mod walk;
pub mod workspace_counters;
pub mod workspace_members;
mod workspace_names;
mod workspace_users;
pub mod workspaces;

pub use conditional_write::WriteOutcome;
pub use tables::Store;
