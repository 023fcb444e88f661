//! The reads of the hot path: `DynamoDB` without the SDK's client.
//!
//! The SDK spends more processor time around a call than the call itself takes, and an authorizer makes one for each request
//! to an API (`docs/decisions/0012-the-authorizers-read.md`). The protocol is
//! <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.LowLevelAPI.html>.

use std::time::Duration;

use http::Method;
use keygate_core::error::Error;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::aws::signature::ServiceRequest;
use crate::aws::sigv4_client::SigV4Client;

const SERVICE: &str = "DynamoDB";
const CONTENT_TYPE: &str = "application/x-amz-json-1.0";

/// Reads items of `DynamoDB`.
#[derive(Debug)]
pub struct DynamoDbReadClient {
    sigv4: SigV4Client,
    url: String,
}

impl DynamoDbReadClient {
    pub(crate) fn new(sigv4: SigV4Client, url: String) -> Self {
        Self { sigv4, url }
    }

    /// How long one call with its attempts may take.
    pub(crate) fn budget(&self) -> Duration {
        self.sigv4.budget()
    }

    /// Makes an idempotent call, which may be attempted more than once.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: `DynamoDB` did not respond in time, its response cannot be read, or its error is transient.
    /// - [`Error::Broken`]: `DynamoDB` refused the call, or the call cannot be made: the role lacks the permission, the table does
    ///   not exist, the credentials are wrong. This is a fault of the deployment, so stale cache entries are not used.
    pub(crate) async fn call<Response: DeserializeOwned>(
        &self,
        operation: &str,
        request: &impl Serialize,
    ) -> Result<Response, Error> {
        let target = format!("DynamoDB_20120810.{operation}");
        let body = serde_json::to_vec(request)
            .map_err(|_| Error::Broken("a read cannot be written as JSON".to_owned()))?;
        let request = ServiceRequest {
            service: "dynamodb",
            method: Method::POST,
            url: &self.url,
            headers: &[("content-type", CONTENT_TYPE), ("x-amz-target", &target)],
            body: &body,
        };
        // serde's error is dropped, because it can quote the response.
        let response = self.sigv4.call_and_read(&request, |body| serde_json::from_slice(body).ok());
        response.await.map_err(|error| {
            let reason = error.with_message();
            if error.is_transient() {
                Error::Unavailable { service: SERVICE, cause: reason }
            } else {
                Error::Broken(format!("{SERVICE} refused a call: {reason}"))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::aws::test_server::{TestServer, response};

    async fn call(client: &DynamoDbReadClient) -> Result<Value, Error> {
        client.call("GetItem", &json!({"TableName": "keys"})).await
    }

    #[tokio::test]
    async fn a_call_names_its_operation_and_sends_json() {
        let server = TestServer::start([response("200 OK", r#"{"Item": 7}"#)]);
        assert_eq!(call(&server.aws().dynamodb_read()).await.unwrap(), json!({"Item": 7}));
        let request = server.requests().remove(0);
        assert_eq!(request.line, "POST / HTTP/1.1");
        assert_eq!(request.headers["x-amz-target"], "DynamoDB_20120810.GetItem");
        assert_eq!(request.headers["content-type"], "application/x-amz-json-1.0");
        assert!(request.headers["authorization"].contains("/eu-west-1/dynamodb/aws4_request"));
        assert_eq!(request.body, br#"{"TableName":"keys"}"#);
    }

    #[tokio::test]
    async fn an_item_that_cannot_be_read_is_read_again() {
        for unreadable in [r#"{"Item": {"#, "\u{7f}garbage", ""] {
            let server =
                TestServer::start([response("200 OK", unreadable), response("200 OK", r#"{"Item": 7}"#)]);
            assert_eq!(
                call(&server.aws().dynamodb_read()).await.unwrap(),
                json!({"Item": 7}),
                "{unreadable}"
            );
            assert_eq!(server.requests().len(), 2, "{unreadable}");
        }
    }

    #[tokio::test]
    async fn an_error_that_does_not_pass_in_time_is_a_failure_of_the_database() {
        let server = TestServer::start(vec![response("500 Internal Server Error", ""); 3]);
        let error = call(&server.aws().dynamodb_read()).await.unwrap_err();
        assert!(matches!(error, Error::Unavailable { service: "DynamoDB", .. }), "{error:?}");
        assert!(error.to_string().contains("DynamoDB failed: 500"), "{error}");
    }

    /// The cache may replace a response of the database only if the database failed.
    #[tokio::test]
    async fn a_refusal_is_a_fault_of_the_deployment_and_no_failure_of_the_database() {
        let denied = r#"{"__type": "com.amazon.coral.service#AccessDeniedException", "Message": "User: arn is not authorized"}"#;
        let server = TestServer::start([response("400 Bad Request", denied)]);
        let error = call(&server.aws().dynamodb_read()).await.unwrap_err();
        assert_eq!(server.requests().len(), 1);
        let text = error.to_string();
        assert!(text.contains("AccessDeniedException: User: arn is not authorized"), "{text}");
        assert!(matches!(error, Error::Broken(_)), "{error:?}");
    }
}
