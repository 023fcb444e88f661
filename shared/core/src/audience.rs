//! The APIs for which JWTs are issued, as clients name them (RFC 8707).

use crate::newtype::consists_of;

/// The maximum length of an audience.
const MAX_AUDIENCE_LEN: usize = 256;

string_newtype! {
    /// An API for which JWTs are issued: an absolute URI without a fragment (RFC 8707, section 2), compared character for
    /// character. It has no comma, because a list of audiences is separated by commas.
    Audience is |text| {
        let allowed = |byte: u8| byte.is_ascii_graphic() && !b"#,\"<>\\^`{|}".contains(&byte);
        // RFC 3986, sections 3.1 and 4.3: a scheme, and a part that depends on it.
        let (scheme, rest) = text.split_once(':').unwrap_or_default();
        consists_of(text, 3..=MAX_AUDIENCE_LEN, allowed)
            && scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
            && !rest.is_empty()
    },
    or else
    /// The error of a text that is not an [`Audience`].
    InvalidAudience: "must be an absolute URI without a fragment, of at most 256 characters"
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8707, section 2: an absolute URI (RFC 3986, section 4.3) without a fragment.
    #[test]
    fn an_audience_is_an_absolute_uri_without_a_fragment() {
        for valid in [
            "https://api.example.com",
            "https://api.example.com/orders?tenant=1",
            "urn:example:orders",
            "a:b",
            "coap+tcp://[2001:db8::1]/",
        ] {
            assert_eq!(valid.parse().map(|audience: Audience| audience.to_string()), Ok(valid.to_owned()));
        }
        let long = format!("urn:{}", "a".repeat(MAX_AUDIENCE_LEN - 3));
        for invalid in [
            "",
            "orders",
            "/orders",
            "//api.example.com",
            "https:",
            ":orders",
            "1a:b",
            "https://api.example.com#a",
            "https://api.example.com/#",
            "https://a,https://b",
            "https://api.example.com/a b",
            "https://api.example.com/é",
            "https://api.example.com/\"",
            &long,
        ] {
            assert_eq!(invalid.parse::<Audience>(), Err(InvalidAudience), "{invalid}");
        }
    }
}
