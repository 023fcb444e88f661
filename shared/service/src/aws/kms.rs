//! Derives peppers, and the MAC keys of idempotent requests, from KMS keys that cannot be exported.
//!
//! Each one is derived when an environment starts, by `kms:GenerateMac` over its label, and is not stored. So there is no
//! ciphertext to keep, and while the KMS key is disabled no new environment can verify or forge a hash.

use aws_sdk_kms::Client;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::MacAlgorithmSpec;
use keygate_core::environment::{Environment, InvalidVariable};
use keygate_core::error::Error;
use keygate_core::pepper::{MacKey, Peppers};
use tokio::task::JoinSet;
use zeroize::Zeroizing;

/// The source of a MAC key: `kms:GenerateMac(key, HMAC_SHA_256, label)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MacKeySource {
    /// The version, which is stored beside each hash that is made under the MAC key.
    pub version: u32,
    /// The message of the MAC, so that one KMS key gives many peppers.
    pub label: String,
    /// The ARN of a KMS key with the spec `HMAC_256`.
    pub kms_key: String,
}

/// The sources of all versions of a MAC key, and the current version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MacKeySources {
    /// The versions that are accepted, each once.
    pub versions: Vec<MacKeySource>,
    /// The version of new hashes, one of these.
    pub current: u32,
}

impl MacKeySources {
    /// `PEPPERS`: the sources of the peppers whose hashes are accepted, `version:label:key ARN` each, separated by commas. New
    /// hashes are made under the highest version, unless `PEPPER_VERSION` names another one: every function must know a version
    /// before any function uses it.
    ///
    /// ```
    /// # use keygate::aws::kms::MacKeySources;
    /// # use keygate_core::environment::Environment;
    /// let key = "arn:aws:kms:eu-west-1:123456789012:key/4d7e";
    /// let peppers = format!("1:first:{key},2:second:{key}");
    /// let environment = Environment::from_iter([("PEPPERS", peppers.as_str())]);
    /// assert_eq!(MacKeySources::peppers(&environment).unwrap().current, 2);
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when `PEPPERS` is not set, not of that form, or names a version twice; or when `PEPPER_VERSION` is not
    /// one of the versions.
    pub fn peppers(environment: &Environment) -> Result<Self, InvalidVariable> {
        const NAME: &str = "PEPPERS";
        const MUST_BE: &str =
            "must be version:label:KMS key ARN, several separated by commas, each version once";
        let invalid = || InvalidVariable::new(NAME, MUST_BE);
        let list = environment.required(NAME, MUST_BE)?;
        let versions: Vec<_> =
            list.split(',').map(MacKeySource::parse).collect::<Option<_>>().ok_or_else(invalid)?;
        let mut numbers: Vec<u32> = versions.iter().map(|source| source.version).collect();
        numbers.sort_unstable();
        if numbers.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(invalid());
        }
        let mut sources = Self { current: numbers.pop().ok_or_else(invalid)?, versions };
        if let Some(version) = environment.text("PEPPER_VERSION") {
            let listed = sources.versions.iter().find(|source| source.version.to_string() == version);
            let must_be = "must be one of the versions that PEPPERS lists";
            sources.current = listed.ok_or_else(|| InvalidVariable::new("PEPPER_VERSION", must_be))?.version;
        }
        Ok(sources)
    }
}

impl MacKeySource {
    /// `IDEMPOTENT_CREATE_MAC_KEY`: the source of the MAC key from which the secrets of idempotent creates are derived, in the
    /// form of one entry of `PEPPERS`. There is only one, because a request that was recorded under another key is not found
    /// again.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is not set or not of that form.
    pub fn of_creates(environment: &Environment) -> Result<Self, InvalidVariable> {
        Self::from_environment(environment, "IDEMPOTENT_CREATE_MAC_KEY")
    }

