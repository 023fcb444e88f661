//! What can be done with the audit trail: one use case a file.

pub mod access_log;
pub mod list;
