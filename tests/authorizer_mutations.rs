//! The authorizer accepts issued credentials only: any change of a credential, however small, makes it invalid.

use std::collections::BTreeSet;

use keygate_core::credential::{Brand, Credential, CredentialForm, KeyId, Secret};
use secrecy::ExposeSecret;
use serde_json::json;

use crate::support::function::{Function, event};
use crate::support::workspace::Workspace;

fn brand() -> Brand {
    "kg".parse().expect("a brand")
}

fn parsed(key: &str) -> Credential {
    Credential::parse(key, &brand()).expect("a credential")
}

/// The text of a credential, with the checksum that belongs to it.
fn written(key_id: KeyId, secret: &[u8; 32]) -> String {
    let credential =
        Credential { key_id, form: CredentialForm::ApiKey, secret: Secret::from_bytes(&(*secret).into()) };
    credential.to_text(&brand()).expose_secret().to_owned()
}

/// Invokes the authorizer with each credential, and returns those that it accepts.
async fn accepted(authorizer: &Function, keys: impl IntoIterator<Item = String>) -> BTreeSet<String> {
    let mut accepted = BTreeSet::new();
    for key in keys {
        let mut event = event("authorize-rest-token");
        event["authorizationToken"] = json!(format!("Bearer {key}"));
        match authorizer.invoke(event).await {
            Ok(_) => accepted.insert(key),
            Err(error) => {
                assert_eq!(error, "Unauthorized", "{key}");
                false
            }
        };
    }
    accepted
}

#[tokio::test]
async fn a_text_with_any_bit_flipped_or_any_end_cut_off_is_refused() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let flipped = (0..key.len()).flat_map(|index| {
        let key = key.clone();
        (0..7).map(move |bit| {
            let mut bytes = key.clone().into_bytes();
            bytes[index] ^= 1 << bit;
            String::from_utf8(bytes).expect("ASCII")
        })
    });
    let cut = (0..key.len()).flat_map(|at| [key[..at].to_owned(), key[at + 1..].to_owned()]);
    let repeated = ["", "_", "0", " ", ","].map(|between| format!("{key}{between}{key}"));
    let mutations: Vec<String> = flipped.chain(cut).chain(repeated).collect();

    let authorizer = Function::start("authorize", &[]).await;
    assert_eq!(accepted(&authorizer, mutations).await, BTreeSet::new());
    assert_eq!(accepted(&authorizer, [key.clone()]).await, BTreeSet::from([key]));
}

#[tokio::test]
async fn a_secret_with_any_bit_flipped_is_refused_although_its_checksum_is_right() {
    let workspace = Workspace::new().await;
    let key = workspace.key_of("bob", &[]).await;
    let credential = parsed(&key);
    let flipped = (0..256).map(|bit| {
        let mut secret = *credential.secret.expose();
        secret[bit / 8] ^= 1 << (bit % 8);
        written(credential.key_id, &secret)
    });
    let authorizer = Function::start("authorize", &[]).await;
    assert_eq!(accepted(&authorizer, flipped).await, BTreeSet::new());
}

#[tokio::test]
async fn a_secret_works_with_the_id_of_its_own_key_alone() {
    let (one, other) = tokio::join!(Workspace::new(), Workspace::new());
    let keys = [
        one.admin.clone(),
        one.key_of("bob", &[]).await,
        one.key_of("bob", &["orders:read"]).await,
        other.admin.clone(),
        other.key_of("bob", &[]).await,
    ];
    let credentials = keys.each_ref().map(|key| parsed(key));
    let swapped = credentials.iter().flat_map(|id_from| {
        credentials.iter().map(|secret_from| written(id_from.key_id, secret_from.secret.expose()))
    });
    let authorizer = Function::start("authorize", &[]).await;
    assert_eq!(accepted(&authorizer, swapped).await, BTreeSet::from(keys));
}
