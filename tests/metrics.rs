//! The authorizer's metrics.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::function::{Disturbance, Function, token_event};
use crate::support::workspace::{Workspace, id_of};

fn call(key: &str) -> Value {
    token_event(&format!("Bearer {key}"))
}

/// The sum of each counted metric by metric and reason, and the number of values of each measured one.
fn counted(function: &Function) -> BTreeMap<String, u64> {
    let mut counted = BTreeMap::new();
    for line in function.log_lines().iter().filter(|line| line.get("_aws").is_some()) {
        assert_eq!(line["Stack"], "somewhere", "{line}");
        for metric in line["_aws"]["CloudWatchMetrics"][0]["Metrics"].as_array().expect("metrics") {
            let name = metric["Name"].as_str().expect("a name");
            let value = &line[name];
            let count =
                value.as_array().map_or_else(|| value.as_u64().expect("a count"), |all| all.len() as u64);
            let name =
                [Some(name), line["Reason"].as_str()].into_iter().flatten().collect::<Vec<_>>().join(" ");
            *counted.entry(name).or_default() += count;
        }
    }
    counted
}

#[tokio::test]
async fn decisions_are_counted_and_latencies_measured() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let deleted = workspace.key_of("eve", &[]).await;
    workspace.delete(&workspace.admin, id_of(&deleted)).await.assert_succeeded();
    let settings =
        [("METRICS_STACK", "somewhere"), ("CACHE_SECONDS", "300"), ("STALE_IF_ERROR_SECONDS", "0")];
    let authorizer = Function::start("authorize", &settings).await;
    for _ in 0..3 {
        authorizer.invoke(call(&key)).await.expect("a policy");
    }
    for refused in [deleted.as_str(), "nonsense", "other nonsense"] {
        authorizer.invoke(call(refused)).await.expect_err("a refusal");
    }
    authorizer.disturb(Disturbance::Down);
    let another = workspace.key_of("carol", &[]).await;
    authorizer.invoke(call(&another)).await.expect_err("nothing can be decided");
    authorizer.terminate().await;
    let expected = [
        ("Allowed", 3),
        ("CacheHits", 2),
        ("Refused", 3),
        ("Refused malformed", 2),
        ("Refused unknown", 1),
        ("Errors", 1),
        ("KmsLatency", 1),
        ("StoreLatency", 2),
    ];
    let mut counted = counted(&authorizer);
    // The number of events that are not written depends on when the database goes down.
    counted.remove("DeferredWriteFailures");
    assert_eq!(counted, expected.map(|(name, count)| (name.to_owned(), count)).into());
}

#[tokio::test]
async fn metrics_are_written_whatever_the_level_of_the_log() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let settings = [("METRICS_STACK", "somewhere"), ("LOG_LEVEL", "error")];
    let authorizer = Function::start("authorize", &settings).await;
    authorizer.invoke(call(&key)).await.expect("a policy");
    authorizer.terminate().await;
    assert_eq!(counted(&authorizer)["Allowed"], 1);
    let levels: Vec<_> = authorizer.log_lines().iter().map(|line| line["level"].clone()).collect();
    assert!(levels.iter().all(|level| level == "ERROR"), "Lambda would drop others: {levels:?}");
}

#[test]
fn every_function_may_send_traces_where_they_are_on() {
    // The start of the stack, without which no test here runs, has merged it.
    let template = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/infra/template.yaml");
    let template = std::fs::read_to_string(template).expect("the merged template");
    let (_, policy) = template.split_once("\n  TracePolicy:\n").expect("the policy");
    let (policy, _) = policy.split_once("PolicyDocument:").expect("its document");
    let resources = template.lines().filter_map(|line| line.strip_prefix("  ")?.strip_suffix("Function:"));
    let functions: Vec<_> = resources.filter(|name| !name.starts_with(' ') && !name.is_empty()).collect();
    assert!(functions.len() > 8, "{functions:?}");
    for function in functions {
        let role = ["\n", ","].map(|end| format!("!Ref {function}Role{end}"));
        assert!(role.iter().any(|role| policy.contains(role)), "{function}");
    }
}
