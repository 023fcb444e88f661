//! Invocations of a function behind an API and its replies: proxy events and responses of REST APIs (payload 1.0) and HTTP
//! APIs (2.0), and direct invocations for functions that support them.
//!
//! An event of an API is recognized by members that API Gateway writes, whatever the client sends. A failure to parse the
//! event as a request must not make it a direct invocation, because a client can cause such a failure, for example with a
//! header that HTTP does not allow. An unreadable event of an API is [`Invocation::Unreadable`], and its response has the
//! format of the API.
//!
//! Requests are built here instead of by `lambda_http`, whose conversion panics if `Host` and `X-Forwarded-Proto` do not
//! form a URL.
//! See <https://docs.aws.amazon.com/apigateway/latest/developerguide/set-up-lambda-proxy-integrations.html> and
//! <https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html>.

use std::collections::HashMap;

use aws_lambda_events::apigw::{
    ApiGatewayProxyRequest, ApiGatewayProxyResponse, ApiGatewayV2httpRequest, ApiGatewayV2httpResponse,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use keygate_core::error::{Error, InvalidField, Place};
use keygate_core::strict_json::shown;
use lambda_http::http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use lambda_http::lambda_runtime::{Context, LambdaEvent};
use lambda_http::request::RequestContext;
use lambda_http::{Body, Request, RequestExt};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::api::request::request_id;

/// Members of an event that API Gateway writes. Any of them marks an event as one of an API.
const OF_AN_API: [&str; 9] = [
    "requestContext",
    "httpMethod",
    "headers",
    "multiValueHeaders",
    "resource",
    "path",
    "rawPath",
    "routeKey",
    "version",
];

/// The payload format of an API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The format of a REST API, such as the management API.
    V1,
    /// The format of an HTTP API, such as the OAuth API.
    V2,
}

/// An invocation of a function.
#[derive(Debug)]
pub(crate) enum Invocation {
    /// A request to an API.
    Request(Format, Request),
    /// An unreadable request to an API.
    Unreadable(Format, Unreadable),
    /// Any other event, as the body of a request.
    Direct(Request),
}

/// The reason why a request to an API is unreadable.
#[derive(Debug)]
pub(crate) struct Unreadable {
    /// The invalid header name, if that is the reason; shortened if it is long, and hidden if it contains a credential.
    pub(crate) header: Option<String>,
    /// API Gateway's id of the request.
    pub(crate) request_id: Option<String>,
}

impl Invocation {
    /// The request of an API and its format. A direct invocation becomes unreadable.
    pub(crate) fn of_api(self) -> (Format, Result<Request, Unreadable>) {
        match self {
            Self::Request(format, request) => (format, Ok(request)),
            Self::Unreadable(format, unreadable) => (format, Err(unreadable)),
            Self::Direct(request) => (Format::V1, Err(Unreadable::unexpected(&request))),
        }
    }

    /// Parses an event from Lambda.
    pub(crate) fn read(event: LambdaEvent<Box<RawValue>>) -> Self {
        let LambdaEvent { payload, context } = event;
        let json = payload.get();
        let members: HashMap<String, &RawValue> = serde_json::from_str(json).unwrap_or_default();
        if !OF_AN_API.iter().any(|member| members.contains_key(*member)) {
            let mut request = Request::new(Body::from(json));
            *request.method_mut() = Method::POST;
            return Self::Direct(request.with_lambda_context(context));
        }
        let is_v2 = members.get("version").is_some_and(|version| version.get() == "\"2.0\"");
        let (format, read) = if is_v2 { (Format::V2, v2(json)) } else { (Format::V1, v1(json)) };
        match read {
            Some(request) => Self::Request(format, request.with_lambda_context(context)),
            None => Self::Unreadable(format, Unreadable::of(&members, context)),
        }
    }
}

impl Unreadable {
    /// The error for an event that the function does not support.
    pub(crate) fn unexpected(request: &Request) -> Self {
        Self { header: None, request_id: request_id(request) }
    }

    pub(crate) fn error(&self) -> Error {
        let (place, detail) = match &self.header {
            Some(header) => (Place::Header(header.clone()), "must have no control characters"),
            None => (Place::Pointer(String::new()), "cannot be read"),
        };
        Error::invalid(InvalidField { place, detail: detail.to_owned() })
    }

