//! The floor of every authorizer that asks a table: a function that reads one item with the client that Keygate has,
//! and does nothing with it.

use aws_sdk_dynamodb::types::AttributeValue;
use keygate::authorizer::settings::budget;
use keygate::aws::Aws;
use keygate::aws::settings::AwsSettings;
use keygate_core::environment::Environment;
use lambda_http::lambda_runtime::{self, LambdaEvent};
use lambda_http::{Error, service_fn};
use serde_json::value::RawValue;

const ANSWER: &str = r#"{"principalId":"nobody","policyDocument":{"Version":"2012-10-17","Statement":[]}}"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let environment = Environment::of_process();
    let settings = AwsSettings::from_environment(&environment)?;
    let aws = Aws::new(&settings, env!("CARGO_BIN_NAME"), budget(&environment)?)?;
    let dynamodb = aws.dynamodb();
    let (table, key) = (std::env::var("KEYS_TABLE")?, std::env::var("BENCH_KEY_ID")?);
    let answer = RawValue::from_string(ANSWER.to_owned())?;
    lambda_runtime::run(service_fn(async |_: LambdaEvent<Box<RawValue>>| {
        let read = dynamodb.get_item().table_name(&table).consistent_read(true);
        let read = read.key("key_id", AttributeValue::S(key.clone())).send().await?;
        read.item.ok_or("the key is not there")?;
        Ok::<_, Error>(answer.clone())
    }))
    .await
}
