//! What tests are made of.

pub(crate) mod database;
pub(crate) mod emulator;
pub(crate) mod faults;
pub(crate) mod function;
pub(crate) mod legacy;
pub(crate) mod oauth;
pub(crate) mod stack;
pub(crate) mod tables;
pub(crate) mod workspace;
