//! Use cases of leaked credentials: reports, those of GitHub included, and what they end.

pub mod end;
pub mod github;
pub mod github_signature;
pub mod report;
