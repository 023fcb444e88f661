//! Presents mutations of valid credentials to the verification, in one process and without a database, and fails if one is
//! accepted: `mutations COUNT SEED`. The same seed makes the same credentials and mutations (`make soak`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{Write, stdout};

use chrono::{DateTime, TimeDelta, Utc};
use keygate_core::credential::{Brand, Credential, CredentialForm, KeyId, Secret, TokenId};
use keygate_core::decision::Decision;
use keygate_core::key::{Generation, HashedKey, Key};
use keygate_core::limit::Limits;
use keygate_core::metadata::Metadata;
use keygate_core::name::Name;
use keygate_core::pepper::{MacKey, Peppers};
use keygate_core::token::{HashedToken, StoredToken, Token, TokenKey, TokenKind};
use keygate_core::verification::{self, Verification};
use lambda_http::Error;
use secrecy::ExposeSecret;
use serde_json::json;

/// The number of keys in the corpus. Each has an old secret in an overlap, and an access token.
const KEYS: u64 = 100;

/// The characters of credentials, and some that are none.
const CHARACTERS: [char; 16] =
    ['0', '1', 'A', 'O', 'Z', 'a', 'l', 'z', '_', '-', ' ', '\n', '\0', '.', 'é', '\u{ff10}'];

/// Random numbers from a seed: `SplitMix64`, <https://doi.org/10.1145/2714064.2660195>.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.next() % bound).unwrap_or_default()
    }

    fn one_of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.fill_with(|| self.next().to_le_bytes()[0]);
        bytes
    }
}

/// What the tables of a deployment hold, and the texts that it accepts.
struct Deployment {
    brand: Brand,
    peppers: Peppers,
    keys: HashMap<KeyId, HashedKey>,
    tokens: HashMap<(KeyId, TokenId), HashedToken>,
    valid: Vec<String>,
    now: DateTime<Utc>,
}

impl Deployment {
    fn new(random: &mut Random) -> Result<Self, Error> {
        let now = DateTime::from_timestamp(1_800_000_000, 0).ok_or("a time")?;
        let peppers = Peppers::new(vec![MacKey::new(1, &random.bytes().into())], 1);
        let mut deployment = Self {
            brand: "kg".parse()?,
            peppers,
            keys: HashMap::new(),
            tokens: HashMap::new(),
            valid: Vec::new(),
            now,
        };
        for number in 0..KEYS {
            deployment.add(&format!("key {number}"), random)?;
        }
        Ok(deployment)
    }

    /// Adds a key with two secrets and an access token.
    fn add(&mut self, name: &str, random: &mut Random) -> Result<(), Error> {
        let Self { brand, peppers, now, .. } = self;
        let key_id: KeyId = ulid(random).parse()?;
        let draw = |form, random: &mut Random| Credential {
            key_id,
            form,
            secret: Secret::from_bytes(&random.bytes().into()),
        };
        let (current, previous) =
            (draw(CredentialForm::ApiKey, random), draw(CredentialForm::ApiKey, random));
        // The last bits are its number in a family, and 0 without one.
        let token_id: TokenId = format!("{}0000", &ulid(random)[..22]).parse()?;
        let token = draw(CredentialForm::AccessToken(token_id), random);
        let ends = *now + TimeDelta::days(1);
        let old = peppers.hash(&previous);
        let old = json!({"previous_hash": old.as_bytes(), "previous_pepper_version": old.pepper_version()});
        let stored = HashedKey {
            record: key(key_id, name, *now, ends)?,
            hash: peppers.hash(&current),
            previous: Some(serde_json::from_value(old)?),
            generation: Generation::default(),
        };
        let hashed = HashedToken {
            token: Token {
                key_id,
                token_id,
                kind: TokenKind::AccessToken,
                scopes: Vec::new(),
                endpoints: Vec::new(),
                generation: Generation::default(),
                made_in_overlap: None,
                created_at: *now,
                expires_at: ends,
                last_used_at: None,
            },
            hash: peppers.hash(&token),
        };
        for credential in [&current, &previous, &token] {
            self.valid.push(credential.to_text(brand).expose_secret().to_owned());
        }
        self.keys.insert(key_id, stored);
        self.tokens.insert((key_id, token_id), hashed);
        Ok(())
    }

