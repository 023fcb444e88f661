//! A report of leaked credentials, by anyone who found them.

use keygate_core::error::Error;
use keygate_core::fields::{FieldError, Fields};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::Value;

/// The maximum length of a report in bytes.
pub const MAX_REPORT_BYTES: usize = 256 * 1024;

/// The maximum number of credentials in a report.
pub const MAX_CREDENTIALS: usize = 100;

/// A report: `{"credentials": ["kg_key_…", …]}`. A text need not be a credential, because a sender cannot know.
#[derive(Debug)]
pub struct LeakReport {
    credentials: Vec<SecretString>,
}

/// The response to every report, so that it tells nothing about the reported texts.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Received {
    received: bool,
}

impl Received {
    /// The response.
    pub const RESPONSE: Self = Self { received: true };
}

impl LeakReport {
    /// Parses a request body.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: `credentials` is not a list of 1 to [`MAX_CREDENTIALS`] strings, or there are other fields. No value is
    ///   repeated.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        let mut fields = Fields::parse(body)?;
        let credentials = fields.required("credentials", |value| {
            let texts = value.as_array().filter(|texts| (1..=MAX_CREDENTIALS).contains(&texts.len()));
            let texts = texts.and_then(|texts| texts.iter().map(secret).collect());
            texts.ok_or_else(|| {
                FieldError::new(&format!("must be an array of 1 to {MAX_CREDENTIALS} strings"))
            })
        });
        fields.finish(credentials.map(|credentials| Self { credentials }))
    }

    /// The reported texts.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.credentials.iter().map(ExposeSecret::expose_secret)
    }
}

fn secret(value: &Value) -> Option<SecretString> {
    value.as_str().map(SecretString::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_report_has_one_to_a_hundred_texts_of_any_kind() {
        for count in [1, MAX_CREDENTIALS] {
            let report =
                LeakReport::parse(json!({"credentials": vec![""; count]}).to_string().as_bytes()).unwrap();
            assert_eq!(report.texts().count(), count);
        }
        for wrong in [
            json!({"credentials": []}),
            json!({"credentials": vec!["kg_key_secret"; MAX_CREDENTIALS + 1]}),
            json!({"credentials": ["kg_key_secret", 1]}),
            json!({"credentials": "kg_key_secret"}),
            json!({"credentials": ["a"], "kg": true}),
            json!({}),
            json!(["kg_key_secret"]),
        ] {
            let refused = LeakReport::parse(wrong.to_string().as_bytes()).unwrap_err();
            assert!(matches!(&refused, Error::Invalid { .. }), "{wrong}");
            assert!(!format!("{refused:?}").contains("secret"), "{refused:?}");
        }
    }

    #[test]
    fn a_report_shows_no_credential_when_it_is_printed() {
        let report = LeakReport::parse(br#"{"credentials": ["kg_key_secret"]}"#).unwrap();
        assert!(!format!("{report:?}").contains("secret"));
    }
}
