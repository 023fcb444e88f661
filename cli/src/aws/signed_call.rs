//! A call of AWS without an SDK: signed with Signature Version 4, sent, and repeated while AWS throttles it.

use std::time::SystemTime;

use aws_sdk_dynamodb::config::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use http::{Request, Response, header};

use crate::aws::errors;
use crate::failure::{Failure, Status};
use crate::http::{Http, is_unknown_host};
use crate::retry::{MAX_ATTEMPTS, pause};

/// Makes calls with one identity in one Region.
#[derive(Debug)]
pub(crate) struct SignedCalls {
    http: Http,
    identity: Identity,
    region: String,
    /// The endpoint of all services, if one is configured.
    endpoint: Option<String>,
}

/// One call by POST.
pub(crate) struct ServiceRequest<'a> {
    /// The service's name in signatures and endpoints.
    pub(crate) service: &'static str,
    pub(crate) display_name: &'static str,
    /// Percent-encoded.
    pub(crate) path: &'a str,
    pub(crate) content_type: &'static str,
    pub(crate) body: &'a [u8],
}

impl SignedCalls {
    pub(crate) fn new(http: Http, credentials: Credentials, region: String, endpoint: Option<&str>) -> Self {
        Self { http, identity: credentials.into(), region, endpoint: endpoint.map(str::to_owned) }
    }

    pub(crate) fn region(&self) -> &str {
        &self.region
    }

    /// Makes a call, and returns the body of its response. It is repeated only if AWS did not begin it.
    ///
    /// # Errors
    ///
    /// AWS refused it, or did not respond.
    pub(crate) fn send(&self, call: &ServiceRequest<'_>) -> Result<Vec<u8>, Failure> {
        for attempt in 1.. {
            let failure = match self.send_once(call) {
                Ok(body) => return Ok(body),
                Err(failure) => failure,
            };
            let is_throttled = failure.code.as_deref().is_some_and(errors::is_throttling);
            if !is_throttled || attempt == MAX_ATTEMPTS || !pause(attempt, None, &failure.message) {
                return Err(failure);
            }
        }
        unreachable!("the last attempt returns")
    }

    /// Makes a call once.
    ///
    /// # Errors
    ///
    /// As [`Self::send`], and AWS throttled it.
    pub(crate) fn send_once(&self, call: &ServiceRequest<'_>) -> Result<Vec<u8>, Failure> {
        let request = self.signed(call).map_err(|error| {
            Failure::new(
                Status::Failed,
                format!("the call of {} cannot be signed: {error}", call.display_name),
            )
        })?;
        let url = request.uri().to_string();
        let response = self.http.send(request).map_err(|error| self.unreachable(call, &url, &error))?;
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        let (code, message) = code_and_message(&response);
        let failure = errors::of(call.display_name, Some(response.status()), &code, &message);
        Err(if errors::is_missing(&failure) { failure.advise(self.where_it_was()) } else { failure })
    }

    fn signed(
        &self,
        call: &ServiceRequest<'_>,
    ) -> Result<Request<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>> {
        let url = format!("{}{}", self.endpoint(call.service), call.path);
        let parameters = v4::SigningParams::builder()
            .identity(&self.identity)
            .region(&self.region)
            .name(call.service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let headers = [("content-type", call.content_type)].into_iter();
        let signable = SignableRequest::new("POST", &url, headers, SignableBody::Bytes(call.body))?;
        let signature = sign(signable, &parameters)?.into_parts().0;
        let mut request =
            Request::post(&url).header(header::CONTENT_TYPE, call.content_type).body(call.body.to_vec())?;
        signature.apply_to_request_http1x(&mut request);
        Ok(request)
    }

    /// The configured endpoint, of the service or of all, else AWS's own.
    fn endpoint(&self, service: &str) -> String {
        let own = std::env::var(format!("AWS_ENDPOINT_URL_{}", service.to_uppercase()));
        let own = own.ok().filter(|url| !url.is_empty()).or_else(|| self.endpoint.clone());
        own.map_or_else(
            || {
                let suffix =
                    if self.region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
                format!("https://{service}.{}.{suffix}", self.region)
            },
            |url| url.trim_end_matches('/').to_owned(),
        )
    }

    fn unreachable(&self, call: &ServiceRequest<'_>, url: &str, error: &ureq::Error) -> Failure {
        let failure = Failure::new(
            Status::Unavailable,
            format!("{} cannot be reached at {url}: {error}", call.display_name),
        );
        if is_unknown_host(error) {
            failure.advise(format!("is {} the Region of the stack, and the network there?", self.region))
        } else {
            failure.advise(
                "check the network and HTTPS_PROXY; if the call may have arrived, look before you repeat it",
            )
        }
    }

    fn where_it_was(&self) -> String {
        format!("it was looked for in {}: are --stack, --region and --aws-profile right?", self.region)
    }
}

/// The error of a response in XML (`CloudFormation`) or JSON (Lambda).
fn code_and_message(response: &Response<Vec<u8>>) -> (String, String) {
    let text = String::from_utf8_lossy(response.body());
    if let Ok(document) = roxmltree::Document::parse(&text) {
        let of = |name: &str| {
            let mut named = document.descendants().filter(|node| super::is_named(node, name));
            named.find_map(|node| node.text()).unwrap_or_default().trim().to_owned()
        };
        return (of("Code"), of("Message"));
    }
    let body: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let code = response.headers().get("x-amzn-errortype").and_then(|value| value.to_str().ok());
    let code = code.or(body["__type"].as_str()).or(body["Type"].as_str()).unwrap_or_default();
    let code = code.rsplit('#').next().unwrap_or_default().split(':').next().unwrap_or_default();
    let message = body["message"].as_str().or(body["Message"].as_str()).unwrap_or_default();
    (code.to_owned(), message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_read_from_xml_and_json() {
        let xml = "<ErrorResponse xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\"><Error><Type>Sender</Type>\
            <Code>ValidationError</Code><Message>Stack with id a does not exist</Message></Error></ErrorResponse>";
        let response = Response::new(xml.as_bytes().to_vec());
        let expected = ("ValidationError".to_owned(), "Stack with id a does not exist".to_owned());
        assert_eq!(code_and_message(&response), expected);
        let response = Response::builder()
            .header("x-amzn-errortype", "TooManyRequestsException:http://internal.amazon.com/")
            .body(br#"{"Type":"User","message":"Rate exceeded"}"#.to_vec())
            .unwrap();
        let expected = ("TooManyRequestsException".to_owned(), "Rate exceeded".to_owned());
        assert_eq!(code_and_message(&response), expected);
        assert_eq!(code_and_message(&Response::new(b"<html>".to_vec())), (String::new(), String::new()));
    }
}
