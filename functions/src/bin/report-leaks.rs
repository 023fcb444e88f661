//! `POST /leaks` and `POST /leaks/github`: end leaked credentials. They need no credential but those that are reported; GitHub signs its
//! reports.

use keygate::api::management;
use keygate::api::request::ManagementRequest;
use keygate::api::response;
use keygate::authorizer::verifier::Verifier;
use keygate::aws::MANAGEMENT_BUDGET;
use keygate::aws::kms::MacKeySources;
use keygate::leaks::end::{LeakEnder, REPORT_TIMEOUT};
use keygate::leaks::github::{self, GitHubReport};
use keygate::leaks::github_signature::GitHubKeys;
use keygate::leaks::report::{self, LeakReport, Received};
use keygate::store::Store;
use keygate::store::legacy_key_transactions::LegacyStore;
use keygate::store::reader::CredentialReader;
use keygate::store::token_transactions::TokenStore;
use keygate_core::credential::Brand;
use keygate_core::error;
use keygate_core::leak::LeakPolicy;
use keygate_core::legacy_credential::LegacyRules;
use lambda_http::Error;
use lambda_http::http::StatusCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let (environment, aws) = keygate::start!(MANAGEMENT_BUDGET)?;
    let (dynamodb, peppers) =
        (aws.dynamodb(), aws.macs().derive(MacKeySources::peppers(&environment)?).await?);
    let legacy = LegacyRules::from_environment(&environment)?;
    let legacy =
        legacy.map(|rules| LegacyStore::new(dynamodb.clone(), &environment).map(|store| (rules, store)));
    let ender = LeakEnder {
        brand: Brand::from_environment(&environment)?,
        policy: LeakPolicy::from_environment(&environment)?,
        verifier: Verifier { peppers, reader: CredentialReader::new(aws.dynamodb_read(), &environment)? },
        keys: Store::new(dynamodb.clone(), &environment)?,
        tokens: TokenStore::new(dynamodb, &environment)?,
        legacy: legacy.transpose()?,
    };
    let github_keys = GitHubKeys::from_environment(aws.documents(), &environment);
    management::serve_within(&environment, REPORT_TIMEOUT, async |request: ManagementRequest| {
        let (origin, now) = (request.origin(), request.now());
        if request.route() == Some("/leaks/github") {
            let keys = github_keys.as_ref().ok_or(error::Error::NoGitHubReports)?;
            let body = request.json_up_to(github::MAX_REPORT_BYTES)?;
            keys.verify(request.report_signature()?, body, now).await?;
            let report = GitHubReport::parse(body)?;
            let findings = Box::pin(ender.end_all(report.texts(), &origin, now)).await?;
            return Ok(response::json(StatusCode::OK, &report.feedback(&findings)));
        }
        let report = LeakReport::parse(request.json_up_to(report::MAX_REPORT_BYTES)?)?;
        Box::pin(ender.end_all(report.texts(), &origin, now)).await?;
        Ok(response::json(StatusCode::ACCEPTED, &Received::RESPONSE))
    })
    .await
}
