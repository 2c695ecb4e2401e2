//! The Responses API: passed on to a server that speaks it, and over chat completions from every provider's fixtures.

use super::{
    dialects::{body, decoded},
    fixtures::{asked, fixtures, kinds, stream_bytes},
};
use crate::providers::{Asked, Fields, Frame, Wire, kind};
use serde_json::{Value, json};
use std::sync::Arc;
use tollgate_runtime::config::{Provider, ProviderKind};
use tollgate_schemas::{ApiType, StreamEvent};

const RESPONSE: &str = include_str!("../../fixtures/responses/response.json");
const STREAM: &[u8] = include_bytes!("../../fixtures/responses/stream.txt");

fn native() -> Arc<dyn Wire> {
    kind(&Provider::of(ProviderKind::Openai)).expect("supported").speaks(ApiType::Responses).expect("its own API")
}

fn over(kind: &str) -> Arc<dyn Wire> {
    let (_, kind) = kinds().into_iter().find(|(name, _)| *name == kind).expect("a kind");
    crate::dialects::over(ApiType::Responses, &kind.wire).expect("a dialect")
}

fn fixture() -> Value {
    serde_json::from_str(RESPONSE).expect("JSON")
}

fn fields(document: &Value) -> Fields {
    Fields::parse(&document.to_string()).expect("an object")
}

