//! `EMAIL_ADDRESS`: found by its `@`, then read to both sides. Latin, Greek and Cyrillic letters; no quoted local parts.

use super::score::CHECKED;
use super::{Report, Text};
use crate::looks::{is_alphabetic, is_alphanumeric};

const LOCAL_MAX_CHARS: usize = 64;
const DOMAIN_MAX_CHARS: usize = 253;
const LABEL_MAX_CHARS: usize = 63;

/// Endings of file names that are no top-level domains: `icon@2x.png`.
const FILE_ENDINGS: &[&str] =
    &["css", "gif", "htm", "html", "jpeg", "jpg", "js", "json", "jsx", "pdf", "png", "svg", "ts", "tsx", "webp", "xml"];

pub(super) const CONTEXT: &[&str] = &[];

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    let text = text.as_str();
    let mut done = 0;
    for (at, _) in text.match_indices('@') {
        let Some(start) = local_start(text, done, at) else { continue };
        let Some(end) = domain_end(text, at + 1) else { continue };
        // `git@github.com:owner/name` is how code is fetched
        if &text[start..at] == "git" && text[end..].starts_with(':') {
            continue;
        }
        report(start..end, CHECKED);
        done = end;
    }
}

/// Where the local part starts, not before `from`.
fn local_start(text: &str, from: usize, at: usize) -> Option<usize> {
    let part = &text[from..at];
    if part.ends_with('.') {
        return None;
    }
    let taken = part.char_indices().rev().take_while(|(_, c)| letter(*c) || sign(*c));
    let (start, _) = taken.take(LOCAL_MAX_CHARS).last()?;
    // punctuation in front is the sentence's, not the address's
    let local = part[start..].trim_start_matches(|c: char| !is_alphanumeric(c) && c != '_' && c != '+');
    let fine = !local.is_empty() && !local.contains("..");
    fine.then(|| at - local.len())
}

/// Where the domain ends: labels up to the last one that can be a top-level domain.
fn domain_end(text: &str, from: usize) -> Option<usize> {
    let rest = &text[from..];
    let taken = rest.char_indices().take(DOMAIN_MAX_CHARS).take_while(|(_, c)| letter(*c) || matches!(c, '-' | '.'));
    let length = taken.last().map(|(i, c)| i + c.len_utf8())?;
    let mut top = None;
    let mut at = 0;
    for label in rest[..length].split('.') {
        let name = label.trim_end_matches('-');
        if name.is_empty() || name.starts_with('-') || name.chars().count() > LABEL_MAX_CHARS {
            break;
        }
        let alphabetic = name.chars().count() >= 2 && name.chars().all(is_alphabetic);
        if at > 0 && (alphabetic || name.starts_with("xn--")) {
            top = Some((name, at + name.len()));
        }
        // a hyphen at its end ends the address
        if name.len() < label.len() {
            break;
        }
        at += label.len() + 1;
    }
    let (name, end) = top?;
    (!FILE_ENDINGS.iter().any(|ending| name.eq_ignore_ascii_case(ending))).then_some(from + end)
}

/// What a local part may have beside letters and digits.
fn sign(c: char) -> bool {
    matches!(c, '!' | '#'..='\'' | '*' | '+' | '-'..='/' | '=' | '?' | '^'..='`' | '{'..='~')
}

/// Letters and digits up to Cyrillic; beyond, text without spaces would be taken along.
fn letter(c: char) -> bool {
    (c as u32) < 0x530 && is_alphanumeric(c)
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::EmailAddress,
            &[
                "«john.doe@example.com»",
                "mail <«a+b@mail.example.co.uk»>, please.",
                "Write to «jürgen@müller.de».",
                "mailto:«x_y-z@sub.example.org»?subject=1",
                "请联系«john@example.com»谢谢",
                "'«o'neil@example.ie»'",
                "\"«user%tag@example.com»\"",
                "(«1234@example.museum»)",
                "«JOHN@EXAMPLE.COM».",
                "«a@b.xn--p1ai»",
            ],
            &[
                "user@host",
                "@handle and @scope/package",
                "react@18.2.0 lodash@4.17.21",
                "icon@2x.png",
                "git@github.com:owner/name.git",
                "a @ b.com",
                "x@.com",
                "x@-a.com",
                "@example.com",
                "a..b@example.com",
                "let y = a@b;",
                "",
                "@",
            ],
        );
    }

    #[test]
    fn several_and_hidden() {
        assert_eq!(tests::found(Entity::EmailAddress, "a@b.com,c@d.org"), ["a@b.com", "c@d.org"]);
        assert_eq!(tests::found(Entity::EmailAddress, "jo\u{200b}hn＠example.com"), ["jo\u{200b}hn＠example.com"]);
    }
}
