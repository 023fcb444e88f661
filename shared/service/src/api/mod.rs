//! What API Gateway, streams and queues send to the functions, and what they are answered.

pub mod authorizer_context;
pub mod authorizer_event;
pub mod authorizer_response;
mod cors;
mod invocation;
pub mod management;
pub mod oauth;
pub mod problem;
pub mod request;
pub mod response;
#[cfg(test)]
mod sample_events;
pub mod streams;
