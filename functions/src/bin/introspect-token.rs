//! `POST /oauth/introspect`: tells a backend whether a credential works, what it may do, and whether a call is allowed. A direct
//! invocation asks the same for any workspace.

use keygate::api::oauth::{self, OAuthRequest};
use keygate::api::request::DirectRequest;
use keygate::authorizer::decision_log::{AllowedCalls, DecisionLog};
use keygate::authorizer::deferred::{DeferredWorker, DeferredWriter};
use keygate::authorizer::limits::LimitEnforcer;
use keygate::authorizer::verifier::Verifier;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::aws::kms::MacKeySources;
use keygate::store::reader::CredentialReader;
use keygate::tokens::introspect::{DirectIntrospection, Inquiry, Introspector};
use keygate::tokens::server_metadata::{self, INTROSPECTION_PATH};
use keygate_core::credential::Brand;
use keygate_core::legacy_credential::LegacyRules;
use lambda_http::Error;
use tokio::time::Instant;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let peppers = aws.macs().derive(MacKeySources::peppers(&environment)?).await?;
    let introspector = Introspector {
        brand: Brand::from_environment(&environment)?,
        legacy: LegacyRules::from_environment(&environment)?,
        verifier: Verifier { peppers, reader: CredentialReader::new(aws.dynamodb_read(), &environment)? },
        limits: LimitEnforcer::new(aws.dynamodb_without_retries(), &environment)?,
        log: DecisionLog::new(AllowedCalls::from_environment(&environment)?),
        issuer: server_metadata::issuer(&environment)?,
    };
    let writer = DeferredWriter::of_introspection(&aws.dynamodb(), &environment)?;
    let deferred = DeferredWorker::start(writer.into()).await?;
    let of_client = async |request: OAuthRequest| {
        let (started, request_id) = (Instant::now(), request.request_id());
        let (introspection, work) =
            introspector.introspect_for(&request.client_request()?, &request_id, started).await?;
        Ok((oauth::json(&introspection), work))
    };
    let direct = async |request: DirectRequest| {
        let (started, now, request_id) = (Instant::now(), request.now(), request.request_id());
        let DirectIntrospection { workspace_id, query } = DirectIntrospection::parse(request.payload())?;
        let inquiry = Inquiry { workspace_id: &workspace_id, request_id: &request_id, now, started };
        let (introspection, work) = introspector.introspect(&query, &inquiry).await?;
        Ok((oauth::json(&introspection), work))
    };
    oauth::serve_with_direct(&environment, &deferred, INTROSPECTION_PATH, of_client, direct).await
}
