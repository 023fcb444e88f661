//! Cross-origin requests to the management API from the pages of listed origins.

use keygate_core::environment::Environment;
use keygate_core::environment::InvalidVariable;
use keygate_core::error::Error;
use lambda_http::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ORIGIN, VARY,
};
use lambda_http::http::{HeaderMap, HeaderValue};
use lambda_http::{Body, Response};

use crate::api::response::no_content;

/// The variable with the origins.
const VARIABLE: &str = "CORS_ALLOW_ORIGINS";
/// The maximum number of listed origins.
const MAX_ORIGINS: usize = 20;

/// Cross-Origin Resource Sharing (<https://fetch.spec.whatwg.org/#http-cors-protocol>): the origins whose pages may call the
/// API. No response has `Access-Control-Allow-Credentials`, because the API has no cookies.
#[derive(Debug, Default)]
pub(super) enum Cors {
    /// No page may call the API.
    #[default]
    None,
    /// The pages of every origin may.
    Every,
    /// The pages of these origins may. Each is written as browsers write it.
    Listed(Vec<HeaderValue>),
}

impl Cors {
    /// `CORS_ALLOW_ORIGINS`: the origins whose pages may call the management API from a browser, separated by commas, or `*`
    /// for all; none by default.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when the value is neither `*` nor a list of origins as browsers send them (RFC 6454, section 6.2).
    /// Another spelling would never be equal to the header of a browser.
    pub(super) fn from_environment(environment: &Environment) -> Result<Self, InvalidVariable> {
        let listed = match environment.text(VARIABLE) {
            None => return Ok(Self::None),
            Some("*") => return Ok(Self::Every),
            Some(listed) => listed,
        };
        let origin = |text: &str| HeaderValue::from_str(text).ok().filter(|_| is_origin(text));
        let origins: Option<Vec<_>> = listed.split(',').map(origin).collect();
        origins.filter(|origins| origins.len() <= MAX_ORIGINS).map(Self::Listed).ok_or_else(|| {
            let must_be = "must be at most 20 origins as browsers send them, such as https://dashboard.example.com, \
                           separated by commas, or *";
            InvalidVariable::new(VARIABLE, must_be)
        })
    }

    /// What the responses to a request with these headers allow.
    pub(super) fn of_request(&self, headers: &HeaderMap) -> CorsHeaders {
        match self {
            Self::None => CorsHeaders::default(),
            Self::Every => CorsHeaders { allowed: Some(HeaderValue::from_static("*")), varies: false },
            Self::Listed(origins) => {
                // Two such headers are not from a browser.
                let mut sent = headers.get_all(ORIGIN).iter();
                let origin = sent.next().filter(|_| sent.next().is_none());
                let allowed = origin.filter(|origin| origins.contains(origin)).cloned();
                CorsHeaders { allowed, varies: true }
            }
        }
    }

    /// The response to a preflight request. [`CorsHeaders::add_to`] adds what depends on the origin.
    ///
    /// # Errors
    ///
    /// - [`Error::NoOrigin`]: the deployment allows no origin.
    pub(super) fn preflight(&self, headers: &CorsHeaders) -> Result<Response<Body>, Error> {
        if matches!(self, Self::None) {
            return Err(Error::NoOrigin);
        }
        let mut response = no_content();
        if headers.allowed.is_some() {
            for (name, value) in [
                (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, PATCH, DELETE"),
                (ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, If-Match, Idempotency-Key"),
                (ACCESS_CONTROL_MAX_AGE, "7200"),
            ] {
                response.headers_mut().insert(name, HeaderValue::from_static(value));
            }
        }
        Ok(response)
    }
}

/// What the response to one request says about origins.
#[derive(Debug, Default)]
pub(super) struct CorsHeaders {
    /// The origin whose pages may read the response.
    allowed: Option<HeaderValue>,
    /// Whether the response to another origin differs, so that a cache must not use it for both.
    varies: bool,
}

impl CorsHeaders {
    /// Allows pages of the origin to read a response and its useful headers.
    pub(super) fn add_to(self, mut response: Response<Body>) -> Response<Body> {
        let headers = response.headers_mut();
        if self.varies {
            headers.append(VARY, HeaderValue::from_static("Origin"));
        }
        if let Some(origin) = self.allowed {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("ETag, Retry-After"));
        }
        response
    }
}

/// Whether a text is an origin as browsers send it: in lower case, and without the default port of its scheme.
fn is_origin(text: &str) -> bool {
    let (authority, default_port) = if let Some(authority) = text.strip_prefix("https://") {
        (authority, 443)
    } else if let Some(authority) = text.strip_prefix("http://") {
        (authority, 80)
    } else {
        return false;
    };
    // The colons within the brackets of an IPv6 address are not that of a port.
    let after_address = authority.rfind(']').map_or(0, |end| end + 1);
    let (host, port) = match authority[after_address..].rfind(':') {
        Some(colon) => {
            let (host, port) = authority.split_at(after_address + colon);
            (host, Some(&port[1..]))
        }
        None => (authority, None),
    };
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => {
            address.parse::<std::net::Ipv6Addr>().is_ok_and(|parsed| parsed.to_string() == address)
        }
        None => {
            !host.is_empty()
                && host.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-'))
        }
    };
    let is_port = port.is_none_or(|port| {
        port.parse::<u16>()
            .is_ok_and(|number| number.to_string() == port && number != default_port && number > 0)
    });
    is_host && is_port
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "https://dashboard.example.com,http://localhost:5173";

