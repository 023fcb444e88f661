//! What a deployment says about tokens.

use chrono::TimeDelta;
use keygate_core::environment::{Environment, InvalidVariable};

/// What a deployment says about tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenSettings {
    /// `ACCESS_TOKEN_SECONDS`: the longest life of an access token; 3600 seconds unless set.
    pub access_lifetime: TimeDelta,
    /// `REFRESH_TOKEN_DAYS`: how long access tokens can be renewed without the key; 30 days unless set.
    pub refresh_lifetime: TimeDelta,
    /// `REFRESH_REUSE_SECONDS`: how long after its first use a refresh token that is used again gets other tokens, because its
    /// client may have lost the response; 0 unless set, so that it works once.
    pub refresh_reuse: TimeDelta,
    /// `TOKENS_PER_KEY`: how many tokens of a key may work at the same time; 1000 unless set.
    pub per_key: u32,
}

impl TokenSettings {
    /// Takes the settings from the environment.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when one of the variables is out of its range.
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
    fn a_refresh_token_works_once_unless_said() {
        let settings = TokenSettings::from_environment(&Environment::default()).unwrap();
        assert_eq!((settings.refresh_reuse, settings.per_key), (TimeDelta::zero(), 1000));
        let reuse = |seconds| {
            TokenSettings::from_environment(&Environment::from_iter([("REFRESH_REUSE_SECONDS", seconds)]))
        };
        assert_eq!(reuse("60").unwrap().refresh_reuse, TimeDelta::seconds(60));
        assert!(reuse("61").is_err());
    }
}
