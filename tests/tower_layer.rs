//! `infra/examples/introspection/tower` before a backend of axum, with the stack's introspection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::ConnectInfo;
use axum::routing::get;
use axum::{Extension, Router};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use keygate_tower::{IntrospectionLayer, InvalidSetting, KeygateCaller, Question};
use reqwest::Method;
use serde_json::json;
use tokio::net::TcpListener;

use crate::support::stack::{Answer, variable};
use crate::support::workspace::{Workspace, text};

/// A backend with one route, behind the layer.
struct Backend {
    url: String,
    /// How many requests have reached the route.
    reached: Arc<AtomicUsize>,
}

impl Backend {
    async fn serve(oauth_url: &str, key: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http::<Question>();
        let layer = IntrospectionLayer::new(client, oauth_url, &key.to_owned().into()).expect("a layer");
        let layer = layer.with_address(|extensions| {
            extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip())
        });
        let reached = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&reached);
        let order = async move |Extension(caller): Extension<KeygateCaller>| {
            counted.fetch_add(1, Ordering::Relaxed);
            format!("{} may read: {}", caller.user_id, caller.may("orders:read"))
        };
        let router = Router::new().route("/orders/{id}", get(order)).layer(layer);
        let router = router.into_make_service_with_connect_info::<SocketAddr>();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, reached }
    }

    async fn call(&self, workspace: &Workspace, token: Option<&str>) -> Answer {
        workspace.api.send(Method::GET, &format!("{}/orders/7?page=2", self.url), token, None).await
    }
}

#[tokio::test]
async fn the_layer_hands_over_allowed_requests_with_their_caller_and_no_others() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("svc:orders", &["tokens:introspect"]).await;
    let backend = Backend::serve(&variable("KEYGATE_OAUTH_URL"), &key).await;
    let restricted = async |more: serde_json::Value| {
        let mut request = json!({"name": "restricted", "user_id": "bob"});
        request["name"] = json!(format!("restricted {more}"));
        request.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        text(&workspace.created(request).await, "key").to_owned()
    };
    let reader = workspace.key_of("bob", &["orders:read"]).await;
    let here = restricted(json!({"networks": ["127.0.0.1/32"], "endpoints": ["GET /orders/*"]})).await;
    for (token, said) in [(&reader, "bob may read: true"), (&here, "bob may read: false")] {
        let answer = backend.call(&workspace, Some(token)).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, said), "{answer:?}");
    }
    assert_eq!(backend.reached.load(Ordering::Relaxed), 2);

    let elsewhere = restricted(json!({"networks": ["203.0.113.0/24"]})).await;
    let other = restricted(json!({"endpoints": ["GET /users"]})).await;
    let (bare, invalid) = (Some("Bearer"), Some("Bearer error=\"invalid_token\""));
    for (token, status, challenge) in [
        (None, 401, bare),
        (Some(""), 401, bare),
        (Some("unknown"), 401, invalid),
        (Some(elsewhere.as_str()), 403, None),
        (Some(other.as_str()), 403, None),
    ] {
        let answer = backend.call(&workspace, token).await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (status, challenge), "{token:?}");
    }
    assert_eq!(backend.reached.load(Ordering::Relaxed), 2, "a refused request goes no further");
}

#[tokio::test]
async fn the_layer_hands_over_nothing_without_a_decision() {
    let workspace = Workspace::new().await;
    let reader = workspace.key_of("bob", &["orders:read"]).await;
    let without_scope = workspace.key_of("svc:orders", &[]).await;
    for (url, key) in
        [(variable("KEYGATE_OAUTH_URL"), without_scope), ("http://127.0.0.1:9".to_owned(), reader.clone())]
    {
        let backend = Backend::serve(&url, &key).await;
        assert_eq!(backend.call(&workspace, Some(&reader)).await.status, 503, "{url}");
        assert_eq!(backend.reached.load(Ordering::Relaxed), 0);
    }
    let client = Client::builder(TokioExecutor::new()).build_http::<Question>();
    let layer =
        |url: &str, key: &str| IntrospectionLayer::new(client.clone(), url, &key.to_owned().into()).err();
    assert_eq!(layer("no URL at all", "key"), Some(InvalidSetting::Url));
    assert_eq!(layer("https://auth.example.com", "two\nlines"), Some(InvalidSetting::Key));
}
