//! A proxy that makes calls of AWS fail in the ways in which AWS and networks do: microburst, a process for each test.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

const MICROBURST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.local/tools/emulator/bin/microburst");

/// A running proxy.
#[derive(Debug)]
pub(crate) struct Faults {
    client: reqwest::Client,
    upstream: String,
    port: u16,
    process: Child,
}

impl Faults {
    /// Starts a proxy before the service at a URL. Nothing fails yet.
    pub(crate) async fn before(upstream: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let (client, upstream) = (reqwest::Client::new(), upstream.to_owned());
        let mut faults = Self { client, process: launch(port, &upstream), upstream, port };
        faults.wait().await;
        faults
    }

    /// Ends every connection, and takes new ones.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.process = launch(self.port, &self.upstream);
        self.wait().await;
    }

    /// Where calls go that may fail.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Lets this happen, and nothing else, from now on: a rule of microburst.
    pub(crate) async fn inject(&self, fault: &Value) {
        self.control(self.client.delete(self.control_url("fired"))).await;
        self.control(self.client.post(self.control_url("rules")).json(&json!([fault]))).await;
    }

    /// Lets everything pass from now on.
    pub(crate) async fn pass(&self) {
        self.control(self.client.post(self.control_url("rules")).json(&json!([]))).await;
    }

    /// How many calls it has happened to since it was said.
    pub(crate) async fn injected(&self) -> usize {
        let fired = self.control(self.client.get(self.control_url("fired"))).await;
        fired.as_array().unwrap_or_else(|| panic!("a list: {fired}")).len()
    }

    async fn wait(&mut self) {
        while self.client.get(self.control_url("health")).send().await.is_err() {
            let ended = self.process.try_wait().expect("its state");
            assert!(ended.is_none(), "{MICROBURST} runs; `make setup` installs it");
            tokio::task::yield_now().await;
        }
        // The first call of AWS makes it read what it knows of AWS, for seconds.
        let call = self.client.post(self.url()).header("X-Amz-Target", "DynamoDB_20120810.ListTables");
        call.send().await.expect("an answer, whatever it is");
    }

    async fn control(&self, request: reqwest::RequestBuilder) -> Value {
        let answer = request.send().await.expect("microburst answers");
        let (status, text) = (answer.status(), answer.text().await.expect("a whole answer"));
        assert!(status.is_success(), "{status}: {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    fn control_url(&self, what: &str) -> String {
        format!("{}/_microburst/{what}", self.url())
    }

    fn kill(&mut self) {
        self.process.kill().expect("it can be killed");
        self.process.wait().expect("it ends");
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        self.kill();
    }
}

fn launch(port: u16, upstream: &str) -> Child {
    let mut command = Command::new(MICROBURST);
    command.args(["--port", &port.to_string(), "--upstream", upstream, "--no-resign"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap_or_else(|error| panic!("{MICROBURST}: {error}; `make setup` installs it"))
}
