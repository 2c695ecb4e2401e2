//! Llama Guard, which answers `safe`, or `unsafe` and the hazards
//! (<https://www.llama.com/docs/model-cards-and-prompt-formats/llama-guard-3/>).
//!
//! It judges the last turn of a conversation, so that all texts are one turn: whatever stands in front of the last one is judged too. Its
//! instructions and its list of hazards are in its chat template, wherever it is served.

use super::{About, Counts, Found, Parsed, Question, Ruling, said};
use crate::pipeline::Side;
use serde_json::{Value, json};
use tollgate_runtime::config::{ANOTHER_HAZARD, LLAMA_GUARD_HAZARDS};
use tollgate_schemas::ApiType;

/// Stands where the question of an answer stood, which is not known any more when the answer is checked.
const UNKNOWN: &str = "(The question is not shown.)";

pub(super) fn question(about: &About<'_>) -> Question {
    let text = about.case.spoken().map(|(_, text)| text).collect::<Vec<_>>().join("\n\n");
    let messages = match about.side() {
        Side::Input => json!([{ "role": "user", "content": text }]),
        Side::Output => {
            json!([{ "role": "user", "content": UNKNOWN }, { "role": "assistant", "content": text }])
        }
    };
    Question { api: ApiType::ChatCompletions, body: json!({ "messages": messages }) }
}

pub(super) fn ruling(counts: &Counts, answer: &Value) -> Parsed {
    let mut lines = said(answer)?.lines().map(str::trim).filter(|line| !line.is_empty());
    match (lines.next(), lines.next(), lines.next()) {
        (Some("safe"), None, None) => Ok(Ruling::Passed),
        (Some("unsafe"), None, None) => Ok(Ruling::Found(Found::named(Vec::new()))),
        (Some("unsafe"), Some(hazards), None) => {
            let hazards: Option<Vec<(&str, &str)>> = hazards.split(',').map(|code| hazard(code.trim())).collect();
            let hazards = hazards.ok_or("the answer names a hazard that there is not")?;
            let is_counted = |(code, name): &(&str, &str)| counts.is_counted(code) || counts.is_counted(name);
            let counted: Vec<String> =
                hazards.into_iter().filter(is_counted).map(|(_, name)| name.to_owned()).collect();
            Ok(if counted.is_empty() { Ruling::Passed } else { Ruling::Found(Found::named(counted)) })
        }
        _ => Err("the answer is neither safe nor unsafe"),
    }
}

/// A hazard's code and name; a newer version may have more of them.
fn hazard(code: &str) -> Option<(&str, &'static str)> {
    let number: usize = code.strip_prefix('S')?.parse().ok()?;
    let name = LLAMA_GUARD_HAZARDS.get(number.checked_sub(1)?).copied().unwrap_or(ANOTHER_HAZARD);
    Some((code, name))
}
