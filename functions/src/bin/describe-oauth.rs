//! `GET /.well-known/oauth-authorization-server` and `/.well-known/openid-configuration`: the metadata from which clients and APIs
//! learn how to use the OAuth API. `GET /.well-known/jwks.json`: the keys that verify JWTs.

use keygate::api::oauth::{self, OAuthRequest};
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::aws::signing_key::PublishedKeys;
use keygate::tokens::server_metadata::{self, KEYS_PATH, ServerMetadata};
use lambda_http::Error;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let keys = PublishedKeys::new(aws.kms(), &environment)?;
    let address = server_metadata::issuer(&environment)?;
    oauth::serve_documents(&environment, async |request: OAuthRequest| {
        if request.path() == KEYS_PATH {
            return Ok(oauth::document(&keys.set(request.now()).await?));
        }
        let issuer = request.issuer(address.as_deref());
        Ok(oauth::document(&ServerMetadata::new(&issuer, !keys.is_empty())))
    })
    .await
}
