//! The floor of every authorizer that asks a table: the least program on `lambda_runtime` that makes the round trips of Keygate's. Before
//! the first call KMS makes one MAC; each call reads one item over a kept connection; the answer is a constant.

use std::env::var;

use chrono::Utc;
use keygate_bench::connection::{Connection, tls};
use keygate_bench::signature::{Prepared, Signer};
use lambda_http::lambda_runtime::{self, LambdaEvent};
use lambda_http::{Error, service_fn};
use serde_json::json;
use serde_json::value::RawValue;
use tokio::sync::Mutex;

const ANSWER: &str = r#"{"principalId":"nobody","policyDocument":{"Version":"2012-10-17","Statement":[]}}"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let tls = tls()?;
    let pepper = async {
        let body =
            json!({ "KeyId": var("PEPPER_KEY")?, "MacAlgorithm": "HMAC_SHA_256", "Message": "a2V5Z2F0ZQ==" });
        let address = address("AWS_ENDPOINT_URL_KMS")?;
        let mut mac = signer("kms", "TrentService.GenerateMac", &address, body.to_string())?;
        Connection::open(&tls, &address).await?.exchange(&mac.request(Utc::now())).await
    };
    let database = async {
        let key = json!({ "key_id": { "S": var("BENCH_KEY_ID")? } });
        let body = json!({ "TableName": var("KEYS_TABLE")?, "ConsistentRead": true, "Key": key });
        let address = address("AWS_ENDPOINT_URL_DYNAMODB")?;
        let read = signer("dynamodb", "DynamoDB_20120810.GetItem", &address, body.to_string())?;
        Ok::<_, Error>((Connection::open(&tls, &address).await?, read))
    };
    let (pepper, database) = tokio::join!(pepper, database);
    pepper?;
    let database = Mutex::new(database?);
    let answer = RawValue::from_string(ANSWER.to_owned())?;
    lambda_runtime::run(service_fn(async |_: LambdaEvent<Box<RawValue>>| {
        let (connection, read) = &mut *database.lock().await;
        connection.exchange(&read.request(Utc::now())).await?;
        Ok::<_, Error>(answer.clone())
    }))
    .await
}

/// `host:port` of an endpoint.
fn address(name: &str) -> Result<String, Error> {
    let url = var(name)?;
    Ok(url.strip_prefix("https://").ok_or("the endpoint has TLS")?.to_owned())
}

fn signer(service: &'static str, target: &'static str, host: &str, body: String) -> Result<Prepared, Error> {
    let signer = Signer {
        access_key_id: var("AWS_ACCESS_KEY_ID")?,
        secret_access_key: var("AWS_SECRET_ACCESS_KEY")?,
        session_token: var("AWS_SESSION_TOKEN")?,
        region: var("AWS_REGION")?,
        service,
        host: host.to_owned(),
        target,
        body,
    };
    Ok(signer.prepare())
}
