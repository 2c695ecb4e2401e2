//! A response's stream, passed through, and the response that it amounts to.
//!
//! Source: <https://platform.openai.com/docs/api-reference/responses-streaming>. The last event holds the whole response; what the
//! others say is kept for a stream that never gets there, and for a server whose last event leaves the output out.

use super::{
    super::{
        Answer, Asked, Content, Decoded, Fields, Frame, StreamDecoder,
        assemble::{ANSWER_MAX_BYTES, ITEM_BYTES},
        raw,
    },
    answer::{answer, chars, failed},
};
use crate::failure::Failure;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tollgate_schemas::StreamEvent;

/// The state between two events.
pub(super) struct Decoder {
    shown_model: String,
    /// The response as the last event that held it told.
    response: Fields,
    /// What the caller does not see of it.
    response_model: Option<String>,
    /// By their `output_index`.
    items: BTreeMap<u64, Value>,
    bytes: usize,
    is_complete: bool,
}

impl Decoder {
    /// For the answer to `asked`.
    pub(super) fn new(asked: &Asked<'_>) -> Self {
        Self {
            shown_model: asked.shown_model.to_owned(),
            response: Fields::default(),
            response_model: None,
            items: BTreeMap::new(),
            bytes: 0,
            is_complete: false,
        }
    }

    /// Takes the response of an event, and puts in what the caller is to see of it.
    fn learn(&mut self, event: &mut Fields) -> Result<(), Failure> {
        let response = event.read::<Fields>("response");
        let response = response.map_err(|_| Failure::malformed("a response that is not a JSON object"))?;
        let Some(mut response) = response else { return Ok(()) };
        if let Some(model) = response.read("model").ok().flatten() {
            self.response_model = Some(model);
            response.put("model", &self.shown_model);
        }
        event.put("response", &response);
        self.response = response;
        Ok(())
    }

    /// Takes an event about an item. What there is to see in it.
    fn take(&mut self, kind: &str, event: &Value) -> Content {
        let index = event["output_index"].as_u64().unwrap_or(0);
        match kind {
            "response.output_item.added" => drop(self.items.insert(index, event["item"].clone())),
            "response.output_item.done" => {
                self.items.insert(index, event["item"].clone());
                return of_item(&event["item"]);
            }
            "response.content_part.added" => self.push(index, "content", &event["part"]),
            "response.reasoning_summary_part.added" => self.push(index, "summary", &event["part"]),
            _ => return self.add(index, kind, event),
        }
        Content::Nothing
    }

    fn push(&mut self, index: u64, list: &str, part: &Value) {
        let Some(item) = self.items.get_mut(&index).filter(|item| item.is_object()) else { return };
        match item[list].as_array_mut() {
            Some(parts) => parts.push(part.clone()),
            None => item[list] = json!([part]),
        }
    }

    /// Adds a delta to its text. Those that the gateway does not know are something to see too.
    fn add(&mut self, index: u64, kind: &str, event: &Value) -> Content {
        let Some(delta) = event["delta"].as_str().filter(|delta| !delta.is_empty() && kind.ends_with(".delta")) else {
            return Content::Nothing;
        };
        let of_part = |list: &'static str, at: &str, field: &'static str| (Some((list, event[at].as_u64())), field);
        let (part, field) = match kind {
            "response.output_text.delta" | "response.reasoning_text.delta" => {
                of_part("content", "content_index", "text")
            }
            "response.refusal.delta" => of_part("content", "content_index", "refusal"),
            "response.reasoning_summary_text.delta" => of_part("summary", "summary_index", "text"),
            "response.function_call_arguments.delta" | "response.mcp_call_arguments.delta" => (None, "arguments"),
            "response.custom_tool_call_input.delta" => (None, "input"),
            _ => return Content::Answer,
        };
        let item = self.items.get_mut(&index).filter(|item| item.is_object());
        let holder = match part {
            None => item,
            Some((list, at)) => {
                let at = at.and_then(|at| usize::try_from(at).ok()).unwrap_or(0);
                item.and_then(|item| item[list].get_mut(at)).filter(|part| part.is_object())
            }
        };
        match holder.map(|holder| &mut holder[field]) {
            Some(Value::String(text)) => text.push_str(delta),
            Some(other) => *other = delta.into(),
            None => {}
        }
        if field == "refusal" { Content::Refusal } else { Content::Answer }
    }
}

/// What there is to see in an item that is done.
fn of_item(item: &Value) -> Content {
    let is_empty = |part: &Value| part["type"] == "refusal" || part["text"] == "";
    let is_refusal =
        item["type"] == "message" && item["content"].as_array().is_some_and(|parts| parts.iter().all(is_empty));
    if is_refusal { Content::Refusal } else { Content::Answer }
}

impl StreamDecoder for Decoder {
    fn frame(&mut self, frame: &Frame) -> Result<Decoded, Failure> {
        // Some servers end every stream with chat's mark.
        if frame.data == "[DONE]" {
            return Ok(Decoded::default());
        }
        let malformed = || Failure::malformed("a stream event that is not a JSON object");
        let mut fields = Fields::parse(&frame.data).map_err(|_| malformed())?;
        let kind: Option<String> = fields.read("type").ok().flatten();
        self.bytes += ITEM_BYTES;
        let content = match kind.as_deref().unwrap_or_default() {
            "error" => {
                let event: Value = serde_json::from_str(&frame.data).map_err(|_| malformed())?;
                return Err(failed(if event["error"].is_object() { &event["error"] } else { &event }));
            }
            "response.failed" => {
                let response: Value = fields.read("response").ok().flatten().unwrap_or_default();
                return Err(failed(&response["error"]));
            }
            kind if fields.get("response").is_some() => {
                self.learn(&mut fields)?;
                self.is_complete = matches!(kind, "response.completed" | "response.incomplete");
                let details = || self.response.read::<Value>("incomplete_details").ok().flatten().unwrap_or_default();
                match kind {
                    "response.incomplete" => Content::of_end(details()["reason"].as_str().unwrap_or_default()),
                    _ => self.is_complete.into(),
                }
            }
            kind => {
                self.bytes += frame.data.len();
                self.take(kind, &serde_json::from_str(&frame.data).map_err(|_| malformed())?)
            }
        };
        if self.bytes > ANSWER_MAX_BYTES {
            return Err(Failure::malformed("an answer that is too large"));
        }
        let data = if fields.get("response").is_some() { fields.to_json() } else { frame.data.clone() };
        let event = StreamEvent { event: kind, data: data.replace(['\n', '\r'], " ") };
        Ok(Decoded { events: vec![event], content })
    }

    fn is_complete(&self) -> bool {
        self.is_complete
    }

    fn is_done(&self) -> bool {
        self.is_complete
    }

    fn answer(mut self: Box<Self>) -> Answer {
        let items: Vec<Value> = std::mem::take(&mut self.items).into_values().collect();
        let told = self.response.read::<Vec<Value>>("output").ok().flatten().unwrap_or_default();
        let output_chars = items.iter().map(chars).sum();
        if !self.is_complete || told.is_empty() {
            self.response.put("output", &items);
        }
        match answer(std::mem::take(&mut self.response), &self.shown_model) {
            Some(answer) => Answer { response_model: self.response_model.take(), ..answer },
            None => Answer { output_chars, ..Answer::bare(raw(&Value::Null)) },
        }
    }
}
