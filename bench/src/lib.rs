//! What the floor is made of: AWS's signature by hand, and one kept TLS connection without a pool.
//!
//! It retries nothing, reads no error and trusts the server's framing, so it is of no use but to be measured.

pub mod connection;
pub mod signature;
