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

/// The label of a pepper is this text and its version, so that the version alone tells how the pepper is derived.
///
/// NEVER change this value: no credential issued before would be recognised.
const PEPPER_LABEL: &str = "keygate-pepper-";

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
    /// `PEPPER_KEY`, `PEPPER_VERSIONS` and `CURRENT_PEPPER_VERSION`: the KMS key from which every pepper is derived, the versions
    /// whose hashes are accepted, and the version of new hashes. Every function must know a version before any function uses it,
    /// so a new version is listed in one deployment and becomes the current one in the next.
    ///
    /// ```
    /// # use keygate::aws::kms::MacKeySources;
    /// # use keygate_core::environment::Environment;
    /// let environment = Environment::from_iter([
    ///     ("PEPPER_KEY", "arn:aws:kms:eu-west-1:123456789012:key/4d7e"),
    ///     ("PEPPER_VERSIONS", "1,2"),
    ///     ("CURRENT_PEPPER_VERSION", "1"),
    /// ]);
    /// let peppers = MacKeySources::peppers(&environment).unwrap();
    /// assert_eq!((peppers.current, peppers.versions[1].label.as_str()), (1, "keygate-pepper-2"));
    /// ```
    ///
    /// # Errors
    ///
    /// [`InvalidVariable`] when one of the variables is not set or not of its form, when `PEPPER_VERSIONS` names a version twice,
    /// or when `CURRENT_PEPPER_VERSION` is not one of the versions.
    pub fn peppers(environment: &Environment) -> Result<Self, InvalidVariable> {
        const KEY: &str = "PEPPER_KEY";
        const KEY_MUST_BE: &str = "must be the ARN of a KMS key";
        const VERSIONS: &str = "PEPPER_VERSIONS";
        const VERSIONS_MUST_BE: &str = "must be whole numbers from 1, separated by commas, each once";
        const CURRENT: &str = "CURRENT_PEPPER_VERSION";
        const CURRENT_MUST_BE: &str = "must be one of the versions that PEPPER_VERSIONS lists";
        let kms_key = environment.required(KEY, KEY_MUST_BE)?;
        if !kms_key.starts_with("arn:") {
            return Err(InvalidVariable::new(KEY, KEY_MUST_BE));
        }
        let mut versions: Vec<MacKeySource> = Vec::new();
        for text in environment.required(VERSIONS, VERSIONS_MUST_BE)?.split(',') {
            let version = pepper_version(text)
                .filter(|version| versions.iter().all(|source| source.version != *version))
                .ok_or_else(|| InvalidVariable::new(VERSIONS, VERSIONS_MUST_BE))?;
            let label = format!("{PEPPER_LABEL}{version}");
            versions.push(MacKeySource { version, label, kms_key: kms_key.clone() });
        }
        let current = pepper_version(&environment.required(CURRENT, CURRENT_MUST_BE)?)
            .filter(|current| versions.iter().any(|source| source.version == *current))
            .ok_or_else(|| InvalidVariable::new(CURRENT, CURRENT_MUST_BE))?;
        Ok(Self { versions, current })
    }
}

/// A version as it is written in a label: without a sign and without leading zeros.
fn pepper_version(text: &str) -> Option<u32> {
    let version: u32 = text.parse().ok()?;
    (version > 0 && version.to_string() == text).then_some(version)
}

impl MacKeySource {
    /// `IDEMPOTENT_CREATE_MAC_KEY`: the source of the MAC key from which the secrets of idempotent creates are derived, as
    /// `version:label:key ARN`. There is only one, because a request that was recorded under another key is not found again.
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

    const KEY: &str = "arn:aws:kms:eu-west-1:1:key/a";

    fn peppers(key: &str, versions: &str, current: &str) -> Result<MacKeySources, InvalidVariable> {
        MacKeySources::peppers(&Environment::from_iter([
            ("PEPPER_KEY", key),
            ("PEPPER_VERSIONS", versions),
            ("CURRENT_PEPPER_VERSION", current),
        ]))
    }

    /// A change of a label changes every pepper, and with it every stored hash.
    #[test]
    fn each_version_has_its_label_and_all_have_one_key() {
        let sources = peppers(KEY, "1,2,4294967295", "2").unwrap();
        let labels: Vec<_> = sources.versions.iter().map(|source| source.label.as_str()).collect();
        assert_eq!(labels, ["keygate-pepper-1", "keygate-pepper-2", "keygate-pepper-4294967295"]);
        assert!(sources.versions.iter().all(|source| source.kms_key == KEY));
        assert_eq!(sources.current, 2);
    }

    #[test]
    fn a_pepper_can_be_known_before_it_is_used() {
        let current = |current| peppers(KEY, "1,2", current).map(|peppers| peppers.current);
        assert_eq!((current("1"), current("2")), (Ok(1), Ok(2)));
        for wrong in ["", "3", "01", "+1", " 1"] {
            assert_eq!(current(wrong).unwrap_err().name, "CURRENT_PEPPER_VERSION", "{wrong}");
        }
    }

    #[test]
    fn versions_are_numbers_each_once() {
        for wrong in ["", "0", "one", "1,", "1,1", "01", "+1", "1 ,2", "1, 2", "4294967296", "1:label:arn:a"]
        {
            assert_eq!(peppers(KEY, wrong, "1").unwrap_err().name, "PEPPER_VERSIONS", "{wrong}");
        }
        for wrong in ["", "alias/keygate-pepper"] {
            assert_eq!(peppers(wrong, "1", "1").unwrap_err().name, "PEPPER_KEY", "{wrong}");
        }
    }

    #[test]
    fn the_key_of_an_idempotent_request_is_version_label_and_key() {
        let source =
            |value| MacKeySource::of_creates(&Environment::from_iter([("IDEMPOTENT_CREATE_MAC_KEY", value)]));
        let one = source("1:one:arn:aws:kms:eu-west-1:1:key/a").unwrap();
        assert_eq!((one.version, one.label.as_str(), one.kms_key.as_str()), (1, "one", KEY));
        for wrong in ["", "one", "1:one", "1:one:key/a", "1::arn:aws:kms", "x:one:arn:a"] {
            assert!(source(wrong).is_err(), "{wrong}");
        }
    }
}
