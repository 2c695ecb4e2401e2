//! `IBAN_CODE`: country, its length (SWIFT's IBAN registry) and the modulus 97 check of ISO 13616.

use super::score::CHECKED;
use super::{Report, Text};
use crate::looks::is_alphanumeric;

pub(super) const CONTEXT: &[&str] = &[];

/// Country code and total length, in the order of the codes.
const LENGTHS: &[(&str, usize)] = &[
    ("AD", 24),
    ("AE", 23),
    ("AL", 28),
    ("AT", 20),
    ("AZ", 28),
    ("BA", 20),
    ("BE", 16),
    ("BG", 22),
    ("BH", 22),
    ("BI", 27),
    ("BR", 29),
    ("BY", 28),
    ("CH", 21),
    ("CR", 22),
    ("CY", 28),
    ("CZ", 24),
    ("DE", 22),
    ("DJ", 27),
    ("DK", 18),
    ("DO", 28),
    ("EE", 20),
    ("EG", 29),
    ("ES", 24),
    ("FI", 18),
    ("FK", 18),
    ("FO", 18),
    ("FR", 27),
    ("GB", 22),
    ("GE", 22),
    ("GI", 23),
    ("GL", 18),
    ("GR", 27),
    ("GT", 28),
    ("HN", 28),
    ("HR", 21),
    ("HU", 28),
    ("IE", 22),
    ("IL", 23),
    ("IQ", 23),
    ("IS", 26),
    ("IT", 27),
    ("JO", 30),
    ("KW", 30),
    ("KZ", 20),
    ("LB", 28),
    ("LC", 32),
    ("LI", 21),
    ("LT", 20),
    ("LU", 20),
    ("LV", 21),
    ("LY", 25),
    ("MC", 27),
    ("MD", 24),
    ("ME", 22),
    ("MK", 19),
    ("MN", 20),
    ("MR", 27),
    ("MT", 31),
    ("MU", 30),
    ("NI", 28),
    ("NL", 18),
    ("NO", 15),
    ("OM", 23),
    ("PK", 24),
    ("PL", 28),
    ("PS", 29),
    ("PT", 25),
    ("QA", 29),
    ("RO", 24),
    ("RS", 22),
    ("RU", 33),
    ("SA", 24),
    ("SC", 31),
    ("SD", 18),
    ("SE", 24),
    ("SI", 19),
    ("SK", 24),
    ("SM", 27),
    ("SO", 23),
    ("ST", 25),
    ("SV", 28),
    ("TL", 23),
    ("TN", 24),
    ("TR", 26),
    ("UA", 29),
    ("VA", 22),
    ("VG", 24),
    ("XK", 20),
    ("YE", 30),
];

/// The longest that ISO 13616 allows.
const CHARS_MAX: usize = 34;

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    let text = text.as_str();
    let mut done = 0;
    for (start, group) in text.as_bytes().windows(4).enumerate() {
        let shaped = group[..2].iter().all(u8::is_ascii_alphabetic) && group[2..].iter().all(u8::is_ascii_digit);
        if !shaped || start < done {
            continue;
        }
        let inside_word = text[..start].chars().next_back().is_some_and(|c| is_alphanumeric(c) || c == '_');
        if inside_word {
            continue;
        }
        let country = [group[0].to_ascii_uppercase(), group[1].to_ascii_uppercase()];
        let Ok(known) = LENGTHS.binary_search_by(|(code, _)| code.as_bytes().cmp(country.as_slice())) else { continue };
        if let Some(end) = end_of(text, start, LENGTHS[known].1) {
            report(start..end, CHECKED);
            done = end;
        }
    }
}

/// Where `length` letters and digits end that stand together or are joined by single spaces or hyphens, if they pass the check.
fn end_of(text: &str, start: usize, length: usize) -> Option<usize> {
    let mut values = [0; CHARS_MAX];
    let mut seen = 0;
    let mut joined = false;
    for (i, byte) in text.as_bytes()[start..].iter().enumerate() {
        let value = match byte {
            b'0'..=b'9' => byte - b'0',
            b'A'..=b'Z' => byte - b'A' + 10,
            b'a'..=b'z' => byte - b'a' + 10,
            b' ' | b'-' if !joined => {
                joined = true;
                continue;
            }
            _ => return None,
        };
        *values.get_mut(seen)? = value;
        (seen, joined) = (seen + 1, false);
        if seen == length {
            let end = start + i + 1;
            let goes_on = text[end..].chars().next().is_some_and(|c| is_alphanumeric(c) || c == '_');
            return (!goes_on && checked(&values[..seen])).then_some(end);
        }
    }
    None
}

/// The values of letters, from 10 on, and digits; country and check digits come last.
fn checked(values: &[u8]) -> bool {
    let (front, back) = values.split_at(4);
    let joined = |rest: u64, value: &u8| {
        let rest = rest * if *value < 10 { 10 } else { 100 } + u64::from(*value);
        // a remainder is not needed for every digit
        if rest < 1 << 56 { rest } else { rest % 97 }
    };
    front.iter().fold(back.iter().fold(0, joined), joined) % 97 == 1
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn countries_are_in_order() {
        assert!(super::LENGTHS.is_sorted_by(|a, b| a.0 < b.0));
        assert!(super::LENGTHS.iter().all(|(_, length)| *length <= super::CHARS_MAX));
    }

    #[test]
    fn table() {
        tests::table(
            Entity::IbanCode,
            &[
                "«GB82 WEST 1234 5698 7654 32»",
                "IBAN: «DE89370400440532013000».",
                "«fr1420041010050500013m02606»",
                "(«NO93-8601-1117-947»)",
                "«CH93 0076 2011 6238 5295 7», Zürich",
                "«NL91 ABNA 0417 1643 00» ",
                "«MT84MALT011000012345MTLCAST001S»",
            ],
            &[
                "GB82 WEST 1234 5698 7654 33",
                "DE8937040044053201300",
                "DE893704004405320130001",
                "xDE89370400440532013000",
                "ZZ89370400440532013000",
                "DE89  3704 0044 0532 0130 00",
                "SE35 sha256 of the file 12ab",
                "AT12 units, BE34 parts",
                "0xDE89370400440532013000",
            ],
        );
    }
}
