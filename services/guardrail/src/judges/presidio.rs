//! Microsoft Presidio's analyzer, which finds personal data by models of language: names, places
//! (<https://microsoft.github.io/presidio/api-docs/api-docs.html#tag/Analyzer>).
//!
//! All texts go in one call, as a list, which the analyzer's server takes since version 2.2.361
//! (<https://github.com/data-privacy-stack/presidio/blob/main/CHANGELOG.md>). It may find several entities in the same place: its
//! scores say which one names it. An entity that it does not know it leaves out without a word, unless it knows none of those that
//! are asked for (<https://github.com/data-privacy-stack/presidio/issues/2256>).

use super::{
    About, Chars, Found, Parsed, Ruling,
    labels::{finding, label},
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What is looked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Looked {
    /// ISO 639-1.
    pub language: String,
    /// In Presidio's words; empty: all that it knows.
    pub entities: Vec<String>,
    /// From this score on.
    pub threshold: Option<f64>,
}

pub(super) fn question(about: &About<'_>, looked: &Looked) -> Value {
    let texts: Vec<&str> = about.case.spoken().map(|(_, text)| text).collect();
    let mut question = json!({ "text": texts, "language": looked.language });
    if !looked.entities.is_empty() {
        question["entities"] = json!(looked.entities);
    }
    if let Some(threshold) = looked.threshold {
        question["score_threshold"] = json!(threshold);
    }
    question
}

pub(super) fn ruling(about: &About<'_>, answer: &Value) -> Parsed {
    #[derive(Deserialize)]
    struct Entity {
        entity_type: String,
        start: usize,
        end: usize,
        #[serde(default)]
        score: f32,
    }
    let results: Vec<Vec<Entity>> =
        Deserialize::deserialize(answer).map_err(|_| "the answer is no list of results for each text")?;
    let texts: Vec<(usize, &str)> = about.case.spoken().collect();
    if results.len() != texts.len() {
        return Err("there are not as many results as texts");
    }
    let (mut spans, mut categories) = (Vec::new(), BTreeSet::new());
    for ((at, text), found) in texts.into_iter().zip(results) {
        let chars = Chars::of(text);
        for Entity { entity_type, start, end, score } in found {
            let span = chars.range(start, end).ok_or("a result is not in its text")?;
            for counted in about.counted(at, span) {
                categories.insert(label(&entity_type).to_owned());
                spans.push((at, finding(counted, &entity_type, score)));
            }
        }
    }
    if spans.is_empty() {
        return Ok(Ruling::Passed);
    }
    Ok(Ruling::Found(Found { spans: Some(spans), ..Found::named(categories.into_iter().collect()) }))
}
