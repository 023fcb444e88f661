//! Signature Version 4 of one fixed request. Everything that does not change between calls is prepared once.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use std::fmt::Write;

use chrono::{DateTime, Utc};
use ring::digest::{SHA256, digest};
use ring::hmac::{HMAC_SHA256, Key, Tag, sign};

const SIGNED_HEADERS: &str = "content-type;host;x-amz-date;x-amz-security-token;x-amz-target";

/// The signer of one request, which is sent again and again.
pub struct Signer {
    /// Of the role.
    pub access_key_id: String,
    /// Of the role.
    pub secret_access_key: String,
    /// Of the role.
    pub session_token: String,
    /// Such as `us-east-1`.
    pub region: String,
    /// The service's name in signatures, such as `dynamodb`.
    pub service: &'static str,
    /// The value of the header `Host`.
    pub host: String,
    /// The value of the header `X-Amz-Target`.
    pub target: &'static str,
    /// The body, in JSON.
    pub body: String,
}

/// A signer that is ready, with the signing key of a day.
pub struct Prepared {
    signer: Signer,
    /// The body's digest, in hexadecimal digits.
    digest: String,
    /// The day of `key`, such as `20261127`.
    day: String,
    key: Key,
}

impl Signer {
    /// Prepares what is the same for each call.
    #[must_use]
    pub fn prepare(self) -> Prepared {
        let digest = hexadecimal(digest(&SHA256, self.body.as_bytes()).as_ref());
        Prepared { signer: self, digest, day: String::new(), key: Key::new(HMAC_SHA256, b"") }
    }
}

impl Prepared {
    /// The whole request, signed at this time.
    pub fn request(&mut self, now: DateTime<Utc>) -> String {
        let time = now.format("%Y%m%dT%H%M%SZ").to_string();
        let signature = self.signature(&time);
        let Signer { access_key_id, session_token, region, service, host, target, body, .. } = &self.signer;
        format!(
            "POST / HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/x-amz-json-1.0\r\nx-amz-date: {time}\r\n\
             x-amz-security-token: {session_token}\r\nx-amz-target: {target}\r\n\
             authorization: AWS4-HMAC-SHA256 Credential={access_key_id}/{day}/{region}/{service}/aws4_request, \
             SignedHeaders={SIGNED_HEADERS}, Signature={signature}\r\ncontent-length: {length}\r\n\r\n{body}",
            day = self.day,
            length = body.len(),
        )
    }

    fn signature(&mut self, time: &str) -> String {
        let Self { signer, digest: body, .. } = self;
        let canonical = format!(
            "POST\n/\n\ncontent-type:application/x-amz-json-1.0\nhost:{}\nx-amz-date:{time}\n\
             x-amz-security-token:{}\nx-amz-target:{}\n\n{SIGNED_HEADERS}\n{body}",
            signer.host, signer.session_token, signer.target,
        );
        let day = &time[..8];
        if self.day != day {
            let secret = format!("AWS4{}", signer.secret_access_key);
            let mut key = Key::new(HMAC_SHA256, secret.as_bytes());
            for part in [day, &signer.region, signer.service, "aws4_request"] {
                key = Key::new(HMAC_SHA256, mac(&key, part).as_ref());
            }
            self.key = key;
            day.clone_into(&mut self.day);
        }
        let canonical = hexadecimal(digest(&SHA256, canonical.as_bytes()).as_ref());
        let scope = format!("{day}/{}/{}/aws4_request", self.signer.region, self.signer.service);
        hexadecimal(mac(&self.key, &format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{canonical}")).as_ref())
    }
}

fn mac(key: &Key, text: &str) -> Tag {
    sign(key, text.as_bytes())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes every text");
        text
    })
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::config::Credentials;
    use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
    use aws_sigv4::sign::v4;

    use super::*;

    #[test]
    fn a_request_is_signed_as_the_sdk_signs_it_on_each_day() {
        let signer = || Signer {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: "token/+=".to_owned(),
            region: "eu-west-1".to_owned(),
            service: "dynamodb",
            host: "dynamodb.eu-west-1.amazonaws.com".to_owned(),
            target: "DynamoDB_20120810.GetItem",
            body: r#"{"TableName":"keys"}"#.to_owned(),
        };
        let mut prepared = signer().prepare();
        for now in ["2026-11-27T08:00:00Z", "2026-11-27T23:59:59Z", "2026-11-28T00:00:00Z"] {
            let now: DateTime<Utc> = now.parse().unwrap();
            let Signer {
                access_key_id, secret_access_key, session_token, region, host, target, body, ..
            } = signer();
            let identity =
                Credentials::new(access_key_id, secret_access_key, Some(session_token), None, "test").into();
            let parameters = v4::SigningParams::builder()
                .identity(&identity)
                .region(&region)
                .name("dynamodb")
                .time(now.into())
                .settings(SigningSettings::default())
                .build()
                .unwrap()
                .into();
            let headers = [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", target)];
            let url = format!("https://{host}/");
            let body = SignableBody::Bytes(body.as_bytes());
            let request = SignableRequest::new("POST", &url, headers.into_iter(), body).unwrap();
            let expected = sign(request, &parameters).unwrap().signature().to_owned();
            let request = prepared.request(now);
            assert!(request.contains(&format!("Signature={expected}\r\n")), "{request}");
        }
    }
}
