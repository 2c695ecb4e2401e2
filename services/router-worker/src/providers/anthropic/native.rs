//! The Messages API for callers who speak it: bodies pass through but for `model`, and answers but for `model`.
//!
//! Sources: as [`super`]. What is taken out: thinking without a signature, which this gateway showed for another provider's model
//! in an earlier answer; Anthropic refuses it.

use super::{
    super::{
        Answer, Asked, Content, Decoded, Encoded, Fields, Frame, StreamDecoder,
        assemble::{ANSWER_MAX_BYTES, ITEM_BYTES},
        beside::Side,
        raw,
    },
    response::finish_reason,
    status_of_error_type,
    usage::{Told, usage},
};
use crate::{failure::Failure, tokens::Usage};
use serde_json::{Map, Value, json};
use tollgate_schemas::StreamEvent;

/// The side for callers of the same API.
#[derive(Debug)]
pub(in super::super) struct Native;

impl Side for Native {
    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        let mut body = signed_only(asked.passed_on());
        if asked.stream {
            body.put("stream", &true);
        } else {
            body.remove("stream");
        }
        Ok(Encoded { headers: beta(asked), ..Encoded::new("/messages", body.to_json()) })
    }

    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        let fields = Fields::of_answer(body)?;
        let blocks: Vec<Value> = fields
            .read("content")
            .ok()
            .flatten()
            .ok_or_else(|| Failure::malformed("an answer that is not a message"))?;
        let used: Value = fields.read("usage").ok().flatten().unwrap_or_default();
        Ok(Answer {
            finish_reason: fields.read::<String>("stop_reason").ok().flatten().map(|reason| finish_reason_of(&reason)),
            usage: usage(&used),
            output_chars: blocks.iter().map(chars).sum(),
            service_tier: used["service_tier"].as_str().map(str::to_owned),
            ..Answer::passed_on(fields, asked.shown_model)
        })
    }

    fn decoder(&self, asked: &Asked<'_>) -> Box<dyn StreamDecoder> {
        Box::new(Decoder { shown_model: asked.shown_model.to_owned(), ..Decoder::default() })
    }
}

/// The betas that the caller asks for.
pub(super) fn beta(asked: &Asked<'_>) -> Vec<(&'static str, String)> {
    let beta = asked.api_headers.get("anthropic-beta").map(|beta| ("anthropic-beta", beta.clone()));
    beta.into_iter().collect()
}

/// The body without thinking that has no signature, nor a turn that was nothing else, which Anthropic refuses too.
pub(super) fn signed_only(mut body: Fields) -> Fields {
    if !body.get("messages").is_some_and(|messages| may_be_unsigned(messages.get())) {
        return body;
    }
    let Ok(Some(mut messages)) = body.read::<Vec<Value>>("messages") else { return body };
    let mut changed = false;
    messages.retain_mut(|message| {
        let Some(blocks) = message.get_mut("content").and_then(Value::as_array_mut) else { return true };
        let known = blocks.len();
        blocks.retain(|block| !(block["type"] == "thinking" && block["signature"] == ""));
        changed |= blocks.len() < known;
        blocks.len() == known || !blocks.is_empty()
    });
    if changed {
        body.put("messages", &messages);
    }
    body
}

