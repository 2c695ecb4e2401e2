//! `DK_CPR`: a date of birth and four digits. Numbers given out since 2007 have no check digit, so one that fails the test of the
//! older ones, and any bare one, counts only beside a context word.

use super::score::{CHECKED, CHECKSUM};
use super::{Entity, Report, Text, checksum, digits};

pub(super) const CONTEXT: &[&str] = &["cpr", "personnummer", "cprnr"];

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    digits::windows(text, &[&[6, 4], &[10]], |window| {
        let digits = window.digits();
        if !checksum::date(digits::number(&digits[2..4]), digits::number(&digits[..2])) {
            return;
        }
        let checked = checksum::weighted(digits, &[4, 3, 2, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11);
        // Finland's look the same, but for one in 31.
        let alone = (window.separator == b'-').then_some(CHECKED - CHECKSUM);
        if let Some(score) = text.weigh_number(&window.span, Entity::DkCpr.topic(), checked, alone) {
            report(window.span, score);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::DkCpr,
            &["«070761-4218»", "CPR «0707614218»", "cpr-nr. «070761-4219»"],
            &[
                "070761-4219",
                "0707614218",
                "cpr 991361-4285",
                "cpr order 0707614218",
                "070761-4218-1",
                "hetu 070761-4218",
            ],
        );
    }
}
