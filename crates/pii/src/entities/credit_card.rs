//! `CREDIT_CARD`: issuer prefix, its lengths (ISO/IEC 7812) and the Luhn check; twelve digits only beside a context word.

use super::score::{CHECKED, weigh};
use super::{Entity, Report, Text, checksum, digits};
use std::sync::LazyLock;

pub(super) const CONTEXT: &[&str] = &[
    "amex",
    "card",
    "cards",
    "cc",
    "credit",
    "creditcard",
    "debit",
    "maestro",
    "mastercard",
    "pan",
    "visa",
    "karte",
    "kreditkarte",
    "tarjeta",
    "carte",
    "carta",
];

/// How card numbers are grouped when they are written down.
const SHAPES: &[&[usize]] = &[
    &[12],
    &[13],
    &[14],
    &[15],
    &[16],
    &[17],
    &[18],
    &[19],
    &[4, 4, 4],
    &[4, 4, 4, 4],
    &[4, 4, 4, 4, 1],
    &[4, 4, 4, 4, 2],
    &[4, 4, 4, 4, 3],
    &[4, 4, 4, 1],
    &[4, 6, 5],
    &[4, 6, 4],
    &[4, 4, 4, 3],
    &[8, 8],
    &[6, 13],
];

/// Issuer prefixes as inclusive ranges of four digits, and the lengths in use from here to there.
const ISSUERS: &[(u64, u64, &[usize])] = &[
    (4000, 4999, &[13, 16, 19]),
    (5100, 5599, &[16]),
    (2221, 2720, &[16]),
    (3400, 3499, &[15]),
    (3700, 3799, &[15]),
    (6011, 6011, &[16, 19]),
    (6440, 6499, &[16, 19]),
    (6500, 6599, &[16, 19]),
    (3528, 3589, &[16, 17, 18, 19]),
    // JCB's older cards
    (1800, 1800, &[15]),
    (2131, 2131, &[15]),
    (3000, 3059, &[14, 16, 19]),
    (3095, 3095, &[14, 16, 19]),
    (3600, 3699, &[14, 16, 19]),
    (3800, 3999, &[14, 16, 19]),
    (6200, 6299, &[16, 17, 18, 19]),
    (8100, 8199, &[16]),
    (2200, 2204, &[16, 17, 18, 19]),
    (5018, 5018, MAESTRO),
    (5020, 5020, MAESTRO),
    (5038, 5038, MAESTRO),
    (6304, 6304, MAESTRO),
    (6759, 6763, MAESTRO),
];

const MAESTRO: &[usize] = &[12, 13, 14, 15, 16, 17, 18, 19];

/// Prefixes that are given to debit cards too, but to much else: they count beside a context word.
const RARE: &[(u64, u64, &[usize])] =
    &[(5000, 5099, MAESTRO), (5600, 5899, MAESTRO), (6390, 6390, MAESTRO), (6700, 6799, MAESTRO), (3500, 3527, &[16])];

const SHORT: usize = 12;

/// By the first four digits: the lengths that [`ISSUERS`] and [`RARE`] give, as bits from [`SHORT`] on.
static LENGTHS: LazyLock<Vec<[u8; 2]>> = LazyLock::new(|| {
    let bits = |issuers: &[(u64, u64, &[usize])], prefix: u64| {
        let of_prefix = issuers.iter().filter(|(from, to, _)| (*from..=*to).contains(&prefix));
        of_prefix.flat_map(|(.., lengths)| *lengths).fold(0, |bits, length| bits | 1 << (length - SHORT))
    };
    (0..10_000).map(|prefix| [bits(ISSUERS, prefix), bits(RARE, prefix)]).collect()
});

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    digits::windows(text, SHAPES, |window| {
        let digits = window.digits();
        let Some(lengths) = LENGTHS.get(digits::number(&digits[..4]) as usize) else { return };
        let [is_issued, is_rare] = lengths.map(|bits| bits & (1 << (digits.len() - SHORT)) != 0);
        if !(is_issued || is_rare) || !checksum::luhn(digits) {
            return;
        }
        let alone = (digits.len() > SHORT && is_issued).then_some(CHECKED);
        let near = text.near(&window.span, Entity::CreditCard.topic());
        if let Some(score) = weigh(alone, near) {
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
            Entity::CreditCard,
            &[
                "«4111111111111111»",
                "card: «4111 1111 1111 1111», exp 12/27",
                "«5500-0000-0000-0004»",
                "«2223000048400011»",
                "amex «3782 822463 10005»",
                "«378282246310005».",
                "«30569309025904»",
                "«6011111111111117»",
                "«3530 1113 3330 0000» jcb",
                "qty 12 «4012 8888 8888 1881» total 40",
                "{\"card\":\"«4222222222222»\"}",
                "pay with ｃａｒｄ «４１１１１１１１１１１１１１１１»",
                "«6240008631401148»",
                "card no «180016070420458»",
                "my maestro card is «675984103431»",
            ],
            &[
                "4111111111111112",
                "4111 1111 1111 1112",
                "order 1234567890123456",
                "41111111111111111111111",
                "0x4111111111111111a",
                "id_4111111111111111",
                "0.4111111111111111",
                "9999999999999995",
                "550e8400-e29b-41d4-a716-446655440000",
                "1732390980123 ms",
                "4111-1111 1111-1111",
                "20261123194300",
                "675984103431",
                "order 675984103431",
            ],
        );
    }
}
