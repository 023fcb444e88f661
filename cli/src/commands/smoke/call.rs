//! A call of a run, and its response.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, Method, Request, StatusCode, header};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::run::{Addresses, Incomplete, Key};

/// Where a call goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Api {
    Management,
    OAuth,
    /// An endpoint of the operator, by its URL.
    Own,
}

/// A call of a run. Its response is returned whatever its status; only a throttled call is repeated.
pub(super) struct SmokeCall {
    pub(super) api: Api,
    /// Such as `GET /api-keys/{id}`, by which reports name the call.
    pub(super) route: String,
    values: Vec<(&'static str, String)>,
    query: &'static str,
    authorization: Option<SecretString>,
    content: Option<(&'static str, String)>,
    headers: Vec<(HeaderName, String)>,
}

impl SmokeCall {
    pub(super) fn management(route: &str) -> Self {
        Self::new(Api::Management, route.to_owned())
    }

    pub(super) fn oauth(route: &str) -> Self {
        Self::new(Api::OAuth, route.to_owned())
    }

    /// A call of an endpoint of the operator's.
    pub(super) fn own(url: &str) -> Self {
        Self::new(Api::Own, format!("GET {url}"))
    }

    fn new(api: Api, route: String) -> Self {
        Self {
            api,
            route,
            values: Vec::new(),
            query: "",
            authorization: None,
            content: None,
            headers: Vec::new(),
        }
    }

    /// The value of a placeholder of the path, already percent-encoded.
    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.values.push((name, value.to_owned()));
        self
    }

    /// The query with its question mark.
    pub(super) fn query(mut self, query: &'static str) -> Self {
        self.query = query;
        self
    }

    /// The caller, by a bearer credential.
    pub(super) fn by(mut self, credential: &SecretString) -> Self {
        self.authorization = Some(format!("Bearer {}", credential.expose_secret()).into());
        self
    }

    /// The client of the OAuth API, by HTTP Basic.
    pub(super) fn by_client(mut self, key: &Key) -> Self {
        let pair = SecretString::from(format!("{}:{}", key.id, key.text.expose_secret()));
        self.authorization = Some(format!("Basic {}", STANDARD.encode(pair.expose_secret())).into());
        self
    }

    pub(super) fn body(mut self, body: &Value) -> Self {
        self.content = Some(("application/json", body.to_string()));
        self
    }

    pub(super) fn form(mut self, fields: &[(&str, &str)]) -> Self {
        let mut form = form_urlencoded::Serializer::new(String::new());
        self.content = Some(("application/x-www-form-urlencoded", form.extend_pairs(fields).finish()));
        self
    }

    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    /// The call is made once, however often it is sent with this text.
    pub(super) fn idempotency_key(self, key: &str) -> Self {
        self.header(HeaderName::from_static("idempotency-key"), key)
    }

    /// The request of the call.
    ///
    /// # Errors
    ///
    /// A header or the URL has a form that no request can have.
    pub(super) fn request(&self, addresses: &Addresses) -> Result<Request<Vec<u8>>, Incomplete> {
        let (method, path) = self.route.split_once(' ').unwrap_or(("GET", &self.route));
        let path = self
            .values
            .iter()
            .fold(path.to_owned(), |path, (name, value)| path.replace(&format!("{{{name}}}"), value));
        let base = match self.api {
            Api::Management => addresses.management.as_str(),
            Api::OAuth => &addresses.oauth,
            Api::Own => "",
        };
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap_or_default())
            .uri(format!("{base}{path}{}", self.query));
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization.expose_secret());
        }
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let mut body = Vec::new();
        if let Some((content_type, content)) = &self.content {
            request = request.header(header::CONTENT_TYPE, *content_type);
            body = content.clone().into_bytes();
        }
        request.body(body).map_err(|error| Incomplete::failed(format!("{}: no request: {error}", self.route)))
    }
}

/// A complete response.
pub(super) struct Response {
    /// The route of the call.
    pub(super) route: String,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Response {
    /// The body; null if it is no JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The text of a member of the body.
    ///
    /// # Errors
    ///
    /// The body has no member of this name, or it is not a string.
    pub(super) fn text(&self, member: &str) -> Result<String, Incomplete> {
        let text = self.json()[member].as_str().map(str::to_owned);
        text.ok_or_else(|| Incomplete::failed(format!("{}: the response has no text `{member}`", self.route)))
    }

    /// The credential in a member of the body.
    ///
    /// # Errors
    ///
    /// As [`Self::text`].
    pub(super) fn secret(&self, member: &str) -> Result<SecretString, Incomplete> {
        self.text(member).map(SecretString::from)
    }

    /// The value of a header.
    ///
    /// # Errors
    ///
    /// The response has no such header, or it is not text.
    pub(super) fn header(&self, name: &HeaderName) -> Result<&str, Incomplete> {
        let value = self.headers.get(name).and_then(|value| value.to_str().ok());
        value
            .ok_or_else(|| Incomplete::failed(format!("{}: the response has no header `{name}`", self.route)))
    }
}
