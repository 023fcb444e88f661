//! Use cases of users, one per file.
//!
//! A user is removed in two steps. A request or an event starts the first, which marks the user as removed. After it no key
//! can be created for the user. The second step may take longer than a request. It deletes the existing keys or transfers
//! them to another user. Every key is changed in its own transaction, so an interrupted step can be repeated and continues
//! where it stopped:
//!
//! 1. Mark the user, unless an earlier removal has ([`Store::remove_user`](crate::store::Store::remove_user)).
//! 2. Find the keys by their member entries, strongly consistent. No key is added afterwards, because creating a key or
//!    receiving a transferred one requires a user who is not removed.
//! 3. Delete or transfer each key, on the condition that the mark is still that of this removal.

pub mod found;
pub mod process_removal;
pub mod reinstate;
pub mod remove;
