//! Prefill: how Claude goes on with an answer that it is shown the beginning of, at whichever provider.
//!
//! Sources: <https://platform.claude.com/docs/en/build-with-claude/working-with-messages> (the last message is the assistant's, and
//! only the rest comes), <https://platform.claude.com/docs/en/build-with-claude/prompt-engineering/prefill-claudes-response> (no white
//! space at its end, no extended thinking) and
//! <https://platform.claude.com/docs/en/test-and-evaluate/strengthen-guardrails/increase-consistency> ("not supported on Claude 4.6 and
//! later models and Claude Mythos Preview", which answer 400). On Amazon Bedrock:
//! <https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-anthropic-claude-messages.html>.

use super::{
    Asked, Fields,
    continuation::{self, Continuation},
};
use crate::failure::Failure;
use serde_json::{Value, json};

/// The last version that takes it.
const LAST: (u32, u32) = (4, 5);
/// A greater number in a model's name is a date.
const VERSION_MAX: u32 = 99;

/// What a model sends that is shown the beginning of its answer. One whose version its name does not tell is taken for a later one.
pub(super) fn continues(model: &str) -> Option<Continuation> {
    version(model).filter(|version| *version <= LAST).map(|_| Continuation::Trimmed)
}

/// Version of a Claude by its name, as in `claude-3-5-haiku-20241022`, `claude-opus-4-1` or `eu.anthropic.claude-sonnet-4-20250514-v1:0`.
fn version(model: &str) -> Option<(u32, u32)> {
    let (_, name) = model.split_once("claude-")?;
    let number = |part: &str| part.parse::<u32>().ok().filter(|number| *number <= VERSION_MAX);
    let mut numbers = name.split('-').map(number).skip_while(Option::is_none);
    let major = numbers.next()??;
    Some((major, numbers.next().flatten().unwrap_or(0)))
}

/// See [`continuation::chat`].
pub(super) fn chat(asked: &Asked<'_>) -> Result<Option<Fields>, Failure> {
    if asked.begun.is_some() && thinks(asked.chat) {
        return Err(continuation::cannot());
    }
    continuation::chat(asked, |text| json!({ "role": "assistant", "content": text.trim_end() }))
}

fn thinks(chat: &Fields) -> bool {
    let given = |name: &str| chat.read::<Value>(name).ok().flatten().unwrap_or_default();
    let [thinking, effort, more] = ["thinking", "reasoning_effort", "additionalModelRequestFields"].map(given);
    let is_on = |thinking: &Value| !thinking.is_null() && thinking["type"] != "disabled";
    is_on(&thinking) || is_on(&more["thinking"]) || !effort.is_null() && effort != "none"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claude_goes_on_up_to_version_4_5() {
        for model in [
            "claude-3-haiku-20240307",
            "claude-3-5-sonnet-20241022",
            "claude-sonnet-4-20250514",
            "claude-opus-4-1",
            "claude-haiku-4-5-20251001",
            "eu.anthropic.claude-sonnet-4-5-20250929-v1:0",
            "arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-sonnet-4-20250514-v1:0",
        ] {
            assert_eq!(continues(model), Some(Continuation::Trimmed), "{model}");
        }
        for model in [
            "claude-opus-4-6",
            "us.anthropic.claude-opus-4-6-v1",
            "claude-opus-4-8",
            "claude-sonnet-5",
            "claude-fable-5-2",
            "claude-mythos-preview",
            "amazon.nova-lite-v1:0",
            "claude",
        ] {
            assert_eq!(continues(model), None, "{model}");
        }
    }
}
