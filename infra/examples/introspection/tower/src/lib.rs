//! A [`tower`](https://docs.rs/tower) layer for a backend that is not behind API Gateway: it asks Keygate about each request, and
//! hands over those that are allowed (`docs/introspection.md`).
//!
//! ```no_run
//! # use http_body_util::Full;
//! # use hyper::body::Bytes;
//! # use keygate_tower::{IntrospectionLayer, KeygateCaller, Question};
//! # fn example<C>(client: C, url: &str, key: &str) {
//! let layer = IntrospectionLayer::new(client, url, &key.to_owned().into()).expect("a URL and a key");
//! // `Router::new().route("/orders", get(orders)).layer(layer)` with axum; a handler then takes
//! // `Extension(caller): Extension<KeygateCaller>`.
//! # }
//! ```
//!
//! A request that is refused never reaches the service behind the layer. Neither does one about which Keygate did not decide.

use std::collections::BTreeMap;
use std::error::Error;
use std::mem;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Extensions, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes};
use keygate_core::authorization::Authorization;
use keygate_core::identity::{UserId, WorkspaceId};
use keygate_core::scope::{Scope, hold};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tower_layer::Layer;
use tower_service::Service;

/// The maximum length of Keygate's response, in bytes.
const MAX_RESPONSE_LEN: usize = 100_000;

/// The body of a request to Keygate.
pub type Question = Full<Bytes>;

/// Who calls, as Keygate knows it. It is an extension of each request that the layer hands over.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct KeygateCaller {
    /// The user that the key acts as.
    pub user_id: UserId,
    /// The workspace of the layer's own key.
    pub workspace_id: WorkspaceId,
    /// The public id of the key.
    pub key_id: String,
    /// What the credential may do. The service behind the layer compares these with what a route needs.
    #[serde(rename = "scope", default, deserialize_with = "scopes")]
    pub scopes: Vec<Scope>,
    /// The metadata of the key.
    #[serde(default)]
    pub metadata: BTreeMap<String, String>,
}

impl KeygateCaller {
    /// Whether the credential has this scope. An administrator holds every scope.
    #[must_use]
    pub fn may(&self, scope: &str) -> bool {
        hold(&self.scopes, scope)
    }
}

/// Why a layer cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidSetting {
    /// The URL of the OAuth API is not one.
    Url,
    /// The key is not a word that a header can hold.
    Key,
}

/// Asks about each request with `C`, an HTTP client that is a [`Service`], such as that of hyper-util with the TLS of your choice. A
/// time limit is the client's.
#[derive(Clone, Debug)]
pub struct IntrospectionLayer<C> {
    client: C,
    endpoint: Uri,
    authorization: HeaderValue,
    address: fn(&Extensions) -> Option<IpAddr>,
}

impl<C> IntrospectionLayer<C> {
    /// A layer that asks the OAuth API at `url` with an API key that has the scope `tokens:introspect`.
    ///
    /// # Errors
    ///
    /// - [`InvalidSetting::Url`], [`InvalidSetting::Key`]: nothing can be asked with these.
    pub fn new(client: C, url: &str, key: &SecretString) -> Result<Self, InvalidSetting> {
        let endpoint = format!("{}/oauth/introspect", url.trim_end_matches('/')).parse();
        let endpoint: Uri = endpoint.map_err(|_| InvalidSetting::Url)?;
        let mut authorization = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret()))
            .map_err(|_| InvalidSetting::Key)?;
        authorization.set_sensitive(true);
        Ok(Self { client, endpoint, authorization, address: |_| None })
    }

    /// The same layer, which says with each question where the request came from. Without it keys with networks are refused.
    /// Take the address from the connection, and never from a header that the sender can write.
    #[must_use]
    pub fn with_address(self, address: fn(&Extensions) -> Option<IpAddr>) -> Self {
        Self { address, ..self }
    }

    /// The question about a request, or `None` if the request has no bearer token (RFC 6750, section 2.1).
    fn question<B>(&self, request: &Request<B>) -> Option<Request<Question>> {
        let mut headers = request.headers().get_all(AUTHORIZATION).iter();
        let (Some(header), None) = (headers.next(), headers.next()) else { return None };
        let Some(Authorization::Bearer(token)) = Authorization::parse(header.to_str().ok()?) else {
            return None;
        };
        if token.is_empty() {
            return None;
        }
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("token", token);
        form.append_pair("method", request.method().as_str());
        form.append_pair("path", request.uri().path());
        if let Some(address) = (self.address)(request.extensions()) {
            form.append_pair("address", &address.to_string());
        }
        let mut question = Request::new(Full::from(form.finish()));
        *question.method_mut() = http::Method::POST;
        *question.uri_mut() = self.endpoint.clone();
        let headers = question.headers_mut();
        headers.insert(AUTHORIZATION, self.authorization.clone());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        Some(question)
    }
}

impl<S, C: Clone> Layer<S> for IntrospectionLayer<C> {
    type Service = Introspection<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        Introspection { inner, layer: self.clone() }
    }
}

/// The service of an [`IntrospectionLayer`]. Its refusals have no body.
#[derive(Clone, Debug)]
pub struct Introspection<S, C> {
    inner: S,
    layer: IntrospectionLayer<C>,
}