/// Whether there is an empty signature somewhere, whatever white space a client writes: a look at the text, because
/// histories are long.
fn may_be_unsigned(messages: &str) -> bool {
    messages.split(r#""signature""#).skip(1).any(|behind| {
        let value = behind.trim_start().strip_prefix(':');
        value.is_some_and(|value| value.trim_start().starts_with(r#""""#))
    })
}

fn chars(block: &Value) -> usize {
    let texts = ["text", "thinking"].map(|name| block[name].as_str().map_or(0, |text| text.chars().count()));
    let input = if block["input"].is_object() { block["input"].to_string().chars().count() } else { 0 };
    texts.iter().sum::<usize>() + input
}

/// A stream, passed through, and the message that it amounts to.
#[derive(Default)]
struct Decoder {
    shown_model: String,
    message: Map<String, Value>,
    /// Each with the input of a tool call as far as it has come, as text.
    blocks: Vec<(Value, String)>,
    usage: Told,
    response_model: Option<String>,
    bytes: usize,
    is_complete: bool,
}

impl Decoder {
    /// The block that an event is about.
    fn block(&mut self, event: &Value) -> Option<&mut (Value, String)> {
        self.blocks.get_mut(usize::try_from(event["index"].as_u64()?).ok()?)
    }

    /// Adds a delta to its block. Whether it is something to see.
    fn add(&mut self, event: &Value) -> bool {
        let delta = &event["delta"];
        let Some((block, input)) = self.block(event) else { return false };
        let (field, part) = match delta["type"].as_str() {
            Some("text_delta") => ("text", &delta["text"]),
            Some("thinking_delta") => ("thinking", &delta["thinking"]),
            Some("signature_delta") => ("signature", &delta["signature"]),
            Some("input_json_delta") => {
                let part = delta["partial_json"].as_str().unwrap_or_default();
                input.push_str(part);
                self.bytes += part.len();
                return !part.is_empty();
            }
            Some("citations_delta") => {
                if let Some(citations) = block["citations"].as_array_mut() {
                    citations.push(delta["citation"].clone());
                } else {
                    block["citations"] = json!([delta["citation"]]);
                }
                return false;
            }
            _ => return false,
        };
        let part = part.as_str().unwrap_or_default();
        match &mut block[field] {
            Value::String(text) => text.push_str(part),
            other => *other = part.into(),
        }
        self.bytes += part.len();
        !part.is_empty()
    }

    fn take(&mut self, event: &mut Value) -> Result<Content, Failure> {
        self.bytes += ITEM_BYTES;
        match event["type"].as_str() {
            Some("message_start") => {
                self.response_model = event["message"]["model"].as_str().map(str::to_owned);
                event["message"]["model"] = self.shown_model.clone().into();
                self.usage.learn(&event["message"]["usage"]);
                self.message = event["message"].as_object().cloned().unwrap_or_default();
            }
            Some("content_block_start") => self.blocks.push((event["content_block"].clone(), String::new())),
            Some("content_block_delta") => return Ok(self.add(event).into()),
            Some("message_delta") => {
                for (name, value) in event["delta"].as_object().into_iter().flatten() {
                    self.message.insert(name.clone(), value.clone());
                }
                self.usage.learn(&event["usage"]);
            }
            Some("message_stop") => {
                self.is_complete = true;
                let reason = self.message.get("stop_reason").and_then(Value::as_str);
                return Ok(Content::of_end(reason.unwrap_or_default()));
            }
            Some("error") => {
                let kind = event["error"]["type"].as_str().unwrap_or_default();
                return Err(super::failure(status_of_error_type(kind), &event["error"]));
            }
            _ => {}
        }
        Ok(Content::Nothing)
    }

    fn chars(&self) -> usize {
        self.blocks.iter().map(|(block, input)| chars(block) + input.chars().count()).sum()
    }

    fn used(&self) -> Option<Usage> {
        let has_ended = self.is_complete || self.message.get("stop_reason").is_some_and(|reason| !reason.is_null());
        if has_ended { self.usage.whole() } else { self.usage.cut_off(self.chars()) }
    }
}

impl StreamDecoder for Decoder {
    fn frame(&mut self, frame: &Frame) -> Result<Decoded, Failure> {
        let mut event: Value = serde_json::from_str(&frame.data)
            .map_err(|_| Failure::malformed("a stream event that is not a JSON document"))?;
        let is_start = event["type"] == "message_start";
        let content = self.take(&mut event)?;
        if self.bytes > ANSWER_MAX_BYTES {
            return Err(Failure::malformed("an answer that is too large"));
        }
        // A caller's own silence is filled at the door.
        if event["type"] == "ping" {
            return Ok(Decoded::default());
        }
        let data = if is_start { event.to_string() } else { frame.data.replace(['\n', '\r'], " ") };
        let name = event["type"].as_str().map(str::to_owned);
        Ok(Decoded { events: vec![StreamEvent { event: name, data }], content })
    }

    fn is_complete(&self) -> bool {
        self.is_complete
    }

    fn is_done(&self) -> bool {
        self.is_complete
    }

    fn answer(mut self: Box<Self>) -> Answer {
        let (usage, output_chars) = (self.used(), self.chars());
        let mut message = std::mem::take(&mut self.message);
        message.insert("model".to_owned(), self.shown_model.clone().into());
        let finish_reason = message.get("stop_reason").and_then(Value::as_str).map(str::to_owned);
        let whole = |(mut block, input): (Value, String)| {
            if let Ok(input) = serde_json::from_str::<Value>(&input) {
                block["input"] = input;
            }
            block
        };
        let blocks: Vec<Value> = std::mem::take(&mut self.blocks).into_iter().map(whole).collect();
        message.insert("content".to_owned(), blocks.into());
        let used = self.usage.document();
        let service_tier = used["service_tier"].as_str().map(str::to_owned);
        message.insert("usage".to_owned(), used);
        Answer {
            body: raw(&Value::Object(message)),
            finish_reason: finish_reason.map(|reason| finish_reason_of(&reason)),
            usage,
            output_chars,
            response_model: self.response_model.take(),
            service_tier,
        }
    }
}

/// One word for one reason in the ledger, whichever API a caller speaks.
fn finish_reason_of(stop_reason: &str) -> String {
    finish_reason(Some(stop_reason)).to_owned()
}
