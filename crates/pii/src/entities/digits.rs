//! Digit groups joined by single separators, and windows of given shapes over them: what most identifiers are written as.

use super::Text;
use crate::looks::is_alphanumeric;
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

    fn push(&mut self, digit: u8) {
        if let Some(slot) = self.values.get_mut(self.count) {
            *slot = digit;
            self.count += 1;
        }
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
    let most = shapes.iter().map(|shape| shape.len()).max().unwrap_or(0);
    let shapes = if groups.is_empty() {
        Vec::new()
    } else {
        shapes.iter().map(|shape| Sizes::of(shape.iter().copied())).collect()
    };
    // most groups are of a size that no shape begins with
    let firsts = shapes.iter().fold(0u32, |firsts, shape| firsts | 1 << (shape.bytes & 31));
    for (i, first) in groups.iter().enumerate() {
        if firsts & (1 << first.len().min(31)) == 0 {
            continue;
        }
        let chain = chain(text.as_bytes(), &groups[i..groups.len().min(i + most)], separators);
        let sizes = Sizes::of(chain.iter().map(ExactSizeIterator::len));
        let mut started = None;
        for shape in shapes.iter().filter(|shape| shape.begins(&sizes)) {
            let window = &chain[..shape.count];
            let last = window[window.len() - 1].end;
            if !ends(text, last) || !*started.get_or_insert_with(|| starts(text, first.start)) {
                continue;
            }
            let separator = if window.len() > 1 { text.as_bytes()[first.end] } else { 0 };
            let span = first.start..last;
            let mut found = Window { span, groups: window.len(), separator, values: [0; DIGITS_MAX], count: 0 };
            for group in window {
                for byte in &text.as_bytes()[group.clone()] {
                    found.push(byte - b'0');
                }
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

/// Sizes of groups in a form that is compared at once.
struct Sizes {
    count: usize,
    /// A byte for each, the first one lowest.
    bytes: u64,
}

impl Sizes {
    /// Of up to eight groups.
    fn of(sizes: impl Iterator<Item = usize>) -> Self {
        let bytes = |size: usize| u64::try_from(size.min(255)).unwrap_or(255);
        sizes.fold(Self { count: 0, bytes: 0 }, |Self { count, bytes: all }, size| Self {
            count: count + 1,
            bytes: all | bytes(size) << (8 * count),
        })
    }

    /// Whether the others begin with these.
    fn begins(&self, others: &Sizes) -> bool {
        let differing = self.bytes ^ others.bytes;
        self.count <= others.count && differing << (64 - 8 * self.count) == 0
    }
}

/// As many of the groups as are joined by the same one of the separators.
fn chain<'g>(text: &[u8], groups: &'g [Range<usize>], separators: &[u8]) -> &'g [Range<usize>] {
    let gap = |pair: &[Range<usize>]| if pair[1].start - pair[0].end == 1 { text[pair[0].end] } else { 0 };
    let first = groups.windows(2).next().map(gap).filter(|gap| separators.contains(gap));
    let joined = first.map_or(0, |first| groups.windows(2).take_while(|pair| gap(pair) == first).count());
    &groups[..=joined]
}

/// Whether an identifier can start here: not inside a word, a decimal number or a hyphenated identifier.
pub(super) fn starts(text: &str, at: usize) -> bool {
    let mut before = text[..at].chars().rev();
    match before.next() {
        None => true,
        Some('-' | '.') => !before.next().is_some_and(is_alphanumeric),
        Some(c) => !is_alphanumeric(c) && c != '_',
    }
}

/// Whether an identifier can end here.
pub(super) fn ends(text: &str, at: usize) -> bool {
    let mut after = text[at..].chars();
    match after.next() {
        None => true,
        Some('-' | '.') => !after.next().is_some_and(is_alphanumeric),
        Some(c) => !is_alphanumeric(c) && c != '_',
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
