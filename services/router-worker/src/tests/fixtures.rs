//! Every fixture, in both directions, with its exact cost.

pub(super) use crate::fuzz::kinds;
use crate::{
    failure::Failure,
    prices::{Called, Cost, PriceBook},
    providers::{Answer, Asked, Fields, Frame, Framing, Kind, Parser, eventstream, kind},
    tokens::Tokens,
};
use serde_json::{Value, json};
use tollgate_runtime::config::{Provider, ProviderKind};

const CREATED: i64 = 1_795_400_000;
/// What every provider has an error for.
const CLASSES: [&str; 6] = ["RateLimited", "Server", "Timeout", "Refused", "Rejected", "ContextWindow"];

pub(super) fn fixtures(kind: &str) -> Vec<(String, Value)> {
    let folder = format!("{}/fixtures/{kind}", env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let name = path.file_stem().expect("name").to_string_lossy().into_owned();
            found.push((name, serde_json::from_slice(&std::fs::read(&path).expect("read")).expect("json")));
        }
    }
    found
}

/// A stream as it comes over the wire. One of binary messages is written as server-sent events in its fixture.
pub(super) fn stream_bytes(kind_name: &str, kind: &Kind) -> Vec<u8> {
    let path = format!("{}/fixtures/{kind_name}/stream.txt", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read(path).expect("stream");
    if kind.wire.framing() == Framing::Sse {
        return text;
    }
    let mut frames = Vec::new();
    Parser::default().push(&text, &mut frames).expect("small");
    let message = |frame: &Frame| {
        let event = frame.event.as_deref().expect("an event");
        let headers = [(":event-type", event), (":content-type", "application/json"), (":message-type", "event")];
        eventstream::encode(&headers, frame.data.as_bytes())
    };
    frames.iter().flat_map(message).collect()
}

pub(super) fn of(name: &str) -> Kind {
    kinds().into_iter().find(|(known, _)| *known == name).expect("a kind").1
}

pub(super) fn asked<'a>(chat: &'a Fields, fixture: &'a Value) -> Asked<'a> {
    Asked {
        upstream_model: fixture["model"].as_str().unwrap_or("some-model"),
        stream: fixture["request"]["stream"] == true,
        created: CREATED,
        request_id: "01997a6e-0000-7000-8000-000000000001".parse().expect("an id"),
        ..Asked::of(chat)
    }
}

fn json_of(answer: &Answer) -> Value {
    serde_json::from_str(answer.body.get()).expect("json")
}

fn tokens(tokens: &Tokens) -> Value {
    json!({
        "input": tokens.input, "output": tokens.output, "cache_read": tokens.cache_read, "cache_write": tokens.cache_write,
        "cache_write_1h": tokens.cache_write_1h, "reasoning": tokens.reasoning,
    })
}

fn cost(book: &PriceBook, kind: &Kind, model: &str, answer: &Answer, tokens: &Tokens) -> Cost {
    let call = Called {
        provider: "a-name",
        kind: kind.price_name,
        model,
        free: kind.free,
        service_tier: answer.service_tier.as_deref(),
        date: "2026-11-23",
    };
    book.cost(&call, tokens)
}

fn check(name: &str, kind: &Kind, fixture: &Value, answer: &Answer) {
    assert_eq!(json_of(answer), fixture["answer"], "{name}: answer");
    assert_eq!(answer.finish_reason.as_deref(), fixture["finish_reason"].as_str(), "{name}: finish reason");
    let usage = answer.usage.as_ref().expect("usage");
    assert_eq!(tokens(&usage.tokens), fixture["tokens"], "{name}: tokens");
    let book = PriceBook::new(&[], "local");
    let cost = cost(&book, kind, fixture["model"].as_str().expect("model"), answer, &usage.tokens);
    assert_eq!(json!(cost.usd), fixture["cost_usd"], "{name}: cost");
    assert_eq!(json!(cost.status), fixture["price_status"], "{name}: price status");
    match cost.version {
        Some(version) => assert!(version.starts_with("builtin-") && version.len() == 16, "{name}: {version}"),
        None => assert_eq!(fixture["price_status"], "unpriced", "{name}"),
    }
}

#[test]
fn requests_answers_tokens_and_cost() {
    let mut seen = 0;
    for (kind_name, kind) in kinds() {
        for (name, fixture) in fixtures(kind_name).into_iter().filter(|(_, fixture)| fixture.get("request").is_some()) {
            let name = format!("{kind_name}/{name}");
            let chat = Fields::parse(&fixture["request"].to_string()).expect("object");
            let asked = asked(&chat, &fixture);
            let encoded = kind.wire.encode(&asked).expect("expressible");
            assert_eq!(
                serde_json::from_str::<Value>(&encoded.body).expect("json"),
                fixture["upstream"],
                "{name}: upstream"
            );
            if let Some(path) = fixture["path"].as_str() {
                assert_eq!(encoded.path, path, "{name}: path");
            }
            if let Some(response) = fixture.get("response") {
                let answer = kind.wire.decode(&asked, response.to_string().as_bytes()).expect("decodes");
                check(&name, &kind, &fixture, &answer);
            }
            seen += 1;
        }
    }
    assert!(seen >= 17);
}

#[test]
fn streams_split_anywhere_give_the_same_answer_and_events() {
    for (kind_name, kind) in kinds() {
        let (_, fixture) = fixtures(kind_name).into_iter().find(|(name, _)| name == "stream").expect("stream");
        let text = stream_bytes(kind_name, &kind);
        let chat = Fields::parse(&fixture["request"].to_string()).expect("object");
        for size in [1, 7, 64, text.len()] {
            let (mut decoder, mut parser, mut frames) =
                (kind.wire.decoder(&asked(&chat, &fixture)), Parser::new(kind.wire.framing()), Vec::new());
            for piece in text.chunks(size) {
                parser.push(piece, &mut frames).expect("small");
            }
            let mut events = Vec::new();
            for frame in &frames {
                events.extend(decoder.frame(frame).expect("decodes").events);
            }
            assert!(decoder.is_complete() && decoder.is_done());
            assert_eq!(json!(events.len()), fixture["events"], "{kind_name}: {events:#?}");
            for event in &events {
                let chunk: Value = serde_json::from_str(&event.data).expect("one JSON document");
                assert_eq!((&chunk["model"], &chunk["object"]), (&json!("chat"), &json!("chat.completion.chunk")));
                assert!(!event.data.contains('\n'));
            }
            check(kind_name, &kind, &fixture, &decoder.answer());
        }
    }
}

#[test]
fn usage_chunks_are_shown_only_to_those_who_ask() {
    for (kind_name, kind) in kinds() {
        for wants in [true, false] {
            let body = json!({ "messages": [], "stream": true, "stream_options": { "include_usage": wants } });
            let chat = Fields::parse(&body.to_string()).expect("object");
            let fixture = json!({ "model": "m", "request": { "stream": true } });
            let (mut decoder, mut frames) = (kind.wire.decoder(&asked(&chat, &fixture)), Vec::new());
            let mut parser = Parser::new(kind.wire.framing());
            parser.push(&stream_bytes(kind_name, &kind), &mut frames).expect("small");
            let events: Vec<Value> = frames
                .iter()
                .flat_map(|frame| decoder.frame(frame).expect("decodes").events)
                .map(|event| serde_json::from_str(&event.data).expect("json"))
                .collect();
            let last = events.last().expect("events");
            assert_eq!(events.iter().any(|chunk| chunk.get("usage").is_some()), wants, "{kind_name}");
            assert_eq!(last["choices"] == json!([]) && last["usage"]["total_tokens"].is_u64(), wants, "{kind_name}");
        }
    }
}

#[test]
fn a_stream_that_is_cut_off_is_not_complete_and_is_still_counted() {
    for (kind_name, kind) in kinds() {
        let fixture = json!({ "model": "m", "request": { "stream": true } });
        let chat = Fields::parse(r#"{"messages":[{"role":"user","content":"1234567"}]}"#).expect("object");
        let mut frames = Vec::new();
        let mut parser = Parser::new(kind.wire.framing());
        parser.push(&stream_bytes(kind_name, &kind), &mut frames).expect("small");
        let mut decoder = kind.wire.decoder(&asked(&chat, &fixture));
        let until = frames.iter().position(|frame| frame.data.contains("été")).expect("text");
        for frame in &frames[..=until] {
            decoder.frame(frame).expect("decodes");
        }
        assert!(!decoder.is_complete() && !decoder.is_done(), "{kind_name}");
        let answer = decoder.answer();
        assert_eq!(json_of(&answer)["choices"][0]["message"]["content"], "Wait, été 😀", "{kind_name}");
        let usage = answer.usage_or_estimate(&Asked::of(&chat));
        assert_eq!(json!(usage.source), "estimated", "{kind_name}");
        // Some say at the beginning what the prompt was; reasoning came before the text in every stream but two.
        let (input, output) = match kind_name {
            "openai" | "azure" => (2, 3),
            "anthropic" | "gemini" | "vertex" => (8095, 5),
            _ => (2, 5),
        };
        assert_eq!((usage.tokens.input, usage.tokens.output), (input, output), "{kind_name}");
    }
}

#[test]
fn errors_are_classified_and_secrets_stay_inside() {
    for (kind_name, kind) in kinds() {
        let (_, table) = fixtures(kind_name).into_iter().find(|(name, _)| name == "errors").expect("errors");
        let cases = table["cases"].as_array().expect("cases");
        for class in CLASSES {
            assert!(cases.iter().any(|case| case["class"] == class), "{kind_name}: no error of class {class}");
        }
        for case in cases {
            let body = case["body"].as_str().map_or_else(|| case["body"].to_string(), str::to_owned);
            let status = u16::try_from(case["status"].as_u64().expect("status")).expect("small");
            let failure = kind.wire.classify(status, body.as_bytes()).refined();
            let error = failure.api_error();
            assert_eq!(format!("{:?}", failure.class), case["class"].as_str().expect("class"), "{case}");
            assert_eq!(failure.error_code(), case["code"].as_str().expect("code"), "{case}");
            assert_eq!(error.code.as_str(), case["caller"].as_str().expect("caller"), "{case}");
            assert_eq!(json!(error.param), case["param"], "{case}");
            match case["message"].as_str() {
                Some(message) => assert_eq!(error.message, message),
                None => assert!(!body.contains(&error.message), "{case}"),
            }
            assert!(!error.message.contains("sk-secret"));
        }
    }
}

#[test]
fn errors_inside_a_stream_end_it() {
    let cases = [
        ("openai", r#"{"error":{"message":"boom","type":"server_error"}}"#, "Server"),
        ("openai", r#"{"error":{"message":"slow down","code":429}}"#, "RateLimited"),
        ("openai", "<html>", "Server"),
        ("anthropic", r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#, "Server"),
        ("anthropic", r#"{"type":"error","error":{"type":"rate_limit_error","message":"x"}}"#, "RateLimited"),
        ("anthropic", "{", "Server"),
        ("azure", r#"{"error":{"message":"boom","code":"500"}}"#, "Server"),
        ("databricks", r#"{"error_code":"INTERNAL_ERROR","message":"boom"}"#, "Server"),
        ("mistral", r#"{"object":"error","message":"boom","type":"internal_server_error"}"#, "Server"),
        ("mistral", r#"{"choices":[{"index":0,"delta":{},"finish_reason":"error"}]}"#, "Server"),
        ("mistral", "{", "Server"),
        ("cohere", r#"{"type":"message-end","delta":{"error":"boom","finish_reason":"ERROR"}}"#, "Server"),
        ("cohere", r#"{"type":"message-end","delta":{"finish_reason":"TIMEOUT"}}"#, "Timeout"),
        ("cohere", r#"{"message":"boom"}"#, "Server"),
        ("gemini", r#"{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}"#, "Server"),
        ("gemini", "[DONE]", "Server"),
        ("vertex", r#"{"error":{"code":429,"message":"x","status":"RESOURCE_EXHAUSTED"}}"#, "RateLimited"),
        (
            "vertex",
            r#"{"candidates":[{"content":{"parts":[{"inlineData":{"mimeType":"image/png","data":""}}]}}]}"#,
            "Server",
        ),
    ];
    for (name, data, class) in cases {
        let (chat, fixture) = (Fields::default(), json!({ "request": { "stream": true } }));
        let mut decoder = of(name).wire.decoder(&asked(&chat, &fixture));
        let frame = crate::providers::Frame { event: None, data: data.to_owned() };
        let failure = decoder.frame(&frame).expect_err("an error");
        assert_eq!(format!("{:?}", failure.class), class, "{data}");
    }
}

#[test]
fn what_a_provider_cannot_express_is_refused_by_name() {
    let mut seen = 0;
    for (kind_name, kind) in kinds() {
        // OpenAI's own format expresses everything.
        let tables = fixtures(kind_name).into_iter().filter(|(name, _)| name == "inexpressible");
        for case in tables.flat_map(|(_, table)| table["cases"].as_array().expect("cases").clone()) {
            let chat = Fields::parse(&case["body"].to_string()).expect("object");
            let failure: Failure = kind.wire.encode(&asked(&chat, &Value::Null)).expect_err("refused");
            assert_eq!(json!(failure.param), case["param"], "{kind_name}: {case}");
            let error = failure.api_error();
            assert_eq!((error.code.as_str(), json!(error.param)), ("invalid_request_error", case["param"].clone()));
            seen += 1;
        }
    }
    assert!(seen >= 150);
}

/// What an assistant of each provider says in the fixtures, and what servers of OpenAI's format add.
fn answered() -> Vec<(&'static str, Value)> {
    let call = json!({ "id": "c", "type": "function", "function": { "name": "f", "arguments": "{}" } });
    let mut said = vec![(
        "openrouter",
        json!({
            "role": "assistant", "content": null, "refusal": null, "tool_calls": [call], "annotations": [], "audio": null,
            "reasoning": "hm", "reasoning_details": [{ "type": "reasoning.text", "text": "hm", "signature": "c2ln" }],
        }),
    )];
    for (kind_name, _) in kinds() {
        for (_, fixture) in fixtures(kind_name) {
            let choices = fixture["answer"]["choices"].as_array().into_iter().flatten();
            said.extend(choices.map(|choice| (kind_name, choice["message"].clone())));
        }
    }
    said
}

#[test]
fn a_chat_that_began_at_one_provider_goes_on_at_any_other() {
    let answered = answered();
    assert!(answered.iter().any(|(_, said)| said.to_string().contains("redacted_thinking")));
    for (kind_name, kind) in kinds() {
        for (from, said) in &answered {
            let results = said["tool_calls"].as_array().into_iter().flatten();
            let results = results.map(|call| json!({ "role": "tool", "tool_call_id": call["id"], "content": "x" }));
            let user = json!({ "role": "user", "content": "hi" });
            let mut messages = vec![user.clone(), said.clone()];
            messages.extend(results);
            messages.push(user);
            let chat = Fields::parse(&json!({ "messages": messages }).to_string()).expect("object");
            let encoded = kind.wire.encode(&asked(&chat, &Value::Null));
            let body = encoded.unwrap_or_else(|failure| panic!("{from} at {kind_name}: {}", failure.message)).body;
            // Servers of OpenAI's format get what they get anywhere.
            if matches!(kind_name, "openai" | "azure" | "databricks") {
                continue;
            }
            let foreign = ["extra_content", "reasoning_details", "annotations", "reasoning_content"];
            assert!(foreign.iter().all(|name| !body.contains(name)), "{from} at {kind_name}: {body}");
            assert!(kind_name == "cohere" || !body.contains("tool_plan"), "{from} at {kind_name}: {body}");
            let sent: Value = serde_json::from_str(&body).expect("JSON");
            let blocks = sent["messages"][1]["content"].as_array().into_iter().flatten();
            for thought in blocks.filter(|block| block["type"] == "thinking") {
                assert!(!thought["thinking"].is_null(), "{from} at {kind_name}");
                assert!(kind_name != "anthropic" || thought["signature"].is_string(), "{from} at {kind_name}");
            }
        }
    }
}

#[test]
fn answers_that_make_no_sense_are_the_providers_fault() {
    let (chat, fixture) = (Fields::default(), Value::Null);
    for (_, kind) in kinds() {
        for body in ["", "<html></html>", "[]", "{}", "null", r#"{"choices":"x","content":"x","type":"message"}"#] {
            let failure = kind.wire.decode(&asked(&chat, &fixture), body.as_bytes()).expect_err("nonsense");
            assert_eq!(failure.error_code(), "malformed_response");
        }
        assert!(kind.wire.decode(&asked(&chat, &fixture), &[0xff, 0xfe]).is_err());
    }
}

#[test]
fn openai_bodies_pass_byte_for_byte() {
    let openai = kind(&Provider::of(ProviderKind::Openai)).expect("supported");
    let text = r#"{"model":"chat","temperature":1.0000,"x":{"b":1e3,"a":"\u00e9"},"messages":[ {"role":"user","content":"\/"} ]}"#;
    let chat = Fields::parse(text).expect("object");
    let fixture = json!({ "model": "gpt" });
    let encoded = openai.wire.encode(&asked(&chat, &fixture)).expect("encodes");
    assert_eq!(encoded.body, text.replace(r#""chat""#, r#""gpt""#));
    let answer = r#"{"model":"gpt-2","choices":[ {"message":{"content":"\u00e9"},"logprobs":1.0} ],"n":1e2}"#;
    let decoded = openai.wire.decode(&asked(&chat, &fixture), answer.as_bytes()).expect("decodes");
    assert_eq!(decoded.body.get(), answer.replace(r#""gpt-2""#, r#""chat""#));
    assert_eq!(decoded.response_model.as_deref(), Some("gpt-2"));
}

#[test]
fn reasoning_that_a_server_counts_beside_the_completion_is_added() {
    let openai = kind(&Provider::of(ProviderKind::Openai)).expect("supported");
    let usage = |total: u32| {
        let body = json!({ "choices": [], "usage": { "prompt_tokens": 10, "completion_tokens": 5, "total_tokens": total,
            "completion_tokens_details": { "reasoning_tokens": 7 } } });
        let (chat, fixture) = (Fields::default(), Value::Null);
        let answer = openai.wire.decode(&asked(&chat, &fixture), body.to_string().as_bytes()).expect("decodes");
        answer.usage.expect("usage").tokens.output
    };
    assert_eq!((usage(15), usage(22)), (5, 12));
}