fn document(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

fn param(wire: &dyn Wire, body: &Value, may_store: bool) -> Option<String> {
    let body = fields(body);
    wire.encode(&Asked { may_store, ..Asked::of(&body) }).err().map(|failure| failure.param.expect("a field"))
}

#[test]
fn a_body_passes_unchanged_but_for_what_is_stored() {
    let text = r#"{"model":"chat","input":[ {"type":"custom_tool_call","x":1.50}, "odd" ],"yet_unknown":{"b":1e3}}"#;
    let given = Fields::parse(text).expect("an object");
    let sent = |may_store| {
        let asked = Asked { upstream_model: "gpt", may_store, ..Asked::of(&given) };
        native().encode(&asked).expect("expressible")
    };
    let passed = text.replace(r#""chat""#, r#""gpt""#);
    assert_eq!((sent(true).path.as_str(), sent(true).body.as_str()), ("/responses", passed.as_str()));
    assert_eq!(sent(false).body, passed.replace("}}", r#"},"store":false}"#));

    let whole = fixture();
    let given = fields(&whole["request"]);
    let sent = native().encode(&Asked { upstream_model: "gpt-5.1", ..Asked::of(&given) }).expect("expressible");
    let mut expected = whole["request"].clone();
    expected["model"] = "gpt-5.1".into();
    expected["store"] = false.into();
    expected["input"].as_array_mut().expect("items").retain(|item| item["id"] != "rs_2");
    assert_eq!(document(&sent.body), expected, "reasoning that nobody can read is left out");
}

#[test]
fn what_is_stored_is_for_endpoints_that_allow_it() {
    for (name, value) in [("previous_response_id", json!("resp_1")), ("conversation", json!({ "id": "conv_1" }))] {
        let body = json!({ "input": "hi", name: value });
        assert_eq!(param(&*native(), &body, true), None);
        for (wire, may_store) in [(native(), false), (over("openai"), false), (over("openai"), true)] {
            assert_eq!(param(&*wire, &body, may_store).as_deref(), Some(name));
        }
    }
    let undone = |wire: Arc<dyn Wire>, store: Value, may_store| {
        let body = fields(&json!({ "input": "hi", "store": store }));
        let sent = wire.encode(&Asked { may_store, ..Asked::of(&body) }).expect("expressible");
        (document(&sent.body)["store"].clone(), sent.undone)
    };
    assert_eq!(undone(native(), json!(true), true), (json!(true), vec![]));
    assert_eq!(undone(native(), json!(true), false), (json!(false), vec!["store"]), "who asked for it is told");
    assert_eq!(undone(over("openai"), json!(true), true), (Value::Null, vec!["store"]));
    for wire in [native(), over("openai")] {
        assert_eq!(undone(wire, json!(false), false).1, Vec::<&str>::new());
    }
    for wire in [native(), over("openai")] {
        assert_eq!(param(&*wire, &json!({ "input": "hi", "background": true }), true).as_deref(), Some("background"));
        for none in [json!(false), json!(null)] {
            assert_eq!(param(&*wire, &json!({ "input": "hi", "background": none }), true), None);
        }
    }
}

#[test]
fn who_is_known_to_speak_it_is_asked_in_it() {
    let path = |provider: Provider| {
        let body = fields(&json!({ "input": "hi" }));
        let wire = kind(&provider).expect("supported").speaks(ApiType::Responses).expect("a wire");
        wire.encode(&Asked::of(&body)).expect("expressible").path
    };
    let openai = |preset: Option<&str>, base_url: Option<&str>| Provider {
        preset: preset.map(str::to_owned),
        base_url: base_url.map(str::to_owned),
        ..Provider::of(ProviderKind::Openai)
    };
    let (own, local) = ("https://eu.api.openai.com/v1", "http://127.0.0.1:8000/v1");
    for provider in
        [openai(None, None), openai(None, Some(own)), openai(Some("openai"), Some(local)), openai(Some("xai"), None)]
    {
        assert_eq!(path(provider), "/responses");
    }
    for provider in [openai(None, Some(local)), openai(Some("vllm"), None), openai(Some("groq"), None)] {
        assert_eq!(path(provider), "/chat/completions");
    }
    let azure = |api_version: Option<&str>| Provider {
        base_url: Some("https://x.test".to_owned()),
        api_version: api_version.map(str::to_owned),
        ..Provider::of(ProviderKind::Azure)
    };
    assert_eq!(path(azure(None)), "/openai/v1/responses");
    assert!(path(azure(Some("2024-10-21"))).starts_with("/openai/deployments/up/chat/completions"));
}

#[test]
fn a_native_answer_and_stream_pass_through_and_are_counted() {
    let whole = fixture();
    let given = fields(&whole["request"]);
    let asked = Asked { stream: true, ..Asked::of(&given) };
    let mut expected = whole["response"].clone();
    expected["model"] = "chat".into();
    let answer = native().decode(&asked, whole["response"].to_string().as_bytes()).expect("decodes");
    assert_eq!(document(answer.body.get()), expected);
    let (events, decoder) = decoded(&*native(), &asked, STREAM, 7);
    let again = decoded(&*native(), &asked, STREAM, STREAM.len()).0;
    assert_eq!(events, again);
    assert!(decoder.is_done());
    let text = std::str::from_utf8(STREAM).expect("text");
    let sent: Vec<Value> = text.lines().filter_map(|line| line.strip_prefix("data: ")).map(document).collect();
    for (event, sent) in events.iter().zip(&sent) {
        assert_eq!(event.event.as_deref(), sent["type"].as_str());
        let mut sent = sent.clone();
        if sent["response"].is_object() {
            sent["response"]["model"] = "chat".into();
        }
        assert_eq!(document(&event.data), sent);
    }
    assert_eq!(events.len(), sent.len());
    let streamed = decoder.answer();
    assert_eq!(document(streamed.body.get()), expected);
    for answer in [answer, streamed] {
        assert_eq!(answer.finish_reason.as_deref(), Some("tool_calls"));
        assert_eq!(
            (answer.response_model.as_deref(), answer.service_tier.as_deref()),
            (Some("gpt-5.1-2025-11-13"), Some("default"))
        );
        assert_eq!(answer.output_chars, 11 + 11 + 15);
        let tokens = answer.usage.expect("usage").tokens;
        let counted = (tokens.input, tokens.output, tokens.cache_read, tokens.reasoning);
        assert_eq!(counted, (1000, 200, Some(300), Some(50)));
    }
}

#[test]
fn a_native_stream_that_is_cut_off_is_kept_as_far_as_it_came() {
    let given = fields(&json!({ "input": "1234567" }));
    let text = std::str::from_utf8(STREAM).expect("text");
    let mut decoder = native().decoder(&Asked::of(&given));
    let frames = text.lines().filter_map(|line| line.strip_prefix("data: "));
    for data in frames.take_while(|data| !data.contains("response.completed") && !data.contains(r#""delta": "\"Rome"#))
    {
        decoder.frame(&Frame { event: None, data: data.to_owned() }).expect("decodes");
    }
    assert!(!decoder.is_complete());
    let answer = decoder.answer();
    let kept = document(answer.body.get());
    assert_eq!(
        (&kept["status"], &kept["output"][1]["content"][0]["text"]),
        (&json!("in_progress"), &json!("Wait, été 😀"))
    );
    assert_eq!(kept["output"][2]["arguments"], r#"{"city":"#);
    let usage = answer.usage_or_estimate(&Asked::of(&given));
    assert_eq!((usage.tokens.input, usage.tokens.output), (2, 7));
}

#[test]
fn a_stream_that_fails_is_a_failure() {
    let failed =
        |code: &str| json!({ "type": "response.failed", "response": { "error": { "code": code, "message": "boom" } } });
    let cases = [
        (failed("server_error"), "Server"),
        (failed("rate_limit_exceeded"), "RateLimited"),
        (failed("insufficient_quota"), "Refused"),
        (failed("invalid_prompt"), "ContentPolicy"),
        (failed("context_length_exceeded"), "ContextWindow"),
        (failed("image_too_small"), "Rejected"),
        (json!({ "type": "error", "code": "server_error", "message": "boom", "param": null }), "Server"),
        (
            json!({ "type": "error", "error": { "type": "x", "code": "rate_limit_exceeded", "message": "boom" } }),
            "RateLimited",
        ),
        (json!([]), "Server"),
    ];
    for (event, class) in cases {
        let given = Fields::default();
        let mut decoder = native().decoder(&Asked::of(&given));
        let failure = decoder.frame(&Frame { event: None, data: event.to_string() }).expect_err("an error").refined();
        assert_eq!(format!("{:?}", failure.class), class, "{event}");
    }
    let whole = json!({ "status": "failed", "error": { "code": "server_error", "message": "boom" }, "output": [] });
    assert!(native().decode(&Asked::of(&Fields::default()), whole.to_string().as_bytes()).is_err());
    let ended = |reason: &str| {
        let whole = json!({ "status": "incomplete", "incomplete_details": { "reason": reason }, "output": [] });
        native().decode(&Asked::of(&Fields::default()), whole.to_string().as_bytes()).expect("an answer").finish_reason
    };
    assert_eq!(ended("max_output_tokens").as_deref(), Some("length"));
    assert_eq!(ended("content_filter").as_deref(), Some("content_filter"));
}

/// What OpenAI's clients make of events is what the decoder for its own API makes of them.
#[test]
fn a_translated_stream_amounts_to_the_translated_answer() {
    for (name, kind) in kinds() {
        let (_, fixture) = fixtures(name).into_iter().find(|(name, _)| name == "stream").expect("stream");
        let (request, text) = (fields(&json!({ "model": "chat", "input": "hi" })), stream_bytes(name, &kind));
        let asked = asked(&request, &fixture);
        let wire = crate::dialects::over(ApiType::Responses, &kind.wire).expect("a dialect");
        for piece in [7, text.len()] {
            let (events, decoder) = decoded(&*wire, &asked, &text, piece);
            let native = native();
            let mut client = native.decoder(&asked);
            for (at, StreamEvent { event, data }) in events.into_iter().enumerate() {
                let told = document(&data);
                assert_eq!((told["type"].as_str(), &told["sequence_number"]), (event.as_deref(), &json!(at)), "{name}");
                let last = client.is_complete();
                client.frame(&Frame { event, data }).expect("an event of the Responses API");
                assert!(!last, "{name}: nothing follows the end");
            }
            assert!(client.is_complete(), "{name}");
            let answer = client.answer();
            assert!(answer.usage.is_some() && answer.finish_reason.is_some(), "{name}");
            assert_eq!(document(answer.body.get()), body(decoder), "{name}");
        }
    }
}

/// Without the last event, from the others alone.
#[test]
fn the_events_of_items_amount_to_their_output() {
    let (_, kind) = kinds().into_iter().find(|(name, _)| *name == "anthropic").expect("a kind");
    let fixture = json!({ "model": "m", "request": { "stream": true } });
    let request = fields(&json!({ "model": "chat", "input": "hi" }));
    let asked = asked(&request, &fixture);
    let (events, decoder) = decoded(&*over("anthropic"), &asked, &stream_bytes("anthropic", &kind), 64);
    let texts = |response: &Value| -> Vec<Value> {
        let items = response["output"].as_array().expect("items").iter();
        items
            .map(|item| json!([item["id"], item["summary"][0]["text"], item["content"][0]["text"], item["arguments"]]))
            .collect()
    };
    let expected = texts(&body(decoder));
    for only in ["done", "delta"] {
        let native = native();
        let mut client = native.decoder(&asked);
        for StreamEvent { event, data } in events.iter().take(events.len() - 1) {
            if only == "delta" && data.contains("output_item.done") {
                continue;
            }
            client.frame(&Frame { event: event.clone(), data: data.clone() }).expect("an event");
        }
        assert_eq!(texts(&body(client)), expected, "{only}");
    }
}

#[test]
fn a_chat_becomes_a_response() {
    let given = fields(&json!({
        "model": "chat", "input": "hi", "instructions": "be brief", "tools": [{ "type": "function", "name": "f" }],
        "text": { "verbosity": "low" }, "metadata": { "a": "b" }, "max_output_tokens": 9, "store": true,
    }));
    let asked =
        Asked { request_id: "01997a6e-0000-7000-8000-000000000001".parse().expect("an id"), ..Asked::of(&given) };
    let answered = |message: Value, finish: &str| {
        let chat = json!({
            "id": "chatcmpl-1", "choices": [{ "index": 0, "message": message, "finish_reason": finish }],
            "usage": { "prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": { "cached_tokens": 4 } },
        });
        document(over("openai").decode(&asked, chat.to_string().as_bytes()).expect("decodes").body.get())
    };
    let call = json!({ "id": "call_1", "type": "function", "function": { "name": "f", "arguments": "{\"a\":1}" } });
    let said =
        answered(json!({ "reasoning_content": "hm", "content": "ho", "tool_calls": [call, call] }), "tool_calls");
    let id = |kind: &str, at: usize| format!("{kind}_01997a6e0000700080000000000000010{at:03}");
    let called = |at| json!({ "id": id("fc", at), "type": "function_call", "status": "completed", "call_id": "call_1", "name": "f", "arguments": "{\"a\":1}" });
    let text = json!({ "type": "output_text", "text": "ho", "annotations": [], "logprobs": [] });
    assert_eq!(
        said["output"],
        json!([
            { "id": id("rs", 0), "type": "reasoning", "summary": [{ "type": "summary_text", "text": "hm" }] },
            { "id": id("msg", 1), "type": "message", "status": "completed", "role": "assistant", "content": [text] },
            called(2), called(3),
        ])
    );
    assert_eq!((&said["status"], &said["model"], &said["store"]), (&json!("completed"), &json!("chat"), &json!(false)));
    assert_eq!(
        (&said["instructions"], &said["metadata"]["a"], &said["max_output_tokens"]),
        (&json!("be brief"), &json!("b"), &json!(9))
    );
    assert_eq!(said["text"], json!({ "format": { "type": "text" }, "verbosity": "low" }));
    assert_eq!(said["usage"]["input_tokens_details"]["cached_tokens"], 4);
    assert_eq!((&said["usage"]["input_tokens"], &said["usage"]["total_tokens"]), (&json!(10), &json!(15)));
    let cut = answered(json!({ "content": "h" }), "length");
    assert_eq!(
        (&cut["status"], &cut["incomplete_details"]["reason"]),
        (&json!("incomplete"), &json!("max_output_tokens"))
    );
    assert_eq!(cut["output"][0]["status"], "incomplete");
    let refused = answered(json!({ "content": null, "refusal": "no" }), "stop");
    assert_eq!(refused["output"][0]["content"], json!([{ "type": "refusal", "refusal": "no" }]));
    assert_eq!(answered(json!({ "content": "" }), "stop")["output"], json!([]));
}

#[test]
fn a_conversation_with_tools_becomes_a_chat() {
    let given = fields(&json!({
        "model": "chat", "instructions": "s", "max_output_tokens": 9, "parallel_tool_calls": false, "user": "u", "stream": true,
        "input": [
            { "type": "message", "role": "developer", "content": "d" },
            { "role": "user", "content": [
                { "type": "input_text", "text": "look" },
                { "type": "input_image", "image_url": "data:image/png;base64,QUJD", "detail": "low" },
                { "type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,QUJD" },
            ] },
            { "type": "reasoning", "id": "rs", "summary": [], "encrypted_content": "x" },
            { "type": "message", "role": "assistant", "id": "msg", "content": [{ "type": "output_text", "text": "I will", "annotations": [] }] },
            { "type": "function_call", "call_id": "t1", "name": "f", "arguments": "{\"a\":1}" },
            { "type": "function_call", "call_id": "t2", "name": "g", "arguments": "{}" },
            { "type": "function_call_output", "call_id": "t1", "output": "one" },
            { "type": "function_call_output", "call_id": "t2", "output": [
                { "type": "input_text", "text": "two" }, { "type": "input_image", "image_url": "https://x.test/a.png" },
            ] },
            { "type": "function_call", "call_id": "t3", "name": "f", "arguments": "" },
            { "type": "function_call_output", "call_id": "t3", "output": "" },
        ],
        "tools": [{ "type": "function", "name": "f", "description": "d", "parameters": { "type": "object" }, "strict": true }],
        "tool_choice": { "type": "function", "name": "f" }, "reasoning": { "effort": "high", "summary": "auto" },
        "text": { "format": { "type": "json_schema", "name": "n", "schema": {}, "strict": true }, "verbosity": "low" },
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"], "top_logprobs": 2, "prompt_cache_key": "k",
        "prompt_cache_options": { "ttl": "30m" }, "safety_identifier": "i", "service_tier": "flex", "metadata": { "a": "b" }, "store": true, "truncation": "disabled",
        "client_metadata": { "x-codex-installation-id": "i" },
    }));
    let asked = Asked { upstream_model: "gpt", stream: true, ..Asked::of(&given) };
    let encoded = over("openai").encode(&asked).expect("expressible");
    let call = |id: &str, name: &str, arguments: &str| json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } });
    let image = |url: &str| json!({ "url": url });
    let expected = json!({
        "messages": [
            { "role": "system", "content": "s" },
            { "role": "system", "content": "d" },
            { "role": "user", "content": [
                { "type": "text", "text": "look" },
                { "type": "image_url", "image_url": { "url": "data:image/png;base64,QUJD", "detail": "low" } },
                { "type": "file", "file": { "filename": "a.pdf", "file_data": "data:application/pdf;base64,QUJD" } },
            ] },
            { "role": "assistant", "content": "I will", "tool_calls": [call("t1", "f", r#"{"a":1}"#), call("t2", "g", "{}")] },
            { "role": "tool", "tool_call_id": "t1", "content": "one" },
            { "role": "tool", "tool_call_id": "t2", "content": "two" },
            { "role": "user", "content": [{ "type": "image_url", "image_url": image("https://x.test/a.png") }] },
            { "role": "assistant", "content": null, "tool_calls": [call("t3", "f", "")] },
            { "role": "tool", "tool_call_id": "t3", "content": "" },
        ],
        "model": "gpt", "max_completion_tokens": 9, "parallel_tool_calls": false, "user": "u",
        "tools": [{ "type": "function", "function": { "name": "f", "description": "d", "parameters": { "type": "object" }, "strict": true } }],
        "tool_choice": { "type": "function", "function": { "name": "f" } }, "reasoning_effort": "high", "verbosity": "low",
        "response_format": { "type": "json_schema", "json_schema": { "name": "n", "schema": {}, "strict": true } },
        "logprobs": true, "top_logprobs": 2, "prompt_cache_key": "k", "safety_identifier": "i", "service_tier": "flex",
        "prompt_cache_options": { "ttl": "30m" }, "stream": true, "stream_options": { "include_usage": true },
    });
    assert_eq!(document(&encoded.body), expected);
    let plain = fields(&json!({ "input": "hi", "tools": [], "tool_choice": "auto", "parallel_tool_calls": true }));
    let encoded = over("openai").encode(&Asked::of(&plain)).expect("expressible");
    assert_eq!(document(&encoded.body), json!({ "messages": [{ "role": "user", "content": "hi" }], "model": "up" }));
}

#[test]
fn a_mark_of_a_cache_is_for_claude() {
    let mark = json!({ "mode": "explicit" });
    let given = fields(&json!({ "input": [
        { "role": "user", "content": [{ "type": "input_text", "text": "hi", "prompt_cache_breakpoint": mark }] },
        { "type": "function_call", "call_id": "t", "name": "f", "arguments": "{}" },
        { "type": "function_call_output", "call_id": "t", "output": [
            { "type": "input_text", "text": "ho", "prompt_cache_breakpoint": mark },
        ] },
    ] }));
    let sent = |kind: &str| document(&over(kind).encode(&Asked::of(&given)).expect("expressible").body);
    let (claude, cache) = (sent("anthropic"), json!({ "type": "ephemeral" }));
    assert_eq!(claude["messages"][0]["content"], json!([{ "type": "text", "text": "hi", "cache_control": cache }]));
    assert_eq!(claude["messages"][2]["content"][0]["content"][0]["cache_control"], cache);
    let bedrock = sent("bedrock");
    assert_eq!(bedrock["messages"][0]["content"][1], json!({ "cachePoint": { "type": "default" } }));
    for kind in ["openai", "gemini", "cohere"] {
        let sent = sent(kind).to_string();
        assert!(!sent.contains("breakpoint") && !sent.contains("cache_control"), "{kind}: {sent}");
    }
}

#[test]
fn what_a_chat_cannot_say_is_named() {
    let of = |item: Value| json!({ "input": [item] });
    let said = |part: Value| of(json!({ "role": "user", "content": [part] }));
    let with = |name: &str, value: Value| json!({ "input": "hi", name: value });
    let cases = [
        (json!({}), "input"),
        (json!({ "input": 7 }), "input"),
        (with("prompt", json!({ "id": "p" })), "prompt"),
        (json!({ "prompt": { "id": "p" } }), "prompt"),
        (json!({ "input": null, "previous_response_id": "resp_1" }), "previous_response_id"),
        (json!({ "conversation": "conv_1" }), "conversation"),
        (with("truncation", json!("auto")), "truncation"),
        (with("include", json!(["yet.unknown"])), "include[0]"),
        (with("tools", json!([{ "type": "web_search" }])), "tools[0].type"),
        (with("tools", json!([{ "type": "custom", "name": "f" }])), "tools[0].type"),
        (with("tools", json!([{ "type": "function", "name": "f", "defer_loading": true }])), "tools[0].defer_loading"),
        (with("tool_choice", json!({ "type": "web_search" })), "tool_choice.type"),
        (with("tool_choice", json!("some")), "tool_choice"),
        (with("reasoning", json!({ "context": "x" })), "reasoning.context"),
        (with("text", json!({ "format": { "type": "grammar" } })), "text.format.type"),
        (with("instructions", json!(["a"])), "instructions"),
        (of(json!({ "type": "item_reference", "id": "x" })), "input[0].type"),
        (of(json!({ "type": "local_shell_call" })), "input[0].type"),
        (of(json!({ "role": "tool", "content": "x" })), "input[0].role"),
        (of(json!({ "role": "user" })), "input[0].content"),
        (of(json!({ "type": "function_call", "name": "f", "arguments": "" })), "input[0].call_id"),
        (of(json!({ "type": "function_call_output", "call_id": "c", "output": 7 })), "input[0].output"),
        (said(json!({ "type": "input_image", "file_id": "f" })), "input[0].content[0].file_id"),
        (said(json!({ "type": "input_file", "file_url": "https://x.test" })), "input[0].content[0].file_url"),
        (said(json!({ "type": "computer_screenshot" })), "input[0].content[0].type"),
        (
            of(json!({ "role": "system", "content": [{ "type": "input_image", "image_url": "u" }] })),
            "input[0].content[0].type",
        ),
    ];
    for (body, name) in cases {
        assert_eq!(param(&*over("openai"), &body, false).as_deref(), Some(name), "{body}");
    }
    // What only the provider's leaf knows has the caller's name too.
    for (body, name) in [
        (with("text", json!({ "verbosity": "low" })), "text.verbosity"),
        (with("text", json!({ "format": { "type": "json_object" } })), "text.format"),
        (with("top_logprobs", json!(2)), "top_logprobs"),
        (with("reasoning", json!({ "effort": "odd" })), "reasoning.effort"),
    ] {
        let failure = over("anthropic").encode(&Asked::of(&fields(&body))).expect_err(name);
        assert_eq!(failure.param.as_deref(), Some(name));
        assert!(failure.message.contains(&format!("`{name}`")), "{}", failure.message);
    }
}
