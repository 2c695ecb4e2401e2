//! Check digits of the European value-added tax numbers. Each takes what follows the country's prefix: its length is right, letters
//! are in upper case. A form that has no public check is taken by its shape.

use super::checksum::{luhn, mod_11_10, mod_11_twice, weighted};
use super::digits::number;
use super::{es_nif, gr_afm, ie_pps};

/// The values, if there is nothing but digits.
fn digits(code: &[u8]) -> Option<Vec<u8>> {
    code.iter().map(|byte| byte.is_ascii_digit().then(|| byte - b'0')).collect()
}

/// Whether the digits pass; the check digit is given with them as a number.
fn check(code: &[u8], passes: impl Fn(&[u8], u32) -> bool) -> bool {
    digits(code).is_some_and(|digits| digits.last().is_some_and(|last| passes(&digits, u32::from(*last))))
}

pub(super) fn at(code: &[u8]) -> bool {
    code[0] == b'U'
        && check(&code[1..], |digits, last| {
            let sum = digits[..7].iter().enumerate().map(|(i, digit)| match i % 2 {
                0 => u32::from(*digit),
                _ => u32::from(digit / 5 + digit * 2 % 10),
            });
            (10 - (sum.sum::<u32>() + 4) % 10) % 10 == last
        })
}

pub(super) fn be(code: &[u8]) -> bool {
    check(code, |digits, _| digits[0] < 2 && 97 - number(&digits[..8]) % 97 == number(&digits[8..]))
}

pub(super) fn bg(code: &[u8]) -> bool {
    check(code, |digits, last| {
        let first = weighted(&digits[..8], &[1, 2, 3, 4, 5, 6, 7, 8]) % 11;
        let second = weighted(&digits[..8], &[3, 4, 5, 6, 7, 8, 9, 10]) % 11;
        last == if first < 10 { first } else { second % 10 }
    })
}

pub(super) fn cy(code: &[u8]) -> bool {
    const ODD: [u32; 10] = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21];
    let Some(digits) = digits(&code[..8]) else { return false };
    let sum = digits.iter().enumerate().map(|(i, digit)| match i % 2 {
        0 => ODD[usize::from(*digit)],
        _ => u32::from(*digit),
    });
    u32::from(code[8]) == u32::from(b'A') + sum.sum::<u32>() % 26
}

pub(super) fn cz(code: &[u8]) -> bool {
    check(code, |digits, last| last == (11 - weighted(&digits[..7], &[8, 7, 6, 5, 4, 3, 2]) % 11) % 10)
}

pub(super) fn de(code: &[u8]) -> bool {
    check(code, |digits, _| digits[0] != 0 && mod_11_10(digits))
}

