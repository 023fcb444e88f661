//! An AWS service for unit tests: an HTTP server that returns prepared responses and records the requests.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::aws::Aws;
use crate::aws::settings::AwsSettings;

pub(crate) const SECRET_ACCESS_KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

/// Longer than any test that does not wait for the end of its budget.
pub(crate) const BUDGET: Duration = Duration::from_secs(20);

/// A received request.
#[derive(Debug)]
pub(crate) struct ArrivedRequest {
    /// The request line, such as `POST / HTTP/1.1`.
    pub(crate) line: String,
    /// The headers by their names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl ArrivedRequest {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// The running server.
#[derive(Debug)]
pub(crate) struct TestServer {
    pub(crate) url: String,
    serving: JoinHandle<Vec<ArrivedRequest>>,
}

impl TestServer {
    /// Serves requests with these responses in order, each on a separate connection.
    pub(crate) fn start(responses: impl Into<Vec<String>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let responses = responses.into();
        let serving = std::thread::spawn(move || {
            responses.into_iter().map(|response| serve(&listener, &response)).collect()
        });
        Self { url, serving }
    }

    /// Waits until every response is sent, and returns the requests.
    pub(crate) fn requests(self) -> Vec<ArrivedRequest> {
        self.serving.join().unwrap()
    }

    /// The clients of a function that reach this server for every service.
    pub(crate) fn aws(&self) -> Aws {
        aws(&self.url, BUDGET)
    }
}

/// The clients of a function that reach `url` for every service.
pub(crate) fn aws(url: &str, budget: Duration) -> Aws {
    Aws::new(&settings(&[("AWS_ENDPOINT_URL", url)]), "test", budget).unwrap()
}

/// Settings from the variables that Lambda sets and from `more`.
pub(crate) fn settings(more: &[(&str, &str)]) -> AwsSettings {
    let variables = [
        ("AWS_REGION", "eu-west-1"),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY),
        ("AWS_SESSION_TOKEN", "a/session+token="),
    ];
    let environment = variables.iter().chain(more).copied().collect();
    AwsSettings::from_environment(&environment).unwrap()
}

/// An HTTP response.
pub(crate) fn response(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

fn serve(listener: &TcpListener, response: &str) -> ArrivedRequest {
    let (mut connection, _) = listener.accept().unwrap();
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    let mut lines = reader.by_ref().lines().map(Result::unwrap).take_while(|line| !line.is_empty());
    let line = lines.next().unwrap();
    let headers: BTreeMap<_, _> = lines
        .map(|line| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned())))
        .collect::<Option<_>>()
        .unwrap();
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    connection.write_all(response.as_bytes()).unwrap();
    ArrivedRequest { line, headers, body }
}
