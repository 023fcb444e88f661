//! The stack and its functions, with the AWS credentials of the operator: those of variables, a profile, SSO, a
//! `credential_process`, a container or an instance, as `aws-config` finds them.
//!
//! The SDK reads tables. The two calls of other services are signed here: each SDK would add more than the rest of the
//! command to what is compiled (`docs/decisions/0049-command-line.md`).

mod errors;
mod signed_call;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{Credentials, ProvideCredentials};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use keygate_core::error::chain;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::failure::{Failure, Status};
use crate::http::Http;
use signed_call::{ServiceRequest, SignedCalls};

/// An AWS account and Region.
pub(crate) struct AwsAccount {
    runtime: Runtime,
    config: SdkConfig,
    calls: SignedCalls,
}

impl fmt::Debug for AwsAccount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AwsAccount").field("region", &self.config.region()).finish_non_exhaustive()
    }
}

/// The outputs and parameters of a deployed stack.
#[derive(Debug)]
pub(crate) struct Stack {
    pub(crate) name: String,
    /// The ARN of the stack, which has its account and Region.
    pub(crate) id: String,
    outputs: BTreeMap<String, String>,
    parameters: BTreeMap<String, String>,
}

impl Stack {
    /// The value of an output.
    ///
    /// # Errors
    ///
    /// The stack has no such output.
    pub(crate) fn output(&self, name: &str) -> Result<String, Failure> {
        self.outputs.get(name).cloned().ok_or_else(|| {
            Failure::new(Status::NotFound, format!("the stack {} has no output {name}", self.name))
                .advise("is it a stack of Keygate, and is its deployment complete?")
        })
    }

    /// The value of a parameter; `None` if the stack has no such parameter.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.get(name).map(String::as_str)
    }
}

impl AwsAccount {
    /// Loads the credentials and the Region, or takes those that are given.
    ///
    /// # Errors
    ///
    /// There are none.
    pub(crate) fn new(http: Http, region: Option<String>, profile: Option<String>) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Status::Failed, format!("no thread can be started: {error}")))?;
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12())
            .http_client(http.clone())
            .retry_config(RetryConfig::standard().with_max_attempts(8));
        if let Some(region) = region {
            loader = loader.region(Region::new(region));
        }
        if let Some(profile) = profile {
            loader = loader.profile_name(profile);
        }
        let config = runtime.block_on(loader.load());
        let region = config
            .region()
            .map(ToString::to_string)
            .filter(|region| !region.is_empty())
            .ok_or_else(|| {
                Failure::usage("the AWS Region is not known")
                    .advise("set --region or AWS_REGION to the Region of the stack, or `region` in a profile")
            })?;
        let credentials = runtime.block_on(credentials(&config))?;
        let calls = SignedCalls::new(http, credentials, region, config.endpoint_url());
        Ok(Self { runtime, config, calls })
    }

    /// The stack of that name. It takes `cloudformation:DescribeStacks`.
    ///
    /// # Errors
    ///
    /// There is none in this account and Region, or `CloudFormation` did not respond with one.
    pub(crate) fn stack(&self, name: &str) -> Result<Stack, Failure> {
        let name_in_form = utf8_percent_encode(name, NON_ALPHANUMERIC);
        let body = format!("Action=DescribeStacks&Version=2010-05-15&StackName={name_in_form}");
        let response = self.calls.send(&ServiceRequest {
            service: "cloudformation",
            display_name: "CloudFormation",
            path: "/",
            content_type: "application/x-www-form-urlencoded; charset=utf-8",
            body: body.as_bytes(),
        })?;
        let text = String::from_utf8_lossy(&response);
        Stack::of(name, &text).ok_or_else(|| {
            Failure::new(Status::Failed, format!("CloudFormation's description of {name} cannot be read"))
        })
    }

    /// Invokes a function, and returns its response, which may be the error of a failed function. It takes
    /// `lambda:InvokeFunction`.
    ///
    /// # Errors
    ///
    /// Lambda did not invoke it, or the response was lost.
    pub(crate) fn invoke(&self, function: &str, event: &Value) -> Result<Value, Failure> {
        self.invoke_by(function, event, SignedCalls::send)
    }

    /// As [`Self::invoke`], without repeating a throttled call: the caller repeats it.
    ///
    /// # Errors
    ///
    /// As [`Self::invoke`].
    pub(crate) fn invoke_once(&self, function: &str, event: &Value) -> Result<Value, Failure> {
        self.invoke_by(function, event, SignedCalls::send_once)
    }

    fn invoke_by(
        &self,
        function: &str,
        event: &Value,
        send: fn(&SignedCalls, &ServiceRequest<'_>) -> Result<Vec<u8>, Failure>,
    ) -> Result<Value, Failure> {
        let function = utf8_percent_encode(function, NON_ALPHANUMERIC);
        let response = send(
            &self.calls,
            &ServiceRequest {
                service: "lambda",
                display_name: "Lambda",
                path: &format!("/2015-03-31/functions/{function}/invocations"),
                content_type: "application/json",
                body: event.to_string().as_bytes(),
            },
        )?;
        serde_json::from_slice(&response)
            .map_err(|_| Failure::new(Status::Failed, "the function returned no JSON"))
    }

    /// The SDK's client of `DynamoDB`.
    pub(crate) fn dynamodb(&self) -> aws_sdk_dynamodb::Client {
        aws_sdk_dynamodb::Client::new(&self.config)
    }

    /// Waits for calls of the SDK.
    pub(crate) fn run<T>(&self, calls: impl Future<Output = T>) -> T {
        self.runtime.block_on(calls)
    }

    /// A failed call of the SDK.
    pub(crate) fn failure_of_sdk<E, R>(&self, service: &str, error: &SdkError<E, R>) -> Failure
    where
        SdkError<E, R>: ProvideErrorMetadata + std::error::Error,
    {
        match error.code() {
            Some(code) => errors::of(service, None, code, error.message().unwrap_or_default()),
            None => Failure::new(
                Status::Unavailable,
                format!("{service} cannot be reached in {}: {}", self.calls.region(), chain(error)),
            ),
        }
    }
}

