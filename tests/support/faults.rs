//! A proxy that makes calls to AWS fail as AWS and networks do. It is microburst, in a process for each test.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::{Value, json};

use crate::support::eventually;

const MICROBURST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.local/tools/emulator/bin/microburst");

/// A running proxy.
#[derive(Debug)]
pub(crate) struct Faults {
    client: reqwest::Client,
    upstream: String,
    address: SocketAddrV4,
    process: Child,
}

/// The number of proxies that this process has started.
static STARTED: AtomicU16 = AtomicU16::new(0);

/// An address that nothing else listens on. microburst cannot choose its port, and one that is free now may be another
/// process's a moment later. But every address that begins with 127 is the machine's own and has all ports, so each proxy
/// gets an address of its own, made of a number and of this process's id.
fn own_address() -> SocketAddrV4 {
    let [.., high, low] = std::process::id().to_be_bytes();
    let started = u8::try_from(STARTED.fetch_add(1, Ordering::Relaxed) % 200).expect("below 200");
    let address = Ipv4Addr::new(127, 1 + started, high, low);
    let listener = TcpListener::bind((address, 0)).expect("a free port");
    SocketAddrV4::new(address, listener.local_addr().expect("an address").port())
}

impl Faults {
    /// Starts a proxy in front of the service at a URL. No call fails yet.
    pub(crate) async fn before(upstream: &str) -> Self {
        let (client, upstream, address) = (reqwest::Client::new(), upstream.to_owned(), own_address());
        let mut faults = Self { client, process: launch(address, &upstream), upstream, address };
        faults.wait().await;
        faults
    }

    /// Ends every connection, and takes new ones.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.process = launch(self.address, &self.upstream);
        self.wait().await;
    }

    /// The URL of the proxy.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Replaces the rules of microburst with this one.
    pub(crate) async fn inject(&self, fault: &Value) {
        self.control(self.client.delete(self.control_url("fired"))).await;
        self.control(self.client.post(self.control_url("rules")).json(&json!([fault]))).await;
    }

    /// Deletes the rules of microburst, so that all calls pass.
    pub(crate) async fn pass(&self) {
        self.control(self.client.post(self.control_url("rules")).json(&json!([]))).await;
    }

    /// The number of calls that the rule has been applied to.
    pub(crate) async fn injected(&self) -> usize {
        let fired = self.control(self.client.get(self.control_url("fired"))).await;
        fired.as_array().unwrap_or_else(|| panic!("a list: {fired}")).len()
    }

    async fn wait(&mut self) {
        let (client, health) = (&self.client, self.control_url("health"));
        let process = &mut self.process;
        eventually("microburst starts", async || {
            let ended = process.try_wait().expect("its state");
            assert!(ended.is_none(), "{MICROBURST} ended: {ended:?}; `make setup` installs it");
            client.get(&health).send().await.is_ok()
        })
        .await;
        // The first call makes microburst load its descriptions of AWS, which takes seconds.
        let call = self.client.post(self.url()).header("X-Amz-Target", "DynamoDB_20120810.ListTables");
        call.send().await.expect("any response");
    }

    async fn control(&self, request: reqwest::RequestBuilder) -> Value {
        let answer = request.send().await.expect("microburst responds");
        let (status, text) = (answer.status(), answer.text().await.expect("a whole response"));
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

fn launch(address: SocketAddrV4, upstream: &str) -> Child {
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let mut command = Command::new(MICROBURST);
    command.args(["--host", &host, "--port", &port, "--upstream", upstream, "--no-resign"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap_or_else(|error| panic!("{MICROBURST}: {error}; `make setup` installs it"))
}
