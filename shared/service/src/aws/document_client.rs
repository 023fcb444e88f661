//! Reads public documents over HTTPS, such as those of an identity provider.

use std::time::Duration;

use aws_smithy_types::body::SdkBody;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Bytes;
use keygate_core::error::chain;
use thiserror::Error as ThisError;
use tokio::time::timeout;

use crate::aws::http_client::HttpClient;

/// Reads documents. It sends no credentials, and follows no redirect. Cheap to clone.
#[derive(Clone, Debug)]
pub struct DocumentClient(HttpClient);

/// Why there is no document. The texts repeat nothing of the response.
#[derive(Debug, ThisError)]
pub(crate) enum DocumentError {
    /// The address is not one with the scheme `https`, a host and no user.
    #[error("not an https address")]
    Address,
    /// No response arrived in time, or it is too long.
    #[error("{0}")]
    NoResponse(String),
    /// The server answered with another status than 200, such as a redirect.
    #[error("status {0}")]
    Status(StatusCode),
}

impl DocumentClient {
    pub(crate) fn new(http: HttpClient) -> Self {
        Self(http)
    }

    /// Reads the JSON document at `url`, of at most `max_len` bytes, within `budget`.
    ///
    /// # Errors
    ///
    /// - [`DocumentError::Address`]: `url` is not an `https` address. Nothing was sent.
    /// - [`DocumentError::NoResponse`]: no response arrived in time, or it is longer than `max_len`.
    /// - [`DocumentError::Status`]: the server did not answer with 200. A redirect is not followed.
    pub(crate) async fn read(
        &self,
        url: &str,
        max_len: usize,
        budget: Duration,
    ) -> Result<Bytes, DocumentError> {
        let uri: Uri = url.parse().map_err(|_| DocumentError::Address)?;
        let has_host = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
        if uri.scheme_str() != Some("https") || !has_host {
            return Err(DocumentError::Address);
        }
        let user_agent = concat!("keygate/", env!("CARGO_PKG_VERSION"));
        let request = Request::get(uri)
            .header(header::USER_AGENT, user_agent)
            .header(header::ACCEPT, "application/json")
            .body(SdkBody::empty())
            .map_err(|_| DocumentError::Address)?;
        let exchange = async {
            let response = self.0.send(request).await.map_err(|error| no_response(&error))?;
            if response.status() != StatusCode::OK {
                return Err(DocumentError::Status(response.status()));
            }
            let body = Limited::new(response.into_body(), max_len).collect().await;
            Ok(body.map_err(|error| no_response(error.as_ref()))?.to_bytes())
        };
        let out_of_time = |_| DocumentError::NoResponse("out of time".to_owned());
        timeout(budget, exchange).await.map_err(out_of_time)?
    }
}

fn no_response(error: &dyn std::error::Error) -> DocumentError {
    DocumentError::NoResponse(chain(error))
}
