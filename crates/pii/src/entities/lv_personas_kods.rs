//! `LV_PERSONAS_KODS`: a date of birth, a century, a serial number and a check digit modulo 11, written `161175-19997`;
//! bare only beside a context word. Those given out since 2017 begin with 32 and say nothing of their owner; nothing
//! public checks them, so they count only beside a context word too.
//!
//! Rules: <https://arthurdejong.org/python-stdnum/doc/2.1/stdnum.lv.pvn>; the new ones:
//! <https://en.wikipedia.org/wiki/National_identification_number#Latvia>.

use super::score::CHECKED;
use super::{Entity, Report, Text, checksum, digits};

pub(super) const CONTEXT: &[&str] = &["personas", "kods", "kodu", "latvian"];

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    digits::windows(text, &[&[6, 5], &[11]], |window| {
        let digits = window.digits();
        let checked = checked(digits);
        if !checked && digits[..2] != [3, 2] {
            return;
        }
        let alone = (window.separator == b'-').then_some(CHECKED);
        if let Some(score) = text.weigh_number(&window.span, Entity::LvPersonasKods.topic(), checked, alone) {
            report(window.span, score);
        }
    });
}

fn checked(digits: &[u8]) -> bool {
    let date = checksum::date(digits::number(&digits[2..4]), digits::number(&digits[..2]));
    let sum = checksum::weighted(&digits[..10], &[10, 5, 8, 4, 2, 1, 6, 3, 7, 9]);
    date && digits[6] < 3 && (1 + sum) % 11 % 10 == u32::from(digits[10])
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::LvPersonasKods,
            &["«161175-19997»", "personas kods «16117519997»", "personas kods: «327890-12345»"],
            &[
                "161175-19998",
                "161375-19997",
                "16117519997",
                "327890-12345",
                "personas kods 161175-19998",
                "161175-199971",
                "order 161175-19997",
            ],
        );
    }
}
