//! `US_SSN`: area, group and serial as the Social Security Administration issued them; bare digits only beside a context word.

use super::score::{FORMAT, weigh};
use super::{Entity, Report, Text, digits};

pub(super) const CONTEXT: &[&str] = &["ssn", "ssns", "social", "ss"];

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    digits::windows(text, &[&[3, 2, 4], &[9]], |window| {
        if !issued(window.digits()) {
            return;
        }
        let alone = (window.separator == b'-').then_some(FORMAT);
        if let Some(score) = weigh(alone, text.near(&window.span, Entity::UsSsn.topic())) {
            report(window.span, score);
        }
    });
}

/// Area 000, 666 and 900–999, group 00 and serial 0000 were never issued.
fn issued(digits: &[u8]) -> bool {
    let (area, group, serial) =
        (digits::number(&digits[..3]), digits::number(&digits[3..5]), digits::number(&digits[5..]));
    area != 0 && area != 666 && area < 900 && group != 0 && serial != 0
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::UsSsn,
            &[
                "my ssn is «460-89-9847»",
                "«536-90-4399»",
                "SSN:«460899847»",
                "Social security number «460 89 9847».",
                "«460‑89‑9847»",
            ],
            &[
                "000-12-3456",
                "666-12-3456",
                "900-12-3456",
                "123-00-4567",
                "123-45-0000",
                "460899847",
                "order 460 89 9847",
                "PO-460-89-9847",
                "460-89-98471",
                "460-89-9847-1",
                "1.460-89-9847",
                "555-0100",
            ],
        );
    }
}
