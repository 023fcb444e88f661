//! Servers that respond as a test says, where the stack cannot be made to.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A server with one response for each request, the last for all further ones.
pub(crate) struct Scripted {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

/// The status, a header, and the body of a response.
pub(crate) type Response = (u16, (&'static str, &'static str), &'static str);

impl Scripted {
    pub(crate) async fn start(responses: &'static [Response]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        let router = Router::new().fallback(move |method: Method, uri: Uri| {
            let mut log = log.lock().expect("no panic");
            let (status, (name, value), body) = responses[log.len().min(responses.len() - 1)];
            log.push(format!("{method} {uri}"));
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().expect("a value"));
            async move { (StatusCode::from_u16(status).expect("a status"), headers, body) }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, requests }
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no panic").clone()
    }
}

/// The URL of a proxy before `upstream` that loses the first response: the request arrives, the client learns nothing.
pub(crate) async fn losing_the_first_response_of(upstream: &str) -> String {
    let rest = upstream.strip_prefix("http://").expect("a URL of the local stack");
    let (address, path) = rest.split_once('/').expect("a path");
    let address = address.to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/{path}", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        for number in 0.. {
            let (mut client, _) = listener.accept().await.expect("a connection");
            let mut server = TcpStream::connect(&address).await.expect("the stack");
            if number > 0 {
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut client, &mut server).await });
                continue;
            }
            let request = whole_request(&mut client).await;
            server.write_all(&request).await.expect("the stack reads");
            server.read_exact(&mut [0; 12]).await.expect("the stack responds");
        }
    });
    url
}

/// The URL of a proxy before `upstream` that gives responses the status that `change` returns, of the method, the path, the
/// credential and the status.
pub(crate) async fn changing(
    upstream: &str,
    change: impl Fn(&str, &str, &str, StatusCode) -> StatusCode + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (upstream, client, change) = (upstream.to_owned(), reqwest::Client::new(), Arc::new(change));
    let router =
        Router::new().fallback(move |method: Method, uri: Uri, mut headers: HeaderMap, body: Bytes| {
            headers.remove(header::HOST);
            let request = client.request(method.clone(), format!("{upstream}{uri}"));
            let sent = request.headers(headers.clone()).body(body).send();
            let change = Arc::clone(&change);
            async move {
                let response = sent.await.expect("a response of the stack");
                let credential = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
                let credential = credential.unwrap_or_default();
                let status = change(method.as_str(), uri.path(), credential, response.status());
                let mut headers = response.headers().clone();
                headers.remove(header::TRANSFER_ENCODING);
                (status, headers, response.bytes().await.expect("a whole response"))
            }
        });
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// A request with a body of a known length.
async fn whole_request(client: &mut TcpStream) -> Vec<u8> {
    let mut request = Vec::new();
    loop {
        client.read_buf(&mut request).await.expect("a request");
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())?.ok()
        });
        if body.len() >= length.unwrap_or_default() {
            return request;
        }
    }
}
