//! A chat completion as a response, and its chunks as a response's events.
//!
//! Source: <https://platform.openai.com/docs/api-reference/responses-streaming>. Texts follow one another: an item of text ends when
//! something else begins. Calls stay open to the end, because a provider may write several at a time; their events say which one
//! they are about. A whole completion is taken as one chunk, so that both ways lead to the same response.

use super::{
    super::{Answering, text},
    output::{Head, Item, Part, summary, usage},
};
use crate::providers::Asked;
use serde_json::{Value, json};
use tollgate_schemas::StreamEvent;

/// The state between two chunks.
#[derive(Clone)]
pub(super) struct State {
    head: Head,
    has_begun: bool,
    has_ended: bool,
    items: Vec<Item>,
    /// The last item is one of text that may grow.
    is_open: bool,
    finish_reason: Option<String>,
    /// Of the next event.
    sequence_number: u64,
    /// Not given out yet.
    events: Vec<StreamEvent>,
}

impl State {
    /// For the answer to `asked`.
    pub(super) fn new(asked: &Asked<'_>) -> Self {
        Self {
            head: Head::new(asked),
            has_begun: false,
            has_ended: false,
            items: Vec::new(),
            is_open: false,
            finish_reason: None,
            sequence_number: 0,
            events: Vec::new(),
        }
    }

    fn tell(&mut self, kind: &str, mut event: Value) {
        event["type"] = kind.into();
        event["sequence_number"] = self.sequence_number.into();
        self.sequence_number += 1;
        self.events.push(StreamEvent { event: Some(kind.to_owned()), data: event.to_string() });
    }

    /// An event about an item.
    fn tell_of(&mut self, at: usize, kind: &str, mut event: Value) {
        event["item_id"] = self.head.item_id(&self.items[at], at).into();
        event["output_index"] = at.into();
        self.tell(kind, event);
    }

    fn begin(&mut self) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        for kind in ["response.created", "response.in_progress"] {
            self.tell(kind, json!({ "response": self.head.response() }));
        }
    }

    /// Adds an item; `empty` is how a stream shows it before anything of it has come.
    fn start(&mut self, item: Item, empty: impl FnOnce(Value) -> Value) -> usize {
        let at = self.items.len();
        let id = self.head.item_id(&item, at);
        let shown = empty(item.document(&id, "in_progress"));
        self.items.push(item);
        self.tell("response.output_item.added", json!({ "output_index": at, "item": shown }));
        at
    }

    /// The open item, if it is of that kind.
    fn open(&self, is_kind: impl Fn(&Item) -> bool) -> Option<usize> {
        let at = self.items.len().checked_sub(1)?;
        (self.is_open && is_kind(&self.items[at])).then_some(at)
    }

    fn think(&mut self, text: &str) {
        let at = self.open(|item| matches!(item, Item::Reasoning(_))).unwrap_or_else(|| {
            self.close();
            let at = self.start(Item::Reasoning(String::new()), |mut shown| {
                shown["summary"] = json!([]);
                shown
            });
            self.is_open = true;
            let part = json!({ "summary_index": 0, "part": summary("") });
            self.tell_of(at, "response.reasoning_summary_part.added", part);
            at
        });
        if let Item::Reasoning(known) = &mut self.items[at] {
            known.push_str(text);
        }
        self.tell_of(at, "response.reasoning_summary_text.delta", json!({ "summary_index": 0, "delta": text }));
    }

    fn say(&mut self, text: &str, is_refusal: bool, logprobs: &[Value]) {
        let at = self.open(|item| matches!(item, Item::Message(_))).unwrap_or_else(|| {
            self.close();
            let at = self.start(Item::Message(Vec::new()), |shown| shown);
            self.is_open = true;
            at
        });
        let Item::Message(parts) = &self.items[at] else { return };
        let known = parts.len();
        if parts.last().is_none_or(|part| part.is_refusal != is_refusal) {
            self.end_part(at);
            let part = Part::new(is_refusal);
            let shown = json!({ "content_index": known, "part": part.document() });
            if let Item::Message(parts) = &mut self.items[at] {
                parts.push(part);
            }
            self.tell_of(at, "response.content_part.added", shown);
        }
        let Item::Message(parts) = &mut self.items[at] else { return };
        let index = parts.len().saturating_sub(1);
        let Some(part) = parts.last_mut() else { return };
        part.text.push_str(text);
        part.logprobs.extend_from_slice(logprobs);
        let delta = json!({ "content_index": index, "delta": text });
        if is_refusal {
            self.tell_of(at, "response.refusal.delta", delta);
        } else {
            self.tell_of(at, "response.output_text.delta", with(delta, "logprobs", logprobs.into()));
        }
    }

    /// The last part of a message is whole.
    fn end_part(&mut self, at: usize) {
        let Item::Message(parts) = &self.items[at] else { return };
        let Some((index, part)) = parts.iter().enumerate().next_back() else { return };
        let (text, document) = (part.text.clone(), part.document());
        if part.is_refusal {
            self.tell_of(at, "response.refusal.done", json!({ "content_index": index, "refusal": text }));
        } else {
            let done = json!({ "content_index": index, "text": text, "logprobs": part.logprobs });
            self.tell_of(at, "response.output_text.done", done);
        }
        self.tell_of(at, "response.content_part.done", json!({ "content_index": index, "part": document }));
    }

    fn call(&mut self, call: &Value) {
        let index = call["index"].as_u64().unwrap_or(0);
        let known = self.items.iter().position(|item| matches!(item, Item::Call { index: at, .. } if *at == index));
        let at = known.unwrap_or_else(|| {
            self.close();
            let id = text(&call["id"]).map_or_else(|| self.head.call_id(self.items.len()), str::to_owned);
            let name = call["function"]["name"].clone();
            self.start(Item::Call { index, call_id: id.into(), name, arguments: String::new() }, |shown| shown)
        });
        let Some(part) = text(&call["function"]["arguments"]) else { return };
        if let Item::Call { arguments, .. } = &mut self.items[at] {
            arguments.push_str(part);
        }
        self.tell_of(at, "response.function_call_arguments.delta", json!({ "delta": part }));
    }

    /// Ends the open item of text, because something else begins.
    fn close(&mut self) {
        if let Some(at) = self.open(|_| true) {
            self.is_open = false;
            self.done(at, "completed");
        }
    }

    /// An item is whole, or as whole as it gets.
    fn done(&mut self, at: usize, status: &str) {
        match &self.items[at] {
            Item::Reasoning(text) => {
                let (text, part) = (text.clone(), summary(text));
                let done = json!({ "summary_index": 0, "text": text });
                self.tell_of(at, "response.reasoning_summary_text.done", done);
                let done = json!({ "summary_index": 0, "part": part });
                self.tell_of(at, "response.reasoning_summary_part.done", done);
            }
            Item::Message(_) => self.end_part(at),
            Item::Call { name, arguments, .. } => {
                let done = json!({ "name": name, "arguments": arguments });
                self.tell_of(at, "response.function_call_arguments.done", done);
            }
        }
        let item = self.document(at, status);
        self.tell("response.output_item.done", json!({ "output_index": at, "item": item }));
    }

    fn document(&self, at: usize, status: &str) -> Value {
        self.items[at].document(&self.head.item_id(&self.items[at], at), status)
    }

    /// How it ended: its status, and the details of one that is not whole.
    fn ending(&self) -> (&'static str, Value) {
        match self.finish_reason.as_deref() {
            _ if !self.has_ended => ("in_progress", Value::Null),
            Some("length") => ("incomplete", json!({ "reason": "max_output_tokens" })),
            Some("content_filter") => ("incomplete", json!({ "reason": "content_filter" })),
            _ => ("completed", Value::Null),
        }
    }

    /// The response with all that has come.
    fn response(&mut self) -> Value {
        let (status, details) = self.ending();
        let last = self.items.len().saturating_sub(1);
        // What was cut off is the last item.
        let of = |at: usize| if at == last { status } else { "completed" };
        let output: Vec<Value> = (0..self.items.len()).map(|at| self.document(at, of(at))).collect();
        self.head.set("status", status.into());
        self.head.set("incomplete_details", details);
        self.head.set("output", output.into());
        self.head.response()
    }
}

