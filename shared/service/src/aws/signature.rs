//! Signature Version 4 of requests without a query.
//!
//! `aws-sigv4` derives the key and makes the signature, and this module writes what is signed. That crate can sign whole requests,
//! but derives the key for each of them and prepares each header anew, which took as long as everything else in the read of a key
//! (`docs/decisions/0026-one-signed-client.md`).
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use aws_sdk_dynamodb::config::Credentials;
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use chrono::{DateTime, Utc};
use http::header::{AUTHORIZATION, HOST, InvalidHeaderValue};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretSlice};
use sha2::{Digest, Sha256};

const DATE: HeaderName = HeaderName::from_static("x-amz-date");
const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-amz-security-token");

/// What a canonical path has as it is. A path is percent-encoded already, so its percent signs are encoded a second time.
const UNENCODED: AsciiSet = NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// One call. It has no `Debug`, because the body may hold a hash or an event.
pub(crate) struct ServiceRequest<'a> {
    /// The service's name in signatures.
    pub(crate) service: &'static str,
    pub(crate) method: Method,
    /// An absolute URL without a query, whose path is percent-encoded and has no dot segments.
    pub(crate) url: &'a str,
    /// Headers to sign and send, with their names in lower case.
    pub(crate) headers: &'a [(&'static str, &'a str)],
    pub(crate) body: &'a [u8],
}

/// Signs requests with the credentials of a role.
#[derive(Debug)]
pub(crate) struct Signer {
    credentials: Credentials,
    region: String,
    /// The header of temporary credentials, as those of a role are.
    token: Option<HeaderValue>,
    /// The keys of the present day, one of each service.
    keys: Mutex<Vec<DayKey>>,
}

/// A signing key, which AWS lets be used for one day and one service.
#[derive(Debug)]
struct DayKey {
    service: &'static str,
    /// Such as `20261127`.
    day: String,
    key: SecretSlice<u8>,
}

impl Signer {
    /// # Errors
    ///
    /// [`InvalidHeaderValue`] when the session token cannot be a header.
    pub(crate) fn new(credentials: Credentials, region: String) -> Result<Self, InvalidHeaderValue> {
        let token = credentials.session_token().map(HeaderValue::from_str).transpose()?;
        let token = token.map(|mut token| {
            token.set_sensitive(true);
            token
        });
        Ok(Self { credentials, region, token, keys: Mutex::default() })
    }

    /// The headers of a request that is sent at this time to this URL: its own, `Host`, and those of the signature. The URL has a host,
    /// no query, and a percent-encoded path without dot segments.
    ///
    /// # Errors
    ///
    /// [`InvalidHeaderValue`] when a value cannot be a header.
    pub(crate) fn sign(
        &self,
        request: &ServiceRequest<'_>,
        url: &Uri,
        time: SystemTime,
    ) -> Result<HeaderMap, InvalidHeaderValue> {
        let date = DateTime::<Utc>::from(time).format("%Y%m%dT%H%M%SZ").to_string();
        let mut headers = HeaderMap::with_capacity(request.headers.len() + 6);
        for (name, value) in request.headers {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value)?);
        }
        let host = url.authority().map_or("", http::uri::Authority::as_str);
        headers.insert(HOST, HeaderValue::from_str(host)?);
        headers.insert(DATE, HeaderValue::from_str(&date)?);
        if let Some(token) = &self.token {
            headers.insert(SECURITY_TOKEN, token.clone());
        }
        let (day, region, service) = (&date[..8], &self.region, request.service);
        let (canonical, names) = canonical(request, url, &headers);
        let scope = format!("{day}/{region}/{service}/aws4_request");
        let to_sign =
            format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex::encode(Sha256::digest(canonical)));
        let signature = self.signature(service, day, time, to_sign.as_bytes());
        let access_key_id = self.credentials.access_key_id();
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
        );
        headers.insert(AUTHORIZATION, HeaderValue::from_str(&authorization)?);
        Ok(headers)
    }

    fn signature(&self, service: &'static str, day: &str, time: SystemTime, to_sign: &[u8]) -> String {
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.retain(|key| key.day == day);
        if let Some(kept) = keys.iter().find(|key| key.service == service) {
            return calculate_signature(kept.key.expose_secret(), to_sign);
        }
        let key = generate_signing_key(self.credentials.secret_access_key(), time, &self.region, service);
        let signature = calculate_signature(&key, to_sign);
        keys.push(DayKey { service, day: day.to_owned(), key: key.as_ref().to_vec().into() });
        signature
    }
}

