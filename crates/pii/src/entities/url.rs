//! `URL`: `http`, `https` and `ftp` addresses; not part of the default set.

use super::{Report, pattern};
use regex::Regex;
use std::sync::LazyLock;

static URL: LazyLock<Regex> = LazyLock::new(|| pattern(r#"(?i)\b(?:https?|ftp)://[^\s<>"'`\\]+"#));

pub(super) fn find(text: &str, report: Report<'_>) {
    for found in URL.find_iter(text) {
        let trimmed = found.as_str().trim_end_matches(['.', ',', ';', ':', '!', '?', '*']);
        // a closing bracket belongs to the sentence unless the address opened it
        let trimmed = match trimmed.strip_suffix(')') {
            Some(inner) if !inner.contains('(') => inner,
            _ => trimmed,
        };
        if !trimmed.ends_with("//") {
            report(found.start()..found.start() + trimmed.len(), false);
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
            ],
            &["example.com", "http://", "xhttps:/example.com", "a://b"],
        );
    }
}