impl Answering for State {
    fn chunk(&mut self, chunk: &Value) -> Vec<StreamEvent> {
        self.begin();
        if chunk["usage"].is_object() {
            self.head.set("usage", usage(&chunk["usage"]));
        }
        if chunk["service_tier"].is_string() {
            self.head.set("service_tier", chunk["service_tier"].clone());
        }
        let choice = &chunk["choices"][0];
        let said = &choice["delta"];
        if let Some(thought) = text(&said["reasoning_content"]) {
            self.think(thought);
        }
        if let Some(content) = text(&said["content"]) {
            let logprobs = choice["logprobs"]["content"].as_array().map_or(&[][..], Vec::as_slice);
            self.say(content, false, logprobs);
        }
        if let Some(refusal) = text(&said["refusal"]) {
            self.say(refusal, true, &[]);
        }
        for call in said["tool_calls"].as_array().into_iter().flatten() {
            self.call(call);
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.finish_reason = Some(reason.to_owned());
        }
        std::mem::take(&mut self.events)
    }

    fn end(&mut self) -> Vec<StreamEvent> {
        self.begin();
        self.has_ended = true;
        let (status, _) = self.ending();
        let last = self.items.len().saturating_sub(1);
        let open = self.open(|_| true);
        for at in 0..self.items.len() {
            if open == Some(at) || matches!(self.items[at], Item::Call { .. }) {
                self.done(at, if at == last { status } else { "completed" });
            }
        }
        self.is_open = false;
        let response = self.response();
        self.tell(&format!("response.{status}"), json!({ "response": response }));
        std::mem::take(&mut self.events)
    }

    fn whole(mut self: Box<Self>, completion: &Value) -> Value {
        if !self.has_begun {
            let choice = &completion["choices"][0];
            let mut said = choice["message"].clone();
            for (index, call) in said["tool_calls"].as_array_mut().into_iter().flatten().enumerate() {
                call["index"] = index.into();
            }
            self.chunk(&json!({
                "choices": [
                    { "delta": said, "logprobs": choice["logprobs"], "finish_reason": choice["finish_reason"] },
                ],
                "usage": completion["usage"],
                "service_tier": completion["service_tier"],
            }));
            self.end();
        }
        self.response()
    }

    fn fork(&self) -> Box<dyn Answering> {
        Box::new(self.clone())
    }
}

fn with(mut event: Value, name: &str, value: Value) -> Value {
    event[name] = value;
    event
}