/// The canonical request, and the names of its headers.
fn canonical(request: &ServiceRequest<'_>, url: &Uri, headers: &HeaderMap) -> (Vec<u8>, String) {
    let mut signed: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    signed.sort_unstable();
    let names: Vec<_> = signed.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let path = utf8_percent_encode(url.path(), &UNENCODED);
    let mut text = format!("{}\n{path}\n\n", request.method).into_bytes();
    for (name, value) in signed {
        text.extend_from_slice(name.as_bytes());
        text.push(b':');
        text.extend_from_slice(value);
        text.push(b'\n');
    }
    text.extend_from_slice(format!("\n{names}\n{}", hex::encode(Sha256::digest(request.body))).as_bytes());
    (text, names)
}

#[cfg(test)]
mod tests {
    use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
    use aws_sigv4::sign::v4;

    use super::*;
    use crate::aws::test_server::SECRET_ACCESS_KEY;

    /// The signature that AWS publishes for a request, with the credentials of its test suite.
    #[test]
    fn signatures_are_those_of_the_test_suite_of_aws() {
        const TOKEN: &str = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";
        let time: DateTime<Utc> = "2015-08-30T12:36:00Z".parse().unwrap();
        let sign = |token: Option<&str>| {
            let credentials =
                Credentials::new("AKIDEXAMPLE", SECRET_ACCESS_KEY, token.map(str::to_owned), None, "test");
            let signer = Signer::new(credentials, "us-east-1".to_owned()).unwrap();
            let url = "https://example.amazonaws.com/";
            let request =
                ServiceRequest { service: "service", method: Method::POST, url, headers: &[], body: b"" };
            let headers = signer.sign(&request, &url.parse().unwrap(), time.into()).unwrap();
            assert_eq!(headers["x-amz-date"], "20150830T123600Z");
            headers["authorization"].to_str().unwrap().to_owned()
        };
        // https://github.com/awslabs/aws-c-auth/tree/v0.9.0/tests/aws-signing-test-suite/v4/post-vanilla
        assert_eq!(
            sign(None),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, \
             Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
        // https://github.com/awslabs/aws-c-auth/tree/v0.9.0/tests/aws-signing-test-suite/v4/post-sts-header-before
        assert_eq!(
            sign(Some(TOKEN)),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date;x-amz-security-token, \
             Signature=85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"
        );
    }

    /// Requests of each kind that Keygate makes, on days and of services that follow each other in one environment.
    #[test]
    fn a_request_is_signed_as_aws_sigv4_signs_it() {
        let credentials = || {
            Credentials::new(
                "AKIDEXAMPLE",
                SECRET_ACCESS_KEY,
                Some("a/session+token=".to_owned()),
                None,
                "test",
            )
        };
        let signer = Signer::new(credentials(), "eu-west-1".to_owned()).unwrap();
        let json: &[(&str, &str)] =
            &[("content-type", "application/x-amz-json-1.0"), ("x-amz-target", "DynamoDB_20120810.GetItem")];
        let event: &[(&str, &str)] =
            &[("x-amz-invocation-type", "Event"), ("content-type", "application/octet-stream")];
        for (time, service, method, url, headers, body) in [
            (
                "2026-11-27T08:00:00Z",
                "dynamodb",
                Method::POST,
                "https://dynamodb.eu-west-1.amazonaws.com",
                json,
                "{}",
            ),
            (
                "2026-11-27T23:59:59Z",
                "kms",
                Method::POST,
                "https://kms.eu-west-1.amazonaws.com/",
                json,
                "{\"a\": 1}",
            ),
            ("2026-11-28T00:00:00Z", "dynamodb", Method::POST, "http://127.0.0.1:8000/", json, ""),
            (
                "2026-11-28T00:00:00Z",
                "lambda",
                Method::POST,
                "https://lambda.eu-west-1.amazonaws.com/2015-03-31/functions/arn%3Aaws%3Alambda/invocations",
                event,
                "{}",
            ),
            (
                "2026-11-28T00:00:01Z",
                "apigateway",
                Method::DELETE,
                "https://apigateway.eu-west-1.amazonaws.com/v2/apis/a1~/stages/%24default-_.x/cache/authorizers",
                &[],
                "",
            ),
        ] {
            let time: DateTime<Utc> = time.parse().unwrap();
            let identity = credentials().into();
            let parameters = v4::SigningParams::builder()
                .identity(&identity)
                .region("eu-west-1")
                .name(service)
                .time(time.into())
                .settings(SigningSettings::default())
                .build()
                .unwrap()
                .into();
            let signable = SignableBody::Bytes(body.as_bytes());
            let signable =
                SignableRequest::new(method.as_str(), url, headers.iter().copied(), signable).unwrap();
            let mut expected = http::Request::builder().method(&method).uri(url).body(()).unwrap();
            sign(signable, &parameters).unwrap().into_parts().0.apply_to_request_http1x(&mut expected);
            let request = ServiceRequest { service, method, url, headers, body: body.as_bytes() };
            let headers = signer.sign(&request, &url.parse().unwrap(), time.into()).unwrap();
            assert_eq!(headers["authorization"], expected.headers()["authorization"], "{time} {url}");
        }
    }
}
