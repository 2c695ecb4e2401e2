//! `LU_MATRICULE`: a date of birth and a serial number, eleven digits that two more check: the first by Luhn's method,
//! the second by Verhoeff's.
//!
//! Rules: EU, TIN Algorithms, Luxembourg, <https://ec.europa.eu/taxation_customs/tin/>.

use super::score::{CHECKED, weigh};
use super::{Entity, Report, Text, checksum, digits};

pub(super) const CONTEXT: &[&str] = &["matricule", "matrikel", "matrikelnummer", "matrikelnumm"];

const SERIAL_END: usize = 11;
/// How a digit is replaced, once more for each place that it stands further left.
const REPLACED: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    digits::windows(text, &[&[13], &[8, 5], &[4, 4, 5], &[8, 3, 2]], |window| {
        if !checked(window.digits()) {
            return;
        }
        if let Some(score) = weigh(Some(CHECKED), text.near(&window.span, Entity::LuMatricule.topic())) {
            report(window.span, score);
        }
    });
}

fn checked(digits: &[u8]) -> bool {
    let (year, month, day) =
        (digits::number(&digits[..4]), digits::number(&digits[4..6]), digits::number(&digits[6..8]));
    let (serial, checks) = digits.split_at(SERIAL_END);
    (1850..2100).contains(&year)
        && checksum::date(month, day)
        && checksum::luhn(&digits[..=SERIAL_END])
        && verhoeff(serial, checks[1])
}

/// Verhoeff's check digit: products in the group of a pentagon's symmetries, 0 to 4 its turns and 5 to 9 its reflections.
fn verhoeff(digits: &[u8], check: u8) -> bool {
    let product = |a: u8, b: u8| match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => 5 + (a + b) % 5,
        (false, true) => 5 + (a - b) % 5,
        (false, false) => (a + 5 - b) % 5,
    };
    let replaced = |digit: u8, times: usize| (0..times).fold(digit, |digit, _| REPLACED[usize::from(digit)]);
    let places = digits.iter().rev().zip(1..);
    places.fold(check, |so_far, (digit, place)| product(so_far, replaced(*digit, place))) == 0
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::LuMatricule,
            &["matricule «1893120105732»", "«1893120105732»", "«18931201 05732»"],
            &["1893120105731", "1893120105722", "1893130105732", "21893120105732", "1893120105732-1"],
        );
    }

    #[test]
    fn verhoeff_of_a_known_number() {
        assert!(super::verhoeff(&[2, 3, 6], 3) && super::verhoeff(&[1, 2, 3, 4, 5], 1));
        assert!(!super::verhoeff(&[2, 3, 6], 4) && !super::verhoeff(&[2, 6, 3], 3));
    }
}