pub(super) fn dk(code: &[u8]) -> bool {
    check(code, |digits, _| digits[0] != 0 && weighted(digits, &[2, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11))
}

pub(super) fn ee(code: &[u8]) -> bool {
    check(code, |digits, _| digits[..2] == [1, 0] && weighted(digits, &[3, 7, 1, 3, 7, 1, 3, 7, 1]).is_multiple_of(10))
}

pub(super) fn el(code: &[u8]) -> bool {
    check(code, |digits, _| gr_afm::checked(digits))
}

/// Citizens' and foreigners' numbers, and those of companies.
pub(super) fn es(code: &[u8]) -> bool {
    let Some(middle) = digits(&code[1..8]) else { return false };
    let (first, last) = (code[0], code[8]);
    if let Some(leading) = b"XYZ".iter().position(|letter| *letter == first) {
        return std::str::from_utf8(&code[1..]).is_ok_and(|code| es_nif::checked(leading, code));
    }
    if first.is_ascii_digit() {
        return std::str::from_utf8(code).is_ok_and(|code| last.is_ascii_uppercase() && es_nif::checked(0, code));
    }
    let sum = middle.iter().enumerate().map(|(i, digit)| match i % 2 {
        0 => u32::from(digit / 5 + digit * 2 % 10),
        _ => u32::from(*digit),
    });
    let check = (10 - sum.sum::<u32>() % 10) % 10;
    let company = b"ABCDEFGHJNPQRSUVW".contains(&first);
    company && (u32::from(last) == u32::from(b'0') + check || last == b"JABCDEFGHI"[check as usize])
}

pub(super) fn fi(code: &[u8]) -> bool {
    check(code, |digits, _| weighted(digits, &[7, 9, 10, 5, 8, 4, 2, 1]).is_multiple_of(11))
}

/// The key before the company's number is a remainder; new kinds of keys have letters, which only the number itself checks.
pub(super) fn fr(code: &[u8]) -> bool {
    let (key, company) = code.split_at(2);
    let Some(company) = digits(company).filter(|company| luhn(company)) else { return false };
    match digits(key) {
        Some(key) => number(&key) == (12 + 3 * (number(&company) % 97)) % 97,
        None => key.iter().all(u8::is_ascii_alphanumeric),
    }
}

pub(super) fn hr(code: &[u8]) -> bool {
    check(code, |digits, _| mod_11_10(digits))
}

pub(super) fn hu(code: &[u8]) -> bool {
    check(code, |digits, _| weighted(digits, &[9, 7, 3, 1, 9, 7, 3, 1]).is_multiple_of(10))
}

pub(super) fn ie(code: &[u8]) -> bool {
    ie_pps::checked(code)
}

pub(super) fn it(code: &[u8]) -> bool {
    // the province's number after the company's
    check(code, |digits, _| {
        number(&digits[..7]) > 0 && matches!(number(&digits[7..10]), 1..=100 | 120 | 121 | 888 | 999) && luhn(digits)
    })
}

pub(super) fn lt(code: &[u8]) -> bool {
    check(code, |digits, _| mod_11_twice(digits))
}

pub(super) fn lu(code: &[u8]) -> bool {
    check(code, |digits, _| number(&digits[..6]) % 89 == number(&digits[6..]))
}

pub(super) fn lv(code: &[u8]) -> bool {
    check(code, |digits, last| {
        let rest = (14 - weighted(&digits[..10], &[9, 1, 4, 8, 3, 10, 2, 5, 7, 6]) % 11) % 11;
        digits[0] > 3 && rest == last
    })
}

pub(super) fn mt(code: &[u8]) -> bool {
    check(code, |digits, _| 37 - weighted(&digits[..6], &[3, 4, 6, 7, 8, 9]) % 37 == number(&digits[6..]) as u32)
}

/// Companies' numbers pass the eleven test; those of people who work for themselves are checked modulo 97 as a whole.
pub(super) fn nl(code: &[u8]) -> bool {
    let (Some(company), b'B', Some(_)) = (digits(&code[..9]), code[9], digits(&code[10..])) else { return false };
    let rest = weighted(&company[..8], &[9, 8, 7, 6, 5, 4, 3, 2]) % 11;
    let whole = b"NL".iter().chain(code).fold(0u32, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        letter => (rest * 100 + u32::from(letter - b'A') + 10) % 97,
    });
    rest == u32::from(company[8]) || whole == 1
}

pub(super) fn pl(code: &[u8]) -> bool {
    check(code, |digits, last| weighted(&digits[..9], &[6, 5, 7, 2, 3, 4, 5, 6, 7]) % 11 == last)
}

pub(super) fn pt(code: &[u8]) -> bool {
    check(code, |digits, last| {
        let check = 11 - weighted(&digits[..8], &[9, 8, 7, 6, 5, 4, 3, 2]) % 11;
        digits[0] != 0 && last == if check > 9 { 0 } else { check }
    })
}

pub(super) fn ro(code: &[u8]) -> bool {
    const WEIGHTS: [u32; 9] = [7, 5, 3, 2, 1, 7, 5, 3, 2];
    check(code, |digits, last| {
        let first = &digits[..digits.len() - 1];
        digits[0] != 0 && weighted(first, &WEIGHTS[WEIGHTS.len() - first.len()..]) * 10 % 11 % 10 == last
    })
}

pub(super) fn se(code: &[u8]) -> bool {
    check(code, |digits, _| luhn(&digits[..10]) && number(&digits[10..]) > 0)
}

pub(super) fn si(code: &[u8]) -> bool {
    check(code, |digits, last| {
        let check = 11 - weighted(&digits[..7], &[8, 7, 6, 5, 4, 3, 2]) % 11;
        digits[0] != 0 && last == if check == 10 { 0 } else { check }
    })
}

pub(super) fn sk(code: &[u8]) -> bool {
    check(code, |digits, _| digits[0] != 0 && number(digits).is_multiple_of(11))
}
