//! The effects of a change: its event on `EventBridge`, and the invalidation of API Gateway's authorizer caches.

pub mod cache_invalidation;
pub mod publish;
