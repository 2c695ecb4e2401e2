//! Google's API and the counting of tokens: passed on to who speaks it, and over chat completions from every provider's fixtures.

use super::{
    dialects::{body, decoded},
    fixtures::{asked, fixtures, kinds, stream_bytes},
};
use crate::providers::{Asked, Content, Fields, Frame, Wire, token_count_estimate};
use serde_json::{Value, json};
use std::sync::Arc;
use tollgate_schemas::{ApiType, StreamEvent};

fn speaks(kind: &str, api: ApiType) -> Option<Arc<dyn Wire>> {
    kinds().into_iter().find(|(name, _)| *name == kind).and_then(|(_, kind)| kind.speaks(api))
}

fn generate(kind: &str) -> Arc<dyn Wire> {
    speaks(kind, ApiType::GenerateContent).expect("a wire")
}

fn fields(document: &Value) -> Fields {
    Fields::parse(&document.to_string()).expect("an object")
}

fn document(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// What goes out for a body.
fn sent(kind: &str, body: &Value) -> Value {
    let body = fields(body);
    document(&generate(kind).encode(&Asked { upstream_model: "gpt", ..Asked::of(&body) }).expect("expressible").body)
}

fn refused(kind: &str, body: &Value) -> Option<String> {
    let body = fields(body);
    generate(kind).encode(&Asked::of(&body)).err().map(|failure| failure.param.expect("a field"))
}

#[test]
fn a_body_passes_unchanged_but_for_what_is_the_gateways() {
    let text = r#"{"contents":[ {"parts":[{"text":"h\u0069","yet_unknown":1.50}]} ],"generation_config":{"topK":1e1}}"#;
    let given = Fields::parse(text).expect("an object");
    for (kind, path) in [
        ("gemini", "/models/gemini-3.5-flash:streamGenerateContent?alt=sse"),
        (
            "vertex",
            "/projects/a-project/locations/global/publishers/google/models/gemini-3.5-flash:streamGenerateContent?alt=sse",
        ),
    ] {
        let asked = Asked { upstream_model: "gemini-3.5-flash", stream: true, ..Asked::of(&given) };
        let encoded = generate(kind).encode(&asked).expect("expressible");
        assert_eq!((encoded.path.as_str(), encoded.body.as_str()), (path, text));
    }
    let body = json!({ "contents": [], "model": "chat", "tollgate": {}, "labels": { "a": "b" } });
    assert_eq!(sent("gemini", &body), json!({ "contents": [] }));
    assert_eq!(sent("vertex", &body), json!({ "contents": [], "labels": { "a": "b" } }));
}

#[test]
fn calls_of_another_model_are_let_pass_by_models_that_demand_signatures() {
    let call = |signature: Option<&str>| match signature {
        Some(signature) => json!({ "functionCall": { "name": "f" }, "thoughtSignature": signature }),
        None => json!({ "functionCall": { "name": "f" } }),
    };
    let of = |parts: Value| json!({ "contents": [{ "role": "user", "parts": [call(None)] }, { "role": "model", "parts": parts }] });
    let encoded = |model: &str, parts: Value| {
        let body = fields(&of(parts));
        document(
            &generate("gemini").encode(&Asked { upstream_model: model, ..Asked::of(&body) }).expect("expressible").body,
        )
    };
    let word = "skip_thought_signature_validator";
    let foreign = json!([{ "text": "hm" }, call(None), call(None)]);
    assert_eq!(
        encoded("gemini-3.5-flash", foreign.clone()),
        of(json!([{ "text": "hm" }, call(Some(word)), call(None)]))
    );
    assert_eq!(encoded("gemini-2.5-flash", foreign.clone()), of(foreign));
    let own = json!([call(Some("c2ln")), call(None)]);
    assert_eq!(encoded("gemini-3.5-flash", own.clone()), of(own));
}

#[test]
fn a_native_answer_and_stream_pass_through_and_are_counted() {
    let given = fields(&json!({ "contents": [{ "parts": [{ "text": "hi" }] }] }));
    let asked = Asked { upstream_model: "gemini-3.5-flash", stream: true, ..Asked::of(&given) };
    for kind in ["gemini", "vertex"] {
        let (_, of) = kinds().into_iter().find(|(name, _)| *name == kind).expect("a kind");
        let bytes = stream_bytes(kind, &of);
        let (events, decoder) = decoded(&*generate(kind), &asked, &bytes, 7);
        assert_eq!(events, decoded(&*generate(kind), &asked, &bytes, bytes.len()).0);
        assert!(decoder.is_done());
        let text = String::from_utf8(bytes).expect("text");
        let came: Vec<Value> = text.lines().filter_map(|line| line.strip_prefix("data: ")).map(document).collect();
        assert_eq!(events.len(), came.len());
        for (event, mut came) in events.iter().zip(came) {
            came["modelVersion"] = "chat".into();
            assert_eq!((event.event.as_deref(), document(&event.data)), (None, came));
        }
        let answer = decoder.answer();
        assert_eq!(answer.finish_reason.as_deref(), Some("tool_calls"));
        assert!(answer.response_model.is_some_and(|model| model.starts_with("gemini-")));
        let tokens = answer.usage.expect("usage").tokens;
        assert_eq!(
            (tokens.input, tokens.output, tokens.cache_read, tokens.reasoning),
            (8095, 503, Some(5000), Some(320))
        );
        // What the parts amount to is what a whole answer would have been.
        let whole = document(answer.body.get());
        let again = generate(kind).decode(&asked, whole.to_string().as_bytes()).expect("decodes");
        assert_eq!(document(again.body.get()), whole);
        assert_eq!((again.finish_reason.as_deref(), again.output_chars), (Some("tool_calls"), answer.output_chars));
        let parts = &whole["candidates"][0]["content"]["parts"];
        assert_eq!(parts[0], json!({ "text": "Look it up.", "thought": true }));
        assert_eq!(parts[1], json!({ "text": "Wait, été 😀" }));
    }
}

#[test]
fn a_prompt_that_is_blocked_and_one_that_is_cut_off() {
    let given = fields(&json!({ "contents": [] }));
    let asked = Asked::of(&given);
    let wire = generate("gemini");
    let blocked = json!({ "promptFeedback": { "blockReason": "SAFETY" }, "usageMetadata": { "promptTokenCount": 10 } });
    let answer = wire.decode(&asked, blocked.to_string().as_bytes()).expect("an answer");
    assert!(answer.is_refusal());
    assert_eq!(document(answer.body.get()), blocked);
    assert!(wire.decode(&asked, br#"{"usageMetadata":{"promptTokenCount":10}}"#).is_err());
    let frame = |document: Value| Frame { event: None, data: document.to_string() };
    let mut decoder = wire.decoder(&asked);
    let counts = json!({ "promptTokenCount": 10, "totalTokenCount": 10 });
    let first = json!({ "candidates": [{ "content": { "parts": [{ "text": "1234567" }] } }], "usageMetadata": counts });
    assert_eq!(decoder.frame(&frame(first)).expect("decodes").content, Content::Answer);
    assert!(!decoder.is_complete());
    let tokens = decoder.answer().usage.expect("usage").tokens;
    assert_eq!((tokens.input, tokens.output), (10, 2), "what came is estimated");
    let error = json!({ "error": { "code": 503, "message": "overloaded", "status": "UNAVAILABLE" } });
    assert!(wire.decoder(&asked).frame(&frame(error)).expect_err("it ends the stream").is_overload());
}

/// What Google's clients make of events is what the decoder for its own API makes of them.
#[test]
fn a_translated_stream_amounts_to_the_translated_answer() {
    for (name, kind) in kinds() {
        let (_, fixture) = fixtures(name).into_iter().find(|(name, _)| name == "stream").expect("stream");
        let (request, text) = (fields(&json!({ "contents": [] })), stream_bytes(name, &kind));
        let asked = Asked { stream: true, ..asked(&request, &fixture) };
        let wire = crate::dialects::over(ApiType::GenerateContent, &kind.wire).expect("a dialect");
        for piece in [7, text.len()] {
            let (events, decoder) = decoded(&*wire, &asked, &text, piece);
            let native = generate("gemini");
            let mut client = native.decoder(&asked);
            let count = events.len();
            for (at, StreamEvent { event, data }) in events.into_iter().enumerate() {
                assert_eq!(event, None);
                assert_eq!(data.contains("functionCall") || data.contains("finishReason"), at + 1 == count, "{name}");
                client.frame(&Frame { event, data }).expect("a response");
            }
            assert!(client.is_complete() && client.is_done(), "{name}");
            assert_eq!(body(client), body(decoder), "{name}");
        }
    }
}

#[test]
fn a_conversation_with_functions_becomes_a_chat() {
    let text = json!({
        "system_instruction": { "parts": [{ "text": "s" }] },
        "contents": [
            { "role": "user", "parts": [
                { "text": "look" },
                { "inline_data": { "mime_type": "image/png", "data": "_-8" } },
                { "fileData": { "mimeType": "image/png", "fileUri": "https://x.test/a.png" } },
            ] },
            { "role": "model", "parts": [
                { "text": "hm", "thought": true },
                { "text": "I will", "thoughtSignature": "c2ln" },
                { "functionCall": { "name": "f", "args": { "a": 1 } } },
                { "functionCall": { "name": "f", "args": {} } },
                { "functionCall": { "id": "own", "name": "g" } },
            ] },
            { "role": "user", "parts": [
                { "functionResponse": { "id": "own", "name": "g", "response": { "output": "three" } } },
                { "functionResponse": { "name": "f", "response": { "result": "one" } } },
                { "functionResponse": { "name": "f", "response": { "a": [2] } } },
                { "text": "and now?" },
            ] },
        ],
        "tools": [{ "functionDeclarations": [
            { "name": "f", "description": "d", "parameters": { "type": "OBJECT" } },
            { "name": "g", "parametersJsonSchema": { "type": "object" } },
            { "name": "h" },
        ] }],
        "toolConfig": { "functionCallingConfig": { "mode": "ANY", "allowedFunctionNames": ["f", "g"] } },
        "generationConfig": {
            "temperature": 0.5, "topP": 0.9, "maxOutputTokens": 9, "stopSequences": ["END"], "candidateCount": 2, "seed": 7,
            "responseMimeType": "application/json", "responseSchema": { "type": "STRING" },
            "thinkingConfig": { "thinkingBudget": 8000, "includeThoughts": true },
        },
        "labels": { "team": "x" },
    });
    let call = |id: &str, name: &str, arguments: &str| json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } });
    let result = |id: &str, text: &str| json!({ "role": "tool", "tool_call_id": id, "content": text });
    let image = |url: &str| json!({ "type": "image_url", "image_url": { "url": url } });
    let expected = json!({
        "messages": [
            { "role": "system", "content": "s" },
            { "role": "user", "content": [
                { "type": "text", "text": "look" }, image("data:image/png;base64,/+8="), image("https://x.test/a.png"),
            ] },
            { "role": "assistant", "content": "I will", "tool_calls": [
                call("call_0", "f", r#"{"a":1}"#), call("call_1", "f", "{}"), call("own", "g", "{}"),
            ] },
            result("own", "three"), result("call_0", "one"), result("call_1", r#"{"a":[2]}"#),
            { "role": "user", "content": "and now?" },
        ],
        "temperature": 0.5, "top_p": 0.9, "max_completion_tokens": 9, "stop": ["END"], "n": 2, "seed": 7,
        "reasoning_effort": "medium",
        "response_format": { "type": "json_schema", "json_schema": { "name": "answer", "schema": { "type": "string" } } },
        "tool_choice": "required",
        "tools": [
            { "type": "function", "function": { "name": "f", "description": "d", "parameters": { "type": "object" } } },
            { "type": "function", "function": { "name": "g", "parameters": { "type": "object" } } },
        ],
        "model": "gpt",
    });
    assert_eq!(sent("openai", &text), expected);
}

#[test]
fn a_whole_answer_has_googles_words() {
    let given =
        fields(&json!({ "contents": [], "generationConfig": { "thinkingConfig": { "includeThoughts": true } } }));
    let message = json!({
        "role": "assistant", "content": "hi", "reasoning_content": "hm",
        "tool_calls": [{ "id": "c", "type": "function", "function": { "name": "f", "arguments": "{\"a\":1}" } }],
    });
    let completion = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt",
        "choices": [
            { "index": 0, "message": message, "finish_reason": "tool_calls" },
            { "index": 1, "message": { "content": null, "refusal": "no" }, "finish_reason": "content_filter" },
        ],
        "usage": {
            "prompt_tokens": 1000, "completion_tokens": 200, "total_tokens": 1200,
            "prompt_tokens_details": { "cached_tokens": 300 }, "completion_tokens_details": { "reasoning_tokens": 50 },
        },
    });
    let answer = generate("openai").decode(&Asked::of(&given), completion.to_string().as_bytes()).expect("decodes");
    let expected = json!({
        "candidates": [
            { "index": 0, "finishReason": "STOP", "content": { "role": "model", "parts": [
                { "text": "hm", "thought": true }, { "text": "hi" },
                { "functionCall": { "id": "c", "name": "f", "args": { "a": 1 } } },
            ] } },
            { "index": 1, "finishReason": "SAFETY", "finishMessage": "no",
                "content": { "role": "model", "parts": [{ "text": "" }] } },
        ],
        "usageMetadata": {
            "promptTokenCount": 1000, "candidatesTokenCount": 150, "cachedContentTokenCount": 300, "thoughtsTokenCount": 50,
            "totalTokenCount": 1200,
        },
        "modelVersion": "chat",
        "responseId": "chatcmpl-1",
    });
    assert_eq!(document(answer.body.get()), expected);
}

