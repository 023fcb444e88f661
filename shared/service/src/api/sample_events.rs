//! Authorizer events as API Gateway and AppSync send them, and a caller, for the unit tests.

use chrono::DateTime;
use keygate_core::caller::{Caller, CallerKey};
use keygate_core::credential_class::CredentialKind;
use keygate_core::limit::Limits;
use keygate_core::metadata::Metadata;
use serde_json::{Value, json};

pub(super) const ARN: &str = "arn:aws:execute-api:eu-west-1:123456789012:abcdef123/test/GET/orders/7";
pub(super) const CONNECT_ARN: &str = "arn:aws:execute-api:eu-west-1:123456789012:abcdef123/test/$connect";

pub(super) fn caller(expires_at: Option<&str>) -> Box<Caller> {
    Box::new(Caller {
        workspace_id: "acme".parse().unwrap(),
        user_id: "alice".parse().unwrap(),
        key: Some(CallerKey {
            id: "01JD3V6Y4N8Q2Z5X7W9B0C1D2E".parse().unwrap(),
            name: "build server".to_owned(),
            state: None,
        }),
        session: None,
        scopes: vec!["orders:read".parse().unwrap(), "orders:write".parse().unwrap()],
        endpoints: Vec::new(),
        networks: Vec::new(),
        metadata: Metadata::default(),
        limits: Limits::default(),
        credential: CredentialKind::ApiKey,
        old_secret: None,
        expires_at: expires_at.map(|text| DateTime::parse_from_rfc3339(text).unwrap().into()),
    })
}

pub(super) fn token() -> String {
    json!({"type": "TOKEN", "authorizationToken": "Bearer x", "methodArn": ARN}).to_string()
}

pub(super) fn request(headers: &Value) -> String {
    json!({"type": "REQUEST", "methodArn": ARN, "headers": {"authorization": "last"}, "multiValueHeaders": headers})
        .to_string()
}

pub(super) fn http1(headers: &Value) -> String {
    json!({"version": "1.0", "type": "REQUEST", "methodArn": ARN, "httpMethod": "GET", "headers": headers})
        .to_string()
}

pub(super) fn websocket() -> String {
    json!({"type": "REQUEST", "methodArn": CONNECT_ARN, "headers": {"Authorization": "Bearer x"},
        "multiValueHeaders": {"Authorization": ["Bearer x"]},
        "requestContext": {"routeKey": "$connect", "eventType": "CONNECT", "connectionId": "c", "stage": "test"}})
    .to_string()
}

/// As in <https://docs.aws.amazon.com/appsync/latest/devguide/security-authz.html#aws-lambda-authorization>.
pub(super) fn app_sync(token: &str) -> String {
    json!({"authorizationToken": token,
        "requestContext": {"apiId": "giy7kumfmvcqvbedntjwjvagii", "accountId": "123456789012",
            "requestId": "b80ed838-14c6-4500-b4c3-b694c7bef086",
            "queryString": "query Order($id: ID!) { order(id: $id) { id } }", "operationName": "Order",
            "variables": {"id": "7"}},
        "requestHeaders": {"authorization": token, "x-forwarded-for": "203.0.113.7"}})
    .to_string()
}

pub(super) fn http2() -> String {
    json!({"version": "2.0", "type": "REQUEST", "routeArn": ARN, "identitySource": ["Bearer x"], "rawPath": "/test/",
        "headers": {"authorization": "Bearer x", "host": "h"},
        "requestContext": {"domainName": "abcdef123.execute-api.eu-west-1.amazonaws.com", "stage": "test",
            "http": {"method": "GET"}}})
    .to_string()
}
