//! The settings for tokens.

use chrono::TimeDelta;
use keygate_core::audience::Audience;
use keygate_core::environment::{Environment, InvalidVariable};

/// The settings for tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenSettings {
    /// `ACCESS_TOKEN_SECONDS`: the maximum life of an access token; 3600 seconds by default.
    pub access_lifetime: TimeDelta,
    /// `REFRESH_TOKEN_DAYS`: how long access tokens can be renewed without the key; 30 days by default.
    pub refresh_lifetime: TimeDelta,
    /// `REFRESH_REUSE_SECONDS`: how long after its first use a refresh token may be used again, because the client may have
    /// lost the response; 0 by default, so that it works once.
    pub refresh_reuse: TimeDelta,
    /// `TOKENS_PER_KEY`: the maximum number of working tokens of a key; 1000 by default.
    pub per_key: u32,
}

impl TokenSettings {
    /// Reads the settings from the environment.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when a variable is out of its range.
    pub fn from_environment(environment: &Environment) -> Result<Self, InvalidVariable> {
        Ok(Self {
            access_lifetime: environment.seconds("ACCESS_TOKEN_SECONDS", 3600, 60..=86_400)?,
            refresh_lifetime: environment.days("REFRESH_TOKEN_DAYS", 30, 1..=365)?,
            refresh_reuse: environment.seconds("REFRESH_REUSE_SECONDS", 0, 0..=60)?,
            per_key: environment.number("TOKENS_PER_KEY", 1000, 2..=100_000)?,
        })
    }
}

/// The settings for JWTs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JwtSettings {
    /// `JWT_AUDIENCES`: the APIs for which JWTs are issued, separated by commas.
    pub audiences: Vec<Audience>,
    /// `JWT_SECONDS`: the maximum life of a JWT; 300 seconds by default.
    pub lifetime: TimeDelta,
}

impl JwtSettings {
    /// Reads the settings from the environment. Without an audience there are none: no JWT is issued.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when an audience is malformed or named twice, or the life is out of its range.
    pub fn from_environment(environment: &Environment) -> Result<Option<Self>, InvalidVariable> {
        const AUDIENCES: &str = "JWT_AUDIENCES";
        let Some(listed) = environment.text(AUDIENCES) else { return Ok(None) };
        let mut audiences = Vec::new();
        for text in listed.split(',') {
            match text.parse() {
                Ok(audience) if !audiences.contains(&audience) => audiences.push(audience),
                _ => {
                    let must_be = "must be absolute URIs without a fragment, separated by commas, each once";
                    return Err(InvalidVariable::new(AUDIENCES, must_be));
                }
            }
        }
        Ok(Some(Self { audiences, lifetime: environment.seconds("JWT_SECONDS", 300, 60..=900)? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_audience_there_are_no_jwts() {
        let read = |variables: &[(&str, &str)]| {
            JwtSettings::from_environment(&variables.iter().copied().collect::<Environment>())
        };
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("JWT_AUDIENCES", ""), ("JWT_SECONDS", "600")]), Ok(None));
        let settings = read(&[("JWT_AUDIENCES", "https://a.example.com,urn:b")]).unwrap().unwrap();
        let audiences: Vec<_> = settings.audiences.iter().map(Audience::as_str).collect();
        assert_eq!(
            (audiences, settings.lifetime),
            (vec!["https://a.example.com", "urn:b"], TimeDelta::minutes(5))
        );
        for wrong in ["orders", "https://a.example.com,", "urn:a,urn:a", "urn:a, urn:b", "urn:a#b"] {
            assert_eq!(read(&[("JWT_AUDIENCES", wrong)]).unwrap_err().name, "JWT_AUDIENCES", "{wrong}");
        }
        for (seconds, is_valid) in [("59", false), ("60", true), ("900", true), ("901", false)] {
            let settings = read(&[("JWT_AUDIENCES", "urn:a"), ("JWT_SECONDS", seconds)]);
            assert_eq!(settings.is_ok(), is_valid, "{seconds}");
        }
    }

    #[test]
    fn a_refresh_token_works_once_by_default() {
        let settings = TokenSettings::from_environment(&Environment::default()).unwrap();
        assert_eq!((settings.refresh_reuse, settings.per_key), (TimeDelta::zero(), 1000));
        let reuse = |seconds| {
            TokenSettings::from_environment(&Environment::from_iter([("REFRESH_REUSE_SECONDS", seconds)]))
        };
        assert_eq!(reuse("60").unwrap().refresh_reuse, TimeDelta::seconds(60));
        assert!(reuse("61").is_err());
    }
}
