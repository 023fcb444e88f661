//! The settings for tokens.

use chrono::TimeDelta;
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

#[cfg(test)]
mod tests {
    use super::*;

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
