//! Checks of a whole run: its tables, logs and recorded calls. `make e2e` runs them last, when all other tests have left
//! their traces.

use std::collections::{BTreeMap, BTreeSet};

use aho_corasick::AhoCorasick;
use aws_sdk_dynamodb::types::ProjectionType;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use keygate_core::permits::Slot;
use serde_json::Value;

use crate::support::database::{Contents, TABLES, everything, string, to_json};
use crate::support::emulator::{functions, generate_mac, log_lines, role_policies};
use crate::support::stack::{Api, dynamodb, run_folder, variable};
use crate::support::workspace::PAST_RETENTION;

const LEGACY_KEYS_TABLE: &str = "KEYGATE_LEGACY_KEYS_TABLE";

/// The binary attributes. Each of them is a MAC or random.
const BINARY: [(&str, &str); 7] = [
    ("KEYGATE_KEYS_TABLE", "hash"),
    ("KEYGATE_KEYS_TABLE", "previous_hash"),
    ("KEYGATE_TOKENS_TABLE", "hash"),
    ("KEYGATE_TOKENS_TABLE", "page_hash"),
    (LEGACY_KEYS_TABLE, "hash"),
    ("KEYGATE_WORKSPACES_TABLE", "nonce"),
    ("KEYGATE_WORKSPACES_TABLE", "request"),
];

/// A key's text ends in 43 characters of secret and 6 of checksum. No other text has that many base62 characters in a row
/// after an id and an underscore.
fn has_credential(text: &str) -> bool {
    [("_key_", 76), ("_tok_", 103), ("_ref_", 103), ("_ses_", 103), ("_cod_", 103)].iter().any(
        |(kind, length)| {
            text.match_indices(kind).any(|(index, _)| {
                let rest = text.as_bytes()[index + kind.len()..].get(..*length);
                rest.is_some_and(|rest| rest.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_'))
            })
        },
    )
}

#[test]
fn a_credential_is_recognised_wherever_it_stands() {
    let key = "kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E_003aUlTJC7tjlCTQj2uNU3MFagCXG9LRKRcwGkBIDlf1uQGQy";
    assert!(has_credential(&format!("{{\"authorization\":\"Bearer {key}\"}}")));
    assert!(!has_credential(
        "kg_key_01JD3V6Y4N8Q2Z5X7W9B0C1D2E, whose secret is not here, whatever else there may be in the line"
    ));
}

#[tokio::test]
async fn no_table_and_no_log_has_a_secret_a_hash_in_text_or_a_pepper() {
    let mut hashes: BTreeSet<Vec<u8>> = BTreeSet::new();
    let mut texts = Vec::new();
    for table in TABLES.into_iter().chain([LEGACY_KEYS_TABLE]) {
        for item in everything(table).await {
            for (name, value) in item {
                match value.as_b() {
                    Ok(bytes) => {
                        assert!(BINARY.contains(&(table, name.as_str())), "{table} {name}");
                        assert_eq!(bytes.as_ref().len(), 32, "{table} {name}");
                        hashes.insert(bytes.as_ref().to_vec());
                    }
                    Err(other) => texts.push(format!("{name}: {other:?}")),
                }
            }
        }
    }
    let api = Api::default();
    let mut lines = log_lines(&api).await;
    for entry in std::fs::read_dir(run_folder()).expect("the run's folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_some_and(|extension| extension == "log") {
            lines.extend(std::fs::read_to_string(path).expect("a log").lines().map(str::to_owned));
        }
    }
    let calls = std::fs::read_to_string(variable("KEYGATE_DISTINCT_CALLS")).expect("the recorded calls");
    lines.extend(calls.lines().map(str::to_owned));
    assert!(hashes.len() > 1 && texts.len() > 100 && lines.len() > 100, "there is something to search");
    assert!(
        lines.iter().any(|line| line.contains("\"decision\":\"allowed\"")),
        "the functions' own lines are among them"
    );

    let issued = std::fs::read_to_string(run_folder().join("secrets")).expect("the run's secrets");
    let mut forbidden: Vec<String> = issued.lines().map(str::to_owned).collect();
    assert!(forbidden.len() > 100, "there is something to search for");
    for bytes in hashes.iter().chain(&derived_keys(&api).await) {
        let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let decimal: Vec<String> = bytes.iter().map(u8::to_string).collect();
        let hex = hex.concat();
        forbidden.extend([
            STANDARD.encode(bytes),
            URL_SAFE_NO_PAD.encode(bytes),
            decimal.join(", "),
            decimal.join(","),
        ]);
        forbidden.extend([hex.to_uppercase(), hex]);
    }
    let forbidden = AhoCorasick::new(forbidden).expect("texts to search for");
    for text in texts.iter().chain(&lines) {
        assert!(!has_credential(text), "a credential in {text}");
        assert_eq!(forbidden.find(text), None, "a hash or a pepper in {text}");
    }
}

