//! Unused keys: `disable-unused-keys`, and the list's filter for them.

use chrono::Utc;
use serde_json::{Value, json};

use crate::support::database::{Contents, key, move_times, string};
use crate::support::emulator;
use crate::support::function::{Disturbance, Function, Moment};
use crate::support::tables::{Tables, create_key, update_key};
use crate::support::workspace::{Workspace, text};

const DAY: i64 = 86_400;

/// Separate tables for a test, and the functions that use them. Keys are disabled after 90 days without use, and announced
/// 14 days before that.
struct Deployment {
    tables: Tables,
    creator: Function,
    updater: Function,
    disabler: Function,
}

impl Deployment {
    async fn new() -> Self {
        let tables = Tables::new().await;
        let (creator, updater, disabler) =
            tokio::join!(tables.start("create-key"), tables.start("update-key"), start(&tables));
        Self { tables, creator, updater, disabler }
    }

    /// Creates a key with a creation time that many days ago and no use.
    async fn create(&self, name: &str, days_ago: i64) -> String {
        let body = json!({"name": name, "expires_in": 1000 * DAY});
        let id = create_key(&self.creator, &self.tables.workspace, &body).await;
        self.let_days_pass(&id, days_ago).await;
        id
    }

    async fn update(&self, id: &str, body: &Value) {
        update_key(&self.updater, &self.tables.workspace, id, body).await;
    }

    async fn key(&self, id: &str) -> Value {
        self.tables.key(id).await.expect("the key is there")
    }

    /// Moves the times of a key into the past.
    async fn let_days_pass(&self, id: &str, days: i64) {
        let key = self.key(id).await;
        self.tables.move_times(id, &key, &passed(&key, days)).await;
        let last_used_at = self.tables.last_used_at(id).await;
        if last_used_at > 0 {
            self.tables.set_last_used_at(id, last_used_at - days * DAY).await;
        }
    }

    /// Sets the last use of a key to that many days ago.
    async fn mark_used(&self, id: &str, days_ago: i64) {
        let at = Utc::now().timestamp() - days_ago * DAY;
        self.tables.set_last_used_at(id, at).await;
    }

    async fn run(&self) {
        self.disabler.invoke(json!({})).await.expect("a run");
    }

    /// The actions of the key's events with the actor `keygate:unused`.
    async fn actions(&self, id: &str) -> Vec<String> {
        let contents = self.tables.contents().await;
        events(&contents, id).iter().map(|event| string(&event["action"])).collect()
    }

    async fn is_disabled(&self, id: &str) -> bool {
        self.key(id).await.get("disabled_at").is_some()
    }
}

async fn start(tables: &Tables) -> Function {
    tables.start_with("disable-unused-keys", &[("DISABLE_UNUSED_DAYS", "90")]).await
}

/// The times that decide whether a key is unused, that many days earlier. The last use is stored apart.
fn passed(key: &Value, days: i64) -> Vec<(&'static str, i64)> {
    let times = ["created_at", "unused_notice_at"];
    times.iter().filter_map(|name| Some((*name, key[*name].as_i64()? - days * DAY))).collect()
}

fn events<'a>(contents: &'a Contents, id: &str) -> Vec<&'a Value> {
    let system_unused = |event: &&Value| string(&event["actor"]).ends_with("#keygate:unused");
    contents.events.iter().filter(system_unused).filter(|event| event["key_id"] == id).collect()
}

#[tokio::test]
async fn an_unused_key_is_announced_and_14_days_later_disabled() {
    let deployment = Deployment::new().await;
    let id = deployment.create("ci", 75).await;
    deployment.run().await;
    assert_eq!(deployment.actions(&id).await, [""; 0], "75 days without use are too few for a notice");

    deployment.let_days_pass(&id, 1).await;
    for _ in 0..2 {
        deployment.run().await;
        assert_eq!(deployment.actions(&id).await, ["key.unused"], "it is announced once");
    }
    let contents = deployment.tables.contents().await;
    let notice = events(&contents, &id)[0];
    assert_eq!((&notice["days_left"], &notice["target"]), (&json!(14), &json!("admin")), "{notice}");
    assert_eq!(deployment.key(&id).await["revision"], 1, "the revision does not change");

    deployment.let_days_pass(&id, 13).await;
    deployment.run().await;
    assert!(!deployment.is_disabled(&id).await, "a day before");

    deployment.let_days_pass(&id, 1).await;
    for _ in 0..2 {
        deployment.run().await;
        assert_eq!(deployment.actions(&id).await, ["key.unused", "key.updated"], "it is disabled once");
    }
    let contents = deployment.tables.contents().await;
    assert_eq!(events(&contents, &id)[1]["changed"], json!(["disabled"]));
    let key = deployment.key(&id).await;
    assert!(key["disabled_at"].is_i64() && key["revision"] == 2, "{key}");
}

