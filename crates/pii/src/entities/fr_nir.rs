//! `FR_NIR`: the fifteen digits of the French social security: sex, year, month, place, serial, and a key modulo 97. Corsica's 2A and 2B are not looked for.

use super::score::{CHECKED, weigh};
use super::{Entity, Report, Text, digits};

pub(super) const CONTEXT: &[&str] = &["nir", "insee", "sécu", "sécurité", "sociale", "securite", "secu"];

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    digits::windows(text, &[&[15], &[13, 2], &[1, 2, 2, 2, 3, 3, 2]], |window| {
        if !checked(window.digits()) {
            return;
        }
        if let Some(score) = weigh(Some(CHECKED), text.near(&window.span, Entity::FrNir.topic())) {
            report(window.span, score);
        }
    });
}

fn checked(digits: &[u8]) -> bool {
    let (sex, month) = (digits[0], digits::number(&digits[3..5]));
    let born = matches!(sex, 1..=4 | 7 | 8) && matches!(month, 1..=12 | 20..=42 | 50..=99);
    born && 97 - digits::number(&digits[..13]) % 97 == digits::number(&digits[13..])
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::FrNir,
            &["NIR «1 84 12 76 451 089 46»", "«184127645108946»"],
            &["184127645108947", "184137645108962", "984127645108934", "1841276451089461"],
        );
    }
}