    /// `IDEMPOTENT_ROTATE_MAC_KEY`: the same for idempotent rotations. It is another KMS key, so that create-key and
    /// rotate-key cannot derive each other's secrets.
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when it is not set or not of that form.
    pub fn of_rotations(environment: &Environment) -> Result<Self, InvalidVariable> {
        Self::from_environment(environment, "IDEMPOTENT_ROTATE_MAC_KEY")
    }

    fn from_environment(environment: &Environment, name: &'static str) -> Result<Self, InvalidVariable> {
        const MUST_BE: &str = "must be version:label:KMS key ARN";
        Self::parse(&environment.required(name, MUST_BE)?).ok_or_else(|| InvalidVariable::new(name, MUST_BE))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().splitn(3, ':').map(str::to_owned);
        let version = parts.next()?.parse().ok()?;
        let label = parts.next().filter(|label| !label.is_empty())?;
        let kms_key = parts.next().filter(|key| key.starts_with("arn:"))?;
        Some(Self { version, label, kms_key })
    }
}

/// Derives all listed peppers concurrently.
///
/// # Errors
///
/// - [`Error::Unavailable`]: KMS refused the call or did not respond in time.
/// - [`Error::Broken`]: KMS responded with a MAC that does not have 32 bytes.
pub async fn derive(client: &Client, sources: MacKeySources) -> Result<Peppers, Error> {
    let mut derivations: JoinSet<Result<MacKey, Error>> =
        sources.versions.into_iter().map(|source| derive_one(client.clone(), source)).collect();
    let mut keys = Vec::with_capacity(derivations.len());
    while let Some(derived) = derivations.join_next().await {
        keys.push(derived.map_err(|failure| Error::unavailable("KMS", &failure))??);
    }
    Ok(Peppers::new(keys, sources.current))
}

/// Derives one MAC key.
///
/// # Errors
///
/// As [`derive()`].
pub async fn derive_one(client: Client, source: MacKeySource) -> Result<MacKey, Error> {
    let response = client
        .generate_mac()
        .key_id(source.kms_key)
        .mac_algorithm(MacAlgorithmSpec::HmacSha256)
        .message(Blob::new(source.label))
        .send()
        .await
        .map_err(|failure| Error::unavailable("KMS", &failure))?;
    let mac = Zeroizing::new(response.mac.map(Blob::into_inner).unwrap_or_default());
    let mut key = Zeroizing::new([0; 32]);
    if mac.len() != key.len() {
        return Err(Error::Broken(format!("KMS returned a MAC of {} bytes instead of 32", mac.len())));
    }
    key.copy_from_slice(&mac);
    Ok(MacKey::new(source.version, &key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peppers_are_version_label_and_key_each_version_once() {
        let peppers = |value| MacKeySources::peppers(&Environment::from_iter([("PEPPERS", value)]));
        let two =
            peppers("1:one:arn:aws:kms:eu-west-1:1:key/a, 2:two:arn:aws:kms:eu-west-1:1:key/b").unwrap();
        assert_eq!((two.versions[1].version, two.versions[1].label.as_str(), two.current), (2, "two", 2));
        assert_eq!(two.versions[1].kms_key, "arn:aws:kms:eu-west-1:1:key/b");
        for wrong in [
            "",
            "one",
            "1:one",
            "1:one:key/a",
            "1::arn:aws:kms",
            "x:one:arn:a",
            "1:a:arn:a,1:b:arn:b",
            "1:a:arn:a,",
        ] {
            assert!(peppers(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_pepper_can_be_known_before_it_is_used() {
        let current = |version| {
            let peppers =
                ("PEPPERS", "1:one:arn:aws:kms:eu-west-1:1:key/a,2:two:arn:aws:kms:eu-west-1:1:key/b");
            let environment = Environment::from_iter([peppers, ("PEPPER_VERSION", version)]);
            MacKeySources::peppers(&environment).map(|peppers| peppers.current)
        };
        assert_eq!((current(""), current("1"), current("2")), (Ok(2), Ok(1), Ok(2)));
        assert!(current("3").is_err() && current("01").is_err());
    }
}
