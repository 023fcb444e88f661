//! Requests of OAuth clients.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::stack::{Answer, remember_secret, variable};
use crate::support::workspace::{Workspace, id_of, text};

/// A title, the `Authorization` and the form of a request, and the status and the error code of its response.
pub(crate) type Case<'a> = (&'a str, Option<&'a str>, &'a [(&'a str, &'a str)], u16, &'a str);

impl Workspace {
    /// Sends a form to an endpoint such as `token`.
    pub(crate) async fn oauth(
        &self,
        endpoint: &str,
        authorization: Option<&str>,
        form: &[(&str, &str)],
    ) -> Answer {
        let url = format!("{}/oauth/{endpoint}", variable("KEYGATE_OAUTH_URL"));
        let mut request = self.api.client().request(Method::POST, url).form(form);
        if let Some(authorization) = authorization {
            request = request.header("Authorization", authorization);
        }
        Answer::of(request.send().await.expect("a response of the stack")).await
    }

    /// Sends a request for each case, and checks that it gets the status and the error that the case says.
    pub(crate) async fn assert_oauth_cases(&self, endpoint: &str, cases: &[Case<'_>]) {
        for (about, authorization, form, status, error) in cases {
            let answer = self.oauth(endpoint, *authorization, form).await;
            assert_eq!(answer.status, *status, "{about}: {answer:?}");
            if !error.is_empty() {
                answer.assert_oauth_error(*status, error);
            }
            // A 401 says how to authenticate, in the scheme that was used if there was one (RFC 6749, section 5.2).
            let challenge = answer.header("www-authenticate").map(|challenge| challenge.split(' ').next());
            let is_bearer = authorization.is_some_and(|authorization| authorization.starts_with("Bearer"));
            let expected = (*status == 401).then_some(Some(if is_bearer { "Bearer" } else { "Basic" }));
            assert_eq!(challenge, expected, "{about}: {answer:?}");
        }
    }

    /// Trades a key for tokens, which must succeed.
    pub(crate) async fn tokens(&self, key: &str, scope: &str) -> Value {
        let form = [("grant_type", "client_credentials"), ("scope", scope)];
        let answer = self.oauth("token", Some(&basic(key)), &form).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// The text of an access token with all scopes of its key.
    pub(crate) async fn access_token(&self, key: &str) -> String {
        text(&self.tokens(key, "").await, "access_token").to_owned()
    }

    /// Uses a refresh token without the key.
    pub(crate) async fn refresh(&self, refresh_token: &str) -> Answer {
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token)];
        self.oauth("token", None, &form).await
    }

    pub(crate) async fn list_tokens(&self, key: &str, id: &str, query: &str) -> Answer {
        self.send((Method::GET, &format!("/{id}/tokens{query}")), key, &[], None).await
    }

    pub(crate) async fn revoke_tokens(&self, key: &str, id: &str, rest: &str) -> Answer {
        self.send((Method::DELETE, &format!("/{id}/tokens{rest}")), key, &[], None).await
    }
}

impl Answer {
    /// Checks that this is an OAuth error (RFC 6749, section 5.2) of that status and code, in full.
    #[track_caller]
    pub(crate) fn assert_oauth_error(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        self.assert_uncached();
        let error = self.json();
        assert_eq!(error["error"], code, "{error}");
        assert!(error["error_description"].as_str().is_some_and(|text| !text.is_empty()), "{error}");
    }

    /// Checks that no cache may store this response (RFC 6749, section 5.1).
    #[track_caller]
    pub(crate) fn assert_uncached(&self) {
        assert_eq!(self.header("cache-control"), Some("no-store"), "{self:?}");
        assert_eq!(self.header("pragma"), Some("no-cache"), "{self:?}");
    }
}

/// The `Authorization` of a client with that key (RFC 6749, section 2.3.1).
pub(crate) fn basic(key: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{}:{key}", id_of(key))))
}

/// The id in a token's text.
pub(crate) fn token_id_of(token: &str) -> &str {
    token.split('_').nth(3).expect("a token")
}

/// The event of a request to the OAuth API.
pub(crate) fn form_event(path: &str, body: &str) -> Value {
    json!({
        "version": "2.0", "routeKey": format!("POST {path}"), "rawPath": path, "rawQueryString": "",
        "headers": {"content-type": "application/x-www-form-urlencoded"}, "isBase64Encoded": false, "body": body,
        "requestContext": {"requestId": "r", "stage": "$default", "domainName": "auth.example.com", "timeEpoch": 0,
            "http": {"method": "POST", "path": path, "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7", "userAgent": "t"}},
    })
}

/// The status and the body of a function's response to such an event.
pub(crate) fn answered(answer: &Value) -> (u64, Value) {
    let body = answer["body"].as_str().unwrap_or_default();
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    for member in ["access_token", "refresh_token"] {
        if let Some(token) = body[member].as_str() {
            remember_secret(&token[token.len() - 49..][..43]);
        }
    }
    (answer["statusCode"].as_u64().unwrap_or_else(|| panic!("a status: {answer}")), body)
}
