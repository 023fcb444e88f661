//! What an authorization leaves to be written: when the key was last used, and its hash under the current pepper.
//!
//! None of it decides anything, so nobody waits for it. The authorizer is its own internal extension: Lambda gives an
//! environment time until both the function and its extensions ask for the next event, and answers the caller as soon as
//! the function has. Where there is no Extensions API, the writing comes before the answer.
//! <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html>

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use lambda_extension::{Extension, LambdaEvent, service_fn};
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::credential::KeyId;
use crate::error::Error;
use crate::pepper::SecretHash;
use crate::store::keys::Keys;

/// What is left of one authorization.
#[derive(Debug)]
pub struct Followup {
    /// The key that was accepted.
    pub key_id: KeyId,
    /// When.
    pub at: DateTime<Utc>,
    /// When it had last been used, as far as is written.
    pub last_used_at: Option<DateTime<Utc>>,
    /// Its hash was made under another pepper than the current one.
    pub rehash: Option<Rehash>,
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
#[derive(Clone, Debug)]
pub struct Writer {
    /// Where keys are.
    pub keys: Keys,
    /// How long a key may be used before it is written again that it was.
    pub last_used_interval: TimeDelta,
    /// How long writing may take.
    pub budget: Duration,
}

impl Writer {
    /// Writes what is left of one authorization. Nobody can be told that it failed, so it is logged.
    pub async fn write(&self, followup: &Followup) {
        let key_id = followup.key_id;
        match tokio::time::timeout(self.budget, self.write_all(followup)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%key_id, %error, "not written after the answer"),
            Err(_) => tracing::warn!(%key_id, error = "out of time", "not written after the answer"),
        }
    }

    async fn write_all(&self, followup: &Followup) -> Result<(), Error> {
        let due = followup.at - self.last_used_interval;
        if followup.last_used_at.is_none_or(|last| last <= due) {
            self.keys.mark_used(followup.key_id, followup.at, due).await?;
        }
        if let Some(Rehash { stored, renewed }) = &followup.rehash {
            self.keys.rehash(followup.key_id, stored, renewed).await?;
        }
        Ok(())
    }
}

/// Where the handler leaves what is to be written.
#[derive(Debug)]
pub enum Afterwards {
    /// The extension writes it after the answer.
    Extension(UnboundedSender<Option<Followup>>),
    /// There is no Extensions API: it is written before the answer.
    Handler(Writer),
}

impl Afterwards {
    /// Registers the extension, which must happen before the runtime asks for its first event.
    pub async fn start(writer: Writer) -> Self {
        let (left, to_write) = unbounded_channel();
        let queue = Arc::new(Queue { writer: writer.clone(), to_write: Mutex::new(to_write) });
        let extension = Extension::new()
            .with_extension_name("keygate-afterwards")
            .with_events(&["INVOKE"])
            .with_events_processor(service_fn(move |_: LambdaEvent| write_next(Arc::clone(&queue))));
        let Ok(extension) = extension.register().await else {
            tracing::debug!("no Extensions API");
            return Self::Handler(writer);
        };
        tokio::spawn(async move {
            let ended = extension.run().await;
            // Lambda waits for an extension that has registered: without it, this environment is of no use.
            tracing::error!(error = ?ended.err(), "the extension has ended");
            std::process::exit(1);
        });
        Self::Extension(left)
    }

    /// Takes what is left of an invocation, if anything: once for each, because the extension waits for it.
    pub async fn leave(&self, followup: Option<Followup>) {
        match self {
            Self::Extension(left) => {
                if left.send(followup).is_err() {
                    tracing::warn!("the extension has ended");
                }
            }
            Self::Handler(writer) => {
                if let Some(followup) = followup {
                    writer.write(&followup).await;
                }
            }
        }
    }
}

/// What handlers have left, for the extension.
struct Queue {
    writer: Writer,
    to_write: Mutex<UnboundedReceiver<Option<Followup>>>,
}

/// Waits until the handler is done with the invocation that the extension was told of, and writes what it has left.
async fn write_next(queue: Arc<Queue>) -> Result<(), lambda_extension::Error> {
    if let Some(Some(followup)) = queue.to_write.lock().await.recv().await {
        queue.writer.write(&followup).await;
    }
    Ok(())
}
