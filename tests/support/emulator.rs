//! Calls of the emulated AWS: invocations, logs, and the deployed resources.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::eventually_some;
use crate::support::stack::{Answer, Api, variable};
use crate::support::workspace::text;

/// Invokes a function directly, which takes `lambda:InvokeFunction`.
pub(crate) async fn invoke(api: &Api, function: &str, event: &Value) -> Value {
    let url = format!("{}/2015-03-31/functions/{function}/invocations", variable("AWS_ENDPOINT_URL"));
    let request = signed(api.client().post(url), "lambda").body(event.to_string());
    Answer::of(request.send().await.expect("the emulator responds")).await.json()
}

/// Invokes a function directly without waiting for it.
pub(crate) async fn invoke_later(api: &Api, function: &str, event: &Value) {
    let url = format!("{}/2015-03-31/functions/{function}/invocations", variable("AWS_ENDPOINT_URL"));
    let request = signed(api.client().post(url), "lambda").header("X-Amz-Invocation-Type", "Event");
    let answer =
        Answer::of(request.body(event.to_string()).send().await.expect("the emulator responds")).await;
    assert_eq!(answer.status, 202, "{answer:?}");
}

/// Puts an event on the default bus.
pub(crate) async fn put_event(api: &Api, source: &str, kind: &str, detail: &Value) {
    let entry = json!({"Source": source, "DetailType": kind, "Detail": detail.to_string()});
    let request = signed(api.client().post(variable("AWS_ENDPOINT_URL")), "events")
        .header("X-Amz-Target", "AWSEvents.PutEvents")
        .header("Content-Type", "application/x-amz-json-1.1")
        .body(json!({"Entries": [entry]}).to_string());
    let answer = Answer::of(request.send().await.expect("the emulator responds")).await.json();
    assert_eq!(answer["FailedEntryCount"], 0, "{answer}");
}

/// Writes lines into a log of a group, as API Gateway does.
pub(crate) async fn put_log_lines(api: &Api, group: &str, stream: &str, lines: &[String]) {
    let log = json!({"logGroupName": group, "logStreamName": stream});
    logs(api, "CreateLogStream", log.clone()).await;
    let now = chrono::Utc::now().timestamp_millis();
    let events: Vec<_> = lines.iter().map(|line| json!({"timestamp": now, "message": line})).collect();
    let mut put = log;
    put["logEvents"] = json!(events);
    logs(api, "PutLogEvents", put).await;
}

/// The configurations of the deployed functions of Keygate.
pub(crate) async fn functions(api: &Api) -> Vec<Value> {
    let url = format!("{}/2015-03-31/functions/", variable("AWS_ENDPOINT_URL"));
    let request = signed(api.client().get(url), "lambda");
    let answer = Answer::of(request.send().await.expect("the emulator responds")).await.json();
    let prefix = format!("{}-", variable("KEYGATE_STACK"));
    let examples = format!("{}-", variable("KEYGATE_EXAMPLES_STACK"));
    let name = |function: &Value| function["FunctionName"].as_str().unwrap_or_default().to_owned();
    let all = answer["Functions"].as_array().expect("functions").clone();
    all.into_iter()
        .filter(|function| name(function).starts_with(&prefix) && !name(function).starts_with(&examples))
        .collect()
}

/// Invokes the deployed function whose name in the template is that, as a schedule or a stream does.
pub(crate) async fn run(api: &Api, logical_name: &str, event: &Value) -> Value {
    let functions = functions(api).await;
    let mut names = functions.iter().filter_map(|function| function["FunctionName"].as_str());
    let name = names.find(|name| name.contains(logical_name)).expect("a deployed function");
    invoke(api, name, event).await
}

/// Gives a deployed function's variable another value, as a deployment with another parameter does, and returns the one that
/// it had. An alias gets a version with it.
pub(crate) async fn set_variable(api: &Api, logical_name: &str, variable_name: &str, value: &str) -> String {
    let functions = functions(api).await;
    let mut functions = functions.iter();
    let is_wanted = |function: &&Value| text(function, "FunctionName").contains(logical_name);
    let function = functions.find(is_wanted).expect("a deployed function");
    let mut variables = function["Environment"]["Variables"].clone();
    let before = text(&variables, variable_name).to_owned();
    variables[variable_name] = json!(value);
    let name = text(function, "FunctionName");
    let body = json!({"Environment": {"Variables": variables}});
    lambda(api, Method::PUT, &format!("{name}/configuration"), Some(&body)).await;
    let aliases = lambda(api, Method::GET, &format!("{name}/aliases"), None).await;
    for alias in aliases["Aliases"].as_array().expect("aliases") {
        let published = lambda(api, Method::POST, &format!("{name}/versions"), Some(&json!({}))).await;
        let path = format!("{name}/aliases/{}", text(alias, "Name"));
        lambda(api, Method::PUT, &path, Some(&json!({"FunctionVersion": published["Version"]}))).await;
    }
    before
}

/// Calls Lambda about a function, and returns its response.
async fn lambda(api: &Api, method: Method, path: &str, body: Option<&Value>) -> Value {
    let url = format!("{}/2015-03-31/functions/{path}", variable("AWS_ENDPOINT_URL"));
    let mut request = signed(api.client().request(method, url), "lambda");
    if let Some(body) = body {
        request = request.body(body.to_string());
    }
    let answer = Answer::of(request.send().await.expect("the emulator responds")).await;
    assert!(matches!(answer.status, 200 | 201), "{answer:?}");
    answer.json()
}

