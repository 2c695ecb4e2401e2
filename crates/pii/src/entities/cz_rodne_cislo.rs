//! `CZ_RODNE_CISLO` and `SK_RODNE_CISLO`: the birth number that Czechoslovakia gave out and both countries go on with:
//! a date of birth (months of women raised by 50, of either by 20 since 2004), and four digits that make the whole
//! divisible by 11. Before 1954 there were three digits and no check. Written with `/`; bare, and without a check
//! digit, only beside a context word.
//!
//! Rules: <https://arthurdejong.org/python-stdnum/doc/2.1/stdnum.cz.rc>.

use super::score::CHECKED;
use super::{Entity, Report, Text, checksum, digits};
use std::ops::Range;

pub(super) const CONTEXT: &[&str] =
    &["rodné", "rodne", "rodného", "rodneho", "rodným", "rodnym", "rodnécislo", "rodnecislo", "rč", "birth"];

const DIGITS: usize = 10;
/// From this year on there is a check digit.
const CHECKED_FROM: u64 = 54;

/// `entity` is either of the two: the number does not say which country it is from.
pub(super) fn find(text: &Text<'_>, entity: Entity, report: Report<'_>) {
    digits::joined(text, &[&[6, 4], &[10], &[6, 3], &[9]], b"/ ", |window| {
        let digits = window.digits();
        let has_check = digits.len() == DIGITS;
        if !born(digits, has_check) || has_check && !checked(digits) {
            return;
        }
        let alone = (window.separator == b'/' && !in_path(text.as_str(), &window.span)).then_some(CHECKED);
        if let Some(score) = text.weigh_number(&window.span, entity.topic(), has_check, alone) {
            report(window.span, score);
        }
    });
}

fn born(digits: &[u8], has_check: bool) -> bool {
    let (year, month) = (digits::number(&digits[..2]), digits::number(&digits[2..4]));
    let month = if month > 50 { month - 50 } else { month };
    let month = if has_check && month > 20 { month - 20 } else { month };
    (has_check || year < CHECKED_FROM) && checksum::date(month, digits::number(&digits[4..6]))
}

fn checked(digits: &[u8]) -> bool {
    // until 1985 a remainder of 10 was written as 0
    let (number, check) = digits.split_at(DIGITS - 1);
    digits::number(number) % 11 % 10 == u64::from(check[0])
}

/// Whether the slash is one of several, as between directories.
fn in_path(text: &str, span: &Range<usize>) -> bool {
    text[..span.start].ends_with('/') || text[span.end..].starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        for entity in [Entity::CzRodneCislo, Entity::SkRodneCislo] {
            tests::table(
                entity,
                &[
                    "«710319/2745»",
                    "rodné číslo «7103192745»",
                    "r. č. (rodne cislo): «530312/123»",
                    "birth number «531203123»",
                    "rodné číslo: «710319 2745»",
                ],
                &[
                    "710319/2746",
                    "7103192745",
                    "710319 2745",
                    "/710319/2745/",
                    "rodné číslo 110349/2745",
                    "rodné číslo 590312/123",
                    "530312/123",
                    "1710319/2745",
                    "invoice 710319/2745",
                ],
            );
        }
    }
}
