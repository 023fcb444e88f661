//! What an authorization leaves to be written: when the key was last used, its hash under the current pepper, the call
//! in the audit trail, and metrics. The OAuth API leaves the refusals of keys that exist.
//!
//! None of it decides anything, so nobody waits for it, and no answer takes longer because of it. The function is its own
//! internal extension: Lambda gives an
//! environment time until both the function and its extensions ask for the next event, and answers the caller as soon as
//! the function has. Where there is no Extensions API, the writing comes before the answer. A function with an extension
//! is told with SIGTERM that its environment ends, and has half a second then.
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>,
//! <https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html#runtimes-lifecycle-shutdown>

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use chrono::{DateTime, TimeDelta, Utc};
use keygate_core::audit_event::CallOutcome;
use keygate_core::credential::{KeyId, TokenId};
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::legacy_credential;
use keygate_core::pepper::SecretHash;
use keygate_core::verification::{PresentedSecret, VerifiedCredential};
use lambda_extension::{Extension, LambdaEvent, service_fn};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use crate::authorizer::LookupSource;
use crate::authorizer::call_counter::{CallCounter, KeyCall, MINUTE};
use crate::authorizer::metrics::{Counter, Latency, Metrics};
use crate::authorizer::settings::deferred_budget;
use crate::logging;
use crate::store::activity::ActivityTable;
use crate::store::keys::KeysTable;
use crate::store::legacy_keys::LegacyKeysTable;
use crate::store::tokens::TokensTable;

/// How many events one invocation writes. It adds one at most, so what has gathered gets less with each.
const EVENTS_AT_ONCE: usize = 2;

/// How many events are written at the same time when the environment ends, each over a connection of its own.
const EVENTS_AT_THE_END: usize = 16;

/// How long that may take: less than the 500 ms that Lambda gives an environment with an internal extension.
const END_BUDGET: Duration = Duration::from_millis(400);

/// What is left of one invocation.
#[derive(Debug)]
pub struct DeferredWork {
    /// When it was.
    pub at: DateTime<Utc>,
    /// What came of the call; nothing, where something failed.
    pub outcome: Option<CallOutcome>,
    /// Where its key was looked up.
    pub lookup: LookupSource,
    /// The call, if it came with a key that exists.
    pub call: Option<KeyCall>,
    /// The use of its key, if it was accepted.
    pub used: Option<KeyUsage>,
}

impl DeferredWork {
    /// What is left of an invocation `at` a time that has decided about no call of an API: nothing, or a refusal that the
    /// audit trail has as a call.
    #[must_use]
    pub fn of_call(call: Option<KeyCall>, at: DateTime<Utc>) -> Self {
        Self { at, outcome: None, lookup: LookupSource::None, call, used: None }
    }
}

/// The use of a key that was accepted, itself or by a token of it.
#[derive(Debug)]
pub struct KeyUsage {
    /// The key.
    pub key_id: KeyId,
    /// What was used, and when it had last been, as far as is written.
    pub used: Vec<(UsageTarget, Option<DateTime<Utc>>)>,
    /// The key's hash was made under another pepper than the current one.
    pub rehash: Option<Rehash>,
}

impl KeyUsage {
    /// The use of what is known.
    #[must_use]
    pub fn of(known: &VerifiedCredential, rehash: Option<Rehash>) -> Self {
        let last_used_at = known.key.last_used_at;
        let used = match &known.presented {
            PresentedSecret::Current | PresentedSecret::Previous(..) => {
                vec![(UsageTarget::Key, last_used_at)]
            }
            PresentedSecret::Token(known) => {
                vec![
                    (UsageTarget::Key, last_used_at),
                    (UsageTarget::Token(known.token.token_id), known.token.last_used_at),
                ]
            }
            PresentedSecret::LegacyKey(hash) => vec![(UsageTarget::LegacyKey(hash.clone()), last_used_at)],
        };
        Self { key_id: known.key.key_id, used, rehash }
    }
}

/// What has a last use of its own.
#[derive(Debug)]
pub enum UsageTarget {
    /// The key.
    Key,
    /// A token of it.
    Token(TokenId),
    /// A legacy key, stored under this hash.
    LegacyKey(SecretHash),
}

/// The hash of the secret that was presented, as it is stored and as it should be.
#[derive(Debug)]
pub struct Rehash {
    /// Under another pepper.
    pub stored: SecretHash,
    /// Under the current one.
    pub renewed: SecretHash,
}

/// Writes what is left.
#[derive(Debug)]
pub struct DeferredWriter {
    /// Where the use of keys is written, by a function that accepts calls of APIs.
    pub uses: Option<UsageWriter>,
    /// Where events are.
    pub activity: ActivityTable,
    /// How long writing may take.
    pub budget: Duration,
    /// What is not in the audit trail yet.
    pub calls: Mutex<CallCounter>,
    /// What is not in the log yet, of a function that has metrics.
    pub metrics: Option<Mutex<Metrics>>,
}

