//! `PL_PESEL`: eleven digits that begin with a date of birth (the century is in the month) and end with a check digit.

use super::score::{CHECKSUM, FORMAT, weigh};
use super::{Entity, Report, Text, checksum, digits};

pub(super) const CONTEXT: &[&str] = &["pesel"];

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    digits::windows(text, &[&[11]], |window| {
        if !checked(window.digits()) {
            return;
        }
        let near = text.near(&window.span, Entity::PlPesel.topic()).map(|near| near + CHECKSUM);
        if let Some(score) = weigh(Some(FORMAT), near) {
            report(window.span, score);
        }
    });
}

fn checked(digits: &[u8]) -> bool {
    let (month, day) = (digits::number(&digits[2..4]), digits::number(&digits[4..6]));
    checksum::date(month % 20, day) && checksum::weighted(digits, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]).is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::PlPesel,
            &["PESEL «44051401359»", "«02271000013»"],
            &["44051401350", "44991401359", "144051401359", "x44051401359"],
        );
    }
}
