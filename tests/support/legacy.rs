//! Legacy keys that match the stack's pattern.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::emulator;
use crate::support::stack::{remember_secret, variable};
use crate::support::workspace::{Workspace, text, unique};

/// The stack's sunset, pattern and header, for functions that a test starts itself.
pub(crate) const LEGACY: [(&str, &str); 3] = [
    ("LEGACY_SUNSET", "2099-12-31T23:59:59Z"),
    ("LEGACY_PATTERN", "old-[0-9a-f]{32}"),
    ("LEGACY_HEADER", "X-Legacy-Key"),
];

/// A new legacy key, which is not imported.
pub(crate) fn legacy_key() -> String {
    // The random part of an id is at its end.
    let random: Vec<_> = unique("key").bytes().rev().take(16).map(|byte| format!("{byte:02x}")).collect();
    let key = format!("old-{}", random.concat());
    remember_secret(&key);
    key
}

/// Invokes the deployed import.
pub(crate) async fn import(workspace: &Workspace, keys: Value) -> Value {
    let event = json!({"import": {"workspace_id": workspace.id, "keys": keys}});
    emulator::invoke(&workspace.api, &variable("KEYGATE_IMPORT_LEGACY_KEYS_FUNCTION"), &event).await
}

/// Imports a new legacy key of `user` with these scopes, and returns it.
pub(crate) async fn imported(workspace: &Workspace, user: &str, scopes: &[&str]) -> String {
    let key = legacy_key();
    let keys = json!([{"key": key, "user_id": user, "name": "old", "scopes": scopes}]);
    assert_eq!(counts(&import(workspace, keys).await), [1, 0, 0]);
    key
}

/// The numbers of imported, present and refused keys of a batch.
pub(crate) fn counts(answer: &Value) -> [u64; 3] {
    ["imported", "present", "refused"]
        .map(|name| answer[name].as_u64().unwrap_or_else(|| panic!("{name} of {answer}")))
}

/// The id of a legacy key, from `GET /me` with the key. The call is a use of the key.
pub(crate) async fn legacy_id(workspace: &Workspace, key: &str) -> String {
    text(&workspace.call(Method::GET, "/me", key).await.json(), "key_id").to_owned()
}
