//! `DATE_OF_BIRTH`: dates of day, month and year, only beside a word of birth; other dates are nobody's business.

use super::{Entity, Report, Text, checksum, digits};
use regex::Regex;
use std::ops::Range;
use std::sync::LazyLock;

pub(super) const CONTEXT: &[&str] = &[
    "birth",
    "birthdate",
    "birthday",
    "born",
    "dob",
    "geboren",
    "geburtsdatum",
    "geburtstag",
    "naissance",
    "nacimiento",
    "nascita",
    "nascimento",
    "geboortedatum",
    "né",
    "née",
    "nacido",
    "nacida",
    "nato",
    "nata",
    "bday",
];

const YEARS: Range<u64> = 1880..2100;

/// Sizes of day, month and year in any order that is written.
const SHAPES: &[&[usize]] = &[
    &[1, 1, 2],
    &[1, 1, 4],
    &[1, 2, 2],
    &[1, 2, 4],
    &[2, 1, 2],
    &[2, 1, 4],
    &[2, 2, 2],
    &[2, 2, 4],
    &[4, 1, 1],
    &[4, 1, 2],
    &[4, 2, 1],
    &[4, 2, 2],
];

/// With the month's name: English, and the neighbours' where they differ.
static NAMED: LazyLock<Regex> = LazyLock::new(|| {
    const MONTH: &str = "(?:jan(?:uary|uar)?|feb(?:ruary|ruar)?|mar(?:ch|s)?|märz|apr(?:il)?|may|mai|mayo|june?|juni|jul[iy]?|juillet|\
        aug(?:ust)?|août|sept?(?:ember)?|oct(?:ober)?|okt(?:ober)?|nov(?:ember)?|dec(?:ember)?|dez(?:ember)?|enero|febrero|marzo|abril|\
        junio|julio|agosto|septiembre|octubre|noviembre|diciembre|janvier|février|avril|juin|octobre|novembre|décembre|septembre)";
    let months = format!(
        r"(?i)(?:[0-9]{{1,2}}(?:st|nd|rd|th)?\.?[ -](?:of |de )?{MONTH}\.?,?[ -](?:de )?[0-9]{{4}}|{MONTH}\.? [0-9]{{1,2}}(?:st|nd|rd|th)?,? [0-9]{{4}})"
    );
    Regex::new(&months).expect("a constant pattern, covered by tests")
});

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    let mut report = |span: Range<usize>| {
        if let Some(score) = text.near(&span, Entity::DateOfBirth.topic()) {
            report(span, score);
        }
    };
    dates(text, &mut report);
    for found in NAMED.find_iter(text.as_str()) {
        if digits::starts(text.as_str(), found.start()) && digits::ends(text.as_str(), found.end()) {
            report(found.range());
        }
    }
}

/// Dates in digits; a time may follow, as in `1980-03-12T00:00:00Z`.
fn dates(text: &Text<'_>, report: &mut dyn FnMut(Range<usize>)) {
    let (groups, text) = (text.groups(), text.as_str());
    for window in groups.windows(3) {
        let sizes = [window[0].len(), window[1].len(), window[2].len()];
        if !SHAPES.iter().any(|shape| **shape == sizes) {
            continue;
        }
        let (first, second) = (&text[window[0].end..window[1].start], &text[window[1].end..window[2].start]);
        let span = window[0].start..window[2].end;
        let ends = digits::ends(text, span.end) || text[span.end..].starts_with('T');
        if first == second
            && matches!(first, "/" | "-" | "." | " ")
            && ends
            && digits::starts(text, span.start)
            && possible(text, window)
        {
            report(span);
        }
    }
}

fn possible(text: &str, window: &[Range<usize>]) -> bool {
    let part = |i: usize| text[window[i].clone()].parse::<u64>().unwrap_or(0);
    let (a, b, c) = (part(0), part(1), part(2));
    if window[0].len() == 4 {
        return YEARS.contains(&a) && checksum::date(b, c);
    }
    let year = window[2].len() == 2 || YEARS.contains(&c);
    year && (checksum::date(a, b) || checksum::date(b, a))
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::DateOfBirth,
            &[
                "born on «2/8/1935».",
                "DOB: «1980-03-12»",
                "date of birth «12.03.1980», Berlin",
                "{\"dob\":\"«1980-03-12»T00:00:00Z\"}",
                "Her birthday is «March 12, 1980»",
                "geboren am «12. März 1980»",
                "dob «12/03/80»",
                "He was born «3rd of May 1971» in Leeds",
            ],
            &[
                "released on 2/8/1935",
                "2026-11-23",
                "born in 1980",
                "dob 31/31/1980",
                "born on 12/03/1780",
                "born at 1.2.3",
                "birth order 1980-03-12",
            ],
        );
    }
}
