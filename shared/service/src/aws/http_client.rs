//! The HTTP client of every call to AWS: TLS connections that are kept, shared by the SDK and by
//! [`SigV4Client`](super::sigv4_client::SigV4Client).
//!
//! The SDK's own HTTP client parses its root certificates from text at the first connection of every environment. Those of
//! this client are compiled in, parsed. A general pool of connections starts a task for each request, to wait until its connection is
//! free; here the next request looks whether it is (`docs/decisions/0026-one-signed-client.md`).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::config::http::HttpRequest;
use aws_sdk_dynamodb::config::{self as sdk, RuntimeComponents};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri, header};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect;
use keygate_core::environment::InvalidVariable;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use thiserror::Error as ThisError;
use tokio::time::Instant;
use tower_service::Service;

/// How long a connection is kept without a request. `DynamoDB` closes it after a few minutes, and a request over a connection
/// that is being closed has to be repeated.
const MAX_IDLE: Duration = Duration::from_secs(90);

/// A client and its connections. Cheap to clone; clones share the connections.
#[derive(Clone, Debug)]
pub(crate) struct HttpClient {
    connector: HttpsConnector<connect::HttpConnector>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

/// Why a request has no response.
#[derive(Debug, ThisError)]
pub(crate) enum SendError {
    /// The URL has no scheme or no host.
    #[error("the URL is not absolute")]
    NoOrigin,
    /// The connection or its TLS handshake failed.
    #[error("no connection")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The connection ended, or what came over it is not HTTP.
    #[error("no response")]
    Exchange(#[source] hyper::Error),
}

/// A connection that may be used again.
#[derive(Debug)]
struct Connection {
    origin: Origin,
    sender: SendRequest<SdkBody>,
    used_at: Instant,
}

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq)]
struct Origin {
    scheme: Scheme,
    authority: Authority,
}

