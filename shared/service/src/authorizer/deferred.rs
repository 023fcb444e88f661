//! Deferred work: what the authorizer writes after its response. This is the last use of a key, its calls by hour, its hash under
//! the current pepper, the call in the audit trail, and metrics. The OAuth API defers its refusals of existing keys.
//!
//! No decision depends on this work, so the response does not wait for it. The function is its own internal extension: Lambda
//! sends the response as soon as the function returns it, and runs the environment until the function and its extensions ask
//! for the next event. Without an Extensions API, the work is done before the response. Lambda sends SIGTERM to an
//! environment with an extension before it ends the environment, which then has 500 ms.
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>,
//! <https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-shutdown>

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use keygate_core::audit_event::CallOutcome;
use keygate_core::credential::{KeyId, TokenId};
use keygate_core::credential_class::CredentialKind;
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::key::LastUse;
use keygate_core::legacy_credential;
use keygate_core::pepper::SecretHash;
use keygate_core::verification::{PresentedSecret, VerifiedCredential};
use lambda_extension::{Extension, LambdaEvent, service_fn};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::authorizer::call_counter::{self, CallCounter, KeyCall, MINUTE};
use crate::authorizer::metrics::LookupSource;
use crate::authorizer::metrics::{Counter, Latency, Metrics};
use crate::authorizer::settings::{UsageSource, deferred_budget, usage_retention};
use crate::authorizer::usage_counter::UsageCounter;
use crate::authorizer::written_uses::WrittenUses;
use crate::aws::dynamodb::DynamoDb;
use crate::logging;
use crate::store::activity::ActivityTable;
use crate::store::keys::KeysTable;
use crate::store::legacy_keys::LegacyKeysTable;
use crate::store::tokens::TokensTable;
use crate::store::usage::UsageTable;

/// The maximum number of events that one invocation writes, and of counts of calls. It adds at most one of each, so a backlog
/// shrinks.
const MAX_WRITES: usize = 2;

/// The number of concurrent writes when the environment ends, each over its own connection.
const SHUTDOWN_CONCURRENCY: usize = 16;

/// How long these writes may take: less than the 500 ms that Lambda gives an environment with an internal extension.
const SHUTDOWN_BUDGET: Duration = Duration::from_millis(400);

/// The deferred work of one invocation.
#[derive(Debug)]
pub struct DeferredWork {
    /// The time of the invocation.
    pub at: DateTime<Utc>,
    /// Whether the call was allowed or refused; `None` where the decision failed.
    pub outcome: Option<CallOutcome>,
    /// The source of the verification.
    pub lookup: LookupSource,
    /// The call, if its key exists.
    pub call: Option<KeyCall>,
    /// The use of the key, if it was accepted.
    pub usage: Option<KeyUsage>,
}

impl DeferredWork {
    /// The deferred work of an invocation that decides about no call of an API: nothing, or a refusal that is recorded in the
    /// audit trail as a call.
    #[must_use]
    pub fn of_call(call: Option<KeyCall>, at: DateTime<Utc>) -> Self {
        Self { at, outcome: None, lookup: LookupSource::None, call, usage: None }
    }
}

/// The use of a key that was accepted, by its secret or by a token.
#[derive(Debug)]
pub struct KeyUsage {
    /// The key.
    pub key_id: KeyId,
    /// The credential that was used.
    pub target: UsageTarget,
    /// The address of the sender, if the event of the call has it.
    pub from: Option<String>,
    /// The renewal of the key's hash, if that is not under the current pepper.
    pub rehash: Option<Rehash>,
}

