//! The HTTP client of every call to AWS: one pool of TLS connections, shared by the SDK and by
//! [`SigV4Client`](super::sigv4_client::SigV4Client).
//!
//! The SDK's own HTTP client parses its root certificates from text at the first connection of every environment. Those of
//! this client are compiled in, parsed.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::config::http::HttpRequest;
use aws_sdk_dynamodb::config::{self as sdk, RuntimeComponents};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{self, Client, connect};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use keygate_core::environment::InvalidVariable;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// A pool of connections. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct HttpClient(Client<HttpsConnector<connect::HttpConnector>, SdkBody>);

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
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(https);
        Ok(Self(client))
    }

    /// Sends a request over a pooled or a new connection.
    ///
    /// # Errors
    ///
    /// No response arrived.
    pub(crate) async fn send(&self, request: Request<SdkBody>) -> Result<Response<Incoming>, legacy::Error> {
        self.0.request(request).await
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

    use http::StatusCode;
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

    async fn ask(url: &str, ca_bundle: Option<&str>) -> Result<StatusCode, legacy::Error> {
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
}