    /// What the authorizer decides on a text: `accepted`, or why it refuses it.
    fn decide(&self, text: &str) -> Result<&'static str, Error> {
        let Ok(credential) = Credential::parse(text, &self.brand) else { return Ok("malformed") };
        let verification = match credential.form {
            CredentialForm::ApiKey => {
                let stored = self.keys.get(&credential.key_id).map(copy_of_key);
                verification::verify_key(&self.peppers, &credential, stored, self.now)?.0
            }
            CredentialForm::AccessToken(token_id) | CredentialForm::RefreshToken(token_id) => {
                let key = self.keys.get(&credential.key_id);
                let key = key.map(|key| TokenKey { record: key.record.clone(), generation: key.generation });
                let token = self.tokens.get(&(credential.key_id, token_id));
                let token = token.map(|token| StoredToken {
                    hashed: HashedToken { token: token.token.clone(), hash: token.hash.clone() },
                    family: None,
                });
                verification::verify_token(&self.peppers, &credential, key, token)?
            }
            CredentialForm::Session(_) | CredentialForm::PageCode(_) => return Ok("another form"),
        };
        Ok(match (Decision::new(&verification, self.now), verification) {
            (Decision::Accepted(_), _) => "accepted",
            (Decision::Refused(_), Verification::Unknown(_)) => "unknown",
            (Decision::Refused(_), Verification::WrongSecret(_)) => "wrong secret",
            (Decision::Refused(_), _) => "inactive",
        })
    }

    /// A text that is made of one or two valid ones. Half of the kinds have a correct checksum.
    fn mutation(&self, random: &mut Random) -> Result<String, Error> {
        let (text, other) = (random.one_of(&self.valid), random.one_of(&self.valid));
        let kind = random.below(12);
        if kind < 6 {
            return Ok(mutated_text(text, other, kind, random));
        }
        let parse = |text: &str| Credential::parse(text, &self.brand);
        let (credential, other) = (parse(text)?, parse(other)?);
        let (mut key_id, mut form) = (credential.key_id, credential.form);
        let mut secret = *credential.secret.expose();
        match kind {
            6 => (0..=random.below(3)).for_each(|_| secret[random.below(32)] ^= 1 << random.below(8)),
            7 => secret = random.bytes(),
            8 => key_id = other.key_id,
            9 => secret = *other.secret.expose(),
            10 => form = other.form,
            _ => {
                let token_id = ulid(random).parse()?;
                form = *random.one_of(&[
                    CredentialForm::ApiKey,
                    CredentialForm::AccessToken(token_id),
                    CredentialForm::RefreshToken(token_id),
                ]);
            }
        }
        let made = Credential { key_id, form, secret: Secret::from_bytes(&secret.into()) };
        Ok(made.to_text(&self.brand).expose_secret().to_owned())
    }
}

/// Texts that are mostly malformed.
fn mutated_text(text: &str, other: &str, kind: usize, random: &mut Random) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    let at = random.below(characters.len());
    match kind {
        0 => {
            for _ in 0..=random.below(3) {
                let at = random.below(characters.len());
                let flipped = u32::from(characters[at]) ^ (1 << random.below(7));
                characters[at] = char::from_u32(flipped).unwrap_or('?');
            }
        }
        1 => characters[at] = *random.one_of(&CHARACTERS),
        2 => characters.insert(at, *random.one_of(&CHARACTERS)),
        3 => drop(characters.drain(at..characters.len().min(at + 1 + random.below(4)))),
        4 => characters.swap(at, random.below(text.len())),
        _ => {
            characters.truncate(at);
            characters.extend(other.chars().skip(at));
        }
    }
    characters.into_iter().collect()
}

/// The text of an id with random bits, as of a token without a family.
fn ulid(random: &mut Random) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let mut digit = |bound| char::from(DIGITS[random.below(bound)]);
    std::iter::once(digit(8)).chain((1..26).map(|_| digit(32)).collect::<Vec<_>>()).collect()
}

fn copy_of_key(key: &HashedKey) -> HashedKey {
    let HashedKey { record, hash, previous, generation } = key;
    HashedKey {
        record: record.clone(),
        hash: hash.clone(),
        previous: previous.clone(),
        generation: *generation,
    }
}

fn key(key_id: KeyId, name: &str, now: DateTime<Utc>, ends: DateTime<Utc>) -> Result<Key, Error> {
    Ok(Key {
        key_id,
        workspace_id: "acme".parse()?,
        user_id: "alice".parse()?,
        name: Name::parse(name)?,
        description: None,
        scopes: Vec::new(),
        endpoints: Vec::new(),
        networks: Vec::new(),
        metadata: Metadata::default(),
        limits: Limits::default(),
        created_at: now,
        created_by: "alice".parse()?,
        revision: 2,
        expires_at: None,
        ttl: None,
        disabled_at: None,
        leaked_at: None,
        previous_expires_at: Some(ends),
        previous_transferred: false,
        unclaimed: false,
        rotation: 1,
        due_at: Some(ends),
    })
}

fn main() -> Result<(), Error> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, count, seed] = arguments.as_slice() else { return Err("usage: mutations COUNT SEED".into()) };
    let (count, seed): (u64, u64) = (count.parse()?, seed.parse()?);
    let mut random = Random(seed);
    let deployment = Deployment::new(&mut random)?;
    let valid: HashSet<&str> = deployment.valid.iter().map(String::as_str).collect();
    // Without this, a verification that accepts nothing would pass.
    for text in &deployment.valid {
        if deployment.decide(text)? != "accepted" {
            return Err("a valid credential is refused".into());
        }
    }
    let (mut decisions, mut presented) = (BTreeMap::<&str, u64>::new(), 0);
    while presented < count {
        let mutation = deployment.mutation(&mut random)?;
        if valid.contains(mutation.as_str()) {
            continue;
        }
        presented += 1;
        let decision = deployment.decide(&mutation)?;
        if decision == "accepted" {
            return Err(format!("mutation {presented} of seed {seed} is accepted: {mutation:?}").into());
        }
        *decisions.entry(decision).or_default() += 1;
    }
    writeln!(stdout(), "{presented} mutations of {} credentials, seed {seed}: {decisions:?}", valid.len())?;
    Ok(())
}