    fn of(members: &HashMap<String, &RawValue>, context: Context) -> Self {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Named {
            request_id: Option<String>,
        }
        let named =
            members.get("requestContext").and_then(|raw| serde_json::from_str::<Named>(raw.get()).ok());
        let request_id = named.and_then(|named| named.request_id).or(Some(context.request_id));
        let headers = members.get("headers").and_then(|raw| serde_json::from_str(raw.get()).ok());
        let headers: HashMap<String, String> = headers.unwrap_or_default();
        let header = headers.into_iter().find(|(name, value)| {
            HeaderName::from_bytes(name.as_bytes()).is_err() || HeaderValue::from_str(value).is_err()
        });
        Self { header: header.map(|(name, _)| shown(&name)), request_id }
    }
}

fn v1(json: &str) -> Option<Request> {
    let event: ApiGatewayProxyRequest = serde_json::from_str(json).ok()?;
    // Of a repeated header, `headers` has the last value, which is the one used.
    let mut headers = event.multi_value_headers;
    headers.extend(event.headers);
    let query = if event.multi_value_query_string_parameters.is_empty() {
        event.query_string_parameters
    } else {
        event.multi_value_query_string_parameters
    };
    let request = request(event.http_method, headers, (event.body, event.is_base64_encoded))?;
    let request = request
        .with_raw_http_path(event.path.unwrap_or_default())
        .with_query_string_parameters(query)
        .with_path_parameters(event.path_parameters);
    Some(request.with_request_context(RequestContext::ApiGatewayV1(event.request_context)))
}

fn v2(json: &str) -> Option<Request> {
    let event: ApiGatewayV2httpRequest = serde_json::from_str(json).ok()?;
    let method = event.request_context.http.method.clone();
    let request = request(method, event.headers, (event.body, event.is_base64_encoded))?;
    let request = request
        .with_raw_http_path(event.raw_path.unwrap_or_default())
        .with_query_string_parameters(event.query_string_parameters)
        .with_path_parameters(event.path_parameters);
    Some(request.with_request_context(RequestContext::ApiGatewayV2(event.request_context)))
}

fn request(method: Method, headers: HeaderMap, (body, is_base64): (Option<String>, bool)) -> Option<Request> {
    let body = match body {
        None => Body::Empty,
        Some(body) if is_base64 => Body::Binary(STANDARD.decode(body).ok()?),
        Some(body) => Body::Text(body),
    };
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.headers_mut() = headers;
    Some(request)
}

/// The reply of a function.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Reply {
    V1(ApiGatewayProxyResponse),
    V2(ApiGatewayV2httpResponse),
    /// The reply to a direct invocation: the body only.
    Direct(Option<Box<RawValue>>),
}

impl Reply {
    /// Converts the response to the format of an API.
    pub(crate) fn of_api(format: Format, response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let (body, is_base64_encoded) = match body {
            Body::Text(_) => (Some(body), false),
            Body::Binary(_) => (Some(body), true),
            _ => (None, false),
        };
        let status_code = parts.status.as_u16().into();
        match format {
            Format::V1 => {
                let mut reply = ApiGatewayProxyResponse::default();
                reply.status_code = status_code;
                reply.multi_value_headers = parts.headers;
                reply.body = body;
                reply.is_base64_encoded = is_base64_encoded;
                Self::V1(reply)
            }
            Format::V2 => {
                let mut reply = ApiGatewayV2httpResponse::default();
                reply.status_code = status_code;
                reply.headers = parts.headers;
                reply.body = body;
                reply.is_base64_encoded = is_base64_encoded;
                Self::V2(reply)
            }
        }
    }