/// The peppers, the idempotent-create key and the idempotent-rotate key, as KMS derives them.
async fn derived_keys(api: &Api) -> Vec<Vec<u8>> {
    let mut peppers = Vec::new();
    let pepper_key = variable("KEYGATE_PEPPER_KEY");
    for version in variable("KEYGATE_PEPPER_VERSIONS").split(',') {
        peppers.push(generate_mac(api, &pepper_key, &format!("keygate-pepper-{version}")).await);
    }
    for source in ["KEYGATE_IDEMPOTENT_CREATE_MAC_KEY", "KEYGATE_IDEMPOTENT_ROTATE_MAC_KEY"].map(variable) {
        let mut parts = source.splitn(3, ':').skip(1);
        let (label, key) = (parts.next().expect("a label"), parts.next().expect("a key"));
        peppers.push(generate_mac(api, key, label).await);
    }
    peppers
}

/// The calls of functions that a run does not record: the function, the action, and the variable with its table. The stack has
/// one pepper, so no function hashes a key anew. `deferred_work` tests that with functions of its own, and
/// `tests/roles/legitimate_calls.yaml` has the call.
const UNRECORDED: [(&str, &str, &str); 2] = [
    ("authorize", "dynamodb:UpdateItem", "KEYGATE_KEYS_TABLE"),
    ("introspect-token", "dynamodb:UpdateItem", "KEYGATE_KEYS_TABLE"),
];

/// The actions and resources of a role's policies, or of a function's recorded calls.
type Permissions = BTreeSet<(String, String)>;

