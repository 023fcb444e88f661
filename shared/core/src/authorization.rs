//! The `Authorization` header (RFC 9110, section 11.6.2), for every part that reads one.
//!
//! The `headers` crate is not used here. It refuses white space before the scheme, which an event of a `TOKEN` authorizer may
//! have. Above all, its `Authorization<Basic>` and `Authorization<Bearer>` copy the credential into memory that is not zeroed,
//! and their `Debug` shows it.

use std::fmt;

/// The credentials of a request by their scheme. They are borrowed from the header, not checked, and not shown by `Debug`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Authorization<'a> {
    /// A bearer token (RFC 6750, section 2.1); empty if the scheme stands alone.
    Bearer(&'a str),
    /// A user id and a password, encoded (RFC 7617, section 2); empty if the scheme stands alone.
    Basic(&'a str),
    /// Another scheme.
    Other,
}

impl fmt::Debug for Authorization<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Bearer(_) => "Bearer([REDACTED])",
            Self::Basic(_) => "Basic([REDACTED])",
            Self::Other => "Other",
        })
    }
}

impl<'a> Authorization<'a> {
    /// Reads the value of the header: a scheme in any case, one or more spaces, and the credentials. A value of white space
    /// alone counts as absent, because some clients and proxies send every header that they know.
    ///
    /// # Example
    ///
    /// ```
    /// use keygate_core::authorization::Authorization;
    ///
    /// assert_eq!(Authorization::parse("bearer  abc"), Some(Authorization::Bearer("abc")));
    /// assert!(Authorization::parse(" ").is_none());
    /// ```
    #[must_use]
    pub fn parse(value: &'a str) -> Option<Self> {
        let value = value.trim();
        if value.is_empty() {
            return None;
        }
        let (scheme, credentials) = value.split_once(' ').unwrap_or((value, ""));
        let credentials = credentials.trim_start_matches(' ');
        Some(if scheme.eq_ignore_ascii_case("bearer") {
            Self::Bearer(credentials)
        } else if scheme.eq_ignore_ascii_case("basic") {
            Self::Basic(credentials)
        } else {
            Self::Other
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_is_read_in_any_case_and_before_any_number_of_spaces() {
        for (value, expected) in [
            ("Bearer abc", Some(Authorization::Bearer("abc"))),
            ("BEARER    abc ", Some(Authorization::Bearer("abc"))),
            ("  bearer abc", Some(Authorization::Bearer("abc"))),
            ("Bearer abc def", Some(Authorization::Bearer("abc def"))),
            ("Bearer \tabc", Some(Authorization::Bearer("\tabc"))),
            ("Bearer", Some(Authorization::Bearer(""))),
            ("Bearer\tabc", Some(Authorization::Other)),
            ("basic YTpi", Some(Authorization::Basic("YTpi"))),
            ("Digest abc", Some(Authorization::Other)),
            ("abc", Some(Authorization::Other)),
            ("", None),
            (" \t ", None),
        ] {
            assert_eq!(Authorization::parse(value), expected, "{value:?}");
        }
    }
}
