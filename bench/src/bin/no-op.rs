//! The smallest Lambda function in Rust: it returns the same policy for every event.

use lambda_http::lambda_runtime::{self, LambdaEvent};
use lambda_http::{Error, service_fn};
use serde_json::value::RawValue;

const ANSWER: &str = r#"{"principalId":"nobody","policyDocument":{"Version":"2012-10-17","Statement":[]}}"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let answer = RawValue::from_string(ANSWER.to_owned())?;
    lambda_runtime::run(service_fn(async |_: LambdaEvent<Box<RawValue>>| Ok::<_, Error>(answer.clone())))
        .await
}
