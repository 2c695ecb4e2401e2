//! `DE_TAX_ID`: the eleven digits of a Steuer-Identifikationsnummer: no leading zero, one digit twice or three times among the first ten, and a check digit (ISO 7064, MOD 11,10).

use super::score::{CHECKED, CHECKSUM, weigh};
use super::{Entity, Report, Text, checksum, digits};

pub(super) const CONTEXT: &[&str] =
    &["steuer", "steueridentifikationsnummer", "identifikationsnummer", "idnr", "tin", "steuernummer", "steuerid"];

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    digits::windows(text, &[&[11], &[2, 3, 3, 3]], |window| {
        if !checked(window.digits()) {
            return;
        }
        let near = text.near(&window.span, Entity::DeTaxId.topic());
        if let Some(score) = weigh(Some(CHECKED - CHECKSUM / 2.0), near) {
            report(window.span, score);
        }
    });
}

fn checked(digits: &[u8]) -> bool {
    let mut counts = [0; 10];
    digits[..10].iter().for_each(|digit| counts[usize::from(*digit)] += 1);
    let repeated = counts.iter().filter(|count| **count > 1).count();
    let pattern = repeated == 1 && counts.iter().all(|count| *count <= 3);
    digits[0] != 0 && pattern && checksum::mod_11_10(digits)
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::DeTaxId,
            &["Steuer-ID «86 095 742 719»", "«86095742719»"],
            &["86095742710", "01234567890", "12345678903", "11223344553", "x86095742719"],
        );
    }
}