#[test]
fn what_a_chat_cannot_say_is_named() {
    let with = |name: &str, value: Value| json!({ "contents": [{ "parts": [{ "text": "hi" }] }], name: value });
    let of = |part: Value| json!({ "contents": [{ "parts": [part] }] });
    let cases = [
        (with("safetySettings", json!([])), "safetySettings"),
        (with("cached_content", json!("c")), "cached_content"),
        (with("tools", json!([{ "googleSearch": {} }])), "tools[0].googleSearch"),
        (with("tools", json!([{ "code_execution": {} }])), "tools[0].codeExecution"),
        (with("toolConfig", json!({ "retrievalConfig": {} })), "toolConfig.retrievalConfig"),
        (with("generationConfig", json!({ "topK": 4 })), "generationConfig.topK"),
        (with("generationConfig", json!({ "responseModalities": ["IMAGE"] })), "generationConfig.responseModalities"),
        (with("generationConfig", json!({ "responseMimeType": "text/x.enum" })), "generationConfig.responseMimeType"),
        (
            of(json!({ "fileData": { "mimeType": "image/png", "fileUri": "gs://b/a.png" } })),
            "contents[0].parts[0].fileData.fileUri",
        ),
        (
            of(json!({ "inlineData": { "mimeType": "video/mp4", "data": "" } })),
            "contents[0].parts[0].inlineData.mimeType",
        ),
        (of(json!({ "executableCode": {} })), "contents[0].parts[0].executableCode"),
        (
            of(json!({ "functionResponse": { "name": "f", "response": {} } })),
            "contents[0].parts[0].functionResponse.name",
        ),
        (json!({ "contents": [{ "role": "tool", "parts": [] }] }), "contents[0].role"),
        (json!({ "contents": "hi" }), "contents"),
        (json!({}), "contents"),
    ];
    for (body, param) in cases {
        assert_eq!(refused("openai", &body).as_deref(), Some(param));
    }
    // A field that a leaf refuses has the caller's name.
    let warm = with("generationConfig", json!({ "temperature": 1.5 }));
    assert_eq!(refused("anthropic", &warm).as_deref(), Some("generationConfig.temperature"));
    assert_eq!(sent("anthropic", &with("generationConfig", json!({ "topK": 4 })))["top_k"], 4);
}

