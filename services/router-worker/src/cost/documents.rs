//! The request in each API's shape, and the answer in each provider's: the same prompt and tools, the same text.
//!
//! Sources: those that the leaves and the fixtures name, which know every part of these documents; here they are plain and of a
//! typical size.

use super::CHUNKS;
use crate::providers::eventstream;
use serde_json::{Value, json};

/// Of the user's message.
pub(super) const PROMPT_BYTES: usize = 2048;
const SYSTEM: &str = "You help engineers on call. Be brief, and look up what you do not know.";
const SENTENCE: &str = "Say what went wrong here, and since when: \"upstream timed out\", 502.\n";
/// The text of a chunk.
const TOKEN: &str = "word ";
const TOKENS_MAX: u32 = 1024;
/// What a provider says that the prompt was.
const PROMPT_TOKENS: usize = 600;

/// An answer as a provider says it.
pub(super) struct Said {
    /// At once.
    pub whole: Vec<u8>,
    /// Chunk by chunk, each as its bytes come.
    pub stream: Vec<Vec<u8>>,
}

/// The text of the answer.
pub(super) fn text() -> String {
    TOKEN.repeat(CHUNKS)
}

fn prompt() -> String {
    let mut prompt = SENTENCE.repeat(PROMPT_BYTES / SENTENCE.len() + 1);
    prompt.truncate(PROMPT_BYTES);
    prompt
}

/// Each tool's name, what it is for, and its parameters.
fn tools() -> [(&'static str, &'static str, Value); 2] {
    let of = |required: &str, properties: Value| json!({ "type": "object", "properties": properties, "required": [required] });
    let query = json!({ "type": "string", "description": "Words to look for, or a part of them" });
    let minutes = json!({ "type": "integer", "description": "How far back to look" });
    let search = of("query", json!({ "query": query, "minutes": minutes }));
    let service = json!({ "type": "string", "enum": ["ingress", "router", "ledger"] });
    let status = of("service", json!({ "service": service }));
    [
        ("search_logs", "Finds lines in the logs of a service", search),
        ("get_status", "Tells whether a service is up", status),
    ]
}

/// A chat completions body.
pub(super) fn chat() -> Value {
    let tools = tools().map(|(name, description, parameters)| {
        let function = json!({ "name": name, "description": description, "parameters": parameters });
        json!({ "type": "function", "function": function })
    });
    json!({
        "model": "chat",
        "messages": [{ "role": "system", "content": SYSTEM }, { "role": "user", "content": prompt() }],
        "tools": tools,
        "tool_choice": "auto",
        "temperature": 0.5,
        "max_completion_tokens": TOKENS_MAX,
    })
}

/// A Messages body.
pub(super) fn messages() -> Value {
    let tools = tools()
        .map(|(name, description, schema)| json!({ "name": name, "description": description, "input_schema": schema }));
    json!({
        "model": "chat",
        "system": SYSTEM,
        "messages": [{ "role": "user", "content": prompt() }],
        "tools": tools,
        "tool_choice": { "type": "auto" },
        "temperature": 0.5,
        "max_tokens": TOKENS_MAX,
    })
}

/// A Responses body.
pub(super) fn responses() -> Value {
    let tools = tools().map(|(name, description, parameters)| {
        let mut tool = json!({ "type": "function", "name": name, "description": description, "strict": false });
        tool["parameters"] = parameters;
        tool
    });
    json!({
        "model": "chat",
        "instructions": SYSTEM,
        "input": [{ "role": "user", "content": [{ "type": "input_text", "text": prompt() }] }],
        "tools": tools,
        "tool_choice": "auto",
        "temperature": 0.5,
        "max_output_tokens": TOKENS_MAX,
    })
}

/// The answer of a kind of provider.
pub(super) fn said_by(kind: &str) -> Said {
    match kind {
        "anthropic" => anthropic(),
        "bedrock" => bedrock(),
        "cohere" => cohere(),
        "gemini" | "vertex" => gemini(),
        // OpenAI's own format, or one that is near to it.
        _ => openai(),
    }
}

/// A server-sent event.
pub(super) fn sse(name: Option<&str>, data: &str) -> Vec<u8> {
    let name = name.map_or_else(String::new, |name| format!("event: {name}\n"));
    format!("{name}data: {data}\n\n").into_bytes()
}

fn said(whole: &Value, stream: impl IntoIterator<Item = Value>) -> Said {
    let event = |document: Value| sse(document["type"].as_str(), &document.to_string());
    Said { whole: whole.to_string().into_bytes(), stream: stream.into_iter().map(event).collect() }
}

/// These before and after a chunk for each token.
fn around(before: Vec<Value>, chunk: &Value, after: Vec<Value>) -> Vec<Value> {
    before.into_iter().chain(std::iter::repeat_n(chunk.clone(), CHUNKS)).chain(after).collect()
}

