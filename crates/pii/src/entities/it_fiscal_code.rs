//! `IT_FISCAL_CODE`: letters of a name, date and place of birth, and the check letter; digits may be replaced by letters.

use super::score::CHECKED;
use super::{Report, Text};

pub(super) const CONTEXT: &[&str] = &[];

const CHARS: usize = 16;
const MONTHS: &[u8] = b"ABCDEHLMPRST";
/// What stands for 0 to 9 where two people would have the same code.
const REPLACED: &[u8; 10] = b"LMNPQRSTUV";
/// Values of 0 to 9 and A to Z in odd places (the first is odd), of which both rows begin alike.
const ODD: [u32; 26] = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    for code in text.codes().iter().filter(|code| code.len() == CHARS) {
        let written = text.as_str()[code.clone()].to_ascii_uppercase();
        if shaped(written.as_bytes()) && checked(written.as_bytes()) {
            report(code.clone(), CHECKED);
        }
    }
}

fn shaped(code: &[u8]) -> bool {
    let letters = |range: &[u8]| range.iter().all(u8::is_ascii_uppercase);
    let digits = |range: &[u8]| range.iter().all(|b| digit(*b).is_some());
    let day = digit(code[9]).zip(digit(code[10])).map(|(tens, ones)| tens * 10 + ones);
    letters(&code[..6])
        && digits(&code[6..8])
        && MONTHS.contains(&code[8])
        && day.is_some_and(|day| matches!(day, 1..=31 | 41..=71))
        && letters(&code[11..12])
        && digits(&code[12..15])
}

fn digit(byte: u8) -> Option<usize> {
    match byte {
        b'0'..=b'9' => Some(usize::from(byte - b'0')),
        letter => REPLACED.iter().position(|b| *b == letter),
    }
}

fn checked(code: &[u8]) -> bool {
    let value = |byte: u8| usize::from(if byte.is_ascii_digit() { byte - b'0' } else { byte - b'A' });
    let sum = code[..CHARS - 1].iter().enumerate().map(|(i, byte)| match i % 2 {
        0 => ODD[value(*byte)],
        _ => value(*byte) as u32,
    });
    u32::from(code[CHARS - 1]) == u32::from(b'A') + sum.sum::<u32>() % 26
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::ItFiscalCode,
            &["C.F. «RSSMRA85T10A562S»", "«rssmra85t10a562s»", "{\"cf\":\"«MRTMTT91D08F205J»\"}"],
            &["RSSMRA85T10A562T", "RSSMRA85Z10A562S", "RSSMRA85T39A562S", "XRSSMRA85T10A562S", "ABCDEFGHIJKLMNOP"],
        );
    }
}
