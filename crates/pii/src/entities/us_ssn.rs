//! `US_SSN`: area, group and serial as the Social Security Administration issued them; bare digits only beside a context word.

use super::{Report, context, digits};

const CONTEXT: &[&str] = &["ssn", "ssns", "social", "ss"];

pub(super) fn find(text: &str, key: &str, report: Report<'_>) {
    digits::windows(text, &[&[3, 2, 4], &[9]], |window| {
        let hyphens = text[window.span.clone()].contains('-');
        if issued(&window.digits) && (hyphens || context::near(text, key, &window.span, CONTEXT)) {
            report(window.span, hyphens);
        }
    });
}

/// Area 000, 666 and 900–999, group 00 and serial 0000 were never issued.
fn issued(digits: &[u8]) -> bool {
    let number = |range: &[u8]| range.iter().fold(0u32, |n, d| n * 10 + u32::from(*d));
    let (area, group, serial) = (number(&digits[..3]), number(&digits[3..5]), number(&digits[5..]));
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
