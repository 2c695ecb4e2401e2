//! `HU_TAX_ID`: the ten digits of an adóazonosító jel: an 8, the days from 1867 to the birth, a serial number and a
//! check digit modulo 11. Bare, so only beside a context word.
//!
//! Rules: EU, TIN Algorithms, Hungary, <https://ec.europa.eu/taxation_customs/tin/>.

use super::score::CHECKSUM;
use super::{Entity, Report, Text, checksum, digits};

pub(super) const CONTEXT: &[&str] = &[
    "adóazonosító",
    "adoazonosito",
    "adóazonosítója",
    "adóazonosítóm",
    "adóazonosítójel",
    "adoazonositojel",
    "adóazonosítószám",
];

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    digits::windows(text, &[&[10]], |window| {
        if !checked(window.digits()) {
            return;
        }
        if let Some(near) = text.near(&window.span, Entity::HuTaxId.topic()) {
            report(window.span, near + CHECKSUM);
        }
    });
}

fn checked(digits: &[u8]) -> bool {
    let check = checksum::weighted(&digits[..9], &[1, 2, 3, 4, 5, 6, 7, 8, 9]) % 11;
    digits[0] == 8 && check == u32::from(digits[9])
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::HuTaxId,
            &["adóazonosító jel: «8071592153»", "Adóazonosítója «8565651231»"],
            &["8071592153", "adóazonosító jel 8071592154", "adóazonosító jel 7071592153", "adóazonosító 80715921531"],
        );
    }
}
