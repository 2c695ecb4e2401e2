//! `MAC_ADDRESS`: six octets joined by `:` or `-`, or Cisco's three groups of four; not the broadcast address and not zero.

use super::score::FORMAT;
use super::{Report, Text};
use crate::looks::is_alphanumeric;

pub(super) const CONTEXT: &[&str] = &[];

const OCTETS: usize = 6;
const WORDS: usize = 3;

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    let text = text.as_str();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_hexdigit() {
            at += 1;
            continue;
        }
        let start = at;
        let part = |b: &u8| b.is_ascii_hexdigit() || matches!(b, b':' | b'-' | b'.');
        at += bytes[at..].iter().take_while(|b| part(b)).count();
        let written = text[start..at].trim_end_matches([':', '-', '.']);
        let before = text[..start].chars().next_back();
        let after = text[at..].chars().next();
        let word = |c: Option<char>| c.is_some_and(|c| is_alphanumeric(c) || c == '_');
        let apart = !word(before) && !matches!(before, Some(':' | '-')) && !word(after);
        if apart && shaped(written) {
            report(start..start + written.len(), FORMAT);
        }
    }
}

fn shaped(written: &str) -> bool {
    let groups = |separator: char, count: usize, size: usize| {
        written.len() == count * (size + 1) - 1
            && written.split(separator).all(|group| group.len() == size && group.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let hex = || written.bytes().filter(u8::is_ascii_hexdigit);
    let plain = hex().all(|b| b == b'0') || hex().all(|b| b.eq_ignore_ascii_case(&b'f'));
    let shaped = groups(':', OCTETS, 2) || groups('-', OCTETS, 2) || groups('.', WORDS, 4);
    shaped && !plain
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::MacAddress,
            &[
                "eth0 «00:1a:2b:3c:4d:5e».",
                "mac=«00-1A-2B-3C-4D-5E»",
                "(«001a.2b3c.4d5e»)",
                "{\"hw\":\"«AA:BB:CC:DD:EE:0F»\"}",
            ],
            &[
                "00:1a:2b:3c:4d",
                "00:1a:2b:3c:4d:5e:6f",
                "00:1a:2b-3c:4d:5e",
                "ff:ff:ff:ff:ff:ff",
                "00:00:00:00:00:00",
                "12:30:45",
                "x00:1a:2b:3c:4d:5e",
                "1234.5678",
                "2001:db8:85a3:0:0:8a2e",
            ],
        );
    }
}
