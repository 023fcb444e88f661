//! The addresses of the stack, and clients of its APIs.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use keygate::aws::Aws;
use keygate::aws::dynamodb::DynamoDb;
use keygate::aws::settings::AwsSettings;
use keygate_core::environment::Environment;
use reqwest::{Client, Method, Response};
use serde_json::Value;

/// A variable that tells the tests where the stack is. `make e2e` sets it, and `make dev` writes it to `.local/env`.
///
/// # Panics
///
/// If the variable is not set. The message says how to start a stack.
pub(crate) fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| {
        panic!(
            "{name} is not set: these tests need a running stack. `make e2e` starts one and runs all of them, \
             `make e2e ARGS=name` runs one. With the stack of `make dev`: `set -a; . .local/env; set +a` before `cargo test`"
        )
    })
}

/// The stack's pepper versions and one more: a value of `PEPPER_VERSIONS`.
pub(crate) fn pepper_versions_with(version: &str) -> String {
    format!("{},{version}", variable("KEYGATE_PEPPER_VERSIONS"))
}

/// A client of the database itself, without the recorder and the proxies in front of it.
pub(crate) fn dynamodb() -> DynamoDb {
    let environment: Environment = ["AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"]
        .map(|name| (name.to_owned(), variable(name)))
        .into_iter()
        .chain([("AWS_ENDPOINT_URL".to_owned(), variable("KEYGATE_DYNAMODB_URL"))])
        .collect();
    let settings = AwsSettings::from_environment(&environment).expect("complete settings");
    Aws::new(&settings, "tests", std::time::Duration::from_secs(30))
        .expect("settings that can be used")
        .dynamodb()
}

/// The folder for files that the checks of a whole run read. It is deleted with the stack.
pub(crate) fn run_folder() -> PathBuf {
    let folder = PathBuf::from(variable("KEYGATE_CALLS_LOG")).with_file_name("tests");
    std::fs::create_dir_all(&folder).expect("the stack's folder can be written to");
    folder
}

/// Records a text that no table and no log may have. The checks of a whole run search for it.
pub(crate) fn remember_secret(secret: &str) {
    let mut options = OpenOptions::new();
    let mut file = options
        .create(true)
        .append(true)
        .mode(0o600)
        .open(run_folder().join("secrets"))
        .expect("a file for secrets");
    file.write_all(format!("{secret}\n").as_bytes()).expect("the secret can be remembered");
}

/// A complete HTTP response.
#[derive(Debug)]
#[must_use = "a preparation that fails unnoticed lets a test show something else"]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) async fn of(response: Response) -> Self {
        let headers = response.headers().iter();
        let headers =
            headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned()));
        let (status, headers) = (response.status().as_u16(), headers.collect());
        let text = response.text().await.expect("a whole response");
        // Not in the scripts of the keys page.
        let is_json = text.starts_with('{');
        for member in ["key", "access_token", "refresh_token"] {
            let shown = text.split_once(&format!("\"{member}\":\"")).filter(|_| is_json);
            if let Some((_, credential)) = shown {
                let credential = credential.split('"').next().expect("its end");
                remember_secret(&credential[credential.len() - 49..][..43]);
            }
        }
        Self { status, headers, text }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("a response in JSON: {self:?}"))
    }

    pub(crate) fn header(&self, wanted: &str) -> Option<&str> {
        self.headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    }

    /// Checks that the request has succeeded.
    #[track_caller]
    pub(crate) fn assert_succeeded(&self) {
        assert!((200..300).contains(&self.status), "{self:?}");
    }

    /// Checks that this is a problem (RFC 9457) of that status and code, in full.
    #[track_caller]
    pub(crate) fn assert_problem(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], status, "{problem}");
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["type"], format!("urn:keygate:problem:{}", code.replace('_', "-")), "{problem}");
        for member in ["title", "detail", "request_id"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {problem}");
        }
    }

    /// The pointers and parameters that a 400 names, in order.
    #[track_caller]
    pub(crate) fn invalid_places(&self) -> Vec<String> {
        self.assert_problem(400, "invalid_request");
        let problem = self.json();
        let place =
            |error: &Value| error["pointer"].as_str().or(error["parameter"].as_str()).map(str::to_owned);
        let errors = problem["errors"].as_array().expect("errors");
        errors.iter().map(|error| place(error).unwrap_or_else(|| panic!("a place: {error}"))).collect()
    }
}

/// A client of the APIs. Each test has its own, because connections belong to the runtime that opened them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Api(Client);

impl Api {
    pub(crate) async fn send(
        &self,
        method: Method,
        url: &str,
        key: Option<&str>,
        body: Option<&Value>,
    ) -> Answer {
        let body = body.map(Value::to_string);
        self.send_text(method, url, key.map(|key| format!("Bearer {key}")).as_deref(), body).await
    }

    /// Sends any text as `application/json`, and any value as the `Authorization`.
    pub(crate) async fn send_text(
        &self,
        method: Method,
        url: &str,
        authorization: Option<&str>,
        body: Option<String>,
    ) -> Answer {
        let mut request = self.0.request(method, url);
        if let Some(authorization) = authorization {
            request = request.header("Authorization", authorization);
        }
        if let Some(body) = body {
            request = request.header("Content-Type", "application/json").body(body);
        }
        Answer::of(request.send().await.expect("a response of the stack")).await
    }

    /// Calls a route of the example stack's REST API and HTTP API with a key. Returns both statuses.
    pub(crate) async fn examples(&self, method: &Method, path: &str, key: &str) -> [u16; 2] {
        let call = |variable_name| {
            let url = format!("{}{path}", variable(variable_name));
            async move { self.send(method.clone(), &url, Some(key), None).await.status }
        };
        let (rest, http) = tokio::join!(call("KEYGATE_REST_EXAMPLE_URL"), call("KEYGATE_HTTP_EXAMPLE_URL"));
        [rest, http]
    }

    /// Calls the REST API of the example stack.
    pub(crate) async fn rest_example(&self, authorization: Option<&str>) -> Answer {
        let url = format!("{}/echo", variable("KEYGATE_REST_EXAMPLE_URL"));
        self.send_text(Method::GET, &url, authorization, None).await
    }

    /// Calls the HTTP API of the example stack.
    pub(crate) async fn http_example(&self, authorization: Option<&str>) -> Answer {
        let url = format!("{}/echo", variable("KEYGATE_HTTP_EXAMPLE_URL"));
        self.send_text(Method::GET, &url, authorization, None).await
    }

    /// Opens a connection to the example stack's WebSocket API (RFC 6455, section 4.1), and closes it. Returns the status,
    /// which is 101 if the connection was opened.
    pub(crate) async fn connect(&self, authorization: Option<&str>) -> u16 {
        let mut handshake = self.0.get(variable("KEYGATE_WEBSOCKET_EXAMPLE_URL"));
        for (name, value) in [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            handshake = handshake.header(name, value);
        }
        if let Some(authorization) = authorization {
            handshake = handshake.header("Authorization", authorization);
        }
        handshake.send().await.expect("a response of the stack").status().as_u16()
    }

    pub(crate) fn client(&self) -> &Client {
        &self.0
    }
}
