//! Use cases of the usage of keys, one per file.

pub mod series;