impl KeyUsage {
    /// The use of a verified credential.
    #[must_use]
    pub fn new(verified: &VerifiedCredential, rehash: Option<Rehash>) -> Self {
        let target = match &verified.presented {
            PresentedSecret::Current | PresentedSecret::Previous(..) => UsageTarget::Key,
            PresentedSecret::Token(verified) => {
                let token = &verified.token;
                UsageTarget::Token { id: token.token_id, last_used_at: token.last_used_at }
            }
            PresentedSecret::LegacyKey { hash, last_used_at } => {
                UsageTarget::LegacyKey { hash: hash.clone(), last_used_at: *last_used_at }
            }
        };
        Self { key_id: verified.key.key_id, target, from: None, rehash }
    }
}

/// The credential whose last use is written. Tokens and legacy keys store their own last use.
#[derive(Debug)]
pub enum UsageTarget {
    /// The key.
    Key,
    /// A token of the key. Its use is also one of the key.
    Token {
        /// The id of the token.
        id: TokenId,
        /// Its stored last use.
        last_used_at: Option<DateTime<Utc>>,
    },
    /// A legacy key.
    LegacyKey {
        /// The hash under which it is stored.
        hash: SecretHash,
        /// Its stored last use.
        last_used_at: Option<DateTime<Utc>>,
    },
}

/// The renewal of a stored hash under the current pepper.
#[derive(Debug)]
pub struct Rehash {
    /// The stored hash, under another pepper.
    pub stored: SecretHash,
    /// The hash of the same secret under the current pepper.
    pub renewed: SecretHash,
}

/// Does deferred work.
#[derive(Debug)]
pub struct DeferredWriter {
    /// Writes the use of keys; `None` in a function that accepts no calls of APIs.
    pub usage_writer: Option<UsageWriter>,
    /// The audit trail.
    pub activity: ActivityTable,
    /// How long the deferred work of one invocation may take.
    pub budget: Duration,
    /// The calls that are not yet in the audit trail.
    pub calls: Mutex<CallCounter>,
    /// Whether calls are recorded in the audit trail. Refused clients of the OAuth API always are.
    pub records_calls: bool,
    /// The metrics that are not yet in the log; `None` in a function without metrics.
    pub metrics: Option<Mutex<Metrics>>,
}

/// Writes the use of keys.
#[derive(Debug)]
pub struct UsageWriter {
    /// The keys, whose hashes are renewed.
    pub keys: KeysTable,
    /// The last use and the calls of keys.
    pub usage: UsageTable,
    /// The calls by hour that are not yet in that table; `None` if access logs are counted instead.
    pub counter: Option<Mutex<UsageCounter>>,
    /// How long the calls of an hour are kept.
    pub usage_retention: TimeDelta,
    /// The keys whose last use this environment has written.
    pub written: WrittenUses,
    /// The tokens.
    pub tokens: TokensTable,
    /// The legacy keys, if the deployment accepts any.
    pub legacy_keys: Option<LegacyKeysTable>,
    /// The minimum time between two updates of a last use.
    pub last_used_interval: TimeDelta,
}

impl DeferredWriter {
    /// The writer of the authorizer: the use of keys, calls in the audit trail, and metrics.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when the name of a table is missing, or a setting is wrong.
    pub fn of_authorizer(dynamodb: &DynamoDb, environment: &Environment) -> Result<Self, InvalidVariable> {
        let source = UsageSource::from_environment(environment)?;
        Ok(Self {
            usage_writer: Some(UsageWriter::new(dynamodb, environment, source)?),
            activity: ActivityTable::new(dynamodb.clone(), environment)?,
            budget: deferred_budget(environment)?,
            calls: CallCounter::new(call_counter::interval(environment)?).into(),
            records_calls: true,
            metrics: Some(Metrics::from_environment(environment)?.into()),
        })
    }

    /// The writer of introspection: the use of keys, and in the audit trail calls as the authorizer records them, and refused clients.
    /// It counts calls whatever counts those of the authorizer, because no access log has them.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when the name of a table is missing, or a setting is wrong.
    pub fn of_introspection(dynamodb: &DynamoDb, environment: &Environment) -> Result<Self, InvalidVariable> {
        let interval = call_counter::interval(environment)?;
        Ok(Self {
            usage_writer: Some(UsageWriter::new(dynamodb, environment, UsageSource::Authorizer)?),
            calls: CallCounter::new(interval.or(Some(MINUTE))).into(),
            records_calls: interval.is_some(),
            ..Self::of_oauth(dynamodb.clone(), environment)?
        })
    }

