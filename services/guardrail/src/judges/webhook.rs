//! A judge of one's own: a service that is sent the texts and answers with a verdict. The contract is in docs/guardrails.md.

use super::{About, Chars, Found, Parsed, Ruling, labels::finding, name};
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) fn question(about: &About<'_>) -> Value {
    json!({
        "request_id": about.request_id.to_string(),
        "stage": about.side().as_str(),
        "check": &*about.judged.name,
        "texts": about.case.texts,
    })
}

pub(super) fn ruling(about: &About<'_>, answer: &Value) -> Parsed {
    #[derive(Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Word {
        Pass,
        Flag,
        Block,
    }
    #[derive(Deserialize)]
    struct Span {
        text: usize,
        start: usize,
        end: usize,
        #[serde(default)]
        label: String,
    }
    #[derive(Deserialize)]
    struct Verdict {
        verdict: Word,
        category: Option<String>,
        spans: Option<Vec<Span>>,
    }
    let verdict: Verdict = Deserialize::deserialize(answer).map_err(|_| "the answer is no verdict")?;
    let is_mild = match verdict.verdict {
        Word::Pass => return Ok(Ruling::Passed),
        Word::Flag => true,
        Word::Block => false,
    };
    let (mut spans, told) = (Vec::new(), verdict.spans.unwrap_or_default());
    let says_where = !told.is_empty();
    for Span { text, start, end, label: entity } in told {
        let of = about.case.texts.get(text).ok_or("a span names a text that there is not")?;
        let span = Chars::of(of).range(start, end).ok_or("a span is not in its text")?;
        let counted = about.counted(text, span).into_iter();
        spans.extend(counted.map(|span| (text, finding(span, &entity, 1.0))));
    }
    if says_where && spans.is_empty() {
        return Ok(Ruling::Passed);
    }
    let categories = verdict.category.and_then(|category| name(&category)).into_iter().collect();
    let spans = (!spans.is_empty()).then_some(spans);
    Ok(Ruling::Found(Found { spans, is_mild, ..Found::named(categories) }))
}