    /// Takes the body of the response, which is JSON.
    pub(crate) fn direct(response: Response<Body>) -> Self {
        match response.into_body() {
            Body::Text(body) => Self::Direct(RawValue::from_string(body).ok()),
            _ => Self::Direct(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(event: &Value) -> Invocation {
        let payload = RawValue::from_string(event.to_string()).unwrap();
        Invocation::read(LambdaEvent::new(payload, Context::default()))
    }

    fn rest() -> Value {
        json!({"resource": "/users/{user_id}", "path": "/users/bob", "httpMethod": "PUT",
            "headers": {"X-A": "last", "Host": "h"}, "multiValueHeaders": {"X-A": ["first", "last"], "Host": ["h"]},
            "queryStringParameters": {"a": "2"}, "multiValueQueryStringParameters": {"a": ["1", "2"]},
            "pathParameters": {"user_id": "bob"}, "requestContext": {"requestId": "r-1", "stage": "v1", "httpMethod": "PUT"},
            "body": "e30=", "isBase64Encoded": true})
    }

    fn http() -> Value {
        json!({"version": "2.0", "routeKey": "POST /oauth/token", "rawPath": "/oauth/token", "rawQueryString": "",
            "headers": {"host": "h"}, "body": "a=b", "isBase64Encoded": false,
            "requestContext": {"requestId": "r-2", "stage": "$default", "http": {"method": "POST", "path": "/oauth/token"}}})
    }

    #[test]
    fn requests_of_all_kinds_of_api_are_read() {
        let Invocation::Request(Format::V1, request) = read(&rest()) else { panic!("a REST API's") };
        assert_eq!((request.method(), request.raw_http_path()), (&Method::PUT, "/users/bob"));
        assert_eq!(request.headers()["x-a"], "last");
        let query: Vec<_> = request.query_string_parameters_ref().unwrap().iter().collect();
        assert_eq!(query, [("a", "1"), ("a", "2")]);
        assert_eq!(request.path_parameters_ref().unwrap().first("user_id"), Some("bob"));
        assert_eq!(request.body().as_ref(), b"{}");

        let Invocation::Request(Format::V2, request) = read(&http()) else { panic!("an HTTP API's") };
        assert_eq!((request.method(), request.raw_http_path()), (&Method::POST, "/oauth/token"));
        assert_eq!(request.body().as_ref(), b"a=b");
    }

    #[test]
    fn an_unreadable_event_of_an_api_is_not_a_direct_invocation() {
        for (event, format, request_id) in [(rest(), Format::V1, "r-1"), (http(), Format::V2, "r-2")] {
            for (name, value) in
                [("X-A", "\u{1}"), ("X-A", "\u{7f}"), ("X-A", "a\nb"), ("X A", "b"), ("", "b")]
            {
                let mut event = event.clone();
                event["headers"][name] = json!(value);
                event["bootstrap"] = json!({"workspace_id": "acme", "user_id": "eve", "name": "n"});
                let Invocation::Unreadable(found, unreadable) = read(&event) else { panic!("{event}") };
                assert_eq!((found, unreadable.header.as_deref()), (format, Some(name)));
                assert_eq!(unreadable.request_id.as_deref(), Some(request_id));
            }
            let mut event = event.clone();
            event["requestContext"] = json!(7);
            event["body"] = json!({});
            assert!(matches!(read(&event), Invocation::Unreadable(found, _) if found == format));
        }
        for member in OF_AN_API {
            let event = json!({member: null, "bootstrap": {}});
            assert!(matches!(read(&event), Invocation::Unreadable(Format::V1, _)), "{event}");
        }
    }

    #[test]
    fn headers_that_do_not_form_a_url_are_accepted() {
        for mut event in [rest(), http()] {
            event["headers"]["host"] = json!("a b:c[");
            event["headers"]["x-forwarded-proto"] = json!("no scheme");
            event["rawQueryString"] = json!("<a b>");
            assert!(matches!(read(&event), Invocation::Request(..)), "{event}");
        }
        let mut no_base64 = rest();
        no_base64["body"] = json!("?");
        assert!(matches!(read(&no_base64), Invocation::Unreadable(..)));
    }

    #[test]
    fn an_event_without_members_of_an_api_is_a_direct_invocation() {
        for event in [json!({"bootstrap": {}}), json!({}), json!([]), json!("x"), json!({"body": "{}"})] {
            let Invocation::Direct(request) = read(&event) else { panic!("{event}") };
            assert_eq!(request.body().as_ref(), event.to_string().as_bytes());
        }
    }

    #[test]
    fn a_reply_has_the_format_of_its_api() {
        let response = || {
            let mut response = Response::new(Body::from("{\"a\":1}"));
            response.headers_mut().insert("x-a", HeaderValue::from_static("b"));
            response
        };
        let reply = |reply| serde_json::to_value(&reply).unwrap();
        let rest = reply(Reply::of_api(Format::V1, response()));
        assert_eq!((&rest["statusCode"], &rest["multiValueHeaders"]["x-a"]), (&json!(200), &json!(["b"])));
        let http = reply(Reply::of_api(Format::V2, response()));
        assert_eq!((&http["statusCode"], &http["headers"]["x-a"]), (&json!(200), &json!("b")));
        assert_eq!((&http["body"], &http["isBase64Encoded"]), (&json!("{\"a\":1}"), &json!(false)));
        assert_eq!(reply(Reply::direct(response())), json!({"a": 1}));
        assert_eq!(reply(Reply::direct(Response::new(Body::Empty))), Value::Null);
    }
}
