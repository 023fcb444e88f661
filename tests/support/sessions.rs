//! Sessions, as an adopter's backend opens them and as a page begins them.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::stack::{Answer, variable};
use crate::support::workspace::{Workspace, text};

impl Workspace {
    /// Sends a request with a body, with a credential or without one, to a route of sessions.
    pub(crate) async fn sessions(
        &self,
        (method, rest): (Method, &str),
        credential: Option<&str>,
        body: Option<&Value>,
    ) -> Answer {
        let url = format!("{}/sessions{rest}", variable("KEYGATE_API_URL"));
        self.api.send(method, &url, credential, body).await
    }

    /// Opens a session for a user with a key, which must succeed.
    pub(crate) async fn session(&self, key: &str, user: &str, scopes: &[&str]) -> Value {
        let body = json!({"user_id": user, "scopes": scopes});
        let answer = self.sessions((Method::POST, ""), Some(key), Some(&body)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }

    /// Exchanges a page code.
    pub(crate) async fn exchange(&self, code: &str) -> Answer {
        self.sessions((Method::POST, "/exchange"), None, Some(&json!({"code": code}))).await
    }
}

/// The page code in the address of the page of a session.
pub(crate) fn page_code(session: &Value) -> &str {
    text(session, "page_url").split_once("#code=").expect("a page code").1
}
