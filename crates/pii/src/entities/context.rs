//! Context words: what stands near a bare number decides whether it is taken for personal data.

use std::ops::Range;

const BEFORE_BYTES: usize = 48;
const AFTER_BYTES: usize = 24;

/// Whether one of the lower-case `words` stands as a whole word shortly before or after the span, or in the `key` that the
/// text stands under (`phoneNumber` and `phone_number` are two words each).
pub(super) fn near(text: &str, key: &str, span: &Range<usize>, words: &[&str]) -> bool {
    let known = |word: &str| words.iter().any(|w| w.eq_ignore_ascii_case(word));
    if words_of(key).any(known) {
        return true;
    }
    let before = &text[text.floor_char_boundary(span.start.saturating_sub(BEFORE_BYTES))..span.start];
    let after = &text[span.end..text.floor_char_boundary((span.end + AFTER_BYTES).min(text.len()))];
    [before, after].iter().any(|part| part.split(|c: char| !c.is_alphanumeric()).any(known))
}

/// The words of an identifier, in snake, kebab or camel case.
fn words_of(key: &str) -> impl Iterator<Item = &str> {
    key.split(|c: char| !c.is_alphanumeric()).flat_map(|part| {
        let mut lower = false;
        let mut starts = vec![0];
        for (i, c) in part.char_indices() {
            if lower && c.is_uppercase() {
                starts.push(i);
            }
            lower = c.is_lowercase();
        }
        let ends = starts.clone().into_iter().skip(1).chain([part.len()]);
        starts.into_iter().zip(ends).map(|(start, end)| &part[start..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_words_nearby_only() {
        let text = "ÄÄ my ssn: 123 is it";
        let at = text.find("123").expect("there");
        assert!(near(text, "", &(at..at + 3), &["ssn"]));
        assert!(!near(text, "", &(at..at + 3), &["sn", "s"]));
        for key in ["ssn", "userSsn", "user_ssn", "SSN", "userSSN", "ssn-1"] {
            assert!(near("123", key, &(0..3), &["ssn"]), "{key}");
        }
        assert!(!near("123", "assn", &(0..3), &["ssn"]));
        let far = format!("ssn{}123", " ".repeat(60));
        assert!(!near(&far, "", &(63..66), &["ssn"]));
    }
}