/// Where the use of keys is written.
#[derive(Debug)]
pub struct UsageWriter {
    /// Where keys are.
    pub keys: KeysTable,
    /// Where tokens are.
    pub tokens: TokensTable,
    /// Where legacy keys are, if any are honoured.
    pub legacy_keys: Option<LegacyKeysTable>,
    /// How long a key may be used before it is written again that it was.
    pub last_used_interval: TimeDelta,
}

impl DeferredWriter {
    /// The writer of the authorizer: the use of keys, calls in the audit trail, and metrics.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when the name of a table is missing, or a setting is wrong.
    pub fn of_authorizer(dynamodb: &Client, environment: &Environment) -> Result<Self, InvalidVariable> {
        let uses = UsageWriter {
            keys: KeysTable::new(dynamodb.clone(), environment)?,
            tokens: TokensTable::new(dynamodb.clone(), environment)?,
            legacy_keys: match legacy_credential::sunset(environment)? {
                Some(_) => Some(LegacyKeysTable::new(dynamodb.clone(), environment)?),
                None => None,
            },
            last_used_interval: environment.seconds("LAST_USED_INTERVAL", 900, 0..=86_400)?,
        };
        Ok(Self {
            uses: Some(uses),
            activity: ActivityTable::new(dynamodb.clone(), environment)?,
            budget: deferred_budget(environment)?,
            calls: CallCounter::from_environment(environment)?.into(),
            metrics: Some(Metrics::from_environment(environment)?.into()),
        })
    }

    /// The writer of a function of the OAuth API: refusals in the audit trail, counted by the minute.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when the name of the table is missing, or a setting is wrong.
    pub fn of_oauth(dynamodb: Client, environment: &Environment) -> Result<Self, InvalidVariable> {
        Ok(Self {
            uses: None,
            activity: ActivityTable::new(dynamodb, environment)?,
            budget: deferred_budget(environment)?,
            calls: CallCounter::new(Some(MINUTE)).into(),
            metrics: None,
        })
    }

    /// Notes how long something took, for the metrics.
    pub fn took(&self, latency: Latency, time: Duration) {
        if let Some(mut metrics) = self.metrics() {
            metrics.took(latency, time);
        }
    }

    /// Writes what is left of one invocation. Nobody can be told that it failed, so it is logged and counted.
    pub async fn write(&self, work: DeferredWork) {
        let DeferredWork { at, outcome, lookup, call, used } = work;
        self.measure(outcome, lookup);
        let events = {
            let mut calls = lock(&self.calls);
            if let Some(call) = call {
                calls.count(call);
            }
            calls.due(at, EVENTS_AT_ONCE)
        };
        let deadline = Instant::now() + self.budget;
        let use_of_key = async {
            if let (Some(used), Some(uses)) = (used, &self.uses) {
                self.attempt(Some(used.key_id), deadline, uses.write(&used, at)).await;
            }
        };
        let trail = async {
            for event in &events {
                self.attempt(event.key_id, deadline, self.activity.append(event)).await;
            }
        };
        tokio::join!(use_of_key, trail);
        let lines = self.metrics().map(|mut metrics| metrics.due(at));
        logging::write(&lines.unwrap_or_default());
    }

    /// Writes everything there is, as far as it can: the environment ends.
    async fn write_rest(&self, now: DateTime<Utc>) {
        let deadline = Instant::now() + END_BUDGET;
        let events = lock(&self.calls).take();
        let mut missing = events.len();
        for events in events.chunks(EVENTS_AT_THE_END) {
            let mut writes: JoinSet<_> = events
                .iter()
                .map(|event| {
                    let (activity, event) = (self.activity.clone(), event.clone());
                    async move { (event.key_id, activity.append(&event).await) }
                })
                .collect();
            while let Ok(Some(written)) = timeout_at(deadline, writes.join_next()).await {
                missing -= 1;
                if let Ok((key_id, Err(error))) = written {
                    self.not_written(key_id, &error);
                }
            }
        }
        if missing > 0 {
            tracing::warn!(missing, "out of time: the audit trail lacks events");
            (0..missing).for_each(|_| self.count(Counter::NotWritten));
        }
        let lines = self.metrics().map(|mut metrics| metrics.take(now));
        logging::write(&lines.unwrap_or_default());
    }

    async fn attempt(
        &self,
        key_id: Option<KeyId>,
        deadline: Instant,
        writing: impl Future<Output = Result<(), Error>>,
    ) {
        match timeout_at(deadline, writing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => self.not_written(key_id, &error),
            Err(_) => self.not_written(key_id, &"out of time"),
        }
    }

