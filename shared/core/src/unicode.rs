//! Texts that people read and compare: the form in which they are compared, and the characters that disguise them.

use caseless::Caseless;
use icu_properties::CodePointSetData;
use icu_properties::props::{BidiControl, DefaultIgnorableCodePoint};
use unicode_normalization::UnicodeNormalization;

/// The form in which texts are compared: compatibility-normalised and case-folded, without default-ignorable characters, and with
/// one space for each run of white space.
///
/// So `CI`, `ci`, `ＣＩ` and `c<U+200B>i` are one text (Unicode Standard, section 3.13, "Default Caseless Matching", and
/// `NFKC_Casefold`, which takes default-ignorable code points out too).
#[must_use]
pub fn fold(text: &str) -> String {
    let folded = text.nfkc().filter(|char| !is_ignorable(*char)).default_case_fold().nfkc();
    let mut collapsed = String::with_capacity(text.len());
    for char in folded {
        let char = if is_blank(char) { ' ' } else { char };
        if char != ' ' || !collapsed.ends_with(' ') {
            collapsed.push(char);
        }
    }
    collapsed
}

/// Whether a text has a visible character.
pub(crate) fn is_visible(text: &str) -> bool {
    !text.chars().all(|char| is_blank(char) || is_ignorable(char) || char.is_control())
}

/// Whether a character changes how the text around it is laid out: the direction of reading (`Bidi_Control`), or the line or
/// paragraph. A name with one can look like another name, or move what a page shows beside it (Unicode Technical Report 36,
/// section 2.5).
#[must_use]
pub fn is_layout_control(char: char) -> bool {
    CodePointSetData::new::<BidiControl>().contains(char) || matches!(char, '\u{2028}' | '\u{2029}')
}

/// The message for a text with an [`is_layout_control`].
pub const NO_LAYOUT_CONTROLS: &str = "must have no characters that change the direction of text (such as U+202E) or end a \
    line (U+2028, U+2029)";

/// Whether a character is displayed as nothing at all unless a font or a neighbour makes use of it: joiners, variation
/// selectors, tags, soft hyphens.
fn is_ignorable(char: char) -> bool {
    CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(char)
}

/// Whether a character is displayed as a gap. `U+2800`, the Braille cell without a dot, is not white space by its properties.
fn is_blank(char: char) -> bool {
    char.is_whitespace() || char == '\u{2800}'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn invisible_characters_are_not_compared() {
        for ignorable in [
            '\u{200B}',
            '\u{200D}',
            '\u{FEFF}',
            '\u{AD}',
            '\u{34F}',
            '\u{FE0F}',
            '\u{E0041}',
            '\u{2060}',
            '\u{3164}',
            '\u{FFA0}',
            '\u{180E}',
            '\u{202E}',
            '\u{2066}',
            '\u{200E}',
            '\u{61C}',
        ] {
            assert_eq!(fold(&format!("x{ignorable}y")), "xy", "{ignorable:?}");
            assert!(!is_visible(&format!(" {ignorable}\t")), "{ignorable:?}");
        }
        // A mark that the joiner kept in its place comes to where it is without it.
        assert_eq!(fold("a\u{301}\u{34F}\u{323}"), fold("a\u{323}\u{301}"));
    }

    #[test]
    fn white_space_is_one_space() {
        for blank in ["  ", "\t", "\u{A0}", "\u{3000}\u{2003}", " \u{200B} ", "\u{2800}"] {
            assert_eq!(fold(&format!("Nightly{blank}Export")), "nightly export", "{blank:?}");
            assert!(!is_visible(blank), "{blank:?}");
        }
    }

    #[test]
    fn displayed_characters_are_visible_and_compared() {
        for text in ["a", "👩‍💻", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "é", "ا", "한", "."] {
            assert!(is_visible(text) && !fold(text).is_empty(), "{text}");
            assert!(!text.chars().any(is_layout_control), "{text}");
        }
        assert_ne!(fold("ci"), fold("сi"), "a Cyrillic look-alike is another letter");
    }

    #[test]
    fn the_characters_that_lay_text_out_are_those_of_unicode() {
        let controls: Vec<u32> = (0..=0x10_FFFF)
            .filter_map(char::from_u32)
            .filter(|char| is_layout_control(*char))
            .map(u32::from)
            .collect();
        let expected = [
            0x61C, 0x200E, 0x200F, 0x2028, 0x2029, 0x202A, 0x202B, 0x202C, 0x202D, 0x202E, 0x2066, 0x2067,
            0x2068, 0x2069,
        ];
        assert_eq!(controls, expected);
    }

    #[test]
    fn visible_characters_have_a_folded_form() {
        // No character beyond these has another form.
        let all = (0..0x3_0000).filter_map(char::from_u32).map(String::from);
        let lost: Vec<_> = all.filter(|text| is_visible(text) && fold(text).trim().is_empty()).collect();
        assert_eq!(lost, Vec::<String>::new());
    }

    proptest! {
        #[test]
        fn a_folded_text_is_its_own_folded_form(text in "\\PC{0,12}|[a-zé\u{301}\u{323}\u{34F}\u{200D} \u{A0}ﬁİſΣᾳ\u{345}]{0,12}") {
            let folded = fold(&text);
            prop_assert_eq!(fold(&folded), folded);
        }
    }
}
