//! `GR_AMKA`: a date of birth, a serial number and Luhn's check digit.
//!
//! Rules: <https://arthurdejong.org/python-stdnum/doc/2.1/stdnum.gr.amka>.

use super::score::FORMAT;
use super::{Entity, Report, Text, checksum, digits};

pub(super) const CONTEXT: &[&str] = &["amka", "αμκα"];

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    digits::windows(text, &[&[11], &[6, 5]], |window| {
        let digits = window.digits();
        let date = checksum::date(digits::number(&digits[2..4]), digits::number(&digits[..2]));
        if !date || !checksum::luhn(digits) {
            return;
        }
        if let Some(score) = text.weigh_number(&window.span, Entity::GrAmka.topic(), true, Some(FORMAT)) {
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
            Entity::GrAmka,
            &["«01013099997»", "ΑΜΚΑ: «01013099997»", "amka «010130 99997»"],
            &["01013099999", "01133099992", "32013099992", "101013099997", "x01013099997", "order 01013099997"],
        );
    }
}
