//! A stream of this format, passed on chunk by chunk and put together.
//!
//! Sources: <https://platform.openai.com/docs/api-reference/chat/streaming>, and `…/completions` for text completions. Usage goes to a caller who asked for it, in a chunk
//! of its own at the end, wherever the server puts it.

use super::{
    super::{Answer, Asked, Assembler, Decoded, Fields, Frame, StreamDecoder, raw},
    Quirks, failure, usage,
};
use crate::{failure::Failure, tokens::Usage};
use serde_json::{Value, json};
use tollgate_schemas::StreamEvent;

/// What a text completion is called, and each of its chunks.
pub(in super::super) const TEXT_COMPLETION: &str = "text_completion";

/// The state between two events.
pub(in super::super) struct Decoder {
    /// What the whole answer is called.
    object: &'static str,
    shown_model: String,
    wants_usage: bool,
    quirks: Quirks,
    created: i64,
    assembler: Assembler,
    head_known: bool,
    done: bool,
    usage: Option<Usage>,
    /// A chunk with the usage alone, to be sent at the end: the server put it beside choices.
    usage_chunk: Option<Fields>,
    response_model: Option<String>,
    service_tier: Option<String>,
}

impl Decoder {
    /// A decoder for the answer to `asked`.
    pub(in super::super) fn new(asked: &Asked<'_>, quirks: Quirks) -> Self {
        Self {
            object: "chat.completion",
            shown_model: asked.shown_model.to_owned(),
            wants_usage: asked.wants_usage_chunk(),
            quirks,
            created: asked.created,
            assembler: Assembler::default(),
            head_known: false,
            done: false,
            usage: None,
            usage_chunk: None,
            response_model: None,
            service_tier: None,
        }
    }

    /// The same for a text completion.
    pub(in super::super) fn of_texts(asked: &Asked<'_>, quirks: Quirks) -> Self {
        Self { object: TEXT_COMPLETION, ..Self::new(asked, quirks) }
    }

    /// Sets a top-level field of the whole answer.
    pub(in super::super) fn set(&mut self, name: &str, value: Value) {
        self.assembler.set(name, value);
    }

    /// Takes what describes the whole answer from the first chunk that has it.
    fn learn_head(&mut self, fields: &Fields) {
        if let Some(tier) = fields.read("service_tier").ok().flatten() {
            self.assembler.set("service_tier", Value::String(String::clone(&tier)));
            self.service_tier = Some(tier);
        }
        if std::mem::replace(&mut self.head_known, true) {
            return;
        }
        self.response_model = fields.read("model").ok().flatten();
        let created = fields.read::<i64>("created").ok().flatten().unwrap_or(self.created);
        self.assembler.set("id", fields.read("id").ok().flatten().unwrap_or(Value::Null));
        self.assembler.set("object", self.object.into());
        self.assembler.set("created", created.into());
        self.assembler.set("model", self.shown_model.clone().into());
        if let Some(fingerprint) = fields.read::<Value>("system_fingerprint").ok().flatten() {
            self.assembler.set("system_fingerprint", fingerprint);
        }
    }

    /// Takes one chunk, and gives it back as the caller is to see it.
    pub(in super::super) fn chunk(&mut self, mut fields: Fields) -> Result<Decoded, Failure> {
        self.learn_head(&fields);
        let choices: Vec<Value> = fields.read("choices").ok().flatten().unwrap_or_default();
        let only_usage = choices.is_empty() && fields.get("usage").is_some();
        if let Some(raw) = fields.get("usage") {
            self.usage = usage(raw).or(self.usage.take());
            self.assembler.set("usage", serde_json::from_str(raw.get()).unwrap_or(Value::Null));
        }
        let content = self.assembler.choices(choices);
        if self.assembler.is_too_large() {
            return Err(Failure::malformed("an answer that is too large"));
        }
        if only_usage && !self.wants_usage {
            return Ok(Decoded::default());
        }
        fields.put("model", &self.shown_model);
        if !self.wants_usage {
            fields.remove("usage");
        } else if self.quirks.no_stream_options && !only_usage {
            if fields.get("usage").is_some() {
                let mut alone = fields.clone();
                alone.put("choices", &json!([]));
                self.usage_chunk = Some(alone);
            }
            fields.put("usage", &Value::Null);
        }
        Ok(Decoded { events: vec![event(&fields)], content })
    }

    /// The failure that an error inside a stream stands for.
    pub(in super::super) fn error(error: &Value) -> Failure {
        let status = error["code"].as_u64().and_then(|code| u16::try_from(code).ok()).filter(|code| *code >= 400);
        // The 200 has been sent by then, so an error inside a stream has no status of its own.
        failure(status.unwrap_or(500), error)
    }
}

fn event(fields: &Fields) -> StreamEvent {
    // A pretty-printed chunk came as several `data:` lines; between tokens a blank is as good as a line feed.
    StreamEvent { event: None, data: fields.to_json().replace(['\n', '\r'], " ") }
}

impl StreamDecoder for Decoder {
    fn frame(&mut self, frame: &Frame) -> Result<Decoded, Failure> {
        if frame.data == "[DONE]" {
            self.done = true;
            let events = self.usage_chunk.take().iter().map(event).collect();
            return Ok(Decoded { events, ..Decoded::default() });
        }
        let fields =
            Fields::parse(&frame.data).map_err(|_| Failure::malformed("a stream event that is not a JSON object"))?;
        if let Some(error) = fields.get("error") {
            return Err(Self::error(&serde_json::from_str(error.get()).unwrap_or(Value::Null)));
        }
        self.chunk(fields)
    }

    fn is_complete(&self) -> bool {
        // Some servers of this format leave `[DONE]` out. One that sends nothing else has not answered.
        self.head_known && (self.done || self.assembler.all_finished())
    }

    fn is_done(&self) -> bool {
        self.done
    }

    fn answer(self: Box<Self>) -> Answer {
        Answer {
            finish_reason: self.assembler.finish_reason().map(str::to_owned),
            output_chars: self.assembler.chars(),
            usage: self.usage,
            response_model: self.response_model,
            service_tier: self.service_tier,
            body: raw(&self.assembler.into_completion()),
        }
    }
}

/// A stream of a server that is near to this format: the function makes its frames this format's.
pub(in super::super) struct Over(pub Decoder, pub fn(&mut Decoder, &Frame) -> Result<Decoded, Failure>);

impl StreamDecoder for Over {
    fn frame(&mut self, frame: &Frame) -> Result<Decoded, Failure> {
        (self.1)(&mut self.0, frame)
    }

    fn is_complete(&self) -> bool {
        self.0.is_complete()
    }

    fn is_done(&self) -> bool {
        self.0.is_done()
    }

    fn answer(self: Box<Self>) -> Answer {
        Box::new(self.0).answer()
    }
}
