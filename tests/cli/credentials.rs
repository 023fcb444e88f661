//! Where the key and the other settings come from.

use serde_json::json;

use super::Keygate;
use crate::support::stack::variable;
use crate::support::workspace::Workspace;

#[tokio::test]
async fn a_key_comes_from_standard_input_if_it_is_asked_for() {
    let workspace = Workspace::new().await;
    let keygate = Keygate::with_key("kg_key_of_the_variable");
    let done =
        keygate.run_with_input(&["whoami", "--key-stdin", "--json"], &format!("{}\n", workspace.admin)).await;
    assert!(done.ok().contains(&workspace.id), "{done:?}");
}

#[tokio::test]
async fn a_key_is_typed_at_a_terminal_and_not_shown() {
    let workspace = Workspace::new().await;
    let keygate = Keygate::new().set("KEYGATE_API_URL", &variable("KEYGATE_API_URL"));
    let (succeeded, shown) = keygate.at_a_terminal("whoami", &format!("{}\n", workspace.admin)).await;
    assert!(succeeded, "{shown}");
    assert!(shown.contains("API key") && shown.contains(&workspace.id), "{shown}");
}

#[tokio::test]
async fn a_credential_in_an_argument_is_refused_and_not_repeated() {
    let workspace = Workspace::new().await;
    let done = Keygate::of(&workspace).run(&["keys", "show", &workspace.admin]).await;
    done.assert_failed(2, &["an argument has a credential", "rotate it"]);
    assert!(!done.stderr.contains(&workspace.admin), "{done:?}");
}

#[tokio::test]
async fn a_missing_key_is_a_refusal_that_says_how_to_give_one() {
    let keygate = Keygate::new().set("KEYGATE_API_URL", &variable("KEYGATE_API_URL"));
    for command in [&["whoami"][..], &["keys", "list"], &["whoami", "--key-stdin"]] {
        keygate.run(command).await.assert_failed(4, &["no key"]);
    }
    keygate.run(&["whoami"]).await.assert_failed(4, &["KEYGATE_KEY", "--key-stdin", "keygate bootstrap"]);
}

#[tokio::test]
async fn options_come_before_variables_and_variables_before_the_profile() {
    let workspace = Workspace::new().await;
    let keygate = Keygate::new().set("KEYGATE_KEY", &workspace.admin);
    let good = variable("KEYGATE_API_URL");
    let nowhere = "http://127.0.0.1:1/v1";
    keygate.file(
        ".config/keygate/config.toml",
        &format!("[default]\nurl = {}\n\n[far]\nurl = \"{nowhere}\"\n", json!(good)),
    );
    keygate.run(&["whoami"]).await.ok();
    keygate.run(&["whoami", "--profile", "far"]).await.assert_failed(5, &[nowhere]);
    keygate.run(&["whoami", "--profile", "far", "--url", &good]).await.ok();
    keygate.run(&["whoami", "--profile", "farther"]).await.assert_failed(2, &["default, far"]);
    let keygate = keygate.set("KEYGATE_API_URL", nowhere);
    keygate.run(&["whoami"]).await.assert_failed(5, &[nowhere]);
    keygate.run(&["whoami", "--url", &good]).await.ok();
    let keygate = keygate.set("KEYGATE_API_URL", "");
    keygate.run(&["whoami"]).await.ok();
}

#[tokio::test]
async fn a_key_in_a_profile_is_refused() {
    let keygate = Keygate::new();
    keygate.file("xdg/keygate/config.toml", "[default]\nkey = \"kg_key_secret\"\n");
    let folder = keygate.path("xdg");
    let keygate = keygate.set("XDG_CONFIG_HOME", folder.to_str().expect("UTF-8"));
    let done = keygate.run(&["whoami"]).await;
    done.assert_failed(2, &["config.toml, line 2", "never a key"]);
    assert!(!done.stderr.contains("kg_key_secret"), "{done:?}");
}

#[tokio::test]
async fn what_cannot_be_undone_is_confirmed() {
    let workspace = Workspace::new().await;
    let keygate = Keygate::of(&workspace);
    let key = workspace.key_of("bob", &[]).await;
    let id = key.split('_').nth(2).expect("an id");
    keygate.run(&["keys", "delete", id]).await.assert_failed(2, &["--yes"]);
    keygate.run(&["users", "remove", "bob"]).await.assert_failed(2, &["--yes"]);
    assert!(workspace.accepts(&key).await);
}

#[tokio::test]
async fn what_cannot_be_undone_is_asked_for_at_a_terminal() {
    let workspace = Workspace::new().await;
    let keygate = Keygate::of(&workspace);
    let key = workspace.key_of("bob", &[]).await;
    let delete = format!("keys delete {}", key.split('_').nth(2).expect("an id"));
    for no in ["n\n", "\n"] {
        let (succeeded, shown) = keygate.at_a_terminal(&delete, no).await;
        assert!(!succeeded && shown.contains("[y/N]") && shown.contains("nothing was done"), "{shown}");
        assert!(workspace.accepts(&key).await);
    }
    let (succeeded, shown) = keygate.at_a_terminal(&delete, "y\n").await;
    assert!(succeeded && shown.contains("is deleted"), "{shown}");
    assert!(!workspace.accepts(&key).await);
}
