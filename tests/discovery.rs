//! How clients that know the URL of an API alone find the token endpoint (RFC 9728), by the examples of `infra/examples`.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::oauth_clients::{script, tool};
use crate::support::examples::{Example, output};
use crate::support::jwts::AUDIENCE;
use crate::support::stack::variable;
use crate::support::workspace::Workspace;

const METADATA: &str = "/.well-known/oauth-protected-resource";

/// The REST API's client names no resource, because Keygate's authorizer accepts opaque tokens alone. The HTTP API verifies JWTs.
#[tokio::test]
async fn a_client_finds_the_token_endpoint_by_the_url_of_an_api() {
    let workspace = Workspace::new().await;
    let issuer = format!("Issuer={}", variable("KEYGATE_OAUTH_URL"));
    let authorizer = output(&variable("KEYGATE_STACK"), "AuthorizerFunctionArn").await;
    let rest = [format!("AuthorizerFunctionArn={authorizer}"), issuer.clone(), format!("Url={AUDIENCE}")];
    let http = [issuer, format!("Audience={AUDIENCE}"), format!("Workspace={}", workspace.id)];
    for (name, parameters, stage, resource) in [("discovery", rest, "/live", ""), ("jwt", http, "", AUDIENCE)]
    {
        let example = Example::deploy(name, &parameters).await;
        let url = example.url(stage);
        let metadata = workspace.api.send(Method::GET, &format!("{url}{METADATA}"), None, None).await;
        assert_eq!(metadata.status, 200, "{name}: {metadata:?}");
        assert_eq!(metadata.header("content-type"), Some("application/json"), "{name}");
        check_metadata(name, &metadata.json());
        oauth4webapi_discovers(&workspace, &url, resource).await;
        example.delete().await;
    }
}

/// The members of the metadata, each by its section of RFC 9728.
fn check_metadata(name: &str, metadata: &Value) {
    for (section, member, value) in [
        ("2, required; 3.3, the URL of the request", "resource", json!(AUDIENCE)),
        ("2, issuers of RFC 8414", "authorization_servers", json!([variable("KEYGATE_OAUTH_URL")])),
        ("2, recommended", "scopes_supported", json!(["orders:read"])),
        ("2, of RFC 6750", "bearer_methods_supported", json!(["header"])),
    ] {
        assert_eq!(metadata[member], value, "{name}: section {section}: {metadata}");
    }
    // Section 2: the keys that sign responses of the API, not those of its tokens. The APIs sign none.
    let members: BTreeSet<_> = metadata.as_object().expect("an object").keys().map(String::as_str).collect();
    let expected = ["authorization_servers", "bearer_methods_supported", "resource", "scopes_supported"];
    assert_eq!(members, BTreeSet::from(expected), "{name}");
}

/// Section 5.1. API Gateway's own JWT authorizer has no such header.
#[tokio::test]
async fn a_refused_client_learns_where_the_metadata_is() {
    let workspace = Workspace::new().await;
    let authorizer = output(&variable("KEYGATE_STACK"), "AuthorizerFunctionArn").await;
    let parameters = [
        format!("AuthorizerFunctionArn={authorizer}"),
        format!("Issuer={}", variable("KEYGATE_OAUTH_URL")),
        format!("Url={AUDIENCE}"),
    ];
    let example = Example::deploy("discovery", &parameters).await;
    let orders = format!("{}/orders", example.url("/live"));
    for token in [None, Some("unknown")] {
        let refused = workspace.api.send(Method::GET, &orders, token, None).await;
        let expected = format!("Bearer resource_metadata=\"{AUDIENCE}{METADATA}\"");
        assert_eq!((refused.status, refused.header("www-authenticate")), (401, Some(expected.as_str())));
    }
    example.delete().await;
}

async fn oauth4webapi_discovers(workspace: &Workspace, url: &str, resource: &str) {
    let key = workspace.key_of("bob", &["orders:read"]).await;
    let mut command = Command::new("node");
    command.args([&script("oauth4webapi_discovers.mjs"), &tool("oauth4webapi"), AUDIENCE, url, resource]);
    let done = command.env("KEY", key).output().await.expect("Node.js");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{said}");
    assert_eq!(String::from_utf8_lossy(&done.stdout), "the API accepted the token\n", "{said}");
}
