//! Chunks of a chat completion as the events of a message's stream.
//!
//! Source: <https://platform.claude.com/docs/en/build-with-claude/streaming>. One block is open at a time, as Claude writes them. The
//! first tool call is passed on as it is written; a provider may write several at a time, so the others, and what is said beside
//! them, are kept for the end.

use super::{
    super::{Answering, text},
    answer::{message, stop_reason, thinking_block, usage},
};
use serde_json::{Value, json};
use tollgate_schemas::StreamEvent;

/// The state between two chunks.
#[derive(Clone)]
pub(super) struct State {
    shown_model: String,
    has_begun: bool,
    /// How many blocks there are so far: the next one's index.
    blocks: usize,
    open: Option<(Kind, usize)>,
    /// The other calls, in the order in which they began.
    calls: Vec<Call>,
    /// What was said once a call had begun.
    late: String,
    stop_reason: Option<&'static str>,
    usage: Value,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Thinking,
    /// By the call's index in the chunks.
    Tool(u64),
}

/// A tool call that is not passed on yet.
#[derive(Clone)]
struct Call {
    index: u64,
    block: Value,
    arguments: String,
}

impl State {
    pub(super) fn new(shown_model: &str) -> Self {
        Self {
            shown_model: shown_model.to_owned(),
            has_begun: false,
            blocks: 0,
            open: None,
            calls: Vec::new(),
            late: String::new(),
            stop_reason: None,
            usage: usage(&Value::Null),
        }
    }

    fn begin(&mut self, id: &Value, events: &mut Vec<StreamEvent>) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        let message = json!({
            "id": id, "type": "message", "role": "assistant", "model": self.shown_model, "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": self.usage,
        });
        events.push(event(json!({ "type": "message_start", "message": message })));
    }

    fn start(&mut self, block: &Value, events: &mut Vec<StreamEvent>) -> usize {
        let index = self.blocks;
        self.blocks += 1;
        events.push(event(json!({ "type": "content_block_start", "index": index, "content_block": block })));
        index
    }

    fn close(&mut self, events: &mut Vec<StreamEvent>) {
        if let Some((_, index)) = self.open.take() {
            events.push(stop(index));
        }
    }

    /// The block for text of that kind: the open one, or a new one.
    fn block(&mut self, kind: Kind, events: &mut Vec<StreamEvent>) -> usize {
        if let Some((open, index)) = self.open
            && open == kind
        {
            return index;
        }
        self.close(events);
        let block = if kind == Kind::Thinking { thinking_block("") } else { json!({ "type": "text", "text": "" }) };
        let index = self.start(&block, events);
        self.open = Some((kind, index));
        index
    }

    fn say(&mut self, text: &str, events: &mut Vec<StreamEvent>) {
        if self.is_calling() {
            self.late.push_str(text);
            return;
        }
        let index = self.block(Kind::Text, events);
        events.push(delta(index, json!({ "type": "text_delta", "text": text })));
    }

    fn think(&mut self, text: &str, events: &mut Vec<StreamEvent>) {
        let index = self.block(Kind::Thinking, events);
        events.push(delta(index, json!({ "type": "thinking_delta", "thinking": text })));
    }

    /// A thinking block that has ended, with its signature; or one that cannot be read at all.
    fn signed(&mut self, block: &Value, events: &mut Vec<StreamEvent>) {
        if block["type"] == "redacted_thinking" {
            self.close(events);
            let index = self.start(block, events);
            events.push(stop(index));
            return;
        }
        // One that is still being written has no signature yet; its text has come as reasoning.
        if let Some(signature) = text(&block["signature"]) {
            let index = self.block(Kind::Thinking, events);
            events.push(delta(index, json!({ "type": "signature_delta", "signature": signature })));
            self.close(events);
        }
    }

    /// Thoughts beside a call have no place in a message.
    fn is_calling(&self) -> bool {
        matches!(self.open, Some((Kind::Tool(_), _)))
    }

    fn tool(&mut self, call: &Value, events: &mut Vec<StreamEvent>) {
        let at = call["index"].as_u64().unwrap_or(0);
        let part = text(&call["function"]["arguments"]).unwrap_or_default();
        if let Some(known) = self.calls.iter_mut().find(|known| known.index == at) {
            known.arguments.push_str(part);
            return;
        }
        let index = match self.open {
            Some((Kind::Tool(open), index)) if open == at => index,
            open => {
                let (id, name) = (&call["id"], &call["function"]["name"]);
                let block = json!({ "type": "tool_use", "id": id, "name": name, "input": {} });
                if let Some((Kind::Tool(_), _)) = open {
                    self.calls.push(Call { index: at, block, arguments: part.to_owned() });
                    return;
                }
                self.close(events);
                let index = self.start(&block, events);
                self.open = Some((Kind::Tool(at), index));
                index
            }
        };
        if !part.is_empty() {
            events.push(input(index, part));
        }
    }
}

impl Answering for State {
    fn chunk(&mut self, chunk: &Value) -> Vec<StreamEvent> {
        let mut events = Vec::new();
        self.begin(&chunk["id"], &mut events);
        if chunk["usage"].is_object() {
            self.usage = usage(&chunk["usage"]);
        }
        let choice = &chunk["choices"][0];
        let said = &choice["delta"];
        if let Some(thinking) = text(&said["reasoning_content"]).filter(|_| !self.is_calling()) {
            self.think(thinking, &mut events);
        }
        for block in said["thinking_blocks"].as_array().into_iter().flatten() {
            self.signed(block, &mut events);
        }
        for part in [&said["content"], &said["refusal"]].into_iter().filter_map(text) {
            self.say(part, &mut events);
        }
        for call in said["tool_calls"].as_array().into_iter().flatten() {
            self.tool(call, &mut events);
        }
        if let Some(reason) = choice["finish_reason"].as_str() {
            self.stop_reason = Some(stop_reason(reason));
        }
        events
    }

    fn end(&mut self) -> Vec<StreamEvent> {
        let mut events = Vec::new();
        self.begin(&Value::Null, &mut events);
        self.close(&mut events);
        for call in std::mem::take(&mut self.calls) {
            let index = self.start(&call.block, &mut events);
            events.push(input(index, &call.arguments));
            events.push(stop(index));
        }
        let late = std::mem::take(&mut self.late);
        if !late.is_empty() {
            self.say(&late, &mut events);
            self.close(&mut events);
        }
        let reason = self.stop_reason.unwrap_or("end_turn");
        let delta = json!({ "stop_reason": reason, "stop_sequence": null });
        events.push(event(json!({ "type": "message_delta", "delta": delta, "usage": self.usage })));
        events.push(event(json!({ "type": "message_stop" })));
        events
    }

    fn whole(self: Box<Self>, completion: &Value) -> Value {
        message(completion, &self.shown_model)
    }

    fn fork(&self) -> Box<dyn Answering> {
        Box::new(self.clone())
    }
}

fn delta(index: usize, delta: Value) -> StreamEvent {
    event(json!({ "type": "content_block_delta", "index": index, "delta": delta }))
}

fn input(index: usize, part: &str) -> StreamEvent {
    delta(index, json!({ "type": "input_json_delta", "partial_json": part }))
}

fn stop(index: usize) -> StreamEvent {
    event(json!({ "type": "content_block_stop", "index": index }))
}

fn event(document: Value) -> StreamEvent {
    StreamEvent { event: document["type"].as_str().map(str::to_owned), data: document.to_string() }
}