#[tokio::test]
async fn every_role_allows_exactly_the_calls_of_its_function() {
    let api = Api::default();
    let mut recorded: BTreeMap<String, Permissions> = BTreeMap::new();
    let calls = std::fs::read_to_string(variable("KEYGATE_CALLS_LOG")).expect("the calls were recorded");
    for call in calls.lines() {
        let call: Value = serde_json::from_str(call).expect("a line of JSON");
        let Some(function) = call["function"].as_str() else { panic!("a call without a function: {call}") };
        for action in call["actions"].as_array().expect("actions") {
            let (action, resource) = (&action[0], &action[1]);
            let pair = (
                action.as_str().expect("an action").to_owned(),
                last_part(resource.as_str().expect("a resource")),
            );
            recorded.entry(function.to_owned()).or_default().insert(pair);
        }
    }
    for (function, action, table) in UNRECORDED {
        let is_new =
            recorded.entry(function.to_owned()).or_default().insert((action.to_owned(), variable(table)));
        assert!(is_new, "a run records {action} of {function}");
    }
    let (mut wrong, mut roles) = (Vec::new(), Vec::new());
    let mut strangers: BTreeSet<_> = recorded.keys().cloned().collect();
    for function in functions(&api).await {
        let name = function["FunctionName"].as_str().expect("a name");
        let plain = |name: &str| name.to_lowercase().replace('-', "");
        // The longest, because one name begins as another: authorize-management.
        let binaries = recorded.keys().filter(|binary| plain(name).contains(&plain(binary)));
        let binary = binaries.max_by_key(|binary| binary.len());
        let calls = binary.map(|binary| recorded[binary].clone()).unwrap_or_default();
        binary.map(|binary| strangers.remove(binary));
        let role = function["Role"].as_str().and_then(|arn| arn.rsplit('/').next()).expect("a role");
        roles.push(role.to_lowercase());
        let allowed = allowed(&api, role).await;
        if allowed != calls {
            let unused: Vec<_> = allowed.difference(&calls).collect();
            let missing: Vec<_> = calls.difference(&allowed).collect();
            wrong.push(format!("{name} never did {unused:?}, and may not do {missing:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(strangers.is_empty(), "calls of no function: {strangers:?}");
    for exception in COMPARING.iter().chain(&APPENDING) {
        assert!(
            roles.iter().any(|role| role.contains(exception)),
            "{exception} is in no role's name: {roles:?}"
        );
    }
}

/// This applies the check of single workspaces to everything that the run has left.
#[tokio::test]
async fn all_tables_fit_together() {
    let mut workspaces: BTreeMap<String, [Vec<Value>; 4]> = BTreeMap::new();
    for (index, table) in TABLES.into_iter().take(4).enumerate() {
        for item in everything(table).await {
            let item = to_json(&item);
            // Keygate's own partitions are not workspaces.
            if item["workspace_id"].as_str().is_some_and(|partition| partition.starts_with('#')) {
                continue;
            }
            // Counts of calls and of limits belong to no workspace: only the id of their key leads to them.
            if item["entry"].as_str().is_some_and(|entry| entry == "LIMITS" || entry.starts_with("CALLS#")) {
                continue;
            }
            if ["key.used", "token.issued", "token.refreshed"].iter().any(|action| item["action"] == *action)
            {
                assert!(item.get("workspace_id").is_none(), "use is in no index by workspace: {item}");
                continue;
            }
            workspaces.entry(string(&item["workspace_id"])).or_default()[index].push(item);
        }
    }
    assert!(workspaces.len() > 20, "the run has left something");
    for (workspace, [keys, entries, events, last_uses]) in workspaces {
        if !workspace.starts_with(PAST_RETENTION) {
            Contents::new(keys, entries, events, last_uses).assert_consistent();
        }
    }
}

/// The statements of a role, without those for the function's own log and its failed events.
async fn allowed(api: &Api, role: &str) -> Permissions {
    let list = |value: &Value| match value {
        Value::Array(values) => {
            values.iter().map(|value| value.as_str().expect("a string").to_owned()).collect()
        }
        other => vec![other.as_str().expect("a string").to_owned()],
    };
    let mut allowed = Permissions::new();
    for policy in role_policies(api, role).await {
        for statement in policy["Statement"].as_array().expect("statements") {
            assert_eq!(statement["Effect"], "Allow", "{statement}");
            for action in list(&statement["Action"]) {
                let resources = list(&statement["Resource"]);
                assert_conditions(role, &action, &resources, &statement["Condition"]);
                for resource in resources {
                    assert!(!action.contains('*') && resource != "*", "{statement}");
                    if !is_lambdas(&action, &resource) {
                        allowed.insert((action.clone(), last_part(&resource)));
                    }
                }
            }
        }
    }
    allowed
}

/// Whether Lambda itself makes a call in the role's name: writing the log, reading a stream or a queue for the function, and
/// storing events that the function failed to handle.
fn is_lambdas(action: &str, resource: &str) -> bool {
    matches!(
        action,
        "logs:CreateLogStream"
            | "logs:PutLogEvents"
            | "dynamodb:DescribeStream"
            | "dynamodb:GetShardIterator"
            | "dynamodb:GetRecords"
            | "dynamodb:ListStreams"
            | "sqs:ReceiveMessage"
            | "sqs:DeleteMessage"
            | "sqs:GetQueueAttributes"
    ) || action == "sqs:SendMessage" && resource.contains("Failures")
}

/// The roles that read a credential with its hash, because they compare it.
const COMPARING: [&str; 7] = [
    "authorizerole",
    "authorizemanagementrole",
    "createkeyrole",
    "issuetokenrole",
    "revoketokenrole",
    "introspecttokenrole",
    "reportleaksrole",
];

/// The roles that write calls or refusals into the audit trail. These are no changes, so no transaction has them.
const APPENDING: [&str; 6] = [
    "authorizerole",
    "authorizemanagementrole",
    "ingestaccesslogsrole",
    "issuetokenrole",
    "revoketokenrole",
    "introspecttokenrole",
];

/// Checks the conditions of a role's actions: writes are bound to transactions, except for deferred work, and reads to
/// attributes without the hashes, except in the roles that compare hashes.
#[track_caller]
fn assert_conditions(role: &str, action: &str, resources: &[String], condition: &Value) {
    let attributes = || -> Vec<&str> {
        let attributes = condition["ForAllValues:StringEquals"]["dynamodb:Attributes"].as_array();
        attributes.expect("attributes").iter().map(|attribute| attribute.as_str().expect("a name")).collect()
    };
    let role = role.to_lowercase();
    match action {
        // Keygate's own items, under a key that is no workspace's.
        "dynamodb:GetItem" | "dynamodb:PutItem"
            if !condition["ForAllValues:StringEquals"]["dynamodb:LeadingKeys"].is_null() =>
        {
            let leading = &condition["ForAllValues:StringEquals"]["dynamodb:LeadingKeys"];
            assert_eq!(leading, &serde_json::json!(["#keygate"]), "{role}");
        }
        // A count is corrected by itself, on condition that it is the one that was read.
        "dynamodb:UpdateItem" if role.contains("recountusersrole") => {
            assert_eq!(attributes(), ["workspace_id", "entry", "key_count", "user_count"], "{role}");
            let returned = &condition["StringEqualsIfExists"]["dynamodb:ReturnValues"];
            assert_eq!(returned, "NONE", "{role}");
        }
        // remove-user counts legacy keys and reads none.
        "dynamodb:Query"
            if role.contains("removeuserrole")
                && resources.iter().all(|resource| resource.contains("LegacyKeysTable")) =>
        {
            assert_eq!(condition["StringEqualsIfExists"]["dynamodb:Select"], "COUNT", "{role}");
        }
        // The use of keys has no hashes.
        "dynamodb:GetItem" | "dynamodb:BatchGetItem" | "dynamodb:Query" | "dynamodb:Scan"
            if resources.iter().all(|resource| resource.contains("UsageTable")) => {}
        // The import looks up hashes that it has made itself.
        "dynamodb:BatchGetItem" if role.contains("importlegacykeysrole") => {
            let expected = ["hash", "key_id", "workspace_id", "user_id", "name", "scopes", "last_used_at"];
            assert_eq!(attributes(), expected, "{role}");
        }
        // Every index of a table has the table's key, and of legacy keys that is the hash. A policy has to name it.
        "dynamodb:Query" if resources.iter().all(|resource| resource.contains("LegacyKeysTable")) => {
            assert!(attributes().contains(&"hash") && !attributes().contains(&"pepper_version"), "{role}");
        }
        "dynamodb:Scan" => assert!(!attributes().contains(&"nonce"), "{role}"),
        "events:PutEvents" => {
            assert_eq!(condition["ForAllValues:StringEquals"]["events:source"], "keygate", "{role}");
            assert_eq!(condition["Null"]["events:source"], "false", "{role}");
        }
        // It compares a page code. Of a session it reads no hash.
        "dynamodb:GetItem"
            if role.contains("exchangepagecoderole")
                && resources.iter().all(|resource| resource.contains("TokensTable")) =>
        {
            assert!(!attributes().contains(&"page_hash"), "{role}");
        }
        "dynamodb:UpdateItem"
            if ["authorizerole", "authorizemanagementrole", "introspecttokenrole"]
                .iter()
                .any(|deciding| role.contains(deciding)) =>
        {
            let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
            let of_keys = names(&["key_id", "hash", "pepper_version"]);
            let of_last_use = names(&["key_id", "entry", "last_used_at", "last_used_from"]);
            let of_calls = names(&["key_id", "entry", "hour", "allowed", "refused", "ttl"]);
            let windows = Slot::all().map(|slot| format!("{}_{}", slot.per.word(), u8::from(slot.is_odd)));
            let of_limits: Vec<_> = names(&["key_id", "entry", "ttl"]).into_iter().chain(windows).collect();
            let of_tokens = names(&["key_id", "entry", "last_used_at"]);
            let of_legacy_keys = names(&["hash", "last_used_at"]);
            let attributes = names(&attributes());
            assert!(
                [of_keys, of_last_use, of_calls, of_limits, of_tokens, of_legacy_keys].contains(&attributes),
                "{role}: {attributes:?}"
            );
        }
        // Events of calls are the only items that are put outside of transactions.
        "dynamodb:PutItem"
            if APPENDING.iter().any(|appending| role.contains(appending))
                && resources.iter().all(|resource| resource.contains("ActivityTable")) => {}
        // Only transactions have these, and AWS does not list EnclosingOperation for them.
        "dynamodb:ConditionCheckItem" => {
            assert!(attributes().len() <= 4, "{role}");
            assert_eq!(condition["ForAnyValue:StringEquals"], Value::Null, "{role}");
            assert_eq!(condition["StringEqualsIfExists"]["dynamodb:ReturnValues"], "NONE", "{role}");
        }
        "dynamodb:PutItem" | "dynamodb:UpdateItem" | "dynamodb:DeleteItem" => {
            let enclosing = &condition["ForAnyValue:StringEquals"]["dynamodb:EnclosingOperation"];
            assert_eq!(enclosing, "TransactWriteItems", "{role} {action}");
        }
        "dynamodb:GetItem" | "dynamodb:BatchGetItem" | "dynamodb:Query"
            if !condition["ForAllValues:StringEquals"]["dynamodb:Attributes"].is_null() =>
        {
            let hidden = ["hash", "pepper"];
            let is_hidden = |name: &&str| hidden.iter().any(|hidden| name.contains(hidden));
            assert!(!attributes().iter().any(is_hidden), "{role}: {:?}", attributes());
        }
        "dynamodb:GetItem" | "dynamodb:BatchGetItem" => {
            assert!(COMPARING.iter().any(|comparing| role.contains(comparing)), "{role} {action}");
        }
        "kms:GenerateMac" => {
            assert_eq!(condition["StringEquals"]["kms:MacAlgorithm"], "HMAC_SHA_256", "{role}");
        }
        _ => {}
    }
}

/// The role of `list-keys` may read indexes only, so the list cannot read what no index holds.
#[tokio::test]
async fn no_index_of_keys_contains_a_hash() {
    let description = dynamodb().describe_table().table_name(variable("KEYGATE_KEYS_TABLE")).send().await;
    let table = description.expect("the table is there").table.expect("a description");
    let indexes = table.global_secondary_indexes.expect("indexes");
    assert_eq!(indexes.len(), 5);
    for index in indexes {
        let projection = index.projection.expect("a projection");
        assert_eq!(projection.projection_type, Some(ProjectionType::Include));
        for attribute in projection.non_key_attributes.expect("attributes") {
            assert!(!attribute.contains("hash") && !attribute.contains("pepper"), "{attribute}");
        }
    }
}

/// The short name of a table, an index, a KMS key or a function, from its ARN.
fn last_part(resource: &str) -> String {
    let name = resource.rsplit(':').next().expect("a name");
    name.trim_start_matches("table/").trim_start_matches("key/").to_owned()
}
