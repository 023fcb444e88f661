//! A legacy key from its import to its end, if the stack accepts any.

use chrono::{DateTime, Utc};
use keygate_core::legacy_credential::LegacyRules;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::call::SmokeCall;
use super::run::{IMPORT_OUTPUT, INDEX_TIMEOUT, Incomplete, Run, ensure};

/// How often a part is repeated, if its pattern allows it.
const REPETITIONS: u32 = 32;
/// The least random bits of a key, which works in the whole deployment until it is deleted.
const MIN_BITS: f64 = 128.0;

pub(super) fn check(run: &mut Run) -> Result<(), Incomplete> {
    let admin = run.admin();
    let list = SmokeCall::management("GET /legacy-keys").by(&admin);
    let Ok(function) = run.stack.output(IMPORT_OUTPUT) else {
        run.refuse(&list, 404, "not_found")?;
        return Err(Incomplete::not_checked("the stack accepts no legacy keys: LegacySunset is empty"));
    };
    let sunset = run.stack.parameter("LegacySunset").and_then(|sunset| sunset.parse().ok());
    if sunset.is_none_or(|sunset: DateTime<Utc>| sunset <= Utc::now()) {
        run.expect(&list, 200)?;
        return Err(Incomplete::not_checked("legacy keys have ended: LegacySunset is past"));
    }
    let pattern = run.stack.parameter("LegacyPattern").unwrap_or_default();
    let Some(key) = matching(pattern) else {
        return Err(Incomplete::not_checked(format!(
            "no key could be made that matches LegacyPattern, {pattern}, and cannot be guessed"
        )));
    };
    let key = SecretString::from(key);
    run.hide(key.clone());
    import(run, &function, &key)?;

    let caller = run.expect(&SmokeCall::management("GET /me").by(&key), 200)?;
    ensure(caller.json()["user_id"] == "smoke-erin", || {
        format!("GET /me with a legacy key: {}", caller.json())
    })?;
    run.until(INDEX_TIMEOUT, "GET /legacy-keys is empty", |run| {
        let listed = run.expect(&list, 200)?.json();
        Ok(listed["items"].as_array().is_some_and(|items| !items.is_empty()))
    })?;
    let id = caller.text("key_id")?;
    let call = |route| SmokeCall::management(route).with("id", &id).by(&admin);
    run.expect(&call("GET /legacy-keys/{id}"), 200)?;
    run.expect(&call("DELETE /legacy-keys/{id}"), 204)?;
    run.until_refused(&key, "a deleted legacy key")
}

fn import(run: &mut Run, function: &str, key: &SecretString) -> Result<(), Incomplete> {
    run.users.insert("smoke-erin".to_owned());
    let sha256 = hex::encode(Sha256::digest(key.expose_secret()));
    let record = json!({"sha256": sha256, "user_id": "smoke-erin", "name": "smoke", "scopes": []});
    let event = json!({"import": {"workspace_id": run.workspace, "keys": [record]}});
    let summary = run.aws.invoke(function, &event)?;
    ensure(summary["imported"] == 1, || format!("import-legacy-keys: {summary}"))
}

/// A random text that matches a pattern of legacy keys; `None` if none could be made that cannot be guessed.
fn matching(pattern: &str) -> Option<String> {
    // Keygate's own reader of patterns decides. This one only has to find a text.
    let pattern_of_stack = LegacyRules::pattern(pattern)?;
    let parsed = ParserBuilder::new().unicode(false).utf8(false).build().parse(pattern).ok()?;
    let mut made = Made::default();
    made.extend(&parsed)?;
    let text = String::from_utf8(made.text).ok()?;
    let is_graphic = text.bytes().all(|byte| byte.is_ascii_graphic());
    (made.bits >= MIN_BITS && is_graphic && pattern_of_stack.is_match(&text)).then_some(text)
}

/// A text that is made for a pattern.
#[derive(Default)]
struct Made {
    text: Vec<u8>,
    /// The random bits in it.
    bits: f64,
}

impl Made {
    /// Adds a text that matches a part of the pattern. `None` for a part that no text can be made for.
    fn extend(&mut self, part: &Hir) -> Option<()> {
        match part.kind() {
            // A text that an assertion such as a boundary of a word refuses is refused in the end.
            HirKind::Empty | HirKind::Look(_) => {}
            HirKind::Literal(literal) => self.text.extend(&literal.0),
            HirKind::Class(class) => self.push(class)?,
            HirKind::Repetition(repetition) => {
                let most = repetition.max.unwrap_or(u32::MAX);
                for _ in 0..REPETITIONS.clamp(repetition.min, most) {
                    self.extend(&repetition.sub)?;
                }
            }
            HirKind::Capture(capture) => self.extend(&capture.sub)?,
            HirKind::Concat(parts) => parts.iter().try_for_each(|part| self.extend(part))?,
            HirKind::Alternation(alternatives) => self.extend(alternatives.first()?)?,
        }
        Some(())
    }

    /// Adds a random visible ASCII character of a class.
    fn push(&mut self, class: &Class) -> Option<()> {
        let Class::Bytes(class) = class else { return None };
        let bytes = class.ranges().iter().flat_map(|range| range.start()..=range.end());
        let visible: Vec<u8> = bytes.filter(u8::is_ascii_graphic).collect();
        let count = u32::try_from(visible.len()).ok().filter(|count| *count > 0)?;
        // The remainder of 32 bits prefers some characters by less than a millionth.
        let index = getrandom::u32().ok()? % count;
        self.text.push(*visible.get(usize::try_from(index).ok()?)?);
        self.bits += f64::from(count).log2();
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_for_a_pattern_and_differs_each_time() {
        for pattern in [
            "old-[0-9a-f]{32}",
            r"sk_(live|test)_\w{24}",
            r"k\.x[a-z]+",
            "(ab){3}[0-9a-f]{20,40}",
            r"^[A-Za-z0-9]{40}$",
            "[^a-z]{24}",
            ".{30,}",
        ] {
            let (one, other) = (matching(pattern).unwrap(), matching(pattern).unwrap());
            assert!(LegacyRules::pattern(pattern).unwrap().is_match(&one), "{pattern}: {one}");
            assert_ne!(one, other, "{pattern}");
        }
    }

    #[test]
    fn without_a_text_that_matches_and_cannot_be_guessed_there_is_no_key() {
        for pattern in ["", "(", r"\s", r"a\bb", "\u{e9}", "^x(?:abc|b)c$", "[0-9]{1,30}", "[a-z0-9]{8}"] {
            assert_eq!(matching(pattern), None, "{pattern}");
        }
    }
}
