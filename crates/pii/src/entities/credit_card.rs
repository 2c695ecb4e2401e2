//! `CREDIT_CARD`: issuer prefix, its lengths (ISO/IEC 7812) and the Luhn check.

use super::{Report, digits};

/// How card numbers are grouped when they are written down.
const SHAPES: &[&[usize]] = &[
    &[13],
    &[14],
    &[15],
    &[16],
    &[17],
    &[18],
    &[19],
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

/// Issuer prefixes as inclusive ranges, and the lengths in use.
const ISSUERS: &[(u32, u32, &[usize])] = &[
    (4, 4, &[13, 16, 19]),
    (51, 55, &[16]),
    (2221, 2720, &[16]),
    (34, 34, &[15]),
    (37, 37, &[15]),
    (6011, 6011, &[16, 19]),
    (644, 649, &[16, 19]),
    (65, 65, &[16, 19]),
    (3528, 3589, &[16, 17, 18, 19]),
    (300, 305, &[14, 16, 19]),
    (3095, 3095, &[14, 16, 19]),
    (36, 36, &[14, 16, 19]),
    (38, 39, &[14, 16, 19]),
    (62, 62, &[16, 17, 18, 19]),
    (81, 81, &[16]),
    (5018, 5018, &[13, 14, 15, 16, 17, 18, 19]),
    (5020, 5020, &[13, 14, 15, 16, 17, 18, 19]),
    (5038, 5038, &[13, 14, 15, 16, 17, 18, 19]),
    (6304, 6304, &[13, 14, 15, 16, 17, 18, 19]),
    (6759, 6763, &[13, 14, 15, 16, 17, 18, 19]),
    (2200, 2204, &[16, 17, 18, 19]),
];

pub(super) fn find(text: &str, report: Report<'_>) {
    digits::windows(text, SHAPES, |window| {
        if issued(&window.digits) && luhn(&window.digits) {
            report(window.span, true);
        }
    });
}

fn issued(digits: &[u8]) -> bool {
    let prefix = |length: usize| digits.iter().take(length).fold(0, |n, d| n * 10 + u32::from(*d));
    ISSUERS.iter().any(|(from, to, lengths)| {
        let prefix = prefix(from.to_string().len());
        (*from..=*to).contains(&prefix) && lengths.contains(&digits.len())
    })
}

fn luhn(digits: &[u8]) -> bool {
    let weighted = digits.iter().rev().enumerate().map(|(i, d)| match (i % 2, *d) {
        (0, d) => u32::from(d),
        (_, d) => u32::from(d / 5 + d * 2 % 10),
    });
    weighted.sum::<u32>() % 10 == 0
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
            ],
        );
    }
}