    /// The writer of a function of the OAuth API: refusals in the audit trail, counted by the minute.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when the name of the table is missing, or a setting is wrong.
    pub fn of_oauth(dynamodb: DynamoDb, environment: &Environment) -> Result<Self, InvalidVariable> {
        Ok(Self {
            usage_writer: None,
            activity: ActivityTable::new(dynamodb, environment)?,
            budget: deferred_budget(environment)?,
            calls: CallCounter::new(Some(MINUTE)).into(),
            records_calls: false,
            metrics: None,
        })
    }

    /// Records a latency in the metrics.
    pub fn record_latency(&self, latency: Latency, time: Duration) {
        if let Some(mut metrics) = self.metrics() {
            metrics.record(latency, time);
        }
    }

    /// Does the deferred work of one invocation. The response is already sent, so failures are logged and counted.
    pub async fn write(&self, work: DeferredWork) {
        let DeferredWork { at, outcome, lookup, call, usage } = work;
        self.measure(outcome, lookup);
        let counter = self.usage_writer.as_ref().and_then(|writer| writer.counter.as_ref());
        let calls = counter.map(|counter| {
            let mut counter = lock(counter);
            // A legacy key has no usage: it is shown with its last use alone.
            if let Some(call) =
                call.as_ref().filter(|call| call.credential != Some(CredentialKind::LegacyKey))
            {
                counter.count(call.owner.key_id, call.outcome, call.at);
            }
            counter.due(at, MAX_WRITES)
        });
        let events = {
            let mut calls = lock(&self.calls);
            // Without an outcome it is a refused client.
            if let Some(call) = call.filter(|_| self.records_calls || outcome.is_none()) {
                calls.count(call);
            }
            calls.due(at, MAX_WRITES)
        };
        let deadline = Instant::now() + self.budget;
        // Each write is in a box: a call of the SDK is a future of many kilobytes, and most invocations write nothing.
        let write_usage = async {
            if let (Some(usage), Some(writer)) = (usage, &self.usage_writer) {
                self.attempt(Some(usage.key_id), deadline, writer.write(&usage, at)).await;
            }
        };
        let write_events = async {
            for event in &events {
                let append = async { self.activity.append(event).await.map(drop) };
                self.attempt(event.key_id, deadline, Box::pin(append)).await;
            }
        };
        let write_calls = async {
            if let (Some(calls), Some(writer)) = (calls, &self.usage_writer) {
                for calls in calls {
                    let write = writer.usage.add_calls(calls, writer.usage_retention);
                    self.attempt(Some(calls.key_id), deadline, Box::pin(write)).await;
                }
            }
        };
        tokio::join!(write_usage, write_events, write_calls);
        let lines = self.metrics().map(|mut metrics| metrics.due(at));
        logging::write(&lines.unwrap_or_default());
    }