impl HttpClient {
    /// A client that trusts the compiled-in public roots, and those of the file `ca_bundle`. It opens no connection yet.
    ///
    /// `connect_timeout` is the timeout of the TCP connection; a TLS handshake counts against the timeout of its call.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when `ca_bundle` does not name a file with PEM certificates.
    pub(crate) fn new(ca_bundle: Option<&str>, connect_timeout: Duration) -> Result<Self, InvalidVariable> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(path) = ca_bundle {
            add(&mut roots, path).ok_or_else(|| InvalidVariable {
                name: "AWS_CA_BUNDLE",
                must_be: "must be the path of a file with PEM certificates".to_owned(),
            })?;
        }
        let tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring speaks every version")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut tcp = connect::HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(connect_timeout));
        // Plain HTTP is for the local stack: AWS's own endpoints are https.
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self { connector, idle: Arc::default() })
    }

    /// Sends a request over a kept or a new connection. A kept one that turns out to be closed before the request was written
    /// is replaced.
    ///
    /// # Errors
    ///
    /// - [`SendError::NoOrigin`]: the request's URL is not absolute.
    /// - [`SendError::Connect`]: the connection or the TLS handshake failed. Nothing was sent.
    /// - [`SendError::Exchange`]: no response arrived. The request may have been processed.
    pub(crate) async fn send(&self, request: Request<SdkBody>) -> Result<Response<Incoming>, SendError> {
        let (origin, mut request) = Origin::of(request).ok_or(SendError::NoOrigin)?;
        while let Some(mut connection) = self.take(&origin).await {
            match connection.sender.try_send_request(request).await {
                Ok(response) => return Ok(self.kept(connection, response)),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(SendError::Exchange(error.into_error())),
                },
            }
        }
        // Boxed, because it is large, rare, and would be a part of the future of every call.
        let mut connection = Box::pin(self.connect(origin)).await?;
        let response = connection.sender.send_request(request).await.map_err(SendError::Exchange)?;
        Ok(self.kept(connection, response))
    }

    /// A kept connection that waits for a request.
    async fn take(&self, origin: &Origin) -> Option<Connection> {
        let ready =
            |connection: &mut Connection| connection.origin == *origin && connection.sender.is_ready();
        let (found, is_busy) = {
            let mut idle = self.idle();
            idle.retain(|kept| !kept.sender.is_closed() && kept.used_at.elapsed() < MAX_IDLE);
            let found = idle.iter_mut().rposition(ready).map(|index| idle.swap_remove(index));
            (found, idle.iter().any(|kept| kept.origin == *origin))
        };
        if found.is_some() || !is_busy {
            return found;
        }
        // The task of a connection whose response was read to its end makes it ready in its next turn.
        tokio::task::yield_now().await;
        let mut idle = self.idle();
        idle.iter_mut().rposition(ready).map(|index| idle.swap_remove(index))
    }

    /// Keeps the connection, which is ready again once the body of its response was read.
    fn kept(&self, mut connection: Connection, response: Response<Incoming>) -> Response<Incoming> {
        connection.used_at = Instant::now();
        self.idle().push(connection);
        response
    }

    async fn connect(&self, origin: Origin) -> Result<Connection, SendError> {
        let url = Uri::builder()
            .scheme(origin.scheme.clone())
            .authority(origin.authority.clone())
            .path_and_query("/");
        let url = url.build().map_err(|error| SendError::Connect(error.into()))?;
        let stream = self.connector.clone().call(url).await.map_err(SendError::Connect)?;
        let (sender, exchanges) = http1::handshake(stream).await.map_err(SendError::Exchange)?;
        // Its errors are those of the request that waits for it; without one, a connection has ended that nothing needs.
        tokio::spawn(exchanges);
        Ok(Connection { origin, sender, used_at: Instant::now() })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Origin {
    /// The origin of a request, and the request as it is sent there: with a path alone, and a header `Host`.
    fn of(mut request: Request<SdkBody>) -> Option<(Self, Request<SdkBody>)> {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        let origin = Self { scheme: parts.scheme.take()?, authority: parts.authority.take()? };
        let path = parts.path_and_query.take().unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from(path);
        if !request.headers().contains_key(header::HOST) {
            let host = HeaderValue::from_str(origin.authority.as_str()).ok()?;
            request.headers_mut().insert(header::HOST, host);
        }
        Some((origin, request))
    }
}

fn add(roots: &mut RootCertStore, path: &str) -> Option<()> {
    let known = roots.len();
    for certificate in CertificateDer::pem_file_iter(path).ok()? {
        roots.add(certificate.ok()?).ok()?;
    }
    (roots.len() > known).then_some(())
}

impl sdk::HttpClient for HttpClient {
    /// Returns the same pool for all settings: the SDK enforces the timeout of an attempt itself.
    fn http_connector(&self, _: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for HttpClient {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            // A missing response is always a reason to retry.
            let response = client.send(request).await.map_err(|error| ConnectorError::io(error.into()))?;
            HttpResponse::try_from(response.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::StatusCode;
    use http_body_util::BodyExt;
    use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ServerConfig, ServerConnection, StreamOwned};

    use super::*;

    /// Answers one request, if it comes to that, with a certificate for `localhost`; and the root that issued it.
    fn server() -> (String, String) {
        let mut root = CertificateParams::new([]).unwrap();
        root.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let root = CertifiedIssuer::self_signed(root, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &root).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
            )
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (tcp, _) = listener.accept().unwrap();
            let mut connection = StreamOwned::new(ServerConnection::new(Arc::new(tls)).unwrap(), tcp);
            // A client that does not believe us is gone by now.
            if connection.read(&mut [0; 1000]).is_ok() {
                connection.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
            }
        });
        (format!("https://localhost:{port}"), root.pem())
    }

    async fn ask(url: &str, ca_bundle: Option<&str>) -> Result<StatusCode, SendError> {
        let client = HttpClient::new(ca_bundle, Duration::from_secs(20)).unwrap();
        let request = Request::get(url).body(SdkBody::empty()).unwrap();
        client.send(request).await.map(|response| response.status())
    }

    #[tokio::test]
    async fn only_a_server_with_a_trusted_root_is_spoken_to() {
        let folder = std::env::temp_dir().join(format!("keygate-{}-roots", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let bundle = |name: &str, root: &str| {
            let path = folder.join(name);
            std::fs::write(&path, root).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let (url, root) = server();
        let trusted = bundle("trusted.pem", &root);
        assert_eq!(ask(&url, Some(&trusted)).await.unwrap(), StatusCode::NO_CONTENT);

        let (url, _) = server();
        let failure = keygate_core::error::chain(&ask(&url, None).await.unwrap_err());
        assert!(failure.contains("UnknownIssuer"), "{failure}");

        let (url, _) = server();
        let failure = keygate_core::error::chain(&ask(&url, Some(&trusted)).await.unwrap_err());
        assert!(failure.contains("UnknownIssuer") || failure.contains("BadSignature"), "{failure}");

        let (url, root) = server();
        let by_address = url.replace("localhost", "127.0.0.1");
        let failure = keygate_core::error::chain(
            &ask(&by_address, Some(&bundle("other.pem", &root))).await.unwrap_err(),
        );
        assert!(failure.contains("not valid for name"), "{failure}");
        std::fs::remove_dir_all(folder).unwrap();
    }

    /// A server of plain HTTP, and the number of its connections. Over each it sends `answer` as often as it is asked, at most
    /// `times`, and then closes it.
    fn plain(answer: &'static str, times: usize) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/path?query=1", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        std::thread::spawn(move || {
            while let Ok((mut tcp, _)) = listener.accept() {
                counted.fetch_add(1, Ordering::SeqCst);
                std::thread::spawn(move || {
                    let mut head = [0; 1000];
                    for _ in 0..times {
                        let length = tcp.read(&mut head).unwrap();
                        if length == 0 {
                            return;
                        }
                        let head = std::str::from_utf8(&head[..length]).unwrap();
                        assert!(head.starts_with("GET /path?query=1 HTTP/1.1\r\n"), "{head}");
                        assert!(head.contains("host: 127.0.0.1:"), "{head}");
                        tcp.write_all(answer.as_bytes()).unwrap();
                    }
                });
            }
        });
        (url, connections)
    }

    async fn body_of(client: &HttpClient, url: &str) -> Result<String, SendError> {
        let request = Request::get(url).body(SdkBody::empty()).unwrap();
        let body = client.send(request).await?.into_body().collect().await.map_err(SendError::Exchange)?;
        Ok(String::from_utf8(body.to_bytes().to_vec()).unwrap())
    }

    const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    #[tokio::test]
    async fn requests_that_follow_each_other_use_one_connection() {
        let client = HttpClient::new(None, Duration::from_secs(20)).unwrap();
        let (url, connections) = plain(ANSWER, 20);
        for _ in 0..20 {
            assert_eq!(body_of(&client, &url).await.unwrap(), "ok");
        }
        assert_eq!(connections.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_connection_that_the_server_closed_is_replaced_by_the_next_request() {
        let client = HttpClient::new(None, Duration::from_secs(20)).unwrap();
        let closing = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
        for answer in [closing, ANSWER] {
            let (url, connections) = plain(answer, 1);
            for _ in 0..3 {
                assert_eq!(body_of(&client, &url).await.unwrap(), "ok");
                // The end of the connection arrives while nothing is sent.
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            assert_eq!(connections.load(Ordering::SeqCst), 3);
        }
    }

    #[tokio::test]
    async fn requests_at_the_same_time_have_connections_of_their_own_and_leave_them_to_the_next() {
        let client = HttpClient::new(None, Duration::from_secs(20)).unwrap();
        let (url, connections) = plain(ANSWER, 20);
        for _ in 0..3 {
            let (one, other) = tokio::join!(body_of(&client, &url), body_of(&client, &url));
            assert_eq!((one.unwrap(), other.unwrap()), ("ok".to_owned(), "ok".to_owned()));
        }
        assert_eq!(connections.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_url_without_a_host_is_not_sent() {
        let client = HttpClient::new(None, Duration::from_secs(20)).unwrap();
        let request = Request::get("/path").body(SdkBody::empty()).unwrap();
        assert!(matches!(client.send(request).await, Err(SendError::NoOrigin)));
    }
}
