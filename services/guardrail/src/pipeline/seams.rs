//! What stands partly in one text of a conversation and partly in the next one of the same role: a value that was split so that no text
//! holds it.
//!
//! The end of a text and the beginning of the next are looked at together, joined and with a space between. What lies across the seam is a
//! find in both texts. Requests only, because who answers does not hide; not in lists of texts at the top of a body, which have
//! nothing to do with each other; not what is split over three texts, or further from a seam than [`REACH_BYTES`].

use super::{Side, Stage};
use crate::checks::Finding;
use crate::checks::fold::Folded;
use crate::inspect::{Part, Place, Reader};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, HashMap};

/// How much of a text on either side of a seam is looked at.
const REACH_BYTES: usize = 128;

/// By the place of a text among those that are said: what is found in it, by the place of the check.
pub(super) type Across = HashMap<usize, Vec<(usize, Finding)>>;

/// What the checks of a stage find across the seams of a request.
pub(super) fn find(stage: &Stage, body: &RawValue) -> Across {
    let mut seams = Seams { stage, said: 0, last: BTreeMap::new(), across: Across::new() };
    Side::Input.read(body, &mut seams);
    seams.across
}

struct Seams<'s> {
    stage: &'s Stage,
    said: usize,
    /// Of each role: the end of what it said last.
    last: BTreeMap<String, End>,
    across: Across,
}

/// The end of a text.
struct End {
    /// Of the text, among those that are said.
    at: usize,
    text: String,
    /// Where it begins in its text.
    from: usize,
}

impl Reader for Seams<'_> {
    fn text(&mut self, part: Part<'_>) -> Option<String> {
        let Place::Said(role) = part.place else { return None };
        let at = self.said;
        self.said += 1;
        if part.text.is_empty() {
            return None;
        }
        if let Some(end) = self.last.get(role) {
            let begin = &part.text[..part.text.floor_char_boundary(REACH_BYTES)];
            let found = across(self.stage, end, begin, begin.len() < part.text.len());
            for (check, finding) in found {
                let seam = end.text.len();
                let (first, second) = (finding.span.start + end.from..seam + end.from, 0..finding.span.end - seam);
                let of = |span| (check, Finding { span, ..finding.clone() });
                self.across.entry(end.at).or_default().push(of(first));
                self.across.entry(at).or_default().push(of(second));
            }
        }
        let from = part.text.ceil_char_boundary(part.text.len().saturating_sub(REACH_BYTES));
        self.last.insert(role.to_owned(), End { at, text: part.text[from..].to_owned(), from });
        None
    }
}

/// What lies across: spans in the end and the beginning, put together without anything between.
fn across(stage: &Stage, end: &End, begin: &str, is_cut: bool) -> Vec<(usize, Finding)> {
    let seam = end.text.len();
    let mut all = Vec::new();
    for (check, configured) in stage.checks.iter().enumerate() {
        let scan = |text: &str| {
            let mut found = Vec::new();
            configured.scan(&Folded::new(text), &mut found);
            found
        };
        let before = all.len();
        for between in ["", " "] {
            let joined = format!("{}{between}{begin}", end.text);
            for finding in scan(&joined) {
                let span = finding.span.clone();
                let is_across = span.start < seam && span.end > seam + between.len();
                // What begins or ends where a text was cut may be a part of something else.
                let is_part = (span.start == 0 && end.from > 0) || (span.end == joined.len() && is_cut);
                if is_across && !is_part {
                    all.push((check, Finding { span: span.start..span.end - between.len(), ..finding }));
                }
            }
        }
        // A value that is whole on its side of the seam does not go on behind it, whatever stands there.
        let is_whole = || {
            scan(&end.text).iter().any(|finding| finding.span.end == seam)
                || scan(begin).iter().any(|finding| finding.span.start == 0)
        };
        if all.len() > before && is_whole() {
            all.truncate(before);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::keywords::Keywords;
    use crate::checks::pii::Pii;
    use crate::checks::{Action, Check};
    use crate::pipeline::Configured;
    use serde_json::json;
    use std::sync::Arc;

    fn found(messages: serde_json::Value) -> Vec<(usize, String)> {
        let text = |message: &serde_json::Value| message["content"].as_str().expect("a text").to_owned();
        let texts: Vec<String> = messages.as_array().expect("a list").iter().map(text).collect();
        let pii = Check::Pii(Pii::new(&[], &[]).expect("defaults"));
        let words = Check::Keywords(Keywords::new(&["project orion".to_owned()]).expect("small"));
        let configured = |check| Configured { name: "input.x".into(), action: Action::Mask, check: Arc::new(check) };
        let stage = Stage { checks: vec![configured(pii), configured(words)], ..Stage::default() };
        let body = serde_json::value::to_raw_value(&json!({ "messages": messages })).expect("JSON");
        let across = find(&stage, &body);
        let mut found: Vec<(usize, String)> = across
            .iter()
            .flat_map(|(at, all)| all.iter().map(|(_, finding)| (*at, texts[*at][finding.span.clone()].to_owned())))
            .collect();
        found.sort();
        found.dedup();
        found
    }

    fn by(role: &str, text: &str) -> serde_json::Value {
        json!({ "role": role, "content": text })
    }

    #[test]
    fn what_is_split_is_found_in_both_texts() {
        let split = |a: &str, b: &str| found(json!([by("user", a), by("assistant", "ok"), by("user", b)]));
        let both = |a: &str, b: &str| vec![(0, a.to_owned()), (2, b.to_owned())];
        assert_eq!(split("write to jane.roe@exam", "ple.com today"), both("jane.roe@exam", "ple.com"));
        assert_eq!(split("about project", "Orion please"), both("project", "Orion"));
        assert_eq!(split("card 4111 1111", "1111 1111 thanks"), both("4111 1111", "1111 1111"));
        let far = "x ".repeat(200);
        assert_eq!(split(&format!("{far}jane.roe@exam"), &format!("ple.com {far}")), both("jane.roe@exam", "ple.com"));
    }

    #[test]
    fn what_is_whole_or_somebody_elses_is_not() {
        for (first, second) in [
            (by("user", "write to jane.roe@example.com"), by("user", "Thanks")),
            (by("user", "write to jane.roe@exam"), by("assistant", "ple.com")),
            (by("user", "hello"), by("user", "jane.roe@example.com")),
            (by("user", "about the project"), by("user", "that is named orion")),
            (by("user", ""), by("user", "")),
        ] {
            assert_eq!(found(json!([first, second])), [], "{first} {second}");
        }
    }
}
