//! The HTTP client of every request, of those to AWS too: the proxy of `HTTPS_PROXY` and `NO_PROXY`, the roots that the system
//! trusts, no redirects.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http::{Request, Response};
use ureq::Agent;
use ureq::tls::{RootCerts, TlsConfig};

/// The maximum size of a response, in bytes.
const MAX_RESPONSE_LEN: u64 = 20_000_000;
/// API Gateway responds within 29 s, and Lambda's `Invoke` when the function ends, which takes no longer.
const TIMEOUT: Duration = Duration::from_secs(70);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The number of connections that are kept. `keygate restore` makes this many calls at the same time.
const MAX_IDLE: usize = 32;

/// The connectors of the SDK, by their timeouts to connect and to read. It asks for one before each call.
type Connectors = Arc<Mutex<HashMap<(Duration, Duration), SharedHttpConnector>>>;

/// A pool of connections. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    agent: Agent,
    connectors: Connectors,
}

impl Http {
    pub(crate) fn new() -> Self {
        Self::with_timeouts(CONNECT_TIMEOUT, TIMEOUT)
    }

    fn with_timeouts(connect: Duration, whole: Duration) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            // A redirect would take the key of the request elsewhere.
            .max_redirects(0)
            .timeout_connect(Some(connect))
            .timeout_global(Some(whole))
            .max_idle_connections(MAX_IDLE)
            .max_idle_connections_per_host(MAX_IDLE)
            .tls_config(TlsConfig::builder().root_certs(RootCerts::PlatformVerifier).build())
            .user_agent(concat!("keygate-cli/", env!("CARGO_PKG_VERSION")))
            .build();
        Self { agent: agent.into(), connectors: Connectors::default() }
    }

    /// Sends a request and reads its response, whatever its status.
    ///
    /// # Errors
    ///
    /// No complete response arrived.
    pub(crate) fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, ureq::Error> {
        let (head, body) = request.into_parts();
        let response = if body.is_empty() && !matches!(head.method.as_str(), "POST" | "PUT" | "PATCH") {
            self.agent.run(Request::from_parts(head, ()))?
        } else {
            self.agent.run(Request::from_parts(head, body))?
        };
        let (head, mut body) = response.into_parts();
        let body = body.with_config().limit(MAX_RESPONSE_LEN).read_to_vec()?;
        Ok(Response::from_parts(head, body))
    }
}

/// Whether a request with this error was certainly not sent.
pub(crate) fn is_unsent(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::HostNotFound
        | ureq::Error::ConnectionFailed
        | ureq::Error::Tls(_)
        | ureq::Error::Rustls(_)
        | ureq::Error::BadUri(_)
        | ureq::Error::InvalidProxyUrl
        | ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => true,
        ureq::Error::Io(io) => {
            is_unknown_host(error)
                || matches!(
                    io.kind(),
                    ErrorKind::ConnectionRefused | ErrorKind::NetworkUnreachable | ErrorKind::HostUnreachable
                )
        }
        _ => false,
    }
}

/// Whether the host of a request has no address. The standard library has no kind for that.
pub(crate) fn is_unknown_host(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::HostNotFound => true,
        ureq::Error::Io(error) => error.to_string().starts_with("failed to lookup address information"),
        _ => false,
    }
}

impl HttpClient for Http {
    /// The SDK bounds the search for credentials of an instance by a second, which is why its timeouts count.
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        let connect = settings.connect_timeout().unwrap_or(CONNECT_TIMEOUT);
        let whole = settings.read_timeout().unwrap_or(TIMEOUT);
        let new = || SharedHttpConnector::new(Self::with_timeouts(connect, whole));
        match self.connectors.lock() {
            Ok(mut connectors) => connectors.entry((connect, whole)).or_insert_with(new).clone(),
            // Another thread panicked. A new connector works as well.
            Err(_) => new(),
        }
    }
}

impl HttpConnector for Http {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let (head, body) = request.into_parts();
            let body = body.bytes().map(<[u8]>::to_vec);
            let body = body.ok_or_else(|| ConnectorError::user("a body that is a stream".into()))?;
            let request = Request::from_parts(head, body);
            let sent = tokio::task::spawn_blocking(move || client.send(request)).await;
            let response = sent.map_err(|error| ConnectorError::other(error.into(), None))?;
            let response = response.map_err(|error| ConnectorError::io(error.into()))?;
            HttpResponse::try_from(response.map(SdkBody::from))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(url: &str) -> ureq::Error {
        Http::new().send(Request::get(url).body(Vec::new()).unwrap()).unwrap_err()
    }

    #[test]
    fn a_request_is_known_to_be_unsent_if_there_is_no_server() {
        let unknown = failure("https://keygate.invalid/");
        assert!(is_unknown_host(&unknown) && is_unsent(&unknown), "{unknown:?}");
        let absent = failure("http://127.0.0.1:1/");
        assert!(is_unsent(&absent) && !is_unknown_host(&absent), "{absent:?}");
    }

    #[test]
    fn a_request_may_have_been_sent_if_the_server_ended_the_connection() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        std::thread::spawn(move || drop(listener.accept().unwrap()));
        let lost = failure(&url);
        assert!(!is_unsent(&lost), "{lost:?}");
    }
}
