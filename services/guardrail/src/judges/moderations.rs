//! Services that answer in the shape of OpenAI's moderations: OpenAI and Mistral themselves, and what the router makes of Amazon
//! Bedrock's guardrails and of Azure AI Content Safety (<https://platform.openai.com/docs/api-reference/moderations>).

use super::{About, Counts, Found, Parsed, Question, Ruling, Takes, name};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tollgate_schemas::ApiType;

/// Calls for one body, of a service that takes a text in pieces.
const WINDOWS_MAX: usize = 16;
/// What two pieces have in common, in characters, so that nothing hides at an edge.
const OVERLAP: usize = 200;

/// The questions about all texts, then one about each picture, of which a call takes one.
pub(super) fn questions(about: &About<'_>, takes: Takes, images: &[String]) -> Result<Vec<Question>, &'static str> {
    let texts = about.case.spoken().map(|(_, text)| text);
    let stage = about.side().as_str();
    let mut inputs: Vec<Value> = match takes {
        // Pictures alone.
        Takes::Inputs if about.case.spoken().next().is_none() => Vec::new(),
        Takes::Inputs => vec![texts.collect::<Vec<_>>().into()],
        Takes::Parts => vec![texts.map(|text| json!({ "type": "text", "text": text })).collect()],
        Takes::Windows(chars) => {
            windows(&texts.collect::<Vec<_>>().join("\n"), chars).into_iter().map(Value::from).collect()
        }
    };
    inputs.extend(images.iter().map(|url| json!([{ "type": "image_url", "image_url": { "url": url } }])));
    if inputs.len() > WINDOWS_MAX {
        return Err("there is more text than a judge is shown");
    }
    let question = |input: Value| {
        let body = json!({ "input": input, "tollgate": { "stage": stage } });
        Question { api: ApiType::Moderations, body }
    };
    Ok(inputs.into_iter().map(question).collect())
}

/// A text in pieces of so many characters that overlap a little.
fn windows(text: &str, chars: usize) -> Vec<String> {
    let all: Vec<char> = text.chars().collect();
    let step = chars.saturating_sub(OVERLAP).max(1);
    let last = all.len().saturating_sub(chars).div_ceil(step);
    (0..=last).map(|at| all[at * step..(at * step + chars).min(all.len())].iter().collect()).collect()
}

/// What the answers come to: whatever any of them says of any text.
pub(super) fn ruling(about: &About<'_>, takes: Takes, counts: &Counts, answers: &[Value]) -> Parsed {
    let texts = about.case.spoken().count();
    let (mut is_found, mut categories) = (false, BTreeSet::new());
    if answers.is_empty() {
        return Err("there is no answer");
    }
    for (at, answer) in answers.iter().enumerate() {
        let results = answer["results"].as_array().ok_or("the answer has no results")?;
        let expected = if takes == Takes::Inputs && at == 0 && texts > 0 { texts } else { 1 };
        if results.len() != expected {
            return Err("there are not as many results as texts and pictures");
        }
        for result in results {
            is_found |= read(result, takes, counts, &mut categories)?;
        }
    }
    let categories = categories.iter().filter_map(|category| name(category)).collect();
    Ok(if is_found { Ruling::Found(Found::named(categories)) } else { Ruling::Passed })
}

/// Whether a result counts as a find; adds its categories. Errors if nothing is found and a category that counts was not looked for.
fn read(
    result: &Value,
    takes: Takes,
    counts: &Counts,
    categories: &mut BTreeSet<String>,
) -> Result<bool, &'static str> {
    let (told, found) = match counts.threshold {
        Some(threshold) => {
            let told = &result["category_scores"];
            (told, named(told, |score| Some(score.as_f64()? >= threshold))?)
        }
        None => (&result["categories"], named(&result["categories"], Value::as_bool)?),
    };
    let counted: Vec<&String> = found.into_iter().filter(|category| counts.is_counted(category)).collect();
    categories.extend(counted.iter().map(|category| (*category).clone()));
    let flagged = Some(&result["flagged"]).filter(|flagged| !flagged.is_null());
    // Mistral has no such field.
    let is_flagged = flagged.map(|flagged| flagged.as_bool().ok_or("`flagged` is no truth value")).transpose()?;
    let has_own_rules = counts.threshold.is_some() || !counts.categories.is_empty();
    let is_found = !counted.is_empty() || (!has_own_rules && is_flagged == Some(true));
    if !is_found && takes.names_all() && !counts.are_told(told) {
        return Err("a result does not say of every category that counts whether it was found");
    }
    Ok(is_found)
}

/// The names in an object for whose values it holds. Errors if there is no object, or a value is not of its kind.
fn named(object: &Value, holds: impl Fn(&Value) -> Option<bool>) -> Result<Vec<&String>, &'static str> {
    let fields = object.as_object().ok_or("a result says nothing of categories")?;
    let mut names = Vec::new();
    for (name, value) in fields {
        // A category that a service does not judge here is null.
        if !value.is_null() && holds(value).ok_or("a category has a value that means nothing")? {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_shown_in_pieces_that_overlap() {
        let text: String = ('a'..='z').cycle().take(1_000).collect();
        let pieces = windows(&text, 400);
        assert_eq!(pieces.iter().map(String::len).collect::<Vec<_>>(), [400, 400, 400, 400]);
        assert_eq!((&pieces[0][200..], &pieces[3][..]), (&text[200..400], &text[600..]));
        assert_eq!(windows("äöü", 400), ["äöü"]);
        assert_eq!(windows(&text[..400], 400).len(), 1);
        assert_eq!(windows(&text[..401], 400).len(), 2);
    }
}
