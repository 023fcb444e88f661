//! The SDK's client of `DynamoDB`, made when it is first used.

use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::Builder;

/// The SDK's client of `DynamoDB`. Cheap to clone; clones share the client.
///
/// To make a client takes more processor time than most calls, so an authorizer makes none before its first write.
#[derive(Clone, Debug)]
pub struct DynamoDb(Arc<LazyLock<Client, Box<dyn FnOnce() -> Client + Send>>>);

impl DynamoDb {
    pub(crate) fn new(config: impl FnOnce() -> Builder + Send + 'static) -> Self {
        Self(Arc::new(LazyLock::new(Box::new(|| Client::from_conf(config().build())))))
    }
}

impl Deref for DynamoDb {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.0
    }
}
