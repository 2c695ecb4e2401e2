//! How many tokens a request may take, before anybody has counted them.
//!
//! A token of the tokenisers in use stands for about four characters of English text, three of code, one of Chinese (three bytes).
//! A third of the bytes is therefore rather more than less. Binary data in base64 is no text: an image costs what its size in
//! pixels says, which is not looked at; a fixed amount stands for each.

use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use tollgate_schemas::ApiType;

/// Bytes that stand for one token.
const BYTES_PER_TOKEN: u64 = 3;
/// Tokens that stand for a piece of base64 data: a large image at the dearest setting of OpenAI and Anthropic is below it.
const DATA_TOKENS: u64 = 1_600;
/// What announces base64 data in a body.
const DATA_MARKS: [&str; 3] = [";base64,", "\"data\":\"", "\"data\": \""];
/// Shorter strings behind a mark are counted as text.
const DATA_MIN_BYTES: usize = 1_024;
/// More answers to one prompt no API gives.
const CHOICES_MAX: u64 = 128;
/// What a text completion may produce if the caller sets no maximum
/// (<https://platform.openai.com/docs/api-reference/completions/create>).
const COMPLETION_TOKENS: u64 = 16;

/// What the body says of its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// Tokens of the prompt, rather more than less.
    pub input_tokens: u64,
    /// The caller's maximum a choice.
    pub output_tokens: Option<u64>,
    /// How many answers the caller wants.
    pub choices: u64,
}

#[derive(Deserialize)]
struct Peek<'a> {
    max_tokens: Option<u64>,
    max_completion_tokens: Option<u64>,
    max_output_tokens: Option<u64>,
    n: Option<u64>,
    #[serde(borrow, default)]
    _rest: Option<Cow<'a, str>>,
}

/// What else says how many answers of a text completion there are.
#[derive(Deserialize)]
struct Prompts<'a> {
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    best_of: Option<u64>,
}

/// What a GenerateContent body says of it. Google's parsers take both spellings of a name.
#[derive(Deserialize)]
struct Generate {
    #[serde(rename = "generationConfig", alias = "generation_config")]
    config: Option<GenerationConfig>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GenerationConfig {
    #[serde(alias = "max_output_tokens")]
    max_output_tokens: Option<u64>,
    #[serde(alias = "candidate_count")]
    candidate_count: Option<u64>,
}

impl Estimate {
    /// Of a request that uses no tokens.
    const NOTHING: Self = Self { input_tokens: 0, output_tokens: Some(0), choices: 1 };

