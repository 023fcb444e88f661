//! What people and programs read.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use serde_json::json;

use super::{Keygate, remember};
use crate::support::function::binary;
use crate::support::workspace::{Workspace, id_of};

#[tokio::test]
async fn a_new_key_is_the_only_text_on_standard_output() {
    let workspace = Workspace::new().await;
    let created = Keygate::of(&workspace).run(&["keys", "create", "alone"]).await;
    let key = created.ok();
    remember(key);
    assert!(workspace.accepts(key).await);
    assert!(created.stderr.contains("shown only now"), "{created:?}");
    assert!(!created.stderr.contains(key), "{created:?}");
}

#[tokio::test]
async fn a_new_key_goes_to_a_new_file_that_its_owner_alone_can_read() {
    let workspace = Workspace::new().await;
    let keygate = Keygate::of(&workspace);
    let path = keygate.path("new.key");
    let to_path = path.to_str().expect("UTF-8");
    let created = keygate.json(&["keys", "create", "in a file", "--output", to_path]).await;
    assert_eq!(created["item"]["key"], json!(null));
    let key = std::fs::read_to_string(&path).expect("the file");
    remember(key.trim_end());
    assert!(workspace.accepts(key.trim_end()).await);
    assert_eq!(std::fs::metadata(&path).expect("the file").permissions().mode() & 0o777, 0o600);

    let again = keygate.run(&["keys", "create", "not made", "--output", to_path]).await;
    again.assert_failed(2, &["exists already"]);
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), key, "it is as it was");
    let listed = keygate.json(&["keys", "list", "--name", "not made"]).await;
    assert_eq!(listed["items"], json!([]), "no key was created");

    let refused = keygate.path("refused.key");
    let taken =
        keygate.run(&["keys", "create", "in a file", "--output", refused.to_str().expect("UTF-8")]).await;
    taken.assert_failed(1, &[]);
    assert!(!refused.exists(), "a file without a key is not left behind");
}

#[tokio::test]
async fn a_table_has_a_heading_and_a_row_for_each_key() {
    let workspace = Workspace::new().await;
    workspace.created(json!({"name": "one", "scopes": ["orders:read", "orders:write"]})).await;
    let listed = Keygate::of(&workspace).run(&["keys", "list"]).await;
    let rows: Vec<_> = listed.ok().lines().collect();
    assert_eq!(rows.len(), 3, "{listed:?}");
    assert!(rows[0].starts_with("ID") && rows[0].ends_with("LAST USED"), "{listed:?}");
    assert!(listed.stdout.contains("orders:read, orders:write"), "{listed:?}");
    assert!(!listed.stdout.contains('\u{1b}'), "no colours where there is no terminal: {listed:?}");
    assert_eq!(listed.stderr, "");
}

#[tokio::test]
async fn colours_are_for_a_terminal_that_wants_them() {
    const COLOUR: char = '\u{1b}';
    let workspace = Workspace::new().await;
    for (no_color, expected) in [("", true), ("1", false)] {
        let keygate = Keygate::of(&workspace).set("NO_COLOR", no_color);
        let (succeeded, shown) = keygate.at_a_terminal("keys list", "").await;
        assert!(succeeded && shown.contains("LAST USED"), "{shown}");
        assert_eq!(shown.contains(COLOUR), expected, "{shown:?}");
        let (succeeded, shown) = keygate.at_a_terminal("keys show none", "").await;
        assert!(!succeeded && shown.contains("error:"), "{shown}");
        assert_eq!(shown.contains(COLOUR), expected, "{shown:?}");
    }
}

#[tokio::test]
async fn a_key_is_shown_in_the_order_of_the_documentation() {
    let workspace = Workspace::new().await;
    let shown = Keygate::of(&workspace).run(&["keys", "show", id_of(&workspace.admin)]).await;
    let names: Vec<_> = shown.ok().lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names[..6], ["id", "name", "description", "prefix", "user_id", "created_by"], "{shown:?}");
}

#[tokio::test]
async fn a_locale_without_utf_8_gets_ascii_alone() {
    let workspace = Workspace::new().await;
    workspace.created(json!({"name": "na\u{ef}ve"})).await;
    for (locale, expected) in [("C.UTF-8", "na\u{ef}ve"), ("C", "na?ve"), ("", "na?ve")] {
        let listed = Keygate::of(&workspace).set("LC_ALL", locale).run(&["keys", "list"]).await;
        assert!(listed.ok().contains(expected), "{locale}: {listed:?}");
        assert!(locale == "C.UTF-8" || listed.stdout.is_ascii(), "{locale}: {listed:?}");
    }
}

#[tokio::test]
async fn a_reader_that_is_gone_ends_a_list_quietly_and_a_lost_key_loudly() {
    let workspace = Workspace::new().await;
    let keygate = Keygate::of(&workspace);
    for (arguments, status, told) in
        [(&["keys", "list"][..], 0, ""), (&["keys", "create", "lost"], 1, "may be lost: rotate or delete it")]
    {
        let mut command = keygate.command(&binary("keygate"));
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let process =
            command.args(arguments).stdout(Stdio::from(writer)).spawn().expect("the command starts");
        // The command has the other copy of the writing end.
        drop((reader, command));
        let output = process.wait_with_output().await.expect("the command ends");
        let stderr = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {stderr}");
        assert!(stderr.contains(told), "{arguments:?}: {stderr}");
        assert!(status != 0 || stderr.is_empty(), "{arguments:?}: {stderr}");
    }
}

#[tokio::test]
async fn help_and_completions_need_no_settings() {
    let keygate = Keygate::new();
    let help = keygate.run(&["--help"]).await;
    for text in ["keygate bootstrap", "keygate keys create", "KEYGATE_KEY"] {
        assert!(help.ok().contains(text), "{text}: {help:?}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(keygate.run(&["completions", shell]).await.ok().contains("keygate"), "{shell}");
    }
    assert!(keygate.run(&["--version"]).await.ok().starts_with("keygate "));
}
