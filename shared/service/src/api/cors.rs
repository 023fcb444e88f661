//! Cross-origin requests to the management API from the pages of one origin.

use keygate_core::environment::Environment;
use keygate_core::environment::InvalidVariable;
use keygate_core::error::Error;
use lambda_http::http::HeaderValue;
use lambda_http::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
};
use lambda_http::{Body, Response};

use crate::api::response::no_content;

/// Cross-Origin Resource Sharing (<https://fetch.spec.whatwg.org/#http-cors-protocol>): the only origin whose pages may call
/// the API, if any.
#[derive(Debug, Default)]
pub(super) struct Cors(Option<HeaderValue>);

impl Cors {
    /// `CORS_ALLOW_ORIGIN`: the only origin whose pages may call the management API from a browser; none by default.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when the value is neither an origin (RFC 6454, section 6.2) nor `*`.
    pub(super) fn from_environment(environment: &Environment) -> Result<Self, InvalidVariable> {
        let Some(origin) = environment.text("CORS_ALLOW_ORIGIN") else { return Ok(Self(None)) };
        let host = origin.strip_prefix("https://").or(origin.strip_prefix("http://"));
        let is_host = |host: &str| {
            !host.is_empty()
                && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte))
        };
        let must_be = "must be an origin such as https://dashboard.example.com, or *";
        let invalid = || InvalidVariable::new("CORS_ALLOW_ORIGIN", must_be);
        if origin != "*" && !host.is_some_and(is_host) {
            return Err(invalid());
        }
        HeaderValue::from_str(origin).map(|origin| Self(Some(origin))).map_err(|_| invalid())
    }

    /// Allows pages of the origin to read a response and its useful headers.
    pub(super) fn allow(&self, mut response: Response<Body>) -> Response<Body> {
        if let Some(origin) = &self.0 {
            let headers = response.headers_mut();
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("ETag, Retry-After"));
        }
        response
    }

    /// The response to a preflight request. It does not depend on the requesting origin.
    ///
    /// # Errors
    ///
    /// - [`Error::NoOrigin`]: the deployment allows no origin.
    pub(super) fn preflight(&self) -> Result<Response<Body>, Error> {
        if self.0.is_none() {
            return Err(Error::NoOrigin);
        }
        let mut response = no_content();
        for (name, value) in [
            (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, PATCH, DELETE"),
            (ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, If-Match, Idempotency-Key"),
            (ACCESS_CONTROL_MAX_AGE, "7200"),
        ] {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_origin_may_be_allowed_and_none_is_by_default() {
        let allowed =
            |origin| Cors::from_environment(&Environment::from_iter([("CORS_ALLOW_ORIGIN", origin)]));
        assert!(allowed("").unwrap().0.is_none());
        for valid in ["https://dashboard.example.com", "http://localhost:5173", "*"] {
            assert_eq!(allowed(valid).unwrap().0.unwrap(), valid);
        }
        for wrong in
            ["dashboard.example.com", "https://", "https://a.example/path", "null", "https://a\nb", "ftp://a"]
        {
            assert!(allowed(wrong).is_err(), "{wrong}");
        }
    }
}
