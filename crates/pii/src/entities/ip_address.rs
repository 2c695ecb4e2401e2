//! `IP_ADDRESS`: IPv4 and IPv6, parsed; not part of the default set, because code and logs are full of them.

use super::{Report, context, pattern};
use regex::Regex;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::sync::LazyLock;

static V4: LazyLock<Regex> = LazyLock::new(|| pattern(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"));
static V6: LazyLock<Regex> = LazyLock::new(|| pattern(r"[0-9A-Fa-f:]{2,39}(?:\.[0-9]{1,3}){0,3}"));
const V6_MIN_GROUPS: usize = 3;

/// Four numbers after one of these are a release, not an address.
const VERSION: &[&str] = &["version", "ver", "release", "v", "build", "firmware"];

pub(super) fn find(text: &str, key: &str, report: Report<'_>) {
    let mut done = 0;
    let mut spans = Vec::new();
    for found in V6.find_iter(text) {
        let address = found.as_str();
        let groups = address.split(':').filter(|g| !g.is_empty()).count();
        let shaped = groups >= V6_MIN_GROUPS || address.starts_with("fe80::") || address.contains('.');
        if shaped && alone(text, found.range()) && address.parse::<Ipv6Addr>().is_ok() {
            report(found.range(), true);
            spans.push(found.range());
        }
    }
    for found in V4.find_iter(text) {
        let version = context::near(text, key, &(found.start()..found.start()), VERSION);
        // the last part of a mapped address such as ::ffff:192.0.2.1
        while spans.get(done).is_some_and(|s: &Range<usize>| s.end <= found.start()) {
            done += 1;
        }
        let inside = spans.get(done).is_some_and(|s| s.start <= found.start());
        if !inside && alone(text, found.range()) && !version && found.as_str().parse::<Ipv4Addr>().is_ok() {
            report(found.range(), true);
        }
    }
}

fn alone(text: &str, span: Range<usize>) -> bool {
    let joins = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':');
    let mut after = text[span.end..].chars();
    let goes_on = match after.next() {
        Some('.') => after.next().is_some_and(char::is_alphanumeric),
        // a port may follow
        Some(':') => !after.next().is_some_and(|c| c.is_ascii_digit()),
        Some(c) => joins(c),
        None => false,
    };
    let mut before = text[..span.start].chars().rev();
    let came_on = match before.next() {
        Some('.' | '-') => before.next().is_some_and(char::is_alphanumeric),
        Some(':') => before.next().is_some_and(|c| c == ':'),
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