impl<S, C, B, RB, CB> Service<Request<B>> for Introspection<S, C>
where
    S: Service<Request<B>, Response = Response<RB>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    RB: Default,
    C: Service<Request<Question>, Response = Response<CB>> + Clone + Send + 'static,
    C::Error: Into<Box<dyn Error + Send + Sync>>,
    C::Future: Send,
    CB: Body + Send,
    CB::Data: Send,
    CB::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<RB>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The clone may not be ready, and this one is.
        let clone = self.inner.clone();
        let mut inner = mem::replace(&mut self.inner, clone);
        let question = self.layer.question(&request);
        let client = self.layer.client.clone();
        Box::pin(async move {
            let verdict = match question {
                Some(question) => ask(client, question).await,
                None => Verdict::Refused(Refusal::NoToken),
            };
            match verdict {
                Verdict::Allowed(caller) => {
                    request.extensions_mut().insert(caller);
                    inner.call(request).await
                }
                Verdict::Refused(refusal) => Ok(refusal.response()),
            }
        })
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Allowed(KeygateCaller),
    Refused(Refusal),
}

/// Why a request goes no further, by the status of its response.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// 401, without an error code (RFC 6750, section 3.1).
    NoToken,
    /// 401: the credential does not work.
    Inactive,
    /// 403: the credential works, and not for this request.
    Forbidden,
    /// 429, with the seconds until the next window of the limit.
    Limited(u64),
    /// 503: Keygate did not decide.
    Undecided,
}

impl Refusal {
    fn response<RB: Default>(&self) -> Response<RB> {
        let mut response = Response::new(RB::default());
        let (status, header) = match self {
            Self::NoToken => {
                (StatusCode::UNAUTHORIZED, Some((WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))))
            }
            Self::Inactive => {
                let challenge = HeaderValue::from_static("Bearer error=\"invalid_token\"");
                (StatusCode::UNAUTHORIZED, Some((WWW_AUTHENTICATE, challenge)))
            }
            Self::Forbidden => (StatusCode::FORBIDDEN, None),
            Self::Limited(seconds) => (StatusCode::TOO_MANY_REQUESTS, Some((RETRY_AFTER, (*seconds).into()))),
            Self::Undecided => (StatusCode::SERVICE_UNAVAILABLE, None),
        };
        *response.status_mut() = status;
        response.headers_mut().extend(header);
        response
    }
}

async fn ask<C, CB>(mut client: C, question: Request<Question>) -> Verdict
where
    C: Service<Request<Question>, Response = Response<CB>>,
    C::Error: Into<Box<dyn Error + Send + Sync>>,
    CB: Body,
    CB::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let response = async {
        std::future::poll_fn(|context| client.poll_ready(context)).await.ok()?;
        let response = client.call(question).await.ok()?;
        if response.status() != StatusCode::OK {
            return None;
        }
        let body = Limited::new(response.into_body(), MAX_RESPONSE_LEN).collect().await.ok()?;
        Some(body.to_bytes())
    };
    response.await.map_or(Verdict::Refused(Refusal::Undecided), |body| read(&body))
}

/// RFC 7662, section 2.2. Only a response that says so allows a request.
fn read(body: &[u8]) -> Verdict {
    #[derive(Deserialize)]
    struct Told {
        active: bool,
        #[serde(default)]
        allowed: bool,
        retry_after: Option<u64>,
    }
    let refusal = match serde_json::from_slice(body) {
        Ok(Told { active: false, .. }) => Refusal::Inactive,
        Ok(Told { allowed: true, .. }) => match serde_json::from_slice(body) {
            Ok(caller) => return Verdict::Allowed(caller),
            Err(_) => Refusal::Undecided,
        },
        Ok(Told { retry_after: Some(seconds), .. }) => Refusal::Limited(seconds),
        Ok(_) => Refusal::Forbidden,
        Err(_) => Refusal::Undecided,
    };
    Verdict::Refused(refusal)
}

fn scopes<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Scope>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.split_ascii_whitespace().map(|scope| scope.parse().map_err(serde::de::Error::custom)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_active_credential_that_is_allowed_is_handed_over() {
        let known = r#""user_id": "bob", "workspace_id": "acme", "key_id": "01JD3V6Y4N8Q2Z5X7W9B0C1D2E""#;
        let of = |members: &str| read(format!("{{{known}, {members}}}").as_bytes());
        let Verdict::Allowed(caller) = of(r#""active": true, "allowed": true, "scope": "orders:read a:b""#)
        else {
            panic!("it is allowed");
        };
        assert!(caller.may("orders:read") && caller.may("a:b") && !caller.may("orders"));
        for (members, refusal) in [
            (r#""active": false"#, Refusal::Inactive),
            (r#""active": false, "allowed": true"#, Refusal::Inactive),
            (r#""active": true"#, Refusal::Forbidden),
            (r#""active": true, "allowed": false, "reason": "outside_endpoints""#, Refusal::Forbidden),
            (r#""active": true, "allowed": false, "retry_after": 7"#, Refusal::Limited(7)),
            (r#""active": "true", "allowed": true"#, Refusal::Undecided),
            (r#""allowed": true"#, Refusal::Undecided),
        ] {
            assert_eq!(of(members), Verdict::Refused(refusal), "{members}");
        }
        for body in ["", "{}", r#"{"active": true, "allowed": true}"#, "<html>"] {
            assert_eq!(read(body.as_bytes()), Verdict::Refused(Refusal::Undecided), "{body}");
        }
    }
}
