//! `ES_NIE`: X, Y or Z, seven digits and the letter that they give modulo 23.

use super::score::{CHECKED, weigh};
use super::{Entity, Report, Text, digits, es_nif};
use std::ops::Range;

pub(super) const CONTEXT: &[&str] = &["nie", "extranjero", "extranjeros", "tie"];

const DIGITS: usize = 7;

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    let mut done = 0;
    for group in text.groups().iter().filter(|group| group.len() == DIGITS) {
        let Some(span) = shaped(text.as_str().as_bytes(), group).filter(|span| span.start >= done) else { continue };
        done = span.end;
        let written = &text.as_str()[span.clone()];
        let alone = digits::starts(text.as_str(), span.start) && digits::ends(text.as_str(), span.end);
        // the first letter stands for a digit
        let first = match written.as_bytes()[0].to_ascii_uppercase() {
            b'X' => 0,
            b'Y' => 1,
            _ => 2,
        };
        if !alone || !es_nif::checked(first, &written[1..]) {
            continue;
        }
        let strict = !written.contains(' ') && !written.contains(|c: char| c.is_ascii_lowercase());
        if let Some(score) = weigh(strict.then_some(CHECKED), text.near(&span, Entity::EsNie.topic())) {
            report(span, score);
        }
    }
}

/// The digits with a letter on each side, which belongs to no word and stands behind a single space or hyphen at most.
fn shaped(text: &[u8], digits: &Range<usize>) -> Option<Range<usize>> {
    let is_word = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let is_joint = |byte: &&u8| matches!(byte, b' ' | b'-');
    let before = text[..digits.start].last().filter(is_joint).map_or(1, |_| 2);
    let start = digits.start.checked_sub(before)?;
    let end = digits.end + text.get(digits.end).filter(is_joint).map_or(1, |_| 2);
    let is_first = matches!(text[start].to_ascii_uppercase(), b'X'..=b'Z') && !is_word(text[..start].last());
    let is_last = text.get(end - 1).is_some_and(u8::is_ascii_alphabetic) && !is_word(text.get(end));
    (is_first && is_last).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::EsNie,
            &["«X1234567L»", "NIE «Y-2345678-Z»", "nie: «z8078221m»"],
            &["X1234567A", "W1234567L", "x1234567l", "AX1234567L", "X12345678L"],
        );
    }
}
