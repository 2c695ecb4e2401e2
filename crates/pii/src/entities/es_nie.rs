//! `ES_NIE`: X, Y or Z, seven digits and the letter that they give modulo 23.

use super::score::{CHECKED, weigh};
use super::{Entity, Report, Text, digits, es_nif, pattern};
use regex::Regex;
use std::sync::LazyLock;

pub(super) const CONTEXT: &[&str] = &["nie", "extranjero", "extranjeros", "tie"];

static NIE: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i-u)\b[XYZ][ -]?[0-9]{7}[ -]?[A-Z]\b"));

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    for found in NIE.find_iter(text.as_str()) {
        let written = found.as_str();
        let alone = digits::starts(text.as_str(), found.start()) && digits::ends(text.as_str(), found.end());
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
        if let Some(score) = weigh(strict.then_some(CHECKED), text.near(&found.range(), Entity::EsNie.topic())) {
            report(found.range(), score);
        }
    }
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
