//! The interfaces of the functions: events of API Gateway, streams, queues and logs, and the responses to them.

pub mod access_log;
pub mod authorizer;
pub mod authorizer_context;
pub mod authorizer_event;
pub mod authorizer_response;
pub mod console;
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
