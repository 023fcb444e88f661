//! The parameters of a request of an OAuth client.

use std::collections::HashMap;

use secrecy::{ExposeSecret, SecretString};

use crate::tokens::OAuthError;

/// The parameters of a form (`application/x-www-form-urlencoded`; RFC 6749, appendix B). Some are secrets, so `Debug` shows
/// no value.
#[derive(Debug)]
pub struct FormParameters(HashMap<String, SecretString>);

impl FormParameters {
    /// Parses a body. A parameter without a value counts as not sent (RFC 6749, section 3.2).
    ///
    /// # Errors
    ///
    /// - [`OAuthError::InvalidTarget`]: `resource` is repeated, which RFC 8707, section 2, allows and Keygate does not: a JWT has
    ///   one audience.
    /// - [`OAuthError::InvalidRequest`]: another parameter is repeated.
    ///
    /// # Example
    ///
    /// ```
    /// use keygate::tokens::parameters::FormParameters;
    ///
    /// let parameters = FormParameters::parse(b"scope=orders%3Aread+offline_access&resource=").unwrap();
    /// assert_eq!(parameters.optional("scope"), Some("orders:read offline_access"));
    /// assert_eq!(parameters.optional("resource"), None);
    /// assert!(FormParameters::parse(b"token=a&token=b").is_err());
    /// ```
    pub fn parse(body: &[u8]) -> Result<Self, OAuthError> {
        let mut parameters = HashMap::new();
        for (name, value) in form_urlencoded::parse(body).filter(|(_, value)| !value.is_empty()) {
            let value = SecretString::from(value.into_owned());
            if parameters.insert(name.clone().into_owned(), value).is_some() {
                if name == "resource" {
                    return Err(OAuthError::InvalidTarget("Only one resource can be named."));
                }
                // The error does not repeat the name, which may be a misplaced secret.
                return Err(OAuthError::InvalidRequest("A parameter is repeated.".to_owned()));
            }
        }
        Ok(Self(parameters))
    }

    /// The value of a parameter, if it was sent.
    #[must_use]
    pub fn optional(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(ExposeSecret::expose_secret)
    }

    /// The value of a required parameter.
    ///
    /// # Errors
    ///
    /// - [`OAuthError::InvalidRequest`]: the parameter was not sent.
    pub fn required(&self, name: &str) -> Result<&str, OAuthError> {
        self.optional(name).ok_or_else(|| OAuthError::InvalidRequest(format!("{name} is required.")))
    }
}
