//! The settings of sessions.

use keygate_core::environment::{Environment, InvalidVariable};

/// `CONSOLE_URL`: the address of the keys page, without its `/` at the end; by default the path `/console` of the management API.
///
/// # Errors
///
/// [`InvalidVariable`] when it is not an `https` address, or an `http` address of this machine, without a query and a fragment.
pub fn console_url(environment: &Environment) -> Result<Option<String>, InvalidVariable> {
    let Some(url) = environment.text("CONSOLE_URL") else { return Ok(None) };
    let is_local = |url: &str| {
        let host = url.strip_prefix("http://").map(|rest| rest.split(['/', ':']).next().unwrap_or_default());
        matches!(host, Some("localhost" | "127.0.0.1"))
    };
    let is_safe = url.strip_prefix("https://").is_some_and(|rest| !rest.is_empty()) || is_local(url);
    let is_plain = url.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\"<>\\^`{|}".contains(&byte));
    if is_safe && is_plain && !url.ends_with('/') {
        Ok(Some(url.to_owned()))
    } else {
        let must_be = "must be an https address without a query, a fragment and a / at the end";
        Err(InvalidVariable::new("CONSOLE_URL", must_be))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_console_has_an_https_address_or_one_of_this_machine() {
        let url = |value| console_url(&Environment::from_iter([("CONSOLE_URL", value)]));
        assert_eq!(url(""), Ok(None));
        for valid in [
            "https://keys.example.com",
            "https://example.com/keys",
            "http://localhost:5173/console",
            "http://127.0.0.1:1",
        ] {
            assert_eq!(url(valid), Ok(Some(valid.to_owned())));
        }
        for wrong in [
            "https://",
            "http://keys.example.com",
            "http://localhost.example.com",
            "https://keys.example.com/",
            "https://keys.example.com?a=b",
            "https://keys.example.com#a",
            "keys.example.com",
        ] {
            assert!(url(wrong).is_err(), "{wrong}");
        }
    }
}
