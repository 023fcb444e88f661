//! AWS's errors in the words of an operator: AWS's message, and what to do.

use http::StatusCode;

use crate::failure::{Failure, Status};

/// The error codes of throttling (the SDK's standard mode has the same).
const THROTTLING: [&str; 8] = [
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottled",
    "RequestThrottledException",
    "TooManyRequestsException",
    "RequestLimitExceeded",
    "ProvisionedThroughputExceededException",
];
const SKEWED: [&str; 3] = ["RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"];
const SIGNATURE: [&str; 2] = ["InvalidSignatureException", "SignatureDoesNotMatch"];
/// What the message of a wrong signature says if its time is the reason.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html>
const SKEWED_MESSAGES: [&str; 2] = ["Signature expired", "Signature not yet current"];
const UNKNOWN: [&str; 3] = ["InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId"];
const EXPIRED: [&str; 2] = ["ExpiredToken", "ExpiredTokenException"];

/// Whether the same call may succeed a little later.
pub(crate) fn is_throttling(code: &str) -> bool {
    THROTTLING.contains(&code)
}

/// Whether the Region or the account may be the wrong one.
pub(crate) fn is_missing(failure: &Failure) -> bool {
    failure.status == Status::NotFound
}

/// The failure for an error of `service`.
pub(crate) fn of(service: &str, status: Option<StatusCode>, code: &str, message: &str) -> Failure {
    let is = |codes: &[&str]| codes.contains(&code);
    let is_skewed =
        is(&SKEWED) || is(&SIGNATURE) && SKEWED_MESSAGES.iter().any(|text| message.contains(text));
    let (class, advice) = if is_throttling(code) {
        (Status::Unavailable, Some("AWS throttles the account: try again in a minute"))
    } else if is_skewed {
        (
            Status::Refused,
            Some("the clock of this machine differs from AWS's by minutes: set it, by NTP for instance"),
        )
    } else if is(&EXPIRED) {
        (
            Status::Refused,
            Some("the AWS credentials have expired: sign in again, for instance by `aws sso login`"),
        )
    } else if is(&UNKNOWN) || is(&SIGNATURE) {
        (
            Status::Refused,
            Some("AWS does not know these credentials: check AWS_PROFILE and the variables of AWS"),
        )
    } else if code.starts_with("AccessDenied") || code == "UnauthorizedOperation" {
        (
            Status::Refused,
            Some("your AWS principal lacks a permission: the command's --help names those that it takes"),
        )
    } else if code == "ResourceNotFoundException"
        || code == "ValidationError" && message.contains("does not exist")
    {
        (Status::NotFound, None)
    } else if status.is_some_and(|status| status.is_server_error()) {
        (Status::Unavailable, Some("try again later"))
    } else {
        (Status::Failed, None)
    };
    let code_shown = if code.is_empty() { "no error code" } else { code };
    let status = status.map_or_else(String::new, |status| format!(" HTTP {},", status.as_u16()));
    let text = if message.is_empty() { String::new() } else { format!(": {message}") };
    let mut failure = Failure::new(class, format!("{service} refused:{status} {code_shown}{text}"));
    failure.advice = advice.map(str::to_owned);
    failure.code = (!code.is_empty()).then(|| code.into());
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_of_error_has_a_status_and_advice() {
        let expired = "Signature expired: 20261127T000000Z is now earlier than 20261127T010000Z";
        for (code, message, status, advice) in [
            ("ThrottlingException", "Rate exceeded", Status::Unavailable, "in a minute"),
            ("SignatureDoesNotMatch", expired, Status::Refused, "clock"),
            ("InvalidSignatureException", "Signature not yet current: …", Status::Refused, "clock"),
            ("RequestExpired", "Request has expired.", Status::Refused, "clock"),
            (
                "InvalidSignatureException",
                "The request signature we calculated",
                Status::Refused,
                "does not know",
            ),
            ("ExpiredToken", "The security token … is expired", Status::Refused, "sign in again"),
            ("InvalidClientTokenId", "The security token … is invalid", Status::Refused, "AWS_PROFILE"),
            ("AccessDenied", "User … is not authorized", Status::Refused, "permission"),
            ("ValidationError", "Stack with id a does not exist", Status::NotFound, ""),
            ("ValidationError", "1 validation error detected", Status::Failed, ""),
        ] {
            let failure = of("CloudFormation", Some(StatusCode::BAD_REQUEST), code, message);
            assert_eq!(failure.status, status, "{code}: {message}");
            assert!(failure.to_string().contains(message), "AWS's own message: {failure}");
            assert!(failure.advice.unwrap_or_default().contains(advice), "{code}: {message}");
        }
        let failure = of("Lambda", Some(StatusCode::BAD_GATEWAY), "", "");
        assert_eq!(failure.status, Status::Unavailable);
    }
}
