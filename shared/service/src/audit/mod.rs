//! Use cases of the audit trail, one per file.

pub mod access_log;
pub mod list;
