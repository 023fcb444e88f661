//! A report of GitHub's secret scanning, and the feedback that GitHub takes in the response.
//!
//! <https://docs.github.com/en/code-security/secret-scanning/secret-scanning-partnership-program/secret-scanning-partner-program>

use std::collections::{HashMap, HashSet};

use keygate_core::error::{Error, InvalidField, Place};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::leaks::end::Finding;

/// The maximum length of a report in bytes.
pub const MAX_REPORT_BYTES: usize = 1024 * 1024;

/// A report: the matches of the patterns that GitHub knows of the deployment.
#[derive(Debug)]
pub struct GitHubReport(Vec<Match>);

/// One match. GitHub also says where it found the text, and may say more.
#[derive(Debug, Deserialize)]
struct Match {
    token: SecretString,
    #[serde(rename = "type")]
    token_type: String,
}

/// What a match is. It has the hash of the text and not the text.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Feedback<'a> {
    /// SHA-256, in hexadecimal digits.
    token_hash: String,
    token_type: &'a str,
    label: Label,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Label {
    TruePositive,
    FalsePositive,
}

impl GitHubReport {
    /// Parses a request body, whose signature was verified.
    ///
    /// # Errors
    ///
    /// - [`Error::Invalid`]: it is not a list of matches. No value is repeated.
    pub fn parse(body: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice(body).map(Self).map_err(|_| {
            let detail = "must be an array of objects with the strings token and type".to_owned();
            Error::invalid(InvalidField { place: Place::Pointer(String::new()), detail })
        })
    }

    /// The texts of the matches.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|each| each.token.expose_secret())
    }

    /// What each text is, once for each type. A text of which that is not known is left out: in the form of a credential, and not
    /// stored.
    #[must_use]
    pub fn feedback(&self, findings: &HashMap<&str, Finding>) -> Vec<Feedback<'_>> {
        let mut seen = HashSet::new();
        let matches = self.0.iter().map(|each| (each.token.expose_secret(), each.token_type.as_str()));
        let distinct = matches.filter(|each| seen.insert(*each));
        let feedback = distinct.filter_map(|(token, token_type)| {
            let label = match findings.get(token)? {
                Finding::Credential => Label::TruePositive,
                Finding::Foreign => Label::FalsePositive,
                Finding::NotStored => return None,
            };
            Some(Feedback { token_hash: hex::encode(Sha256::digest(token)), token_type, label })
        });
        feedback.collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn report(matches: &Value) -> Result<GitHubReport, Error> {
        GitHubReport::parse(matches.to_string().as_bytes())
    }

    #[test]
    fn a_report_is_a_list_of_matches_and_may_say_more_of_each() {
        let example = json!([{
            "token": "NMIfyYncKcRALEXAMPLE", "type": "mycompany_api_token", "source": "content",
            "url": "https://github.com/octocat/Hello-World/blob/12345600b9cbe38a219f39a9941c9319b600c002/foo/bar.txt",
        }]);
        assert_eq!(report(&example).unwrap().texts().collect::<Vec<_>>(), ["NMIfyYncKcRALEXAMPLE"]);
        assert_eq!(report(&json!([])).unwrap().texts().count(), 0);
        let more = json!([{"token": "a", "type": "kg", "url": null, "new": {"token": 1}}, {"token": "", "type": ""}]);
        assert_eq!(report(&more).unwrap().texts().collect::<Vec<_>>(), ["a", ""]);
        for wrong in [
            json!({"token": "kg_key_secret", "type": "kg"}),
            json!([{"token": "kg_key_secret"}]),
            json!([{"token": ["kg_key_secret"], "type": "kg"}]),
            json!([{"token": "kg_key_secret", "type": 1}]),
            json!(["kg_key_secret"]),
        ] {
            let refused = report(&wrong).unwrap_err();
            assert!(matches!(&refused, Error::Invalid { .. }), "{wrong}");
            assert!(!format!("{refused:?}").contains("secret"), "{refused:?}");
        }
    }

    #[test]
    fn a_report_shows_no_credential_when_it_is_printed() {
        let report = report(&json!([{"token": "kg_key_secret", "type": "kg"}])).unwrap();
        assert!(!format!("{report:?}").contains("secret"));
    }

    /// FIPS 180-4 has the digest of `abc`.
    #[test]
    fn feedback_has_the_digest_and_the_label_of_each_text_once_for_each_type() {
        let matches = [("abc", "kg"), ("", "kg"), ("gone", "kg"), ("abc", "kg"), ("abc", "old")];
        let matches: Vec<_> =
            matches.iter().map(|(token, kind)| json!({"token": token, "type": kind})).collect();
        let report = report(&json!(matches)).unwrap();
        let findings = [("abc", Finding::Credential), ("", Finding::Foreign), ("gone", Finding::NotStored)];
        let feedback = report.feedback(&HashMap::from(findings));
        let (abc, empty) = (
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        );
        let expected = json!([
            {"token_hash": abc, "token_type": "kg", "label": "true_positive"},
            {"token_hash": empty, "token_type": "kg", "label": "false_positive"},
            {"token_hash": abc, "token_type": "old", "label": "true_positive"},
        ]);
        assert_eq!(serde_json::to_value(feedback).unwrap(), expected);
    }
}
