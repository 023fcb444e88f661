//! A legacy key from its import to its end, if the stack accepts any.

use keygate_core::legacy_credential::LegacyRules;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Class, Hir, HirKind};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::call::Call;
use super::run::{Ended, INDEX, Run, ensure};

/// How often a part is repeated that a pattern bounds at the lower end alone: enough that a key cannot be guessed.
const REPETITIONS: u32 = 32;

pub(super) fn check(run: &mut Run) -> Result<(), Ended> {
    let admin = run.admin();
    let list = Call::management("GET /legacy-keys").by(&admin);
    let Ok(function) = run.stack.output("ImportLegacyKeysFunctionName") else {
        run.expect(&list, 200)?;
        return Err(Ended::not_checked("the stack accepts no legacy keys: LegacySunset is empty"));
    };
    let pattern = run.stack.parameter("LegacyPattern").unwrap_or_default();
    let Some(key) = matching(pattern) else {
        return Err(Ended::not_checked(format!(
            "no key could be made that matches LegacyPattern, {pattern}"
        )));
    };
    let key = SecretString::from(key);
    run.hide(key.clone());
    import(run, &function, &key)?;

    let caller = run.expect(&Call::management("GET /me").by(&key), 200)?;
    ensure(caller.json()["user_id"] == "smoke-erin", || {
        format!("GET /me with a legacy key: {}", caller.json())
    })?;
    run.until(INDEX, "GET /legacy-keys is empty", |run| {
        let listed = run.expect(&list, 200)?.json();
        Ok(listed["items"].as_array().is_some_and(|items| !items.is_empty()))
    })?;
    let id = caller.text("key_id")?;
    let call = |route| Call::management(route).with("id", &id).by(&admin);
    run.expect(&call("GET /legacy-keys/{id}"), 200)?;
    run.expect(&call("DELETE /legacy-keys/{id}"), 204)?;
    run.until_refused(&key, "a deleted legacy key")
}

fn import(run: &mut Run, function: &str, key: &SecretString) -> Result<(), Ended> {
    run.users.insert("smoke-erin".to_owned());
    let sha256 = hex::encode(Sha256::digest(key.expose_secret()));
    let record = json!({"sha256": sha256, "user_id": "smoke-erin", "name": "smoke", "scopes": []});
    let event = json!({"import": {"workspace_id": run.workspace, "keys": [record]}});
    let summary = run.aws.invoke(function, &event)?;
    ensure(summary["imported"] == 1, || format!("import-legacy-keys: {summary}"))
}

/// A random text that matches a pattern of legacy keys; `None` if none could be made.
fn matching(pattern: &str) -> Option<String> {
    // Keygate's own reader of patterns decides. This one only has to find a text.
    let pattern_of_stack = LegacyRules::pattern(pattern)?;
    let parsed = ParserBuilder::new().unicode(false).utf8(false).build().parse(pattern).ok()?;
    let mut text = Vec::new();
    extend(&mut text, &parsed)?;
    let text = String::from_utf8(text).ok()?;
    let is_graphic = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    (is_graphic && pattern_of_stack.is_match(&text)).then_some(text)
}

/// Adds a text that matches a part of a pattern. `None` for a part that no text can be made for.
fn extend(text: &mut Vec<u8>, part: &Hir) -> Option<()> {
    match part.kind() {
        // A text that an assertion such as a boundary of a word refuses is refused in the end.
        HirKind::Empty | HirKind::Look(_) => {}
        HirKind::Literal(literal) => text.extend(&literal.0),
        HirKind::Class(class) => text.push(character(class)?),
        HirKind::Repetition(repetition) => {
            let most = repetition.max.unwrap_or(u32::MAX);
            let times = if repetition.max.is_none() { REPETITIONS } else { 1 };
            for _ in 0..times.max(repetition.min).min(most) {
                extend(text, &repetition.sub)?;
            }
        }
        HirKind::Capture(capture) => extend(text, &capture.sub)?,
        HirKind::Concat(parts) => parts.iter().try_for_each(|part| extend(text, part))?,
        HirKind::Alternation(alternatives) => extend(text, alternatives.first()?)?,
    }
    Some(())
}

/// A random visible ASCII character of a class.
fn character(class: &Class) -> Option<u8> {
    let Class::Bytes(class) = class else { return None };
    let bytes = class.ranges().iter().flat_map(|range| range.start()..=range.end());
    let visible: Vec<u8> = bytes.filter(u8::is_ascii_graphic).collect();
    let count = u32::try_from(visible.len()).ok().filter(|count| *count > 0)?;
    // The remainder prefers some characters a little, which a key of one hour can have.
    let index = getrandom::u32().ok()? % count;
    visible.get(usize::try_from(index).ok()?).copied()
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
            "(ab){3}[0-9]{20,40}",
            r"^[A-Za-z0-9]{40}$",
            "[^a-z]{20}",
            ".{30,}",
        ] {
            let (one, other) = (matching(pattern).unwrap(), matching(pattern).unwrap());
            assert!(LegacyRules::pattern(pattern).unwrap().is_match(&one), "{pattern}: {one}");
            assert_ne!(one, other, "{pattern}");
        }
        assert_eq!(matching("^x(?:abc|b)c$").as_deref(), Some("xabcc"));
    }

    #[test]
    fn without_a_text_that_matches_there_is_no_key() {
        for pattern in ["", "(", r"\s", r"a\bb", "\u{e9}"] {
            assert_eq!(matching(pattern), None, "{pattern}");
        }
    }
}