/// Every policy document that is written into a role.
pub(crate) async fn role_policies(api: &Api, role: &str) -> Vec<Value> {
    let names = iam(api, &[("Action", "ListRolePolicies"), ("RoleName", role)]).await;
    let mut documents = Vec::new();
    for name in between(&names, "<member>", "</member>") {
        let policy = iam(api, &[("Action", "GetRolePolicy"), ("RoleName", role), ("PolicyName", name)]).await;
        let document =
            between(&policy, "<PolicyDocument>", "</PolicyDocument>").into_iter().next().expect("a document");
        let document = percent_decode_str(document).decode_utf8().expect("UTF-8").replace("&quot;", "\"");
        documents.push(serde_json::from_str(&document).expect("a policy in JSON"));
    }
    let attached = iam(api, &[("Action", "ListAttachedRolePolicies"), ("RoleName", role)]).await;
    assert!(!attached.contains("<PolicyArn>"), "{role} has a managed policy: {attached}");
    documents
}

async fn iam(api: &Api, parameters: &[(&str, &str)]) -> String {
    query(api, ("iam", "2010-05-08"), parameters).await
}

async fn query(api: &Api, (service, version): (&str, &str), parameters: &[(&str, &str)]) -> String {
    let parameters: Vec<_> = parameters.iter().copied().chain([("Version", version)]).collect();
    let request = signed(api.client().post(variable("AWS_ENDPOINT_URL")), service).form(&parameters);
    let answer = Answer::of(request.send().await.expect("the emulator responds")).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.text
}

/// Every line that any function has logged.
pub(crate) async fn log_lines(api: &Api) -> Vec<String> {
    let mut lines = Vec::new();
    for group in logs(api, "DescribeLogGroups", json!({})).await["logGroups"].as_array().expect("log groups")
    {
        let mut page = json!({"logGroupName": group["logGroupName"]});
        loop {
            let found = logs(api, "FilterLogEvents", page.clone()).await;
            let events = found["events"].as_array().expect("events").iter();
            lines.extend(events.map(|event| event["message"].as_str().expect("a message").to_owned()));
            match &found["nextToken"] {
                Value::String(token) => {
                    assert_ne!(page["nextToken"], **token, "the same page of {}", page["logGroupName"]);
                    page["nextToken"] = json!(token);
                }
                _ => break,
            }
        }
    }
    lines
}

/// The response to a call of `CloudWatch` Logs. The emulator fails to list groups and lines while functions write others, so a
/// call is repeated.
async fn logs(api: &Api, operation: &str, parameters: Value) -> Value {
    eventually_some("the emulator responds to a call of its logs", async || {
        let request = signed(api.client().post(variable("AWS_ENDPOINT_URL")), "logs")
            .header("X-Amz-Target", format!("Logs_20140328.{operation}"))
            .header("Content-Type", "application/x-amz-json-1.1")
            .body(parameters.to_string());
        let answer = Answer::of(request.send().await.expect("the emulator responds")).await;
        assert!(answer.status == 200 || answer.status >= 500, "{operation}: {answer:?}");
        (answer.status == 200).then(|| answer.json())
    })
    .await
}

/// The MAC of `message` under a KMS key.
pub(crate) async fn generate_mac(api: &Api, key: &str, message: &str) -> Vec<u8> {
    let request = signed(api.client().post(variable("AWS_ENDPOINT_URL")), "kms")
        .header("X-Amz-Target", "TrentService.GenerateMac")
        .header("Content-Type", "application/x-amz-json-1.1")
        .body(
            json!({"KeyId": key, "MacAlgorithm": "HMAC_SHA_256", "Message": STANDARD.encode(message)})
                .to_string(),
        );
    let answer = Answer::of(request.send().await.expect("the emulator responds")).await.json();
    STANDARD.decode(answer["Mac"].as_str().expect("a MAC")).expect("base64")
}

/// Signs a text with an RSA key of the emulated KMS, as issue-token does.
pub(crate) async fn sign_digest(api: &Api, key: &str, text: &[u8]) -> Vec<u8> {
    let message = STANDARD.encode(Sha256::digest(text));
    let algorithm = "RSASSA_PKCS1_V1_5_SHA_256";
    let request = signed(api.client().post(variable("AWS_ENDPOINT_URL")), "kms")
        .header("X-Amz-Target", "TrentService.Sign")
        .header("Content-Type", "application/x-amz-json-1.1")
        .body(
            json!({"KeyId": key, "Message": message, "MessageType": "DIGEST", "SigningAlgorithm": algorithm})
                .to_string(),
        );
    let answer = Answer::of(request.send().await.expect("the emulator responds")).await.json();
    STANDARD.decode(answer["Signature"].as_str().expect("a signature")).expect("base64")
}

/// The emulator reads the service and the region out of a signature, and does not check it.
pub(crate) fn signed(request: reqwest::RequestBuilder, service: &str) -> reqwest::RequestBuilder {
    let (id, region) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_REGION"));
    let scope = format!("{id}/20260101/{region}/{service}/aws4_request");
    request.header(
        "Authorization",
        format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"),
    )
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Vec<&'a str> {
    text.split(start).skip(1).filter_map(|rest| rest.split_once(end)).map(|(inside, _)| inside).collect()
}
