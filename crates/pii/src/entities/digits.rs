//! Digit groups joined by single separators, and windows of given shapes over them: what most identifiers are written as.

use super::Text;
use std::ops::Range;

/// The longest window, in digits.
const DIGITS_MAX: usize = 24;

/// Digits that stand together in one of the wanted shapes.
pub(super) struct Window {
    /// From the first digit to the last.
    pub(super) span: Range<usize>,
    /// How many groups the digits are written in.
    pub(super) groups: usize,
    /// What stands between the groups; 0 if there is but one.
    pub(super) separator: u8,
    values: [u8; DIGITS_MAX],
    count: usize,
}

impl Window {
    /// The digits' values.
    pub(super) fn digits(&self) -> &[u8] {
        &self.values[..self.count]
    }
}

/// The number that some digits are.
pub(super) fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |number, digit| number * 10 + u64::from(*digit))
}

/// Calls `visit` for every window whose group sizes are one of `shapes`.
///
/// A window's separators are all the same (a space, `-` or `.`). Beyond its ends there is no letter, digit or `_`, and no
/// further group that is joined by anything but a space, so parts of longer identifiers are never windows.
pub(super) fn windows(text: &Text<'_>, shapes: &[&[usize]], visit: impl FnMut(Window)) {
    joined(text, shapes, b" -.", visit);
}

/// The same for separators of one's own.
pub(super) fn joined(text: &Text<'_>, shapes: &[&[usize]], separators: &[u8], mut visit: impl FnMut(Window)) {
    let (groups, text) = (text.groups(), text.as_str());
    for (i, first) in groups.iter().enumerate() {
        let mut started = None;
        for shape in shapes.iter().filter(|shape| shape[0] == first.len()) {
            let Some(window) = groups.get(i..i + shape.len()) else { continue };
            if !fits(text, window, shape, separators) || !*started.get_or_insert_with(|| starts(text, first.start)) {
                continue;
            }
            let span = first.start..window[window.len() - 1].end;
            let separator = if window.len() > 1 { text.as_bytes()[first.end] } else { 0 };
            let mut found = Window { span, groups: window.len(), separator, values: [0; DIGITS_MAX], count: 0 };
            for byte in text[found.span.clone()].bytes().filter(u8::is_ascii_digit).take(DIGITS_MAX) {
                found.values[found.count] = byte - b'0';
                found.count += 1;
            }
            visit(found);
        }
    }
}

/// Maximal runs of ASCII digits.
pub(super) fn groups(text: &str) -> Vec<Range<usize>> {
    let bytes = text.as_bytes();
    let mut groups = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let start = at;
        while at < bytes.len() && bytes[at].is_ascii_digit() {
            at += 1;
        }
        groups.push(start..at);
    }
    groups
}

fn fits(text: &str, window: &[Range<usize>], shape: &[usize], separators: &[u8]) -> bool {
    let sizes = window.iter().zip(shape).all(|(group, size)| group.len() == *size);
    let gap = |pair: &[Range<usize>]| match pair[1].start - pair[0].end {
        1 => text.as_bytes()[pair[0].end],
        _ => 0,
    };
    let separator = window.windows(2).next().map(gap);
    sizes
        && separator.is_none_or(|s| separators.contains(&s))
        && window.windows(2).all(|pair| Some(gap(pair)) == separator)
        && ends(text, window[window.len() - 1].end)
}

/// Whether an identifier can start here: not inside a word, a decimal number or a hyphenated identifier.
pub(super) fn starts(text: &str, at: usize) -> bool {
    let mut before = text[..at].chars().rev();
    match before.next() {
        None => true,
        Some('-' | '.') => !before.next().is_some_and(|c| c.is_alphanumeric()),
        Some(c) => !c.is_alphanumeric() && c != '_',
    }
}

/// Whether an identifier can end here.
pub(super) fn ends(text: &str, at: usize) -> bool {
    let mut after = text[at..].chars();
    match after.next() {
        None => true,
        Some('-' | '.') => !after.next().is_some_and(|c| c.is_alphanumeric()),
        Some(c) => !c.is_alphanumeric() && c != '_',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans<'t>(text: &'t str, shapes: &[&[usize]]) -> Vec<&'t str> {
        let mut out = Vec::new();
        windows(&Text::new(text, ""), shapes, |w| out.push(&text[w.span]));
        out
    }

    #[test]
    fn shapes_and_ends() {
        let shapes: &[&[usize]] = &[&[3, 2, 4], &[9]];
        assert_eq!(
            spans("7 123-45-6789. 123456789, 123 45 6789 1", shapes),
            ["123-45-6789", "123456789", "123 45 6789"]
        );
        for text in
            ["1-123-45-6789", "123-45 6789", "123-45-6789-1", "a123-45-6789", "x-123-45-6789", "0.123456789", "1 2"]
        {
            assert!(spans(text, shapes).is_empty(), "{text}");
        }
    }
}
