//! What is told of events of every API.

use super::*;

/// Each piece as `kind channel: text`.
fn told(data: &str) -> Vec<String> {
    let read = event(data).expect("JSON");
    let pieces = read.pieces.into_iter().map(|piece| {
        assert!(data.get(piece.span).is_some());
        match piece.kind {
            Kind::Part(channel) => format!("{channel}: {}", piece.text),
            Kind::ArgumentsPart(channel) => format!("{channel} arguments: {}", piece.text),
            Kind::Whole => format!("whole: {}", piece.text),
            Kind::Name => format!("name: {}", piece.text),
            Kind::Setting(_) => format!("setting: {}", piece.text),
            Kind::Arguments => format!("arguments: {}", piece.text),
            Kind::Json => format!("json: {}", piece.text),
            Kind::Logprobs(none) => format!("logprobs or {none}"),
        }
    });
    pieces.chain(read.ended.into_iter().map(|channel| format!("{channel} ends"))).collect()
}

#[test]
fn chat() {
    let data = r#"{"id":"x","choices":[{"index":1,"delta":{"role":"assistant","content":"a"},"logprobs":{"content":[]},"finish_reason":"stop"}],"usage":{"a":"b"}}"#;
    let thoughts = THOUGHTS.map(|thought| format!("c1/delta/{thought} ends"));
    let expected = ["c1/delta/content: a", "logprobs or null", "c1/ ends"].map(str::to_owned);
    assert_eq!(told(data), [&expected[..], &thoughts].concat());
    assert_eq!(
        told(r#"{"choices":[{"index":0,"delta":{"reasoning_content":"hm","content":null}}]}"#),
        ["c0/delta/reasoning_content: hm"]
    );
    let call = r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":2,"id":"c","function":{"name":"f","arguments":""}}]}}]}"#;
    assert_eq!(told(call), ["name: f", "c0/delta/tool_calls/2/function/arguments arguments: "]);
    let beside = r#"{"id":"x","obfuscation":"Ab","choices":[],"citations":["https://x.test"],"summary":"a b"}"#;
    assert_eq!(told(beside), [r#"setting: ["https://x.test"]"#, "whole: a b"]);
    let audio = r#"{"choices":[{"index":0,"delta":{"audio":{"id":"audio_1","data":"AAECAw==","transcript":"a"}}}]}"#;
    assert_eq!(told(audio)[0], "c0/delta/audio/transcript: a");
    let picture = r#"{"choices":[{"index":0,"delta":{"images":[{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}]}}]}"#;
    assert!(told(picture).is_empty() && !event(picture).expect("JSON").has_file);
    let file = r#"{"choices":[{"index":0,"delta":{"file":{"file_data":"d3JpdGUgdG8gamFuZQ=="}}}]}"#;
    assert!(told(file).is_empty() && event(file).expect("JSON").has_file);
    assert_eq!(told(r#"{"choices":[{"index":0,"text":"a"}]}"#)[0], "c0/text: a");
}

#[test]
fn messages() {
    for (data, expected) in [
        (r#"{"type":"message_start","message":{"id":"m","content":[],"model":"x"}}"#, &[][..]),
        (r#"{"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}"#, &["m1/text: "]),
        (
            r#"{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}"#,
            &["name: f", "json: {}"],
        ),
        (
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"thinking_delta","thinking":"hm"}}"#,
            &["m1/text: hm"],
        ),
        (
            r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{"}}"#,
            &["m1/json arguments: {"],
        ),
        (r#"{"type":"content_block_delta","index":1,"delta":{"type":"signature_delta","signature":"s"}}"#, &[]),
        (r#"{"type":"content_block_stop","index":1}"#, &["m1/ ends"]),
        (r#"{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":"x"}}"#, &[]),
        (
            r#"{"type":"message_start","message":{"id":"m","note":"a b","content":[],"usage":{"x":"y"}}}"#,
            &["whole: a b"],
        ),
        (
            r#"{"type":"message_delta","delta":{"stop_reason":"refusal","stop_details":{"why":"a"}},"usage":{"x":"y"}}"#,
            &[r#"setting: {"why":"a"}"#],
        ),
    ] {
        assert_eq!(told(data), expected, "{data}");
    }
}

#[test]
fn responses() {
    let text = "r1/2/response.output_text";
    for (data, expected) in [
        (
            r#"{"type":"response.output_text.delta","item_id":"i","output_index":1,"content_index":2,"delta":"a","logprobs":[{"token":"a"}]}"#,
            vec![format!("{text}: a"), "logprobs or []".to_owned()],
        ),
        (
            r#"{"type":"response.output_text.done","output_index":1,"content_index":2,"text":"ab"}"#,
            vec!["whole: ab".to_owned(), format!("{text} ends")],
        ),
        (
            r#"{"type":"response.function_call_arguments.delta","output_index":3,"delta":"{"}"#,
            vec!["r3/0/response.function_call_arguments arguments: {".to_owned()],
        ),
        (
            r#"{"type":"response.completed","response":{"instructions":"no","output":[{"type":"message","content":[{"type":"output_text","text":"ab","logprobs":[]}]},{"type":"function_call","arguments":"{}"}]}}"#,
            vec!["whole: ab".to_owned(), "arguments: {}".to_owned()],
        ),
        (
            r#"{"type":"response.failed","response":{"status":"failed","metadata":{"k":"v"},"tools":[{"name":"f"}],"error":{"message":"m"},"output_text":"a b","output":[]}}"#,
            vec![r#"setting: {"message":"m"}"#.to_owned(), "whole: a b".to_owned()],
        ),
    ] {
        assert_eq!(told(data), expected, "{data}");
    }
}

#[test]
fn google_and_what_is_not_known() {
    let data = r#"{"candidates":[{"index":0,"content":{"role":"model","parts":[{"text":"hm","thought":true},{"text":"a"},{"functionCall":{"name":"f","args":{"k":"v"}}}]},"finishReason":"STOP"}]}"#;
    let expected = ["g0/thought: hm", "g0/text: a", "name: f", r#"json: {"k":"v"}"#, "g0/thought ends", "g0/ ends"];
    assert_eq!(told(data), expected);
    let beside =
        r#"{"usageMetadata":{"trafficType":"x"},"modelVersion":"m","modelStatus":{"message":"a"},"note":"a b"}"#;
    assert_eq!(told(beside), [r#"setting: {"message":"a"}"#, "whole: a b"]);
    assert_eq!(told(&format!(r#"{{"candidates":[],{}"#, &beside[1..])), told(beside));
    assert_eq!(told(r#"{"type":"new","delta":{"words":["a"]}}"#), ["any/delta/words: a"]);
    assert!(event("[DONE]").is_none() && told("7").is_empty());
}
