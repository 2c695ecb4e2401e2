//! `IP_ADDRESS`: IPv4 and IPv6, parsed; not part of the default set, because code and logs are full of them.

use super::context::VERSION;
use super::score::FORMAT;
use super::{Report, Text};
use crate::looks::is_alphanumeric;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

const V6_MIN_GROUPS: usize = 3;
const V6_BYTES: Range<usize> = 3..46;
const V4_BYTES: Range<usize> = 7..16;

pub(super) const CONTEXT: &[&str] = &[];

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    let text_of = text.as_str();
    for run in runs(text_of) {
        let written = &text_of[run.clone()];
        let (colons, dots) = (written.matches(':').take(2).count(), written.matches('.').take(4).count());
        // an address with its port, after a colon, has two colons as well
        let found = colons == 2 && v6(text_of, run.clone(), report);
        if !found && dots == 3 {
            v4(text, run, report);
        }
    }
}

/// Runs of what addresses are written with, without the punctuation at their ends.
fn runs(text: &str) -> impl Iterator<Item = Range<usize>> {
    let bytes = text.as_bytes();
    let part = |b: &u8| b.is_ascii_hexdigit() || matches!(b, b':' | b'.');
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < bytes.len() {
            let start = at + bytes[at..].iter().position(part)?;
            at = start + bytes[start..].iter().take_while(|b| part(b)).count();
            let run = start..start + text[start..at].trim_end_matches('.').len();
            if run.len() >= V6_BYTES.start {
                return Some(run);
            }
        }
        None
    })
}

fn v6(text: &str, run: Range<usize>, report: Report<'_>) -> bool {
    // a single colon at an end is the sentence's
    let mut span = run;
    if text[span.clone()].ends_with(':') && !text[span.clone()].ends_with("::") {
        span.end -= 1;
    }
    if text[span.clone()].starts_with(':') && !text[span.clone()].starts_with("::") {
        span.start += 1;
    }
    let address = &text[span.clone()];
    let groups = address.split(':').filter(|g| !g.is_empty()).take(V6_MIN_GROUPS).count();
    let shaped = groups >= V6_MIN_GROUPS || address.starts_with("fe80::") || address.contains('.');
    let fits = shaped && V6_BYTES.contains(&address.len()) && alone(text, span.clone());
    let found = fits && address.parse::<Ipv6Addr>().is_ok();
    if found {
        report(span, FORMAT);
    }
    found
}

fn v4(text: &Text<'_>, run: Range<usize>, report: Report<'_>) {
    // the part between colons that has the dots
    let written = &text.as_str()[run.clone()];
    let colon = written.find('.').map_or(0, |dot| written[..dot].rfind(':').map_or(0, |at| at + 1));
    let length = written[colon..].find(':').unwrap_or(written.len() - colon);
    let span = run.start + colon..run.start + colon + length;
    let address = &text.as_str()[span.clone()];
    let digits = V4_BYTES.contains(&address.len()) && address.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if digits && alone(text.as_str(), span.clone()) && address.parse::<Ipv4Addr>().is_ok() {
        let version = text.near(&(span.start..span.start), VERSION).is_some();
        if !version {
            report(span, FORMAT);
        }
    }
}

fn alone(text: &str, span: Range<usize>) -> bool {
    let joins = |c: char| is_alphanumeric(c) || c == '_';
    let mut after = text[span.end..].chars();
    let goes_on = match after.next() {
        Some('.') => after.next().is_some_and(is_alphanumeric),
        Some(c) => joins(c),
        None => false,
    };
    let mut before = text[..span.start].chars().rev();
    let came_on = match before.next() {
        Some('.' | '-') => before.next().is_some_and(is_alphanumeric),
        Some(c) => joins(c),
        None => false,
    };
    !goes_on && !came_on
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::IpAddress,
            &[
                "from «192.168.0.1».",
                "ip:«8.8.8.8»,",
                "http://«10.0.0.12»:8080/x",
                "«2001:db8::8a2e:370:7334»",
                "[«2001:0db8:85a3:0000:0000:8a2e:0370:7334»]",
                "«fe80::1»",
                "«::ffff:192.0.2.128»",
            ],
            &[
                "256.1.1.1",
                "1.2.3",
                "1.2.3.4.5",
                "version 1.2.3.4",
                "v1.2.3.4",
                "12:30:45",
                "std::mem::swap",
                "a::b",
                "::",
                "00:1a:2b:3c:4d:5e",
                "fe::ab",
                "01.02.2026",
            ],
        );
    }
}