async fn credentials(config: &SdkConfig) -> Result<Credentials, Failure> {
    let advice = "set AWS_PROFILE or --aws-profile, run `aws sso login` or `aws configure`, or set AWS_ACCESS_KEY_ID and \
        AWS_SECRET_ACCESS_KEY";
    let missing = || Failure::new(Status::Refused, "there are no AWS credentials").advise(advice);
    let provider = config.credentials_provider().ok_or_else(missing)?;
    provider.provide_credentials().await.map_err(|error| match error {
        CredentialsError::CredentialsNotLoaded(_) => missing(),
        error => {
            Failure::new(Status::Refused, format!("AWS credentials cannot be loaded: {}", chain(&error)))
                .advise(advice)
        }
    })
}

impl Stack {
    /// Reads a response of `DescribeStacks`.
    fn of(name: &str, response: &str) -> Option<Self> {
        let document = roxmltree::Document::parse(response).ok()?;
        let stack = document.descendants().find(|node| is_named(node, "Stacks"))?;
        let id = stack.descendants().find(|node| is_named(node, "StackId"))?.text()?.to_owned();
        let (mut outputs, mut parameters) = (BTreeMap::new(), BTreeMap::new());
        for member in stack.descendants().filter(|node| is_named(node, "member")) {
            let text =
                |name: &str| member.children().find(|node| is_named(node, name)).and_then(|node| node.text());
            if let (Some(key), Some(value)) = (text("OutputKey"), text("OutputValue")) {
                outputs.insert(key.to_owned(), value.to_owned());
            } else if let (Some(key), Some(value)) = (text("ParameterKey"), text("ParameterValue")) {
                parameters.insert(key.to_owned(), value.to_owned());
            }
        }
        Some(Self { name: name.to_owned(), id, outputs, parameters })
    }
}

/// Whether an element has this name, in any namespace: AWS's responses have one, those of emulators may have none.
fn is_named(node: &roxmltree::Node<'_, '_>, name: &str) -> bool {
    node.is_element() && node.tag_name().name() == name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outputs_and_parameters_of_a_stack_are_read() {
        let response = r#"<DescribeStacksResponse xmlns="http://cloudformation.amazonaws.com/doc/2010-05-15/">
            <DescribeStacksResult><Stacks><member><StackId>arn:aws:cloudformation:eu-west-1:123456789012:stack/keygate/1</StackId><StackName>keygate</StackName>
            <Parameters><member><ParameterKey>Brand</ParameterKey><ParameterValue>kg</ParameterValue></member></Parameters>
            <Outputs><member><OutputKey>ApiUrl</OutputKey><OutputValue>https://a.example/v1?a&amp;b</OutputValue></member>
            <member><OutputKey>KeysTableName</OutputKey><OutputValue>keygate-keys</OutputValue></member></Outputs>
            </member></Stacks></DescribeStacksResult></DescribeStacksResponse>"#;
        let stack = Stack::of("keygate", response).unwrap();
        assert_eq!(stack.output("ApiUrl").unwrap(), "https://a.example/v1?a&b");
        assert_eq!(stack.id, "arn:aws:cloudformation:eu-west-1:123456789012:stack/keygate/1");
        assert_eq!(stack.output("KeysTableName").unwrap(), "keygate-keys");
        assert_eq!(stack.output("Brand").unwrap_err().status, Status::NotFound);
        assert_eq!((stack.parameter("Brand"), stack.parameter("ApiUrl")), (Some("kg"), None));
        for wrong in ["", "{}", "<html/>"] {
            assert!(Stack::of("keygate", wrong).is_none(), "{wrong}");
        }
    }
}
