//! The settings of sessions.

use keygate_core::environment::{Environment, InvalidVariable};

/// `CONSOLE_URL`: the address of the keys page, without its `/` at the end; by default the path `/console` of the management API.
///
/// # Errors
///
/// [`InvalidVariable`] when it is not an address of [`Environment::address`], or ends with `/`.
pub fn console_url(environment: &Environment) -> Result<Option<String>, InvalidVariable> {
    match environment.address("CONSOLE_URL")? {
        Some(url) if url.ends_with('/') => {
            Err(InvalidVariable::new("CONSOLE_URL", "must have no / at the end"))
        }
        url => Ok(url),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_console_has_an_address_without_a_slash_at_the_end() {
        let url = |value| console_url(&Environment::from_iter([("CONSOLE_URL", value)]));
        assert_eq!(url(""), Ok(None));
        assert_eq!(url("https://example.com/keys"), Ok(Some("https://example.com/keys".to_owned())));
        for wrong in ["https://keys.example.com/", "http://keys.example.com"] {
            assert_eq!(url(wrong).map_err(|error| error.name), Err("CONSOLE_URL"), "{wrong}");
        }
    }
}