    fn cors(origins: &str) -> Result<Cors, InvalidVariable> {
        Cors::from_environment(&Environment::from_iter([(VARIABLE, origins)]))
    }

    /// `Access-Control-Allow-Origin` and `Vary` of the response to a request with these headers `Origin`.
    fn headers(origins: &str, sent: &[&str]) -> (Option<String>, Option<String>) {
        let mut request = HeaderMap::new();
        for origin in sent {
            request.append(ORIGIN, origin.parse().unwrap());
        }
        let response = cors(origins).unwrap().of_request(&request).add_to(no_content());
        let header = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(
            header(ACCESS_CONTROL_EXPOSE_HEADERS).is_some(),
            header(ACCESS_CONTROL_ALLOW_ORIGIN).is_some()
        );
        assert!(!response.headers().contains_key("access-control-allow-credentials"));
        (header(ACCESS_CONTROL_ALLOW_ORIGIN), header(VARY))
    }

    #[test]
    fn origins_are_listed_as_browsers_send_them() {
        for valid in [
            "",
            "*",
            "https://dashboard.example.com",
            TWO,
            "http://[::1]:8080,http://[2001:db8::1]",
            "https://127.0.0.1",
        ] {
            assert!(cors(valid).is_ok(), "{valid}");
        }
        for wrong in [
            "dashboard.example.com",
            "https://",
            "https://a.example/path",
            "https://a.example/",
            "null",
            "https://a\nb",
            "ftp://a",
            "https://A.example",
            "HTTPS://a.example",
            "https://a.example:443",
            "http://a.example:80",
            "https://a.example:",
            "https://a.example:0",
            "https://a.example:08443",
            "https://a.example:65536",
            "https://:8443",
            "https://[a.example]",
            "https://[::1",
            "https://[0:0:0:0:0:0:0:1]",
            "https://user@a.example",
            "*,https://a.example",
            "https://a.example,",
            "https://a.example, https://b.example",
        ] {
            assert!(cors(wrong).is_err(), "{wrong}");
        }
        let many = |number| vec!["https://a.example"; number].join(",");
        assert!(cors(&many(20)).is_ok() && cors(&many(21)).is_err());
    }

    #[test]
    fn a_listed_origin_is_echoed_and_every_response_varies_by_origin() {
        let allowed = |origin: &str| (Some(origin.to_owned()), Some("Origin".to_owned()));
        let refused = (None, Some("Origin".to_owned()));
        assert_eq!(
            headers(TWO, &["https://dashboard.example.com"]),
            allowed("https://dashboard.example.com")
        );
        assert_eq!(headers(TWO, &["http://localhost:5173"]), allowed("http://localhost:5173"));
        for other in [
            "https://evil.example",
            "null",
            "http://dashboard.example.com",
            "https://dashboard.example.com:8443",
            "https://DASHBOARD.example.com",
            "https://dashboard.example.com.evil.example",
            TWO,
        ] {
            assert_eq!(headers(TWO, &[other]), refused, "{other}");
        }
        assert_eq!(headers(TWO, &[]), refused);
        assert_eq!(headers(TWO, &["http://localhost:5173", "http://localhost:5173"]), refused);
    }

    #[test]
    fn all_or_no_origins_do_not_depend_on_the_request() {
        for sent in [&["https://a.example"][..], &["null"], &[]] {
            assert_eq!(headers("*", sent), (Some("*".to_owned()), None));
            assert_eq!(headers("", sent), (None, None));
        }
    }
}