    /// Writes the remaining events, counts and metrics when the environment ends, for at most [`SHUTDOWN_BUDGET`].
    async fn flush(&self, now: DateTime<Utc>) {
        let deadline = Instant::now() + SHUTDOWN_BUDGET;
        let events = lock(&self.calls).take().into_iter().map(|event| {
            let activity = self.activity.clone();
            let write: LeftWrite =
                Box::pin(async move { (event.key_id, activity.append(&event).await.map(drop)) });
            write
        });
        let calls = self.usage_writer.iter().flat_map(|writer| {
            let calls = writer.counter.iter().flat_map(|counter| lock(counter).take());
            calls.map(|calls| {
                let (usage, retention) = (writer.usage.clone(), writer.usage_retention);
                let write: LeftWrite =
                    Box::pin(async move { (Some(calls.key_id), usage.add_calls(calls, retention).await) });
                write
            })
        });
        let mut left: VecDeque<_> = events.chain(calls).collect();
        let mut lost = left.len();
        while !left.is_empty() {
            let mut writes: JoinSet<_> = left.drain(..left.len().min(SHUTDOWN_CONCURRENCY)).collect();
            while let Ok(Some(written)) = timeout_at(deadline, writes.join_next()).await {
                lost -= 1;
                if let Ok((key_id, Err(error))) = written {
                    self.log_failure(key_id, &error);
                }
            }
        }
        if lost > 0 {
            tracing::warn!(lost, "environment ended: deferred writes lost");
            (0..lost).for_each(|_| self.count(Counter::DeferredWriteFailures));
        }
        let lines = self.metrics().map(|mut metrics| metrics.take(now));
        logging::write(&lines.unwrap_or_default());
    }

    async fn attempt(
        &self,
        key_id: Option<KeyId>,
        deadline: Instant,
        write: impl Future<Output = Result<(), Error>>,
    ) {
        match timeout_at(deadline, write).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.log_failure(key_id, &error),
            Err(_) => self.log_failure(key_id, &"out of time"),
        }
    }

    fn log_failure(&self, key_id: Option<KeyId>, error: &dyn std::fmt::Display) {
        tracing::warn!(key_id = key_id.map(|id| id.to_string()), %error, "deferred write failed");
        self.count(Counter::DeferredWriteFailures);
    }

    fn metrics(&self) -> Option<MutexGuard<'_, Metrics>> {
        self.metrics.as_ref().map(lock)
    }

    fn count(&self, counter: Counter) {
        if let Some(mut metrics) = self.metrics() {
            metrics.count(counter);
        }
    }

    fn measure(&self, outcome: Option<CallOutcome>, lookup: LookupSource) {
        let Some(mut metrics) = self.metrics() else { return };
        match outcome {
            Some(CallOutcome::Refused(reason)) => metrics.refused(reason),
            Some(CallOutcome::Allowed) => metrics.count(Counter::Allowed),
            None => metrics.count(Counter::Errors),
        }
        match lookup {
            LookupSource::None => {}
            LookupSource::Cache => metrics.count(Counter::CacheHits),
            LookupSource::Stale => metrics.count(Counter::StaleHits),
            LookupSource::Store(time) => metrics.record(Latency::Store, time),
        }
    }
}

/// A write that is left when the environment ends. It returns the key that it is about.
type LeftWrite = Pin<Box<dyn Future<Output = (Option<KeyId>, Result<(), Error>)> + Send>>;

impl UsageWriter {
    fn new(
        dynamodb: &DynamoDb,
        environment: &Environment,
        source: UsageSource,
    ) -> Result<Self, InvalidVariable> {
        let last_used_interval = environment.seconds("LAST_USED_INTERVAL", 900, 0..=86_400)?;
        Ok(Self {
            keys: KeysTable::new(dynamodb.clone(), environment)?,
            usage: UsageTable::new(dynamodb.clone(), environment)?,
            counter: match source {
                UsageSource::Authorizer => Some(UsageCounter::new(last_used_interval).into()),
                UsageSource::AccessLogs => None,
            },
            usage_retention: usage_retention(environment)?,
            written: WrittenUses::default(),
            tokens: TokensTable::new(dynamodb.clone(), environment)?,
            legacy_keys: match legacy_credential::sunset(environment)? {
                Some(_) => Some(LegacyKeysTable::new(dynamodb.clone(), environment)?),
                None => None,
            },
            last_used_interval,
        })
    }

