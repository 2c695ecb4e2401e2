//! Check digits that several identifiers share.

/// Luhn's check over all digits, the last of them the check digit (ISO/IEC 7812).
pub(super) fn luhn(digits: &[u8]) -> bool {
    let weighted = digits.iter().rev().enumerate().map(|(i, d)| match (i % 2, *d) {
        (0, d) => u32::from(d),
        (_, d) => u32::from(d / 5 + d * 2 % 10),
    });
    weighted.sum::<u32>() % 10 == 0
}

/// The sum of digits, each multiplied by its weight.
pub(super) fn weighted(digits: &[u8], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(digit, weight)| u32::from(*digit) * weight).sum()
}

/// ISO 7064, MOD 11,10: the last digit checks the others.
pub(super) fn mod_11_10(digits: &[u8]) -> bool {
    let Some((check, digits)) = digits.split_last() else { return false };
    let product = digits.iter().fold(10, |product, digit| {
        let sum = (u32::from(*digit) + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (11 - product) % 10 == u32::from(*check)
}

/// Modulo 11 with the weights 1 to 9 in turn, and once more two weights further on where that leaves 10: the last digit
/// checks the others.
pub(super) fn mod_11_twice(digits: &[u8]) -> bool {
    let Some((check, digits)) = digits.split_last() else { return false };
    let sum = |shift: usize| {
        let weighed = digits.iter().enumerate().map(|(i, digit)| u32::from(*digit) * ((i + shift) % 9 + 1) as u32);
        weighed.sum::<u32>() % 11
    };
    let first = sum(0);
    u32::from(*check) == if first < 10 { first } else { sum(2) % 10 }
}

/// Whether a day can be: month and day, and that February and the short months have no more days than they have.
pub(super) fn date(month: u64, day: u64) -> bool {
    let days = match month {
        2 => 29,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    (1..=days).contains(&day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits(text: &str) -> Vec<u8> {
        text.bytes().map(|b| b - b'0').collect()
    }

    #[test]
    fn known_numbers() {
        assert!(luhn(&digits("4111111111111111")) && !luhn(&digits("4111111111111112")));
        assert!(mod_11_10(&digits("86095742719")) && !mod_11_10(&digits("86095742718")));
        assert!(mod_11_twice(&digits("119511515")) && !mod_11_twice(&digits("119511516")));
        assert!(date(2, 29) && !date(2, 30) && !date(13, 1) && !date(4, 31) && !date(1, 0));
    }
}