#[test]
fn tokens_are_counted_by_who_counts_and_estimated_elsewhere() {
    let text =
        r#"{"model":"chat","system":"1234","messages":[{"role":"user","content":"567"}],"tools":[ {"name":"f"} ]}"#;
    let given = Fields::parse(text).expect("an object");
    let headers = [("anthropic-beta".to_owned(), "token-counting-2024-11-01".to_owned())].into();
    let asked = Asked { upstream_model: "claude", api_headers: &headers, ..Asked::of(&given) };
    let wire = speaks("anthropic", ApiType::CountTokens).expect("its own");
    let encoded = wire.encode(&asked).expect("expressible");
    assert_eq!((encoded.path.as_str(), encoded.body), ("/messages/count_tokens", text.replace("chat", "claude")));
    assert_eq!(encoded.headers, [("anthropic-beta", "token-counting-2024-11-01".to_owned())]);
    let answer = wire.decode(&asked, br#"{"input_tokens": 12,"new":1}"#).expect("decodes");
    assert_eq!(answer.body.get(), r#"{"input_tokens":12,"new":1}"#);
    assert_eq!(answer.usage.expect("none").tokens, crate::tokens::Tokens::default());
    assert!(wire.decode(&asked, br#"{"type":"message"}"#).is_err());
    assert!(speaks("openai", ApiType::CountTokens).is_none());
    // Seven characters of text, and sixteen of tools.
    assert_eq!(token_count_estimate(&given).get(), r#"{"input_tokens":6}"#);
}
