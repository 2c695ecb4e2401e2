//! `EE_ISIKUKOOD`: sex and century, a date of birth, a serial number and a check digit modulo 11; Lithuania's are made
//! alike.
//!
//! Rules: <https://arthurdejong.org/python-stdnum/doc/2.1/stdnum.ee.ik>.

use super::score::FORMAT;
use super::{Entity, Report, Text, checksum, digits};

pub(super) const CONTEXT: &[&str] = &["isikukood", "isikukoodi", "isikukoodiga", "estonian"];

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    find_as(Entity::EeIsikukood, text, report);
}

/// Reports the numbers as this entity, but those that a label says to be something else: nothing in them tells the two countries
/// apart.
pub(super) fn find_as(entity: Entity, text: &Text<'_>, report: Report<'_>) {
    digits::windows(text, &[&[11]], |window| {
        if !checked(window.digits()) {
            return;
        }
        if let Some(score) = text.weigh_number(&window.span, entity.topic(), true, Some(FORMAT)) {
            report(window.span, score);
        }
    });
}

fn checked(digits: &[u8]) -> bool {
    let date = checksum::date(digits::number(&digits[3..5]), digits::number(&digits[5..7]));
    matches!(digits[0], 1..=8) && date && checksum::mod_11_twice(digits)
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::EeIsikukood,
            &["«36805280109»", "isikukood «37605030299»", "Isikukoodi «36805280109» järgi"],
            &["36805280108", "96805280104", "36813280103", "36805320106", "136805280109", "asmens kodas 36805280109"],
        );
    }
}
