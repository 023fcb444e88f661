//! A function in a process of the test's own, with an emulated Runtime API in front of it and a proxy of the database behind it
//! that can disturb its calls.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use lambda_simulator::{FreezeMode, InvocationState, InvocationStatus, Simulator};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::support::eventually_some;
use crate::support::poll::DEADLINE;
use crate::support::stack::{run_folder, variable};
use crate::support::workspace::{Workspace, id_of, unique};

/// The timeout of an invocation. Some read hundreds of pages, which takes a busy machine a minute.
const INVOCATION_TIMEOUT: Duration = Duration::from_mins(2);

/// How often it is made sure that a function with work to do is not frozen: several times in the shortest budget of a call to AWS.
const THAW_EVERY: Duration = Duration::from_millis(200);

/// The disturbance of a function's calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disturbance {
    /// All calls pass.
    None,
    /// The function is killed before its transaction reaches the database.
    KillBefore,
    /// The function is killed after its transaction is made and before it has the response.
    KillAfter,
    /// That many transactions fail with a conflict.
    Conflicts(u32),
    /// A transaction fails with a conflict if another one is in progress on one of its items. DynamoDB does that, and DynamoDB
    /// Local does not.
    Contention,
    /// The next write is held back until it is released.
    Hold,
    /// One of the next writes, counted from 0, is held back until it is released.
    HoldAt(u32),
    /// The next event that is written outside of a transaction is held back until it is released.
    HoldEvent,
    /// The database fails every write with an internal error.
    WritesFail,
    /// The database fails every query with an internal error.
    QueriesFail,
    /// The database and all other services fail every call with an internal error.
    Down,
    /// The database returns status 200 and this text for every call.
    Says(&'static str),
    /// The function is killed at one of its calls, counted from 0: before the call is made, or before its response arrives.
    KillAt(u32, Moment),
    /// `EventBridge` does not accept events of that kind.
    RefuseEvents(&'static str),
    /// API Gateway returns that status for every cache invalidation.
    RefuseClearing(u16),
    /// The database returns all keys of every batch as unprocessed.
    Unprocessed,
    /// The database reads one key of each of that many batches, and returns the others as unprocessed.
    Partial(u32),
    /// Every call is denied, as by a role without permissions.
    Denied,
    /// Every call takes that long, and every transaction fails the condition of its first item.
    SlowChanges(Duration),
    /// The database refuses every transaction that names this key, and will do so for ever.
    RefuseKey(&'static str),
}

/// Where in a call a function is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    Before,
    After,
}

/// A running function.
pub(crate) struct Function {
    simulator: Simulator,
    database: Arc<Database>,
    log: PathBuf,
}

#[derive(Debug)]
struct Database {
    client: reqwest::Client,
    disturbance: Mutex<Disturbance>,
    /// The operations that arrived, with their bodies.
    calls: Mutex<Vec<(String, Value)>>,
    /// The operations, with the capacity units that the database says each has consumed.
    capacity: Mutex<Vec<(String, f64)>>,
    process: Mutex<Option<Child>>,
    held: Notify,
    released: Notify,
}

impl Function {
    /// Starts the function called `name` with additional variables, and waits until it asks for its first event. As in
    /// Lambda, it is frozen whenever its work for an invocation is done.
    pub(crate) async fn start(name: &str, variables: &[(&str, &str)]) -> Self {
        let function = Self::launch(name, variables).await;
        let initialized = || async { function.simulator.is_initialized().await };
        function.simulator.wait_for(initialized, DEADLINE).await.expect("the function starts");
        function
    }

    /// Starts a function and does not wait for it.
    pub(crate) async fn launch(name: &str, variables: &[(&str, &str)]) -> Self {
        let simulator = Simulator::builder()
            .region(variable("AWS_REGION"))
            .freeze_mode(FreezeMode::Process)
            .extension_ready_timeout(DEADLINE)
            .invocation_timeout(INVOCATION_TIMEOUT)
            .build()
            .await
            .expect("a Runtime API");
        let database = Arc::new(Database {
            client: reqwest::Client::new(),
            disturbance: Mutex::new(Disturbance::None),
            calls: Mutex::default(),
            capacity: Mutex::default(),
            process: Mutex::default(),
            held: Notify::new(),
            released: Notify::new(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new().fallback(pass_on).with_state(Arc::clone(&database));
        tokio::spawn(async move { axum::serve(listener, router).await });

        let log = run_folder().join(format!("{}.log", unique(name)));
        let log_file = File::create(&log).expect("a file for the log");
        let mut process = Command::new(binary(name));
        process
            .env_clear()
            .envs(simulator.lambda_env_vars())
            .env("AWS_ENDPOINT_URL_DYNAMODB", format!("http://{address}"))
            .env("AWS_ENDPOINT_URL_KMS", variable("AWS_ENDPOINT_URL"))
            .env("AWS_ENDPOINT_URL_LAMBDA", variable("AWS_ENDPOINT_URL"))
            .env("USER_REMOVAL_FUNCTION", variable("KEYGATE_USER_REMOVAL_FUNCTION"))
            .envs(
                ["EVENTBRIDGE", "SQS", "API_GATEWAY"]
                    .map(|service| (format!("AWS_ENDPOINT_URL_{service}"), format!("http://{address}"))),
            )
            .envs(["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].map(|name| (name, variable(name))))
            .env("KEYS_TABLE", variable("KEYGATE_KEYS_TABLE"))
            .env("USAGE_TABLE", variable("KEYGATE_USAGE_TABLE"))
            .env("TOKENS_TABLE", variable("KEYGATE_TOKENS_TABLE"))
            .env("WORKSPACES_TABLE", variable("KEYGATE_WORKSPACES_TABLE"))
            .env("ACTIVITY_TABLE", variable("KEYGATE_ACTIVITY_TABLE"))
            .env("LEGACY_KEYS_TABLE", variable("KEYGATE_LEGACY_KEYS_TABLE"))
            .env("LOG_LEVEL", "debug")
            .env("PEPPER_KEY", variable("KEYGATE_PEPPER_KEY"))
            .env("PEPPER_VERSIONS", variable("KEYGATE_PEPPER_VERSIONS"))
            .env("CURRENT_PEPPER_VERSION", variable("KEYGATE_CURRENT_PEPPER_VERSION"))
            .env("IDEMPOTENT_CREATE_MAC_KEY", variable("KEYGATE_IDEMPOTENT_CREATE_MAC_KEY"))
            .env("IDEMPOTENT_ROTATE_MAC_KEY", variable("KEYGATE_IDEMPOTENT_ROTATE_MAC_KEY"))
            .envs(variables.iter().copied())
            .stdout(log_file.try_clone().expect("a second handle"))
            .stderr(log_file);
        let process = process.spawn().expect("the function can be started");
        simulator.register_freeze_pid(process.id());
        *database.process.lock().unwrap() = Some(process);
        Self { simulator, database, log }
    }

    /// Invokes the function. Returns its response, or the error that it reports.
    pub(crate) async fn invoke(&self, event: Value) -> Result<Value, String> {
        let id = self.simulator.enqueue_payload(event).await;
        let state = self.completed(&id).await;
        match state.status {
            InvocationStatus::Success => Ok(state.response.expect("a response").payload),
            _ => Err(state.error.expect("an error").error_message),
        }
    }

    /// Waits for the end of an invocation.
    async fn completed(&self, id: &str) -> InvocationState {
        let completed = self.simulator.wait_for_invocation_complete(id, INVOCATION_TIMEOUT);
        self.while_thawed(completed).await.expect("a response in time")
    }

    /// Waits for something that a function with work to do causes. The simulator compares and freezes in two steps, so it
    /// sometimes freezes the function just after the next event has come, and does not thaw it. A function that stands still
    /// for longer than its budget fails a call that is in progress.
    async fn while_thawed<T>(&self, awaited: impl Future<Output = T>) -> T {
        let mut awaited = pin!(awaited);
        loop {
            match tokio::time::timeout(THAW_EVERY, &mut awaited).await {
                Ok(happened) => return happened,
                Err(_) => self.thaw(),
            }
        }
    }

    fn thaw(&self) {
        if let Some(process) = &*self.database.process.lock().unwrap() {
            Command::new("kill").args(["-CONT", &process.id().to_string()]).status().expect("kill");
        }
    }

    /// Invokes the function, and waits until the disturbance has killed it.
    pub(crate) async fn invoke_until_killed(&self, event: Value) {
        self.simulator.enqueue_payload(event).await;
        let dead = || async { self.database.process.lock().unwrap().is_none() };
        let killed = self.simulator.wait_for(dead, DEADLINE);
        self.while_thawed(killed).await.expect("the function is killed in time");
    }

    /// Invokes the function, and returns whether it survives the disturbance.
    pub(crate) async fn survives(&self, event: Value) -> bool {
        let id = self.simulator.enqueue_payload(event).await;
        let is_dead = || self.database.process.lock().unwrap().is_none();
        let is_over = || async {
            let state = self.simulator.get_invocation_state(&id).await.expect("the invocation");
            is_dead() || !matches!(state.status, InvocationStatus::Pending | InvocationStatus::InProgress)
        };
        let over = self.simulator.wait_for(is_over, DEADLINE);
        self.while_thawed(over).await.expect("an end in time");
        !is_dead()
    }

    pub(crate) fn disturb(&self, disturbance: Disturbance) {
        *self.database.disturbance.lock().unwrap() = disturbance;
    }

    /// Invokes the function, and runs `meanwhile` between its reads and its first write.
    pub(crate) async fn invoke_while(&self, event: Value, meanwhile: impl Future<Output = ()>) -> Value {
        self.invoke_while_at(0, event, meanwhile).await
    }

    /// Invokes the function, and runs `meanwhile` before one of its writes, counted from 0.
    pub(crate) async fn invoke_while_at(
        &self,
        write: u32,
        event: Value,
        meanwhile: impl Future<Output = ()>,
    ) -> Value {
        self.disturb(Disturbance::HoldAt(write));
        let interruption = async {
            self.until_held().await;
            meanwhile.await;
            self.database.released.notify_one();
        };
        let (answer, ()) = tokio::join!(self.invoke(event), interruption);
        answer.expect("a response")
    }

    /// Invokes the function, and runs `meanwhile` between its response and its deferred work.
    pub(crate) async fn invoke_then(&self, event: Value, meanwhile: impl Future<Output = ()>) -> Value {
        self.invoke_held(event, Disturbance::Hold, meanwhile).await
    }

    /// The same for a function whose deferred work is one event.
    pub(crate) async fn invoke_then_event(&self, event: Value, meanwhile: impl Future<Output = ()>) -> Value {
        self.invoke_held(event, Disturbance::HoldEvent, meanwhile).await
    }

    async fn invoke_held(
        &self,
        event: Value,
        held: Disturbance,
        meanwhile: impl Future<Output = ()>,
    ) -> Value {
        self.disturb(held);
        let answer = self.invoke(event).await.expect("a response");
        self.until_held().await;
        meanwhile.await;
        self.database.released.notify_one();
        answer
    }

    /// Waits until a call of the function is held back.
    async fn until_held(&self) {
        let held = tokio::time::timeout(DEADLINE, self.database.held.notified());
        self.while_thawed(held).await.expect("the function makes the call that is held back");
    }

    /// Waits until the function is frozen, which happens when its work and that of its extension are done.
    pub(crate) async fn frozen(&self) {
        self.simulator.wait_for_frozen(DEADLINE).await.expect("the function is done in time");
    }

    /// Ends the function's environment as Lambda does, and waits until the process has ended. The function must have been
    /// invoked before.
    pub(crate) async fn terminate(&self) {
        self.frozen().await;
        let process = self.database.process.lock().unwrap().as_ref().expect("a running function").id();
        // A stopped process handles the first signal when the second one continues it.
        for signal in ["-TERM", "-CONT"] {
            let told = Command::new("kill").args([signal, &process.to_string()]).status();
            assert!(told.expect("a shell's kill").success());
        }
        assert!(self.ended().await.success());
    }

    /// Waits until the function has ended by itself.
    pub(crate) async fn ended(&self) -> ExitStatus {
        let mut process = self.database.process.lock().unwrap().take().expect("a running function");
        eventually_some("the function ends", async || process.try_wait().expect("its state")).await
    }

    /// The lines of the function's log that are JSON.
    pub(crate) fn log_lines(&self) -> Vec<Value> {
        self.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The function's log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("the log")
    }

    /// The function's calls since the last call of this method: operations with their bodies.
    pub(crate) fn take_calls(&self) -> Vec<(String, Value)> {
        std::mem::take(&mut self.database.calls.lock().unwrap())
    }

    /// The capacity consumed since the last call of this method: operations with their units, indexes included.
    pub(crate) fn take_capacity(&self) -> Vec<(String, f64)> {
        std::mem::take(&mut self.database.capacity.lock().unwrap())
    }
}

impl Drop for Function {
    #[expect(clippy::print_stdout, reason = "the test harness shows the output of a test that failed")]
    fn drop(&mut self) {
        self.database.kill();
        if std::thread::panicking() {
            println!("{}", std::fs::read_to_string(&self.log).unwrap_or_default());
        }
    }
}

/// The path of a built function, relative to the tests' own executable.
pub(crate) fn binary(name: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("the path of the tests");
    let built = tests.parent().and_then(Path::parent).expect("target/<profile>/deps").join(name);
    assert!(
        built.exists(),
        "{} is not built: run `cargo build --package keygate-functions`",
        built.display()
    );
    built
}

async fn pass_on(
    State(database): State<Arc<Database>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, [(&'static str, &'static str); 1], Bytes) {
    let target = headers.get("x-amz-target").and_then(|target| target.to_str().ok()).unwrap_or_default();
    let (operation, request) = if target.is_empty() {
        (format!("{method} {uri}"), Value::Null)
    } else {
        let operation = target.rsplit('.').next().unwrap_or_default().to_owned();
        (operation, serde_json::from_slice(&body).expect("a request in JSON"))
    };
    let count = request["TransactItems"].as_array().map_or(0, Vec::len);
    database.calls.lock().unwrap().push((operation.clone(), request.clone()));
    let answer = async {
        if target.starts_with("DynamoDB_") {
            database.forward(&headers, &operation, request.clone()).await
        } else {
            (StatusCode::OK, JSON, elsewhere(&operation, &request, Disturbance::None))
        }
    };

    let disturbance = match database.take_disturbance(&operation) {
        Disturbance::RefuseKey(key) if !request.to_string().contains(key) => Disturbance::None,
        disturbance => disturbance,
    };
    match disturbance {
        Disturbance::Says(text) => (StatusCode::OK, JSON, text.into()),
        Disturbance::Down | Disturbance::WritesFail | Disturbance::QueriesFail => {
            (StatusCode::INTERNAL_SERVER_ERROR, JSON, Bytes::new())
        }
        Disturbance::KillBefore | Disturbance::KillAt(_, Moment::Before) => {
            database.kill();
            (StatusCode::SERVICE_UNAVAILABLE, JSON, Bytes::new())
        }
        Disturbance::Unprocessed => {
            let unprocessed = json!({"Responses": {}, "UnprocessedKeys": request["RequestItems"]});
            (StatusCode::OK, JSON, unprocessed.to_string().into())
        }
        Disturbance::Conflicts(_) => (StatusCode::BAD_REQUEST, JSON, conflict(count, &[1])),
        Disturbance::RefuseKey(_) => (StatusCode::BAD_REQUEST, JSON, refused(count, &[0], "ValidationError")),
        Disturbance::Contention => match at_work(&request) {
            Ok(at_work) => {
                let answer = answer.await;
                // About the time of a transaction's two phases.
                tokio::time::sleep(Duration::from_millis(10)).await;
                drop(at_work);
                answer
            }
            Err(conflicting) => (StatusCode::BAD_REQUEST, JSON, conflict(count, &conflicting)),
        },
        Disturbance::Partial(_) => database.forward_in_part(&headers, &operation, &request).await,
        Disturbance::Denied => {
            let denied =
                json!({"__type": "com.amazon.coral.service#AccessDeniedException", "Message": "not you"});
            (StatusCode::BAD_REQUEST, JSON, denied.to_string().into())
        }
        Disturbance::SlowChanges(time) => {
            tokio::time::sleep(time).await;
            if operation == "TransactWriteItems" {
                (StatusCode::BAD_REQUEST, JSON, refused(count, &[0], "ConditionalCheckFailed"))
            } else {
                answer.await
            }
        }
        Disturbance::Hold | Disturbance::HoldAt(_) | Disturbance::HoldEvent => {
            database.held.notify_one();
            database.released.notified().await;
            answer.await
        }
        Disturbance::RefuseClearing(status) => {
            (StatusCode::from_u16(status).expect("a status"), JSON, Bytes::new())
        }
        refused @ Disturbance::RefuseEvents(_) => {
            (StatusCode::OK, JSON, elsewhere(&operation, &request, refused))
        }
        Disturbance::None => answer.await,
        Disturbance::KillAfter | Disturbance::KillAt(_, Moment::After) => {
            let answer = answer.await;
            database.kill();
            answer
        }
    }
}

/// The response of a service that the stack does not have: `EventBridge` accepts events, SQS accepts messages, and API
/// Gateway clears caches.
fn elsewhere(operation: &str, request: &Value, disturbance: Disturbance) -> Bytes {
    let answer = match operation {
        "PutEvents" => {
            let entries = request["Entries"].as_array().expect("entries").iter();
            let answers: Vec<_> = entries
                .map(|entry| match disturbance {
                    Disturbance::RefuseEvents(kind) if entry["DetailType"] == kind => {
                        json!({"ErrorCode": "InternalFailure", "ErrorMessage": "not now"})
                    }
                    _ => json!({"EventId": unique("event")}),
                })
                .collect();
            let failed = answers.iter().filter(|answer| answer["ErrorCode"].is_string()).count();
            json!({"FailedEntryCount": failed, "Entries": answers})
        }
        "SendMessage" => json!({"MessageId": unique("message")}),
        _ => return Bytes::new(),
    };
    answer.to_string().into()
}

const JSON: [(&str, &str); 1] = [("content-type", "application/x-amz-json-1.0")];

impl Database {
    /// The disturbance of the current call. One that is for a number of calls counts down.
    fn take_disturbance(&self, operation: &str) -> Disturbance {
        let mut disturbance = self.disturbance.lock().unwrap();
        let current = *disturbance;
        match current {
            Disturbance::Down
            | Disturbance::Says(_)
            | Disturbance::KillAt(0, _)
            | Disturbance::Denied
            | Disturbance::SlowChanges(_) => current,
            Disturbance::KillAt(left, moment) => {
                *disturbance = Disturbance::KillAt(left - 1, moment);
                Disturbance::None
            }
            Disturbance::RefuseEvents(_) if operation == "PutEvents" => current,
            Disturbance::RefuseClearing(_) if operation.starts_with("DELETE ") => current,
            Disturbance::WritesFail if operation == "PutItem" => current,
            Disturbance::HoldEvent if operation == "PutItem" => {
                *disturbance = Disturbance::None;
                current
            }
            Disturbance::QueriesFail if operation == "Query" => current,
            Disturbance::QueriesFail => Disturbance::None,
            Disturbance::Unprocessed if operation == "BatchGetItem" => current,
            Disturbance::Partial(left) if operation == "BatchGetItem" && left > 0 => {
                *disturbance = Disturbance::Partial(left - 1);
                current
            }
            _ if !matches!(operation, "TransactWriteItems" | "UpdateItem") => Disturbance::None,
            Disturbance::Conflicts(0) => Disturbance::None,
            Disturbance::Conflicts(left) => {
                *disturbance = Disturbance::Conflicts(left - 1);
                current
            }
            Disturbance::Hold | Disturbance::HoldAt(0) => {
                *disturbance = Disturbance::None;
                current
            }
            Disturbance::HoldAt(left) => {
                *disturbance = Disturbance::HoldAt(left - 1);
                Disturbance::None
            }
            other => other,
        }
    }

    fn kill(&self) {
        if let Some(mut process) = self.process.lock().unwrap().take() {
            process.kill().expect("the function can be killed");
            process.wait().expect("the function ends");
        }
    }

    /// Forwards the first key of a batch, and adds the others to the response as unprocessed.
    async fn forward_in_part(
        &self,
        headers: &HeaderMap,
        operation: &str,
        request: &Value,
    ) -> (StatusCode, [(&'static str, &'static str); 1], Bytes) {
        let mut left = request["RequestItems"].as_object().expect("tables").clone();
        let (table, mut first) =
            left.iter().next().map(|(table, keys)| (table.clone(), keys.clone())).expect("a table");
        let rest = left[&table]["Keys"].as_array_mut().expect("keys");
        first["Keys"] = json!([rest.remove(0)]);
        if rest.is_empty() {
            left.remove(&table);
        }
        let part = json!({"RequestItems": {table: first}});
        let (status, types, body) = self.forward(headers, operation, part).await;
        let mut answer: Value = serde_json::from_slice(&body).expect("a response in JSON");
        answer["UnprocessedKeys"] = Value::Object(left);
        (status, types, answer.to_string().into())
    }

    async fn forward(
        &self,
        headers: &HeaderMap,
        operation: &str,
        mut request: Value,
    ) -> (StatusCode, [(&'static str, &'static str); 1], Bytes) {
        request["ReturnConsumedCapacity"] = json!("TOTAL");
        let mut forwarded = self.client.post(variable("KEYGATE_DYNAMODB_URL")).body(request.to_string());
        for name in ["x-amz-target", "authorization", "x-amz-date", "content-type"] {
            if let Some(value) = headers.get(name) {
                forwarded = forwarded.header(name, value.as_bytes());
            }
        }
        let answer = forwarded.send().await.expect("the database responds");
        let (status, body) = (answer.status(), answer.bytes().await.expect("a whole response"));
        let said: Value = serde_json::from_slice(&body).expect("a response in JSON");
        let consumed = &said["ConsumedCapacity"];
        // It is a list if the call is of several tables.
        let tables = consumed.as_array().map_or(std::slice::from_ref(consumed), Vec::as_slice);
        let units = tables.iter().filter_map(|table| table["CapacityUnits"].as_f64()).sum();
        self.capacity.lock().unwrap().push((operation.to_owned(), units));
        (status, JSON, body)
    }
}

/// DynamoDB's response to a transaction of `count` items that conflicts with others on some of them.
fn conflict(count: usize, conflicting: &[usize]) -> Bytes {
    refused(count, conflicting, "TransactionConflict")
}

/// DynamoDB's response to a transaction of `count` items of which some fail with that code.
fn refused(count: usize, items: &[usize], code: &str) -> Bytes {
    let mut reasons = vec![json!({"Code": "None"}); count];
    for index in items {
        reasons[*index] = json!({"Code": code, "Message": "as if"});
    }
    let kind = "com.amazonaws.dynamodb.v20120810#TransactionCanceledException";
    json!({"__type": kind, "Message": "Transaction cancelled", "CancellationReasons": reasons})
        .to_string()
        .into()
}

/// The items of all transactions in progress, of all functions.
static AT_WORK: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// The items of one transaction in progress.
struct AtWork(Vec<String>);

impl Drop for AtWork {
    fn drop(&mut self) {
        let mut all = AT_WORK.lock().unwrap();
        for item in &self.0 {
            all.remove(item);
        }
    }
}

/// Begins a transaction on its items, or returns the indexes of those that another one is in progress on.
fn at_work(request: &Value) -> Result<AtWork, Vec<usize>> {
    let operations = request["TransactItems"].as_array().cloned().unwrap_or_default();
    let items: Vec<String> = operations
        .iter()
        .flat_map(|operation| operation.as_object().expect("an operation").values())
        .map(|operation| {
            let attributes = if operation["Key"].is_null() { &operation["Item"] } else { &operation["Key"] };
            let key = ["key_id", "workspace_id", "entry", "actor", "event"].map(|name| &attributes[name]);
            // In an entry of `workspaces` the id of a key is no part of the primary key.
            let key = if attributes["workspace_id"].is_null() || attributes["entry"].is_null() {
                key.to_vec()
            } else {
                key[1..3].to_vec()
            };
            format!("{} {key:?}", operation["TableName"])
        })
        .collect();
    let mut all = AT_WORK.lock().unwrap();
    let conflicting: Vec<usize> =
        items.iter().enumerate().filter(|(_, item)| all.contains(*item)).map(|(index, _)| index).collect();
    if !conflicting.is_empty() {
        return Err(conflicting);
    }
    all.extend(items.iter().cloned());
    Ok(AtWork(items))
}

/// A recorded event.
pub(crate) fn event(name: &str) -> Value {
    let path = format!("{}/fixtures/events/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(&path).expect(&path)).expect(&path)
}

/// The event of an administrator's request to a route of the management API.
pub(crate) fn request(
    workspace: &Workspace,
    (method, resource): (&str, &str),
    id: Option<&str>,
    headers: &[(&str, &str)],
    body: &Value,
) -> Value {
    let path = resource.replace("{id}", id.unwrap_or_default());
    let mut headers: BTreeMap<_, _> = headers.iter().copied().collect();
    headers.insert("Content-Type", "application/json");
    let lists: BTreeMap<_, _> = headers.iter().map(|(name, value)| (name, [value])).collect();
    json!({
        "resource": resource, "path": path, "httpMethod": method,
        "headers": headers, "multiValueHeaders": lists,
        "pathParameters": id.map(|id| json!({"id": id})),
        "requestContext": {
            "resourcePath": resource, "path": format!("/v1{path}"), "stage": "v1", "httpMethod": method,
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef", "identity": {"sourceIp": "203.0.113.7"},
            "authorizer": {
                "userId": "admin", "workspaceId": workspace.id, "keyId": id_of(&workspace.admin), "keyName": "first",
                "scopes": "workspace:admin", "credential": "api_key", "principalId": "admin",
            },
        },
        "body": body.to_string(), "isBase64Encoded": false,
    })
}

/// The event of a client's request to an endpoint of the OAuth API, such as `token`.
pub(crate) fn oauth_request(endpoint: &str, authorization: Option<&str>, form: &str) -> Value {
    let (path, route) = (format!("/oauth/{endpoint}"), format!("POST /oauth/{endpoint}"));
    let mut headers = json!({"content-type": "application/x-www-form-urlencoded"});
    if let Some(authorization) = authorization {
        headers["authorization"] = json!(authorization);
    }
    json!({
        "version": "2.0", "routeKey": route, "rawPath": path, "rawQueryString": "", "headers": headers,
        "requestContext": {
            "accountId": "123456789012", "apiId": "abcdef123", "domainName": "oauth.example.com", "domainPrefix": "oauth",
            "http": {"method": "POST", "path": path, "protocol": "HTTP/1.1", "sourceIp": "203.0.113.7", "userAgent": "test"},
            "requestId": "JKJaXmPLvHcESHA=", "routeKey": route, "stage": "$default",
            "time": "26/Nov/2026:10:00:00 +0000", "timeEpoch": 1_795_687_200_000_i64,
        },
        "body": form, "isBase64Encoded": false,
    })
}

/// The event for the `TOKEN` authorizer of a REST API, for a call with that `Authorization` header.
pub(crate) fn token_event(authorization: &str) -> Value {
    let arn = "arn:aws:execute-api:eu-west-1:123456789012:abcdef123/test/GET/orders";
    json!({"type": "TOKEN", "authorizationToken": authorization, "methodArn": arn})
}
