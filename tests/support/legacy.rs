//! Keys of an earlier mechanism, of the shape that the stack is told they have.

use serde_json::{Value, json};

use crate::support::emulator;
use crate::support::stack::{remember_secret, variable};
use crate::support::workspace::{Workspace, unique};

/// The stack's sunset, pattern and header, for functions that are started by hand.
pub(crate) const LEGACY: [(&str, &str); 3] = [
    ("LEGACY_SUNSET", "2099-12-31T23:59:59Z"),
    ("LEGACY_PATTERN", "old-[0-9a-f]{32}"),
    ("LEGACY_HEADER", "X-Legacy-Key"),
];

/// A legacy key that nobody has imported.
pub(crate) fn legacy_key() -> String {
    // What is random of an id is at its end.
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

/// A new legacy key of `user` with these scopes.
pub(crate) async fn imported(workspace: &Workspace, user: &str, scopes: &[&str]) -> String {
    let key = legacy_key();
    let keys = json!([{"key": key, "user_id": user, "name": "old", "scopes": scopes}]);
    assert_eq!(import(workspace, keys).await, json!({"imported": 1, "present": 0}));
    key
}
