//! Asynchronous invocation of another function, for work that takes longer than a request may.

use http::Method;
use keygate_core::error::Error;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use crate::aws::Aws;
use crate::aws::signature::ServiceRequest;
use crate::aws::sigv4_client::SigV4Client;

/// The characters that are percent-encoded in the path.
const RESERVED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Invokes one function asynchronously.
#[derive(Debug)]
pub struct AsyncInvoker {
    sigv4: SigV4Client,
    /// The URL of the operation `Invoke`.
    url: String,
}

impl AsyncInvoker {
    /// Takes the name or the ARN of the function.
    #[must_use]
    pub fn new(aws: &Aws, function: &str) -> Self {
        let function = utf8_percent_encode(function, &RESERVED);
        let url = format!("{}/2015-03-31/functions/{function}/invocations", aws.settings().lambda_url());
        Self { sigv4: aws.sigv4(), url }
    }

    /// Sends an event to Lambda. Once this returns, Lambda has accepted the event: it retries if the function fails, and sends
    /// the event to the function's failure destination after the last attempt.
    ///
    /// # Errors
    ///
    /// - [`Error::Unavailable`]: Lambda did not accept the event, or its response was lost. The call can be repeated.
    /// - [`Error::Broken`]: the event cannot be serialized as JSON.
    pub async fn invoke(&self, event: &impl Serialize) -> Result<(), Error> {
        let event = serde_json::to_vec(event)
            .map_err(|_| Error::Broken("an event cannot be written as JSON".to_owned()))?;
        let request = ServiceRequest {
            service: "lambda",
            method: Method::POST,
            url: &self.url,
            headers: &[("content-type", "application/octet-stream"), ("x-amz-invocation-type", "Event")],
            body: &event,
        };
        self.sigv4
            .call(&request)
            .await
            .map_err(|error| Error::Unavailable { service: "Lambda", cause: error.with_message() })?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::aws::test_server::{TestServer, response};

    #[tokio::test]
    async fn an_event_is_handed_over_and_not_waited_for() {
        let server = TestServer::start([response("202 Accepted", "")]);
        let event = json!({"user_id": "bob"});
        AsyncInvoker::new(&server.aws(), "keygate-ProcessUserRemoval_1").invoke(&event).await.unwrap();
        let request = server.requests().remove(0);
        assert_eq!(
            request.line,
            "POST /2015-03-31/functions/keygate-ProcessUserRemoval_1/invocations HTTP/1.1"
        );
        assert_eq!(request.headers["x-amz-invocation-type"], "Event");
        assert!(request.headers["authorization"].contains("/eu-west-1/lambda/aws4_request"));
        assert_eq!(request.json(), event);
    }

    #[tokio::test]
    async fn a_function_that_lambda_does_not_know_is_an_error_that_names_it() {
        let unknown = "HTTP/1.1 404 Not Found\r\nX-Amzn-ErrorType: ResourceNotFoundException\r\n\
            Content-Length: 36\r\nConnection: close\r\n\r\n{\"Message\": \"Function not found: a:b\"}";
        let server = TestServer::start([unknown.to_owned()]);
        let error = AsyncInvoker::new(&server.aws(), "a:b").invoke(&json!({})).await.unwrap_err();
        let line = server.requests().remove(0).line;
        assert_eq!(line, "POST /2015-03-31/functions/a%3Ab/invocations HTTP/1.1");
        assert!(matches!(&error, Error::Unavailable { service: "Lambda", .. }), "{error:?}");
        assert!(error.to_string().contains("ResourceNotFoundException"), "{error}");
    }
}
