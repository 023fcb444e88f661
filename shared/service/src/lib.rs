//! Keygate.

pub mod api;
pub mod audit;
pub mod authorizer;
pub mod aws;
pub mod events;
pub mod keys;
pub mod legacy;
pub mod logging;
pub mod startup;
pub mod store;
#[cfg(test)]
mod structure;
pub mod tokens;
pub mod users;
