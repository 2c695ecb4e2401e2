//! APIs of the doors over a provider that does not speak them: each is translated to chat completions and back.
//!
//! ```text
//! caller's body ─► dialect ─► chat ─► leaf ─► provider ─► leaf ─► chat ─► dialect ─► caller's answer
//! ```
//!
//! Pure, like the leaves. What chat completions cannot express is refused with the name of the field. A provider that speaks the
//! API itself is never translated for: see [`crate::providers::Kind::speaks`].

mod messages;

use crate::{
    failure::Failure,
    providers::{Answer, Asked, Decoded, Encoded, Fields, Frame, Framing, Grant, Leaving, StreamDecoder, Wire},
};
use serde_json::{Value, value::RawValue};
use std::sync::Arc;
use tollgate_schemas::{ApiType, StreamEvent};

/// An API in terms of chat completions.
trait Dialect: Send + Sync {
    /// The request. `marks`: messages may carry what only Anthropic's models know ([`Wire::takes_marks`]).
    fn request(&self, body: &Fields, marks: bool) -> Result<Fields, Failure>;
    /// A whole `chat.completion`, or what there was of it.
    fn answer(&self, completion: &Value, shown_model: &str) -> Value;
    /// For one stream.
    fn events(&self, shown_model: &str) -> Box<dyn Events>;
}

/// Turns the chunks of a chat completion into the API's events.
trait Events: Send {
    /// Takes a `chat.completion.chunk`.
    fn chunk(&mut self, chunk: &Value) -> Vec<StreamEvent>;
    /// The events that end a whole answer.
    fn end(&mut self) -> Vec<StreamEvent>;
}

/// A wire format for `api` over a provider's chat; `None` if it cannot be had of a chat.
pub(crate) fn over(api: ApiType, chat: &Arc<dyn Wire>) -> Option<Arc<dyn Wire>> {
    let dialect: &'static dyn Dialect = match api {
        ApiType::Messages => &messages::Messages,
        ApiType::ChatCompletions | ApiType::Embeddings => return None,
    };
    Some(Arc::new(Translated { dialect, chat: chat.clone() }))
}

struct Translated {
    dialect: &'static dyn Dialect,
    chat: Arc<dyn Wire>,
}

impl Translated {
    fn answer(dialect: &dyn Dialect, shown_model: &str, answer: Answer) -> Answer {
        let completion: Value = serde_json::from_str(answer.body.get()).unwrap_or(Value::Null);
        let body = serde_json::value::to_raw_value(&dialect.answer(&completion, shown_model));
        Answer { body: body.unwrap_or_else(|_| RawValue::NULL.to_owned()), ..answer }
    }
}

impl Wire for Translated {
    fn otel_name(&self) -> &'static str {
        self.chat.otel_name()
    }

    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        let chat = self.dialect.request(asked.chat, self.chat.takes_marks())?;
        self.chat.encode(&Asked { chat: &chat, ..*asked })
    }

    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        Ok(Self::answer(self.dialect, asked.shown_model, self.chat.decode(asked, body)?))
    }

    fn decoder(&self, asked: &Asked<'_>) -> Box<dyn StreamDecoder> {
        // The last event tells what was used, whether or not the caller's own API has a word for asking.
        let mut chat = Fields::default();
        chat.put("stream_options", &serde_json::json!({ "include_usage": true }));
        Box::new(Decoder {
            dialect: self.dialect,
            chat: self.chat.decoder(&Asked { chat: &chat, ..*asked }),
            events: self.dialect.events(asked.shown_model),
            shown_model: asked.shown_model.to_owned(),
        })
    }

    fn classify(&self, status: u16, body: &[u8]) -> Failure {
        // The field that a provider names is one of its own body, not of the caller's.
        Failure { param: None, ..self.chat.classify(status, body) }
    }

    fn framing(&self) -> Framing {
        self.chat.framing()
    }

    fn grant(&self, key: Option<&str>, now_s: i64) -> Result<Option<Grant>, String> {
        self.chat.grant(key, now_s)
    }

    fn headers(&self, key: Option<&str>, leaving: &Leaving<'_>) -> Result<Vec<(&'static str, String)>, String> {
        self.chat.headers(key, leaving)
    }

    fn request_id_header(&self) -> &'static str {
        self.chat.request_id_header()
    }
}

struct Decoder {
    dialect: &'static dyn Dialect,
    chat: Box<dyn StreamDecoder>,
    events: Box<dyn Events>,
    shown_model: String,
}

impl StreamDecoder for Decoder {
    fn frame(&mut self, frame: &Frame) -> Result<Decoded, Failure> {
        let Decoded { events, content } = self.chat.frame(frame)?;
        let chunks = events.iter().filter_map(|event| serde_json::from_str(&event.data).ok());
        Ok(Decoded { events: chunks.flat_map(|chunk: Value| self.events.chunk(&chunk)).collect(), content })
    }

    fn is_complete(&self) -> bool {
        self.chat.is_complete()
    }

    fn is_done(&self) -> bool {
        self.chat.is_done()
    }

    fn end(&mut self) -> Vec<StreamEvent> {
        self.events.end()
    }

    fn answer(self: Box<Self>) -> Answer {
        Translated::answer(self.dialect, &self.shown_model, self.chat.answer())
    }
}
