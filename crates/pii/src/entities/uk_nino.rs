//! `UK_NINO`: prefix letters that are in use, six digits, a suffix A–D; without the suffix only beside a context word.

use super::score::{FORMAT, weigh};
use super::{Entity, Report, Text, digits, pattern};
use regex::Regex;
use std::sync::LazyLock;

pub(super) const CONTEXT: &[&str] = &["nino", "ni", "insurance"];

static NINO: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"(?i-u)\b[A-Z]{2}[ -]?(?:[0-9]{2}[ -]?){2}[0-9]{2}(?:[ -]?[A-D]\b)?"));

/// Prefixes that are not given out although their letters could be.
const UNUSED: &[&str] = &["BG", "GB", "KN", "NK", "NT", "TN", "ZZ"];

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    for found in NINO.find_iter(text.as_str()) {
        let written = found.as_str();
        let prefix = written[..2].to_ascii_uppercase();
        let letters = !prefix.contains(['D', 'F', 'I', 'Q', 'U', 'V']) && !prefix.ends_with('O');
        let alone = digits::starts(text.as_str(), found.start()) && digits::ends(text.as_str(), found.end());
        if !letters || UNUSED.contains(&prefix.as_str()) || !alone {
            continue;
        }
        // the `a` of `AB123456 a` is the next word
        let same_case =
            |c: char| c.is_ascii_alphabetic() && c.is_ascii_uppercase() == written.as_bytes()[0].is_ascii_uppercase();
        let whole = written.ends_with(same_case);
        let number = if whole { written } else { written.trim_end_matches(|c: char| !c.is_ascii_digit()) };
        let span = found.start()..found.start() + number.len();
        if let Some(score) = weigh(whole.then_some(FORMAT), text.near(&span, Entity::UkNino.topic())) {
            report(span, score);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::UkNino,
            &["«AB123456C»", "NI number «JG 12 13 16 A».", "nino: «hh012345d»", "national insurance «AB123456»"],
            &[
                "AB123456",
                "GB123456A",
                "QQ123456C",
                "AO123456C",
                "AB123456E",
                "AB1234567C",
                "xAB123456C",
                "AB-123456-C-1",
            ],
        );
    }
}