/// In OpenAI's format.
pub(super) fn openai() -> Said {
    let document = |object: &str, choices: Value, usage: Value| {
        json!({
            "id": "chatcmpl-B9MBs8CjcvOU2jLn4n570S5qMJKcT", "object": object, "created": 1_795_400_000, "model": "gpt",
            "choices": choices, "usage": usage, "service_tier": "default", "system_fingerprint": "fp_1",
        })
    };
    let chunk = |delta: Value, finish: Option<&str>| {
        let choice = json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish });
        document("chat.completion.chunk", json!([choice]), Value::Null)
    };
    let usage = json!({
        "prompt_tokens": PROMPT_TOKENS, "completion_tokens": CHUNKS, "total_tokens": PROMPT_TOKENS + CHUNKS,
        "prompt_tokens_details": { "cached_tokens": 0 }, "completion_tokens_details": { "reasoning_tokens": 0 },
    });
    let message = json!({ "role": "assistant", "content": text(), "refusal": null, "annotations": [] });
    let choice = json!({ "index": 0, "message": message, "logprobs": null, "finish_reason": "stop" });
    let whole = document("chat.completion", json!([choice]), usage.clone());
    let before = vec![chunk(json!({ "role": "assistant", "content": "", "refusal": null }), None)];
    let after = vec![chunk(json!({}), Some("stop")), document("chat.completion.chunk", json!([]), usage)];
    let mut said = said(&whole, around(before, &chunk(json!({ "content": TOKEN }), None), after));
    said.stream.push(sse(None, "[DONE]"));
    said
}

/// In Anthropic's.
pub(super) fn anthropic() -> Said {
    let message = |content: Value, reason: Value, output: usize| {
        json!({
            "id": "msg_013Zva2CMHLNnXjNJJKqJ2EF", "type": "message", "role": "assistant", "model": "claude",
            "content": content, "stop_reason": reason, "stop_sequence": null,
            "usage": { "input_tokens": PROMPT_TOKENS, "output_tokens": output, "service_tier": "standard" },
        })
    };
    let whole = message(json!([{ "type": "text", "text": text() }]), "end_turn".into(), CHUNKS);
    let before = vec![
        json!({ "type": "message_start", "message": message(json!([]), Value::Null, 1) }),
        json!({ "type": "content_block_start", "index": 0, "content_block": { "type": "text", "text": "" } }),
    ];
    let delta = json!({ "type": "text_delta", "text": TOKEN });
    let chunk = json!({ "type": "content_block_delta", "index": 0, "delta": delta });
    let stop = json!({ "stop_reason": "end_turn", "stop_sequence": null });
    let after = vec![
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "delta": stop, "usage": { "output_tokens": CHUNKS } }),
        json!({ "type": "message_stop" }),
    ];
    said(&whole, around(before, &chunk, after))
}

fn cohere() -> Said {
    let tokens = json!({ "input_tokens": PROMPT_TOKENS, "output_tokens": CHUNKS });
    let usage = json!({ "billed_units": tokens, "tokens": tokens, "cached_tokens": 0 });
    let message = json!({ "role": "assistant", "content": [{ "type": "text", "text": text() }] });
    let whole = json!({ "id": "c-1", "finish_reason": "COMPLETE", "message": message, "usage": usage });
    let content = |content: Value| json!({ "message": { "content": content } });
    let begun = json!({ "role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": [] });
    let before = vec![
        json!({ "type": "message-start", "id": "c-1", "delta": { "message": begun } }),
        json!({ "type": "content-start", "index": 0, "delta": content(json!({ "type": "text", "text": "" })) }),
    ];
    let chunk = json!({ "type": "content-delta", "index": 0, "delta": content(json!({ "text": TOKEN })) });
    let after = vec![
        json!({ "type": "content-end", "index": 0 }),
        json!({ "type": "message-end", "delta": { "finish_reason": "COMPLETE", "usage": usage } }),
    ];
    said(&whole, around(before, &chunk, after))
}

fn gemini() -> Said {
    let response = |text: &str, reason: Option<&str>| {
        let mut candidate = json!({ "content": { "role": "model", "parts": [{ "text": text }] }, "index": 0 });
        if let Some(reason) = reason {
            candidate["finishReason"] = reason.into();
        }
        let (prompt, total) = (PROMPT_TOKENS, PROMPT_TOKENS + CHUNKS);
        json!({
            "candidates": [candidate], "modelVersion": "gemini", "responseId": "resp-7",
            "usageMetadata": { "promptTokenCount": prompt, "candidatesTokenCount": CHUNKS, "totalTokenCount": total },
        })
    };
    let stream = around(Vec::new(), &response(TOKEN, None), vec![response("", Some("STOP"))]);
    said(&response(&text(), Some("STOP")), stream)
}

/// Its stream is one of binary messages.
fn bedrock() -> Said {
    let total = PROMPT_TOKENS + CHUNKS;
    let usage = json!({ "inputTokens": PROMPT_TOKENS, "outputTokens": CHUNKS, "totalTokens": total });
    let metrics = json!({ "latencyMs": 1275 });
    let output = json!({ "message": { "role": "assistant", "content": [{ "text": text() }] } });
    let whole = json!({ "output": output, "stopReason": "end_turn", "usage": usage, "metrics": metrics });
    let event = |name: &str, payload: Value| {
        let headers = [(":event-type", name), (":content-type", "application/json"), (":message-type", "event")];
        eventstream::encode(&headers, payload.to_string().as_bytes())
    };
    let chunk = event("contentBlockDelta", json!({ "contentBlockIndex": 0, "delta": { "text": TOKEN } }));
    let mut stream = vec![event("messageStart", json!({ "role": "assistant" }))];
    stream.extend(std::iter::repeat_n(chunk, CHUNKS));
    stream.push(event("contentBlockStop", json!({ "contentBlockIndex": 0 })));
    stream.push(event("messageStop", json!({ "stopReason": "end_turn" })));
    stream.push(event("metadata", json!({ "usage": usage, "metrics": metrics })));
    Said { whole: whole.to_string().into_bytes(), stream }
}