#[tokio::test]
async fn a_key_that_was_unused_for_long_has_its_notice_all_the_same() {
    let deployment = Deployment::new().await;
    let id = deployment.create("ci", 400).await;
    deployment.run().await;
    deployment.let_days_pass(&id, 13).await;
    deployment.run().await;
    assert_eq!(deployment.actions(&id).await, ["key.unused"]);
    assert!(!deployment.is_disabled(&id).await);
}

#[tokio::test]
async fn a_key_that_is_used_after_its_notice_is_left_alone_for_another_90_days() {
    let deployment = Deployment::new().await;
    let id = deployment.create("ci", 76).await;
    deployment.run().await;
    deployment.let_days_pass(&id, 10).await;
    deployment.mark_used(&id, 5).await;
    deployment.let_days_pass(&id, 70).await;
    deployment.run().await;
    assert_eq!(deployment.actions(&id).await, ["key.unused"], "75 days after its use");
    deployment.let_days_pass(&id, 15).await;
    deployment.run().await;
    assert_eq!(deployment.actions(&id).await, ["key.unused", "key.unused"], "a second notice");
    assert!(
        !deployment.is_disabled(&id).await,
        "the second notice was late, so the key is not disabled yet after 90 days"
    );
}

#[tokio::test]
async fn a_key_that_is_switched_on_again_has_another_notice_first() {
    let deployment = Deployment::new().await;
    let id = deployment.create("ci", 90).await;
    deployment.run().await;
    deployment.let_days_pass(&id, 14).await;
    deployment.run().await;
    assert!(deployment.is_disabled(&id).await);
    deployment.update(&id, &json!({"disabled": false})).await;
    deployment.let_days_pass(&id, 1).await;
    deployment.run().await;
    assert_eq!(deployment.actions(&id).await, ["key.unused", "key.updated", "key.unused"]);
    assert!(!deployment.is_disabled(&id).await);
    deployment.let_days_pass(&id, 14).await;
    deployment.run().await;
    assert!(deployment.is_disabled(&id).await);
}

#[tokio::test]
async fn disabled_and_expired_keys_are_not_announced() {
    let deployment = Deployment::new().await;
    let expired = deployment.create("expired", 400).await;
    let key = deployment.key(&expired).await;
    let just_now = ("expires_at", Utc::now().timestamp() - 1);
    deployment.tables.move_times(&expired, &key, &[just_now]).await;
    let disabled = deployment.create("disabled", 400).await;
    deployment.update(&disabled, &json!({"disabled": true})).await;
    deployment.run().await;
    for id in [&expired, &disabled] {
        assert_eq!(deployment.actions(id).await, [""; 0]);
    }
}

#[tokio::test]
async fn a_use_or_a_change_at_the_same_time_wins_over_the_notice_and_the_disabling() {
    let deployment = Deployment::new().await;
    for (days_after_notice, expected) in [(None, &[][..]), (Some(14), &["key.unused"])] {
        for is_used in [true, false] {
            let name = format!("{days_after_notice:?} {is_used}");
            let id = deployment.create(&name, 90).await;
            if let Some(days) = days_after_notice {
                deployment.run().await;
                deployment.let_days_pass(&id, days).await;
            }
            let meanwhile = async {
                if is_used {
                    deployment.mark_used(&id, 0).await;
                } else {
                    deployment.update(&id, &json!({"description": "needed at the end of the year"})).await;
                }
            };
            Box::pin(deployment.disabler.invoke_while(json!({}), meanwhile)).await;
            assert_eq!(deployment.actions(&id).await, expected, "{name}");
            assert!(!deployment.is_disabled(&id).await, "{name}");
            // The next run must ignore this key, so that it delays a write of the next key.
            deployment.mark_used(&id, 0).await;
        }
    }
}

#[tokio::test]
async fn a_key_that_cannot_be_changed_keeps_no_other_key_waiting() {
    let deployment = Deployment::new().await;
    let (broken, other) = (deployment.create("broken", 400).await, deployment.create("other", 400).await);
    deployment.disabler.disturb(Disturbance::RefuseKey(broken.clone().leak()));
    let error = deployment.disabler.invoke(json!({})).await.expect_err("a run that failed");
    assert!(error.contains("unused keys that cannot be changed: 1; announced: 1"), "{error}");
    assert_eq!(deployment.actions(&broken).await, [""; 0]);
    assert_eq!(deployment.actions(&other).await, ["key.unused"]);
    deployment.disabler.disturb(Disturbance::None);
    deployment.run().await;
    assert_eq!(deployment.actions(&broken).await, ["key.unused"]);
}