    /// The most it may produce, all choices together; `default` a choice if the caller sets no maximum.
    pub fn output(&self, default: u64) -> u64 {
        self.output_tokens.unwrap_or(default).saturating_mul(self.choices)
    }
}

/// Of a body that is a JSON document.
pub fn of(api: ApiType, body: &str) -> Estimate {
    if api == ApiType::CountTokens {
        return Estimate::NOTHING;
    }
    let peek: Option<Peek<'_>> = serde_json::from_str(body).ok();
    let generate = (api == ApiType::GenerateContent).then(|| serde_json::from_str::<Generate>(body).ok()).flatten();
    let generation = generate.and_then(|generate| generate.config);
    let (data, pieces) = data_in(body);
    let text = (body.len() - data) as u64;
    Estimate {
        input_tokens: text.div_ceil(BYTES_PER_TOKEN) + pieces * DATA_TOKENS,
        output_tokens: match api {
            ApiType::Embeddings | ApiType::Moderations | ApiType::CountTokens => Some(0),
            ApiType::Completions => Some(peek.as_ref().and_then(|peek| peek.max_tokens).unwrap_or(COMPLETION_TOKENS)),
            ApiType::GenerateContent => generation.as_ref().and_then(|config| config.max_output_tokens),
            ApiType::Responses => peek.as_ref().and_then(|peek| peek.max_output_tokens),
            ApiType::ChatCompletions | ApiType::Messages => {
                peek.as_ref().and_then(|peek| peek.max_completion_tokens.or(peek.max_tokens))
            }
        },
        choices: match api {
            ApiType::Completions => texts(body, peek.and_then(|peek| peek.n)),
            ApiType::GenerateContent => choices(generation.and_then(|config| config.candidate_count)),
            _ => choices(peek.and_then(|peek| peek.n)),
        },
    }
}

fn choices(wanted: Option<u64>) -> u64 {
    wanted.unwrap_or(1).clamp(1, CHOICES_MAX)
}

/// How many texts a completion produces: so many for each of its prompts, those that are thrown away included.
fn texts(body: &str, n: Option<u64>) -> u64 {
    let Ok(Prompts { prompt, best_of }) = serde_json::from_str(body) else { return n.unwrap_or(1).max(1) };
    let list = prompt.and_then(|prompt| serde_json::from_str::<Vec<&RawValue>>(prompt.get()).ok());
    let prompts = match list.as_deref() {
        // Numbers are the tokens of one prompt.
        Some(list @ [first, ..]) if first.get().starts_with(['"', '[']) => list.len() as u64,
        _ => 1,
    };
    n.unwrap_or(1).max(best_of.unwrap_or(1)).clamp(1, CHOICES_MAX).saturating_mul(prompts)
}

/// Bytes of base64 data, and in how many pieces.
fn data_in(body: &str) -> (usize, u64) {
    let (mut bytes, mut pieces) = (0, 0);
    for mark in DATA_MARKS {
        for (at, _) in body.match_indices(mark) {
            let rest = &body.as_bytes()[at + mark.len()..];
            let is_data =
                |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(**byte, b'+' | b'/' | b'=' | b'-' | b'_');
            let length = rest.iter().take_while(is_data).count();
            if length >= DATA_MIN_BYTES {
                bytes += length;
                pieces += 1;
            }
        }
    }
    (bytes, pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_counts_by_its_length_and_data_by_the_piece() {
        let text = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"{}"}}]}}"#, "word ".repeat(600));
        let estimate = of(ApiType::Messages, &text);
        assert!((1_000..1_100).contains(&estimate.input_tokens), "{estimate:?}");
        assert_eq!((estimate.output_tokens, estimate.choices), (None, 1));
        let data = "QUJD".repeat(100_000);
        let image = format!(
            r#"{{"messages":[{{"content":[{{"image_url":{{"url":"data:image/png;base64,{data}"}}}}]}}],"n":3,"max_tokens":7}}"#
        );
        let estimate = of(ApiType::ChatCompletions, &image);
        assert_eq!(of(ApiType::Embeddings, &text).output(4096), 0);
        assert!((1_600..1_700).contains(&estimate.input_tokens), "{estimate:?}");
        assert_eq!((estimate.output_tokens, estimate.choices), (Some(7), 3));
    }

    #[test]
    fn a_content_names_its_maximum_in_its_configuration_and_a_count_uses_nothing() {
        for body in [
            r#"{"contents":[],"generationConfig":{"maxOutputTokens":7,"candidateCount":2}}"#,
            r#"{"contents":[],"generation_config":{"max_output_tokens":7,"candidate_count":2}}"#,
        ] {
            let estimate = of(ApiType::GenerateContent, body);
            assert_eq!((estimate.output_tokens, estimate.choices, estimate.output(9)), (Some(7), 2, 14), "{body}");
        }
        assert_eq!(of(ApiType::GenerateContent, r#"{"max_tokens":5,"n":3}"#).output(9), 9);
        assert_eq!(of(ApiType::CountTokens, r#"{"messages":[]}"#), Estimate::NOTHING);
    }

    #[test]
    fn the_newer_name_of_the_maximum_wins_and_nonsense_counts_as_text() {
        assert_eq!(
            of(ApiType::ChatCompletions, r#"{"max_tokens":5,"max_completion_tokens":9}"#).output_tokens,
            Some(9)
        );
        assert_eq!(of(ApiType::ChatCompletions, r#"{"max_tokens":"many"}"#).output_tokens, None);
        assert_eq!(of(ApiType::ChatCompletions, r#"{"n":0}"#).choices, 1);
        assert_eq!(of(ApiType::Responses, r#"{"max_tokens":5,"max_output_tokens":9}"#).output_tokens, Some(9));
    }

    #[test]
    fn a_text_completion_has_an_answer_for_each_prompt_and_a_maximum_of_its_own() {
        for (body, expected) in [
            (r#"{"prompt":"a"}"#, 16),
            (r#"{"prompt":"a","max_tokens":9,"n":2,"best_of":3}"#, 27),
            (r#"{"prompt":["a","b"],"max_tokens":9,"n":2}"#, 36),
            (r#"{"prompt":[1,2,3],"max_tokens":9}"#, 9),
            (r#"{"prompt":[[1,2],[3]],"max_tokens":9}"#, 18),
            (r#"{"prompt":[],"n":0}"#, 16),
            (r#"{"prompt":"a","best_of":"many"}"#, 16),
        ] {
            assert_eq!(of(ApiType::Completions, body).output(4096), expected, "{body}");
        }
        assert_eq!(of(ApiType::Moderations, r#"{"input":["a","b"]}"#).output(4096), 0);
    }
}
