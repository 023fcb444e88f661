//! What can be done with users: one use case a file.
//!
//! A user is removed in two steps. The first is a request's or an event's: it marks the user as removed, and from that
//! instant no key can be made for them. The second, which may take longer than a request has time, deletes the keys that
//! there are, or hands them over. Every key is a transaction of its own, so whoever is stopped goes on where it stopped:
//!
//! 1. Mark the user, unless a removal has before ([`Store::remove_user`](crate::store::Store::remove_user)).
//! 2. Find the keys by their member entries, strongly consistent. No other can come: making one, or handing one over, takes
//!    a user who is not marked.
//! 3. Delete each or hand it over, on condition that the mark is still the one of this removal.

pub mod clear;
pub mod found;
pub mod reinstate;
pub mod remove;
