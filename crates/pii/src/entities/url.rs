//! `URL`: `http`, `https` and `ftp` addresses, and those that begin with `www.`; not part of the default set.

use super::score::FORMAT;
use super::{Report, Text, pattern};
use regex::Regex;
use std::sync::LazyLock;

static URL: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"(?i)(?-u:\b)(?:(?:https?|ftp)://|www\.[a-z0-9-]+\.)[^\s<>"'`\\]+"#));

pub(super) const CONTEXT: &[&str] = &[];

pub(super) fn find(text: &Text<'_>, report: Report<'_>) {
    for found in URL.find_iter(text.as_str()) {
        let trimmed = found.as_str().trim_end_matches(['.', ',', ';', ':', '!', '?', '*']);
        // a closing bracket belongs to the sentence unless the address opened it
        let trimmed = match trimmed.strip_suffix(')') {
            Some(inner) if !inner.contains('(') => inner,
            _ => trimmed,
        };
        if !trimmed.ends_with("//") {
            report(found.start()..found.start() + trimmed.len(), FORMAT);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Entity, tests};

    #[test]
    fn table() {
        tests::table(
            Entity::Url,
            &[
                "see «https://example.com/a?b=c#d».",
                "(«http://example.com/x»)",
                "<«HTTPS://Example.com»>",
                "«https://en.wikipedia.org/wiki/Rust_(language)»",
                "\"«ftp://files.example.com/a.txt»\"",
                "at «www.example.co.uk/shop», daily",
            ],
            &["example.com", "http://", "xhttps:/example.com", "a://b", "www.", "www.a"],
        );
    }
}