    fn not_written(&self, key_id: Option<KeyId>, error: &dyn std::fmt::Display) {
        tracing::warn!(key_id = key_id.map(|id| id.to_string()), %error, "not written after the answer");
        self.count(Counter::NotWritten);
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
            Some(CallOutcome::Refused(reason)) => metrics.denied(reason),
            Some(CallOutcome::Allowed) => metrics.count(Counter::Allowed),
            None => metrics.count(Counter::Errors),
        }
        match lookup {
            LookupSource::None => {}
            LookupSource::Cache => metrics.count(Counter::CacheHits),
            LookupSource::Stale => metrics.count(Counter::StaleHits),
            LookupSource::Store(time) => metrics.took(Latency::Store, time),
        }
    }
}

impl UsageWriter {
    async fn write(&self, used: &KeyUsage, at: DateTime<Utc>) -> Result<(), Error> {
        let due = at - self.last_used_interval;
        let is_due = |last: Option<DateTime<Utc>>| last.is_none_or(|last| last <= due);
        for (what, _) in used.used.iter().filter(|(_, last)| is_due(*last)) {
            match (what, &self.legacy_keys) {
                (UsageTarget::Key, _) => self.keys.mark_used(used.key_id, at, due).await?,
                (UsageTarget::Token(token_id), _) => {
                    self.tokens.mark_used((used.key_id, *token_id), at, due).await?;
                }
                (UsageTarget::LegacyKey(hash), Some(legacy_keys)) => {
                    legacy_keys.mark_used(hash, at, due).await?;
                }
                (UsageTarget::LegacyKey(_), None) => {}
            }
        }
        if let Some(Rehash { stored, renewed }) = &used.rehash {
            self.keys.rehash(used.key_id, stored, renewed).await?;
        }
        Ok(())
    }
}

/// A panic elsewhere leaves counters whole enough: at worst one call is not counted.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the handler leaves what is to be written.
#[derive(Debug)]
pub enum DeferredWorker {
    /// The extension writes it after the answer.
    Extension(UnboundedSender<DeferredWork>),
    /// There is no Extensions API: it is written before the answer.
    Handler(Arc<DeferredWriter>),
}

impl DeferredWorker {
    /// Registers the extension, which must happen before the runtime asks for its first event.
    ///
    /// # Errors
    ///
    /// The operating system does not tell of SIGTERM.
    pub async fn start(writer: Arc<DeferredWriter>) -> std::io::Result<Self> {
        let mut ending = signal(SignalKind::terminate())?;
        let rest = Arc::clone(&writer);
        tokio::spawn(async move {
            ending.recv().await;
            rest.write_rest(Utc::now()).await;
            std::process::exit(0);
        });

        let (left, to_write) = unbounded_channel();
        let queue = Arc::new(Queue { writer: Arc::clone(&writer), to_write: to_write.into() });
        let extension = Extension::new()
            .with_extension_name("keygate-afterwards")
            .with_events(&["INVOKE"])
            .with_events_processor(service_fn(move |_: LambdaEvent| write_next(Arc::clone(&queue))));
        let extension = match extension.register().await {
            Ok(extension) => extension,
            Err(error) => {
                // Once for each environment. Callers wait longer from now on, and nothing else would say why.
                tracing::warn!(%error, "no Extensions API: what is left is written before each answer");
                return Ok(Self::Handler(writer));
            }
        };
        tokio::spawn(async move {
            let ended = Box::pin(extension.run()).await;
            // Lambda waits for an extension that has registered: without it, this environment is of no use.
            tracing::error!(error = ?ended.err(), "the extension has ended");
            std::process::exit(1);
        });
        Ok(Self::Extension(left))
    }

    /// Takes what is left of an invocation: once for each, because the extension waits for it.
    pub async fn leave(&self, work: DeferredWork) {
        match self {
            Self::Extension(left) => {
                if left.send(work).is_err() {
                    tracing::warn!("the extension has ended");
                }
            }
            Self::Handler(writer) => Box::pin(writer.write(work)).await,
        }
    }
}

/// What handlers have left, for the extension.
struct Queue {
    writer: Arc<DeferredWriter>,
    to_write: tokio::sync::Mutex<UnboundedReceiver<DeferredWork>>,
}

/// Waits until the handler is done with the invocation that the extension was told of, and writes what it has left.
async fn write_next(queue: Arc<Queue>) -> Result<(), lambda_extension::Error> {
    if let Some(work) = queue.to_write.lock().await.recv().await {
        // The handler has only just returned: let the runtime send the answer first.
        tokio::task::yield_now().await;
        Box::pin(queue.writer.write(work)).await;
    }
    Ok(())
}