#[tokio::test]
async fn a_run_continues_where_the_last_one_ended() {
    let deployment = Deployment::new().await;
    let (passed, ahead) = (deployment.create("passed", 400).await, deployment.create("ahead", 400).await);
    deployment.mark_used(&passed, 300).await;
    deployment.mark_used(&ahead, 200).await;
    let last_used_at = deployment.tables.last_used_at(&passed).await;
    let place = format!("{} {last_used_at} {passed}", deployment.tables.workspace.id);
    let note = json!({"workspace_id": "#keygate", "entry": "UNUSED", "note": place});
    deployment.tables.put_entry(&note).await;
    deployment.run().await;
    assert_eq!(deployment.actions(&passed).await, [""; 0]);
    assert_eq!(deployment.actions(&ahead).await, ["key.unused"]);
    deployment.run().await;
    assert_eq!(deployment.actions(&passed).await, ["key.unused"], "from the beginning again");
}

#[tokio::test]
async fn after_a_kill_at_any_call_the_next_run_has_the_result_of_one_clean_run() {
    let deployment = Deployment::new().await;
    // One key to announce, and one to disable.
    let prepare = async |name: &str| {
        let to_disable = deployment.create(&format!("{name}: to disable"), 90).await;
        deployment.run().await;
        deployment.let_days_pass(&to_disable, 14).await;
        (to_disable, deployment.create(&format!("{name}: to announce"), 76).await)
    };
    let check = async |(to_disable, to_announce): &(String, String), when: &str| {
        assert_eq!(deployment.actions(to_disable).await, ["key.unused", "key.updated"], "{when}");
        assert!(deployment.is_disabled(to_disable).await, "{when}");
        assert_eq!(deployment.actions(to_announce).await, ["key.unused"], "{when}");
        assert!(!deployment.is_disabled(to_announce).await, "{when}");
        // The next rounds must ignore this key.
        deployment.mark_used(to_announce, 0).await;
    };
    let clean = prepare("clean").await;
    deployment.disabler.take_calls();
    deployment.run().await;
    let calls = deployment.disabler.take_calls();
    check(&clean, "clean").await;
    assert_eq!(
        calls.len(),
        6,
        "a note is read, one is written, a page in two reads, two transactions: {calls:?}"
    );

    for at in 0..calls.len() {
        for moment in [Moment::Before, Moment::After] {
            let when = format!("{at} {moment:?}");
            let keys = prepare(&when).await;
            let killed = start(&deployment.tables).await;
            killed.disturb(Disturbance::KillAt(u32::try_from(at).expect("a small number"), moment));
            assert!(!killed.survives(json!({})).await, "{when}");
            deployment.run().await;
            check(&keys, &when).await;
        }
    }
}

#[tokio::test]
async fn the_deployed_function_announces_and_disables_the_keys_that_are_listed_as_unused() {
    let workspace = Workspace::new().await;
    let id = text(&workspace.created(json!({"name": "ci"})).await, "id").to_owned();
    let let_days_pass = async |days| move_times(&id, &passed(&key(&id).await, days)).await;
    let listed = async |days: i64| {
        let query = format!("?status=unused&unused_days={days}");
        let page = workspace.list(&workspace.admin, &query).await.json();
        page["items"].as_array().expect("items").iter().map(|key| string(&key["id"])).collect::<Vec<_>>()
    };
    let_days_pass(76).await;
    assert_eq!(listed(76).await, [&*id]);
    assert_eq!(listed(77).await, [""; 0]);
    emulator::run(&workspace.api, "DisableUnusedKeys", &json!({})).await;
    assert_eq!(workspace.contents().await.events_of("key.unused", &json!(id)), 1);

    let_days_pass(14).await;
    emulator::run(&workspace.api, "DisableUnusedKeys", &json!({})).await;
    assert_eq!(workspace.get(&workspace.admin, &id).await.json()["status"], "disabled");
    let trail = workspace.activity(&format!("?key_id={id}&action=key.updated")).await;
    assert_eq!(trail["items"][0]["actor"], "keygate:unused", "{trail}");
    assert_eq!(listed(90).await, [&*id], "it still is unused");
}
