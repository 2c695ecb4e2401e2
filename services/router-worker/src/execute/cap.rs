//! The most output that a provider is asked for, where a strict budget has reserved no more.

use crate::providers::Fields;
use tollgate_schemas::ApiType;

/// Where a GenerateContent body says how it is to be answered, and its name for the maximum: Google's parsers take both spellings.
const GENERATION: [&str; 2] = ["generationConfig", "generation_config"];
const GENERATED: [&str; 2] = ["maxOutputTokens", "max_output_tokens"];

/// Nobody is asked for more output than a strict budget has reserved.
pub(super) fn cap_output(body: &mut Fields, api: ApiType, most: u64) {
    match api {
        ApiType::ChatCompletions => cap(body, &["max_completion_tokens", "max_tokens"], most),
        ApiType::Messages | ApiType::Completions => cap(body, &["max_tokens"], most),
        ApiType::Responses => cap(body, &["max_output_tokens"], most),
        ApiType::GenerateContent => {
            let given: Vec<&str> = GENERATION.into_iter().filter(|name| body.get(name).is_some()).collect();
            // Whichever of two the provider reads.
            let names = if given.is_empty() { vec![GENERATION[0]] } else { given };
            for name in names {
                let mut config = body.read::<Fields>(name).ok().flatten().unwrap_or_default();
                let both = GENERATED.iter().all(|name| config.get(name).is_some());
                cap(&mut config, &GENERATED, most);
                if both {
                    cap(&mut config, &GENERATED[1..], most);
                }
                body.put(name, &config);
            }
        }
        ApiType::Embeddings | ApiType::Moderations | ApiType::CountTokens => {}
    }
}

/// Lowers the first of these fields that is there, or puts the first.
fn cap(body: &mut Fields, names: &[&str], most: u64) {
    let given = names.iter().find(|name| body.get(name).is_some());
    let name = given.unwrap_or(&names[0]);
    let asked = body.read::<u64>(name).ok().flatten().unwrap_or(u64::MAX);
    body.put(name, &asked.min(most));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contents_maximum_is_lowered_wherever_it_stands() {
        for (given, expected) in [
            (r#"{"contents":[]}"#, r#"{"contents":[],"generationConfig":{"maxOutputTokens":5}}"#),
            (r#"{"generationConfig":{"maxOutputTokens":3}}"#, r#"{"generationConfig":{"maxOutputTokens":3}}"#),
            (
                r#"{"generation_config":{"topP":1.50,"max_output_tokens":9}}"#,
                r#"{"generation_config":{"topP":1.50,"max_output_tokens":5}}"#,
            ),
            (
                r#"{"generationConfig":{"max_output_tokens":9,"maxOutputTokens":8}}"#,
                r#"{"generationConfig":{"max_output_tokens":5,"maxOutputTokens":5}}"#,
            ),
        ] {
            let mut body = Fields::parse(given).expect("an object");
            cap_output(&mut body, ApiType::GenerateContent, 5);
            assert_eq!(body.to_json(), expected);
        }
    }
}
