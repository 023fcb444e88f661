//! One TLS connection that is kept, with one request at a time.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use lambda_http::Error;

/// A connection, and the buffer of its responses.
pub struct Connection {
    stream: TlsStream<TcpStream>,
    buffer: Vec<u8>,
}

/// The TLS settings that all connections share: the public roots, and those of the file `AWS_CA_BUNDLE`.
///
/// # Errors
///
/// The file cannot be read.
pub fn tls() -> Result<TlsConnector, Error> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for certificate in CertificateDer::pem_file_iter(std::env::var("AWS_CA_BUNDLE")?)? {
        roots.add(certificate?)?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

impl Connection {
    /// Connects to `host:port`.
    ///
    /// # Errors
    ///
    /// The connection or the handshake failed.
    pub async fn open(tls: &TlsConnector, address: &str) -> Result<Self, Error> {
        let (host, _) = address.rsplit_once(':').ok_or("an address has a port")?;
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let stream = tls.connect(ServerName::try_from(host.to_owned())?, stream).await?;
        Ok(Self { stream, buffer: Vec::with_capacity(8192) })
    }

    /// Sends a request, and waits for the end of a response of the status 200.
    ///
    /// # Errors
    ///
    /// The connection failed, or the response has another status or no `Content-Length`.
    pub async fn exchange(&mut self, request: &str) -> Result<(), Error> {
        self.stream.write_all(request.as_bytes()).await?;
        self.stream.flush().await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err("the connection ended".into());
            }
            let mut headers = [httparse::EMPTY_HEADER; 32];
            let mut head = httparse::Response::new(&mut headers);
            let httparse::Status::Complete(start) = head.parse(&self.buffer)? else { continue };
            if head.code != Some(200) {
                return Err(format!("a response of the status {:?}", head.code).into());
            }
            let length =
                head.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
            let length: usize =
                std::str::from_utf8(length.ok_or("a response without a length")?.value)?.parse()?;
            if self.buffer.len() >= start + length {
                return Ok(());
            }
        }
    }
}
