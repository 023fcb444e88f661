//! The parts that tests are built from: the stack and its APIs, workspaces, tables, and functions started by hand.

pub(crate) mod alarms;
pub(crate) mod database;
pub(crate) mod emulator;
pub(crate) mod examples;
pub(crate) mod faults;
pub(crate) mod function;
pub(crate) mod github;
pub(crate) mod jwts;
pub(crate) mod legacy;
pub(crate) mod oauth;
pub(crate) mod openapi;
pub(crate) mod partition;
pub(crate) mod people;
pub(crate) mod poll;
pub(crate) mod property;
pub(crate) mod sessions;
pub(crate) mod stack;
pub(crate) mod tables;
pub(crate) mod workspace;

pub(crate) use poll::{eventually, eventually_some, eventually_within};
