//! Content as a list of parts, where OpenAI's format has a string: how Mistral and Databricks answer when a model reasons.
//!
//! Sources: `ThinkChunk` of <https://docs.mistral.ai/api/endpoint/chat> and `ReasoningContent` of
//! <https://docs.databricks.com/aws/en/machine-learning/foundation-model-apis/api-reference>. The caller sees the text in
//! `content`, the reasoning in `reasoning_content`, and in `thinking_blocks` what must be sent back in a tool loop: the same
//! names as of any other provider here.

use serde_json::{Map, Value, json};

/// What a message or a delta says, taken from `content`.
#[derive(Debug, Default, PartialEq)]
pub(in super::super) struct Said {
    /// The texts, joined.
    pub text: String,
    /// The reasoning, joined.
    pub reasoning: String,
    /// The reasoning as blocks `{"type": "thinking", "thinking": TEXT, "signature": …}`.
    pub blocks: Vec<Value>,
}

impl Said {
    /// From a list of parts. Other parts than text and reasoning are for tools that no caller of this format can ask for.
    fn of(parts: &[Value]) -> Self {
        let mut said = Self::default();
        for part in parts {
            match part["type"].as_str() {
                Some("text") => said.text.push_str(part["text"].as_str().unwrap_or_default()),
                Some("thinking") => said.reason(&part["thinking"], &part["signature"]),
                Some("reasoning") => {
                    let signature = part["summary"].as_array().into_iter().flatten().rev();
                    let signature = signature.map(|item| &item["signature"]).find(|signature| is_text(signature));
                    said.reason(&part["summary"], signature.unwrap_or(&Value::Null));
                }
                _ => {}
            }
        }
        said
    }

    /// Reasoning is a string or a list of texts.
    fn reason(&mut self, texts: &Value, signature: &Value) {
        let items = texts.as_array().into_iter().flatten().filter_map(|item| item["text"].as_str());
        let text: String = texts.as_str().into_iter().chain(items).collect();
        let mut block = json!({ "type": "thinking", "thinking": text });
        if is_text(signature) {
            block["signature"] = signature.clone();
        }
        self.reasoning.push_str(&text);
        self.blocks.push(block);
    }
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.is_empty())
}

/// Puts a list in `content` of an answer's message where the caller looks for it. Says whether there was one.
pub(in super::super) fn flatten(message: &mut Map<String, Value>) -> bool {
    let Some(said) = said(message) else { return false };
    message.insert("content".into(), said.text.into());
    if !said.reasoning.is_empty() {
        message.insert("reasoning_content".into(), said.reasoning.into());
    }
    if !said.blocks.is_empty() {
        message.insert("thinking_blocks".into(), said.blocks.into());
    }
    true
}

/// The same of a stream's delta. Its blocks are parts of one, so they are joined by `index` when the answer is put together.
pub(in super::super) fn flatten_delta(delta: &mut Map<String, Value>) -> bool {
    let Some(said) = said(delta) else { return false };
    // Without a text there is no `content`: an empty string would look like one.
    delta.remove("content");
    if !said.text.is_empty() {
        delta.insert("content".into(), said.text.into());
    }
    if !said.reasoning.is_empty() {
        delta.insert("reasoning_content".into(), said.reasoning.into());
    }
    let blocks: Vec<Value> = said.blocks.into_iter().map(|block| with_index(block, 0)).collect();
    if !blocks.is_empty() {
        delta.insert("thinking_blocks".into(), blocks.into());
    }
    true
}

fn with_index(mut block: Value, index: u64) -> Value {
    block["index"] = index.into();
    block
}

fn said(message: &Map<String, Value>) -> Option<Said> {
    message.get("content").and_then(Value::as_array).map(|parts| Said::of(parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_become_text_reasoning_and_blocks() {
        let parts = json!([
            { "type": "thinking", "thinking": [{ "type": "text", "text": "Look" }, { "type": "text", "text": " up." }] },
            { "type": "reasoning", "summary": [{ "type": "summary_text", "text": "Sure?", "signature": "c2ln" }] },
            { "type": "reference", "reference_ids": [1] },
            { "type": "text", "text": "Yes." },
            { "type": "text", "text": " No." },
        ]);
        let mut message = json!({ "role": "assistant", "content": parts });
        let message = message.as_object_mut().expect("an object");
        assert!(flatten(message));
        assert_eq!(message["content"], "Yes. No.");
        assert_eq!(message["reasoning_content"], "Look up.Sure?");
        assert_eq!(
            message["thinking_blocks"],
            json!([
                { "type": "thinking", "thinking": "Look up." },
                { "type": "thinking", "thinking": "Sure?", "signature": "c2ln" },
            ])
        );
        assert!(!flatten(message), "a string stays as it is");
    }
}
