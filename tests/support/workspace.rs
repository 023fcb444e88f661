//! A workspace of a test's own.

use chrono::Utc;
use keygate::credential::KeyId;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::database::{self, Contents};
use crate::support::emulator;
use crate::support::stack::{Answer, Api, variable};

/// A new workspace with an administrator called `admin`.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) api: Api,
    pub(crate) id: String,
    /// The administrator's key.
    pub(crate) admin: String,
}

impl Workspace {
    pub(crate) async fn new() -> Self {
        let api = Api::default();
        let id = unique("test");
        let created =
            bootstrap(&api, &json!({"workspace_id": id, "user_id": "admin", "name": "first"})).await;
        let admin = created["key"].as_str().unwrap_or_else(|| panic!("the first key: {created}")).to_owned();
        Self { api, id, admin }
    }

    pub(crate) async fn create(&self, key: &str, body: &Value) -> Answer {
        self.api.send(Method::POST, &keys_url(""), Some(key), Some(body)).await
    }

    /// Sends any text as the body.
    pub(crate) async fn create_text(&self, key: &str, body: String) -> Answer {
        self.api.send_text(Method::POST, &keys_url(""), Some(&format!("Bearer {key}")), Some(body)).await
    }

    /// Creates a key as the administrator, which must succeed.
    pub(crate) async fn created(&self, body: Value) -> Value {
        let answer = self.create(&self.admin, &body).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }

    /// The text of a new key of `user` with these scopes.
    pub(crate) async fn key_of(&self, user: &str, scopes: &[&str]) -> String {
        let name = unique("key");
        let created = self.created(json!({"name": name, "user_id": user, "scopes": scopes})).await;
        created["key"].as_str().expect("a key").to_owned()
    }

    pub(crate) async fn list(&self, key: &str, query: &str) -> Answer {
        self.api.send(Method::GET, &keys_url(query), Some(key), None).await
    }

    pub(crate) async fn delete(&self, key: &str, id: &str) -> Answer {
        self.api.send(Method::DELETE, &keys_url(&format!("/{id}")), Some(key), None).await
    }

    /// What the tables hold of this workspace, after the check that it fits together.
    pub(crate) async fn contents(&self) -> Contents {
        let contents = database::contents(&self.id).await;
        contents.assert_consistent();
        contents
    }
}

/// Asks for a bootstrap as an operator would: a key, or a problem.
pub(crate) async fn bootstrap(api: &Api, request: &Value) -> Value {
    emulator::invoke(api, &variable("KEYGATE_CREATE_KEY_FUNCTION"), &json!({"bootstrap": request})).await
}

/// The id in a key's text.
pub(crate) fn id_of(key: &str) -> &str {
    key.split('_').nth(2).expect("a key")
}

pub(crate) fn keys_url(rest: &str) -> String {
    format!("{}/api-keys{rest}", variable("KEYGATE_API_URL"))
}

/// A word that no other test uses.
pub(crate) fn unique(word: &str) -> String {
    format!("{word}-{}", KeyId::generate(Utc::now()).to_string().to_lowercase())
}
