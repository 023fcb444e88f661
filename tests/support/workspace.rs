//! A workspace of a test's own.

use std::time::Duration;

use chrono::Utc;
use keygate_core::credential::KeyId;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::database::{self, Contents};
use crate::support::emulator;
use crate::support::stack::{Answer, Api, variable};
use crate::support::{eventually, eventually_within};

/// The prefix of the ids of workspaces in which a test moves times into the past.
pub(crate) const PAST_RETENTION: &str = "past-retention";

/// The deadline of a removal. On a busy machine a user with a thousand keys takes more than the default.
const REMOVAL: Duration = Duration::from_mins(3);

/// A new workspace with an administrator called `admin`.
#[derive(Clone, Debug)]
pub(crate) struct Workspace {
    pub(crate) api: Api,
    pub(crate) id: String,
    /// The administrator's key.
    pub(crate) admin: String,
}

impl Workspace {
    pub(crate) async fn new() -> Self {
        Self::called("test").await
    }

    /// A workspace in which a test moves times into the past. Items that TTL would have removed by then stay in the tables, so
    /// the consistency check of a whole run leaves such workspaces out.
    pub(crate) async fn in_which_time_passes() -> Self {
        Self::called(PAST_RETENTION).await
    }

    async fn called(word: &str) -> Self {
        let api = Api::default();
        let id = unique(word);
        let created =
            bootstrap(&api, &json!({"workspace_id": id, "user_id": "admin", "name": "first"})).await;
        let admin = created["key"].as_str().unwrap_or_else(|| panic!("the first key: {created}")).to_owned();
        Self { api, id, admin }
    }

    /// Sends a request with additional headers.
    pub(crate) async fn send(
        &self,
        (method, rest): (Method, &str),
        key: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let mut request = self.api.client().request(method, keys_url(rest)).bearer_auth(key);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body.to_string());
        }
        Answer::of(request.send().await.expect("a response of the stack")).await
    }

    pub(crate) async fn create(&self, key: &str, body: &Value) -> Answer {
        self.send((Method::POST, ""), key, &[], Some(body)).await
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
        let created = self.created(json!({"name": unique("key"), "user_id": user, "scopes": scopes})).await;
        created["key"].as_str().expect("a key").to_owned()
    }

    pub(crate) async fn list(&self, key: &str, query: &str) -> Answer {
        self.send((Method::GET, query), key, &[], None).await
    }

    pub(crate) async fn get(&self, key: &str, id: &str) -> Answer {
        self.send((Method::GET, &format!("/{id}")), key, &[], None).await
    }

    pub(crate) async fn update(&self, key: &str, id: &str, patch: &Value) -> Answer {
        self.send((Method::PATCH, &format!("/{id}")), key, &[], Some(patch)).await
    }

    pub(crate) async fn rotate(&self, key: &str, id: &str, body: &Value) -> Answer {
        self.send((Method::POST, &format!("/{id}/rotate")), key, &[], Some(body)).await
    }

    pub(crate) async fn delete(&self, key: &str, id: &str) -> Answer {
        self.send((Method::DELETE, &format!("/{id}")), key, &[], None).await
    }

    /// Sends a request without a body to any route.
    pub(crate) async fn call(&self, method: Method, route: &str, key: &str) -> Answer {
        let url = format!("{}{route}", variable("KEYGATE_API_URL"));
        self.api.send(method, &url, Some(key), None).await
    }

    /// A page of the audit trail. The request must succeed.
    pub(crate) async fn activity(&self, query: &str) -> Value {
        let answer = self.call(Method::GET, &format!("/activity{query}"), &self.admin).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// Removes a user as the administrator, and waits until the user has no keys left. The request must succeed.
    pub(crate) async fn remove(&self, user: &str, query: &str) -> Contents {
        let answer = self.call(Method::DELETE, &format!("/users/{user}{query}"), &self.admin).await;
        assert_eq!(answer.status, 202, "{answer:?}");
        self.when_cleared(user).await
    }

    /// Waits until a removed user has no keys left, and returns the contents of the tables.
    pub(crate) async fn when_cleared(&self, user: &str) -> Contents {
        self.until_cleared(user).await;
        self.contents().await
    }

    /// Waits until a removed user has no keys left.
    pub(crate) async fn until_cleared(&self, user: &str) {
        // The condition owns what it reads, because tests spawn this: a borrowed one is not `Send` for the compiler.
        let (workspace, user) = (self.id.clone(), user.to_owned());
        let is_cleared = async move || database::is_cleared(&workspace, &user).await;
        eventually_within(REMOVAL, "the removed user's keys end", is_cleared).await;
    }

    /// Waits until a key is shown as expired.
    pub(crate) async fn until_expired(&self, id: &str) {
        // The condition owns what it reads, as in `until_cleared`.
        let (workspace, id) = (self.clone(), id.to_owned());
        let is_expired =
            async move || workspace.get(&workspace.admin, &id).await.json()["status"] == "expired";
        eventually("the key is shown as expired", is_expired).await;
    }

    /// Waits until an API behind the authorizer refuses a credential that is about to end.
    pub(crate) async fn until_refused(&self, credential: &str) {
        eventually("the credential is refused", async || !self.accepts(credential).await).await;
    }

    /// Whether an API behind the authorizer accepts a key.
    pub(crate) async fn accepts(&self, key: &str) -> bool {
        let answer = self.api.rest_example(Some(&format!("Bearer {key}"))).await;
        assert!(matches!(answer.status, 200 | 401), "{answer:?}");
        answer.status == 200
    }

    /// The contents of this workspace in the tables, which must be consistent.
    pub(crate) async fn contents(&self) -> Contents {
        let contents = database::contents(&self.id).await;
        contents.assert_consistent();
        contents
    }
}

/// Bootstraps a workspace as an operator does. Returns the key, or a problem.
pub(crate) async fn bootstrap(api: &Api, request: &Value) -> Value {
    emulator::invoke(api, &variable("KEYGATE_CREATE_KEY_FUNCTION"), &json!({"bootstrap": request})).await
}

/// The text of a member of a JSON object.
pub(crate) fn text<'a>(object: &'a Value, member: &str) -> &'a str {
    object[member].as_str().unwrap_or_else(|| panic!("{member} of {object}"))
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