    async fn write(&self, usage: &KeyUsage, at: DateTime<Utc>) -> Result<(), Error> {
        let due = at - self.last_used_interval;
        let is_due = |last: &Option<DateTime<Utc>>| last.is_none_or(|last| last <= due);
        let key_id = usage.key_id;
        if !matches!(usage.target, UsageTarget::LegacyKey { .. }) && self.written.is_due(key_id, due) {
            let last_use = LastUse { at, from: usage.from.clone() };
            Box::pin(self.usage.mark_used(key_id, &last_use, due)).await?;
            self.written.remember(key_id, at);
        }
        match (&usage.target, &self.legacy_keys) {
            (UsageTarget::Token { id, last_used_at }, _) if is_due(last_used_at) => {
                Box::pin(self.tokens.mark_used((key_id, *id), at, due)).await?;
            }
            (UsageTarget::LegacyKey { hash, last_used_at }, Some(legacy_keys)) if is_due(last_used_at) => {
                Box::pin(legacy_keys.mark_used(hash, at, due)).await?;
            }
            _ => {}
        }
        if let Some(Rehash { stored, renewed }) = &usage.rehash {
            Box::pin(self.keys.rehash(usage.key_id, stored, renewed)).await?;
        }
        Ok(())
    }
}

/// A panic elsewhere leaves the counters usable: at worst one call is not counted.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the deferred work of the handler.
#[derive(Debug)]
pub enum DeferredWorker {
    /// The extension does the work after the response.
    Extension(UnboundedSender<DeferredWork>),
    /// There is no Extensions API: the handler does the work before the response.
    Handler(Arc<DeferredWriter>),
}

impl DeferredWorker {
    /// Registers the extension, which must happen before the runtime asks for its first event.
    ///
    /// # Errors
    ///
    /// The operating system refuses a handler of SIGTERM.
    pub async fn start(writer: Arc<DeferredWriter>) -> std::io::Result<Self> {
        let mut sigterm = signal(SignalKind::terminate())?;
        let flusher = Arc::clone(&writer);
        tokio::spawn(async move {
            sigterm.recv().await;
            flusher.flush(Utc::now()).await;
            std::process::exit(0);
        });

        let (sender, receiver) = unbounded_channel();
        let queue = Arc::new(Queue { writer: Arc::clone(&writer), receiver: receiver.into() });
        let extension = Extension::new()
            .with_extension_name("keygate-deferred")
            .with_events(&["INVOKE"])
            .with_events_processor(service_fn(move |_: LambdaEvent| write_next(Arc::clone(&queue))));
        let extension = match extension.register().await {
            Ok(extension) => extension,
            Err(error) => {
                // Callers wait longer from now on, and no other line would say why.
                tracing::warn!(%error, "extension not registered: deferred work runs before each response");
                return Ok(Self::Handler(writer));
            }
        };
        tokio::spawn(async move {
            let ended = Box::pin(extension.run()).await;
            // Lambda waits for every registered extension, so the environment cannot continue without it.
            tracing::error!(error = ?ended.err(), "extension ended");
            std::process::exit(1);
        });
        Ok(Self::Extension(sender))
    }

    /// Submits the deferred work of an invocation. Each invocation must submit exactly once, because the extension waits for it.
    pub async fn submit(&self, work: DeferredWork) {
        match self {
            Self::Extension(sender) => {
                if sender.send(work).is_err() {
                    tracing::warn!("extension ended: deferred work lost");
                }
            }
            Self::Handler(writer) => writer.write(work).await,
        }
    }
}

/// The work that handlers have submitted to the extension.
struct Queue {
    writer: Arc<DeferredWriter>,
    receiver: tokio::sync::Mutex<UnboundedReceiver<DeferredWork>>,
}

/// Waits for the work of the invocation that the extension was notified of, and does it.
async fn write_next(queue: Arc<Queue>) -> Result<(), lambda_extension::Error> {
    if let Some(work) = queue.receiver.lock().await.recv().await {
        // The handler has just returned: let the runtime send the response first.
        tokio::task::yield_now().await;
        queue.writer.write(work).await;
    }
    Ok(())
}
