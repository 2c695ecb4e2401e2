//! `EU_VAT`: value-added tax numbers with their country in front, each checked as its country does; an Italian one without it
//! beside a context word.
//!
//! Formats: <https://ec.europa.eu/taxation_customs/vies/#/faq>.

use super::score::{CHECKED, CHECKSUM};
use super::vat_checks;
use super::{Entity, Report, Text, digits};

pub(super) const CONTEXT: &[&str] = &["iva", "vat", "partita", "piva", "tva", "ust", "mwst"];

/// A country's prefix, the lengths of what follows it, and its check.
type Country = (&'static str, &'static [usize], fn(&[u8]) -> bool);

/// In the order of their prefixes.
const COUNTRIES: &[Country] = &[
    ("AT", &[9], vat_checks::at),
    ("BE", &[10], vat_checks::be),
    ("BG", &[9], vat_checks::bg),
    ("CY", &[9], vat_checks::cy),
    ("CZ", &[8], vat_checks::cz),
    ("DE", &[9], vat_checks::de),
    ("DK", &[8], vat_checks::dk),
    ("EE", &[9], vat_checks::ee),
    ("EL", &[9], vat_checks::el),
    ("ES", &[9], vat_checks::es),
    ("FI", &[8], vat_checks::fi),
    ("FR", &[11], vat_checks::fr),
    ("HR", &[11], vat_checks::hr),
    ("HU", &[8], vat_checks::hu),
    ("IE", &[9, 8], vat_checks::ie),
    ("IT", &[11], vat_checks::it),
    ("LT", &[12, 9], vat_checks::lt),
    ("LU", &[8], vat_checks::lu),
    ("LV", &[11], vat_checks::lv),
    ("MT", &[8], vat_checks::mt),
    ("NL", &[12], vat_checks::nl),
    ("PL", &[10], vat_checks::pl),
    ("PT", &[9], vat_checks::pt),
    ("RO", &[10, 9, 8, 7, 6], vat_checks::ro),
    ("SE", &[12], vat_checks::se),
    ("SI", &[8], vat_checks::si),
    ("SK", &[10], vat_checks::sk),
];

const CHARS_MAX: usize = 12;
const ITALIAN: usize = 11;

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    let bytes = text.as_str().as_bytes();
    let mut done = 0;
    for (start, prefix) in bytes.windows(2).enumerate() {
        if start < done || !prefix.iter().all(u8::is_ascii_alphabetic) {
            continue;
        }
        // most letters stand within a word
        let is_inside = start > 0 && matches!(bytes[start - 1], b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_');
        if is_inside || !digits::starts(text.as_str(), start) {
            continue;
        }
        let country = [prefix[0].to_ascii_uppercase(), prefix[1].to_ascii_uppercase()];
        let known = COUNTRIES.binary_search_by(|(code, ..)| code.as_bytes().cmp(country.as_slice()));
        let Ok(known) = known else { continue };
        // `it 12345678901` in lower case is a word and a number
        let spaced = matches!(bytes.get(start + 2), Some(b' ' | b'-'));
        if spaced && prefix.iter().any(u8::is_ascii_lowercase) {
            continue;
        }
        if let Some(end) = number(text.as_str(), start + 2, &COUNTRIES[known]) {
            report(start..end, CHECKED);
            done = end;
        }
    }
    digits::windows(text, &[&[ITALIAN]], |window| {
        let written = window.digits().iter().map(|value| value + b'0').collect::<Vec<_>>();
        if vat_checks::it(&written) {
            let near = text.near(&window.span, Entity::EuVat.topic());
            near.into_iter().for_each(|near| report(window.span.clone(), near + CHECKSUM));
        }
    });
}

/// Where the country's number, which begins at `from`, ends; single separators may stand in it.
fn number(text: &str, from: usize, (_, lengths, check): &Country) -> Option<usize> {
    let mut written = [0; CHARS_MAX];
    let mut ends = [0; CHARS_MAX];
    let mut count = 0;
    let mut joined = false;
    for (i, byte) in text.as_bytes()[from..].iter().enumerate() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' => {
                (written[count], ends[count]) = (byte.to_ascii_uppercase(), from + i + 1);
                (count, joined) = (count + 1, false);
            }
            b' ' | b'-' | b'.' if !joined => joined = true,
            _ => break,
        }
        if count == CHARS_MAX {
            break;
        }
    }
    let fits =
        |length: &&usize| **length <= count && digits::ends(text, ends[**length - 1]) && check(&written[..**length]);
    lengths.iter().find(fits).map(|length| ends[*length - 1])
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::EuVat,
            &[
                "USt-IdNr. «DE136695976».",
                "«DE 136 695 976»",
                "«ATU13585627»",
                "TVA «BE 0428.759.497»",
                "«FR40303265045»",
                "«IT00743110157»",
                "partita IVA «00743110157»",
                "«ESB58378431»",
                "«NL004495445B01», Amsterdam",
                "«PL8567346215»",
                "«PT501964843»",
                "«DK13585628»",
                "«FI20774740»",
                "«IE6433435F»",
                "«LU15027442»",
                "«SE123456789701»",
                "«HU12892312»",
                "«HR33392005961»",
                "«CZ25123891»",
                "«EL094259216»",
                "«SI50223054»",
                "«SK2022749619»",
                "«EE100931558»",
                "«LT119511515»",
                "«LV40003521600»",
                "«MT11679112»",
                "«RO18547290»",
                "«CY10259033P»",
                "«BG175074752»",
            ],
            &[
                "DE136695977",
                "it 00743110157",
                "00743110157",
                "ATU13585628",
                "xDE136695976",
                "DE1366959761",
                "PL 2026-11-23",
                "de 136695976",
                "partita iva 00743110158",
            ],
        );
    }

    #[test]
    fn countries_are_in_order() {
        assert!(super::COUNTRIES.is_sorted_by(|a, b| a.0 < b.0));
    }
}
