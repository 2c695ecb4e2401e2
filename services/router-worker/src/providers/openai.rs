//! OpenAI, and by a preset or an address any other server of its chat completions format (vLLM, Ollama, TGI, …).
//!
//! Sources: those of `completions`, and for each preset the reference that stands beside it in the configuration's table. Some go on
//! with the beginning of an answer: vLLM by `continue_final_message`, of which its reference says that it cannot stand together with
//! `add_generation_prompt` (`ChatCompletionRequest` in <https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html>), DeepSeek
//! by `prefix` at its beta address (<https://api-docs.deepseek.com/guides/chat_prefix_completion>). OpenAI itself does not.
//! No idempotency key is sent: the reference documents none, and the official SDKs make one but send no header with it.

use super::{
    Answer, Asked, Continuation, Encoded, Leaving, StreamDecoder, Wire,
    completions::{self, Quirks},
    continuation,
};
use crate::failure::Failure;
use serde_json::{Value, json};
use tollgate_runtime::config::{Continues, Preset};

const PATH: &str = "/chat/completions";

/// The leaf.
#[derive(Debug)]
pub(super) struct OpenAi {
    otel_name: &'static str,
    /// What the server does otherwise, whichever of its APIs is called.
    pub(super) quirks: Quirks,
    continues: Option<Continues>,
    gives_back_reasoning: bool,
}

impl OpenAi {
    /// For one of the servers that are known, else for OpenAI itself or one like it.
    pub(super) fn new(preset: Option<&Preset>) -> Self {
        let quirks = preset.map_or(Quirks::default(), |preset| Quirks {
            no_stream_options: preset.no_stream_options,
            max_tokens_only: preset.max_tokens_only,
        });
        let continues = preset.and_then(|preset| preset.continues);
        let gives_back_reasoning = preset.is_some_and(|preset| preset.gives_back_reasoning);
        Self { otel_name: preset.map_or("openai", |preset| preset.otel_name), quirks, continues, gives_back_reasoning }
    }

    /// For the provider that answers by itself.
    pub(super) fn mock() -> Self {
        Self { continues: Some(Continues::FinalMessage), ..Self::new(None) }
    }

    /// The beginning of an answer as the last message.
    fn last_message(&self, text: &str) -> Value {
        match self.continues {
            Some(Continues::Prefix(_)) => json!({ "role": "assistant", "content": text, "prefix": true }),
            Some(Continues::FinalMessage) | None => json!({ "role": "assistant", "content": text }),
        }
    }
}

impl Wire for OpenAi {
    fn otel_name(&self) -> &'static str {
        self.otel_name
    }

    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        let begun = continuation::chat(asked, |text| self.last_message(text))?;
        let asked = &Asked { chat: begun.as_ref().unwrap_or(asked.chat), ..*asked };
        let mut body = completions::encode(asked, self.quirks)?;
        let path = match self.continues.filter(|_| begun.is_some()) {
            Some(Continues::FinalMessage) => {
                body.put("continue_final_message", &true);
                body.put("add_generation_prompt", &false);
                body.remove("echo");
                PATH.to_owned()
            }
            Some(Continues::Prefix(at)) => format!("{at}{PATH}"),
            None => PATH.to_owned(),
        };
        Ok(Encoded::new(path, body.to_json()))
    }

    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        completions::decode(asked, body)
    }

    fn decoder(&self, asked: &Asked<'_>) -> Box<dyn StreamDecoder> {
        Box::new(completions::Decoder::new(asked, self.quirks))
    }

    fn classify(&self, status: u16, body: &[u8]) -> Failure {
        completions::classify(status, body)
    }

    fn headers(&self, key: Option<&str>, _: &Leaving<'_>) -> Result<Vec<(&'static str, String)>, String> {
        Ok(key.map(|key| ("authorization", format!("Bearer {key}"))).into_iter().collect())
    }

    fn request_id_header(&self) -> &'static str {
        "x-request-id"
    }

    fn takes_reasoning(&self) -> bool {
        self.gives_back_reasoning
    }

    fn continues(&self, _: &str) -> Option<Continuation> {
        self.continues.map(|continues| match continues {
            // It repeats nothing without `echo`.
            Continues::FinalMessage => Continuation::Rest,
            Continues::Prefix(_) => Continuation::PerhapsAll,
        })
    }
}
