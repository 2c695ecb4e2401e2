//! Replaces findings by typed placeholders such as `[EMAIL_ADDRESS_1]`.
//!
//! Within one [`Masker`], thus within one request, the same value gets the same placeholder, so that a model can still tell
//! two people apart. The values never leave the masker.

use super::Finding;
use regex::Regex;
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::LazyLock;

static PLACEHOLDER: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"\[[A-Z][A-Z_]{1,40}_[0-9]{1,9}\]").expect("a constant pattern, covered by tests"));

/// Placeholders handed out so far.
#[derive(Default)]
pub struct Masker {
    numbers: HashMap<(Cow<'static, str>, String), usize>,
    counts: HashMap<Cow<'static, str>, usize>,
}

impl Masker {
    /// The text with every finding replaced; `None` if there is nothing to replace.
    ///
    /// Overlapping findings are all covered. Findings inside an earlier placeholder are left alone.
    pub fn mask(&mut self, text: &str, findings: Vec<Finding>) -> Option<String> {
        let replacements = self.replacements(text, findings);
        if replacements.is_empty() {
            return None;
        }
        let mut masked = String::with_capacity(text.len());
        let mut done = 0;
        for (span, placeholder) in replacements {
            masked.push_str(&text[done..span.start]);
            masked.push_str(&placeholder);
            done = span.end;
        }
        masked.push_str(&text[done..]);
        Some(masked)
    }

    /// What is to be replaced, and by what: disjoint, in the order of the text.
    pub fn replacements(&mut self, text: &str, findings: Vec<Finding>) -> Vec<(Range<usize>, String)> {
        let findings = outside_placeholders(text, resolve(findings));
        let replaced = findings.into_iter().map(|Finding { span, label, .. }| {
            let placeholder = self.placeholder(label, &text[span.clone()]);
            (span, placeholder)
        });
        replaced.collect()
    }

    /// A placeholder for a whole text: the safe end where masking piece by piece found no end.
    pub fn whole(&mut self, text: &str) -> String {
        self.placeholder(Cow::Borrowed("TEXT"), text)
    }

    fn placeholder(&mut self, label: Cow<'static, str>, value: &str) -> String {
        let count = self.counts.entry(label.clone()).or_default();
        let number = *self.numbers.entry((label.clone(), same(value))).or_insert_with(|| {
            *count += 1;
            *count
        });
        format!("[{label}_{number}]")
    }
}

/// Hides the values, which a derived form would print.
impl std::fmt::Debug for Masker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Masker").field("counts", &self.counts).finish_non_exhaustive()
    }
}

/// What makes two spellings the same value: case, spaces and brackets do not matter; of a number only its digits do.
fn same(value: &str) -> String {
    let numeric = !value.chars().any(char::is_alphabetic);
    let kept = |c: &char| c.is_alphanumeric() || (!numeric && !matches!(c, ' ' | '(' | ')'));
    value.chars().filter(kept).flat_map(char::to_lowercase).collect()
}

/// Orders findings and makes them disjoint without uncovering a byte that any of them covers.
///
/// One that lies inside another disappears (of two equals the surer one stays). Where two overlap in part, the surer one
/// keeps its span, else the longer, and the other one is cut.
pub fn resolve(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.retain(|f| !f.span.is_empty());
    findings.sort_by(|a, b| {
        a.span.start.cmp(&b.span.start).then(b.span.end.cmp(&a.span.end)).then(b.score.total_cmp(&a.score))
    });
    let mut kept: Vec<Finding> = Vec::with_capacity(findings.len());
    for mut next in findings {
        let Some(last) = kept.last_mut() else {
            kept.push(next);
            continue;
        };
        if next.span.end <= last.span.end {
            continue;
        }
        if next.span.start < last.span.end {
            let surer = next.score.total_cmp(&last.score).then(next.span.len().cmp(&last.span.len())).is_gt();
            match surer {
                true => last.span.end = next.span.start,
                false => next.span.start = last.span.end,
            }
            if last.span.is_empty() {
                kept.pop();
            }
        }
        kept.push(next);
    }
    kept
}

fn outside_placeholders(text: &str, findings: Vec<Finding>) -> Vec<Finding> {
    if !text.contains('[') {
        return findings;
    }
    let placeholders = PLACEHOLDER.find_iter(text).map(|m| m.range()).collect::<Vec<Range<usize>>>();
    let inside = |span: &Range<usize>| {
        let next = placeholders.partition_point(|p| p.end < span.end);
        placeholders.get(next).is_some_and(|p| p.start <= span.start && span.end <= p.end)
    };
    findings.into_iter().filter(|f| !inside(&f.span)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(span: Range<usize>, label: &'static str, sure: bool) -> Finding {
        Finding { span, label: Cow::Borrowed(label), score: if sure { 0.9 } else { 0.5 } }
    }

    #[test]
    fn the_same_value_keeps_its_placeholder() {
        let mut masker = Masker::default();
        let text = "a@b.de c@d.de A@B.de";
        let at = |start| finding(start..start + 6, "EMAIL_ADDRESS", true);
        let masked = masker.mask(text, vec![at(14), at(0), at(7)]).expect("masked");
        assert_eq!(masked, "[EMAIL_ADDRESS_1] [EMAIL_ADDRESS_2] [EMAIL_ADDRESS_1]");
        let again = masker.mask("c@d.de", vec![at(0)]).expect("masked");
        assert_eq!(again, "[EMAIL_ADDRESS_2]");
        assert_eq!(same("(212) 555-0100"), same("212.555.0100"));
        assert!(!format!("{masker:?}").contains("d.de"));
    }

    #[test]
    fn overlaps_are_cut_never_uncovered() {
        let resolved = resolve(vec![
            finding(0..10, "URL", false),
            finding(8..14, "CREDIT_CARD", true),
            finding(9..12, "PHONE_NUMBER", false),
            finding(14..14, "URL", false),
        ]);
        assert_eq!(resolved, [finding(0..8, "URL", false), finding(8..14, "CREDIT_CARD", true)]);
        let equal = resolve(vec![finding(0..5, "PHONE_NUMBER", false), finding(0..5, "UK_NHS", true)]);
        assert_eq!(equal, [finding(0..5, "UK_NHS", true)]);
        let longer = resolve(vec![finding(0..3, "A", false), finding(2..9, "B", false)]);
        assert_eq!(longer, [finding(0..2, "A", false), finding(2..9, "B", false)]);
    }

    #[test]
    fn placeholders_are_not_masked_again() {
        let mut masker = Masker::default();
        let text = "see [KEYWORD_1]";
        assert_eq!(masker.mask(text, vec![finding(5..14, "KEYWORD", false)]), None);
        assert_eq!(masker.mask(text, vec![finding(0..15, "URL", false)]).as_deref(), Some("[URL_1]"));
    }
}
