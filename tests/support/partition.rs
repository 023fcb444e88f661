//! A proxy of the database that serves a number of reads per second and throttles the others, as a partition of `DynamoDB` does.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::stack::variable;

/// A running proxy. At first it serves all reads.
#[derive(Debug)]
pub(crate) struct Partition {
    url: String,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    client: reqwest::Client,
    capacity: Mutex<Capacity>,
}

#[derive(Debug)]
struct Capacity {
    /// `None` serves all reads.
    per_second: Option<u32>,
    second: Instant,
    served: u32,
    throttled: usize,
}

impl Partition {
    /// Starts a proxy in front of the stack's database.
    pub(crate) async fn start() -> Self {
        let capacity = Capacity { per_second: None, second: Instant::now(), served: 0, throttled: 0 };
        let shared = Arc::new(Shared { client: reqwest::Client::new(), capacity: Mutex::new(capacity) });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let router = Router::new().fallback(pass_on).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, shared }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Serves that many reads per second from now on, or all of them.
    pub(crate) fn serve(&self, per_second: Option<u32>) {
        let mut capacity = self.shared.capacity.lock().unwrap();
        capacity.per_second = per_second;
        capacity.served = 0;
    }

    /// The number of reads throttled since the last call of this method.
    pub(crate) fn take_throttled(&self) -> usize {
        std::mem::take(&mut self.shared.capacity.lock().unwrap().throttled)
    }
}

impl Capacity {
    /// Whether there is capacity for one more read, which takes it.
    fn take(&mut self) -> bool {
        if self.second.elapsed() >= Duration::from_secs(1) {
            self.second = Instant::now();
            self.served = 0;
        }
        let is_served = self.per_second.is_none_or(|per_second| self.served < per_second);
        if is_served {
            self.served += 1;
        } else {
            self.throttled += 1;
        }
        is_served
    }
}

async fn pass_on(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, [(&'static str, &'static str); 1], Bytes) {
    const JSON: [(&str, &str); 1] = [("content-type", "application/x-amz-json-1.0")];
    if !shared.capacity.lock().unwrap().take() {
        let kind = "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException";
        let throttled = json!({"__type": kind, "message": "The level of configured provisioned throughput was exceeded."});
        return (StatusCode::BAD_REQUEST, JSON, throttled.to_string().into());
    }
    let mut forwarded = shared.client.post(variable("KEYGATE_DYNAMODB_URL")).body(body);
    for name in ["x-amz-target", "authorization", "x-amz-date", "content-type"] {
        if let Some(value) = headers.get(name) {
            forwarded = forwarded.header(name, value.as_bytes());
        }
    }
    let answer = forwarded.send().await.expect("the database responds");
    (answer.status(), JSON, answer.bytes().await.expect("a whole response"))
}
