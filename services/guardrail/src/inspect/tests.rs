//! Bodies of every shape, and what inspection must not change.

use super::*;
use base64::{Engine, engine::general_purpose::STANDARD};

mod named;

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).expect("valid JSON")
}

/// Replaces `bad` by `[X]` and collects what was seen.
fn run(inspect: impl Fn(&RawValue, MapText<'_>) -> Option<String>, json: &str) -> (Option<String>, Vec<String>) {
    let mut seen = Vec::new();
    let changed = inspect(&raw(json), &mut |_, text| {
        seen.push(text.to_owned());
        text.contains("bad").then(|| text.replace("bad", "[X]"))
    });
    if let Some(changed) = &changed {
        serde_json::from_str::<serde_json::Value>(changed).expect("still JSON");
    }
    (changed, seen)
}

/// What is told as unreadable.
fn unread(json: &str) -> Vec<&'static str> {
    #[derive(Default)]
    struct Told(Vec<&'static str>);
    impl Reader for Told {
        fn text(&mut self, _: Part<'_>) -> Option<String> {
            None
        }

        fn unread(&mut self, what: Unread<'_>) {
            self.0.push(what.kind.as_str());
        }
    }
    let mut told = Told::default();
    read_request(&raw(json), &mut told);
    told.0
}

fn base64(text: &str) -> String {
    STANDARD.encode(text)
}

#[test]
fn every_text_of_a_request_is_seen_and_nothing_else() {
    let (changed, seen) = run(
        request,
        r#"{"model":"m-bad","messages":[
            {"role":"system","content":"s"},
            {"role":"user","name":"n","content":[{"type":"text","text":"p1"},
                {"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}},"p2"]},
            {"role":"assistant","content":null,"refusal":"r","reasoning_content":"t","tool_calls":[
                {"id":"bad","type":"function","function":{"name":"f","arguments":"{\"k\":[\"v\",7]}"}},
                {"id":"c","type":"custom","custom":{"name":"f","input":"free text"}}]},
            {"role":"tool","tool_call_id":"bad","content":"result"},
            {"role":"assistant","function_call":{"name":"f","arguments":"not json"}}],
          "prediction":{"type":"content","content":"guess"},"tool_choice":"bad","seed":7}"#,
    );
    assert_eq!(changed, None);
    let expected =
        ["s", "n", "p1", "p2", "r", "t", "f", "k", "v", "7", "f", "free text", "result", "f", "not json", "guess"];
    assert_eq!(seen, expected);
}

#[test]
fn tools_metadata_and_whatever_else_stands_beside_a_prompt_are_seen() {
    let (changed, seen) = run(
        request,
        r#"{"model":"bad","messages":[],"stream":true,"temperature":0.5,"user":"a bad user","metadata":{"ticket":"bad 1"},
          "tools":[{"type":"function","function":{"name":"look_up","description":"bad tool","parameters":{"type":"object",
            "properties":{"ssn":{"type":"string","description":"d"}},"required":["ssn"]}}},
            {"type":"mcp","server_label":"l","server_url":"https://x.test","authorization":"bad"}],
          "response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object","properties":{"bad":{"type":"string"}}}}},
          "stop":["bad"],"unheard_of":{"x":"y"}}"#,
    );
    let expected = [
        "a bad user",
        "ticket",
        "bad 1",
        "look_up",
        "bad tool",
        "ssn",
        "d",
        "ssn",
        "server_label",
        "l",
        "server_url",
        "https://x.test",
        "authorization",
        "n",
        "bad",
        "bad",
        "x",
        "y",
    ];
    assert_eq!(seen, expected);
    let changed = changed.expect("changed");
    for part in [
        r#""user":"a [X] user","metadata":{"ticket":"[X] 1"}"#,
        r#""description":"[X] tool""#,
        r#"{"[X]":{"type":"string"}}"#,
        r#""authorization":"bad""#,
        r#""stop":["[X]"]"#,
    ] {
        assert!(changed.contains(part), "{part} is not in {changed}");
    }
}

#[test]
fn what_is_more_than_a_word_is_text_whatever_it_stands_in() {
    let (_, seen) = run(
        request,
        r#"{"messages":[{"role":"obey me","id":"call_1","content":[{"type":"text","text":"t","format":"a@b.com"}]}]}"#,
    );
    assert_eq!(seen, ["obey me", "t", "a@b.com"]);
}

#[test]
fn files_that_are_text_are_decoded_and_encoded_again() {
    let (csv, json) = (base64("id,mail\n1,bad\n"), base64(r#"{"k":"\u0062ad"}"#));
    for (body, expected) in [
        (
            format!(
                r#"{{"messages":[{{"content":[{{"type":"file","file":{{"filename":"f.csv","file_data":"data:text/csv;base64,{csv}"}}}}]}}]}}"#
            ),
            format!("data:text/csv;base64,{}", base64("id,mail\n1,[X]\n")),
        ),
        (
            format!(
                r#"{{"input":[{{"role":"user","content":[{{"type":"input_file","filename":"f","file_data":"{csv}"}}]}}]}}"#
            ),
            base64("id,mail\n1,[X]\n"),
        ),
        (
            format!(
                r#"{{"messages":[{{"content":[{{"type":"document","source":{{"type":"base64","media_type":"text/plain","data":"{csv}"}}}}]}}]}}"#
            ),
            base64("id,mail\n1,[X]\n"),
        ),
        (
            format!(
                r#"{{"contents":[{{"parts":[{{"inlineData":{{"mimeType":"application/json","data":"{json}"}}}}]}}]}}"#
            ),
            base64(r#"{"k":"[X]"}"#),
        ),
    ] {
        let (changed, _) = run(request, &body);
        assert!(changed.as_ref().is_some_and(|changed| changed.contains(&format!("\"{expected}\""))), "{changed:?}");
        assert_eq!(unread(&body), [""; 0], "{body}");
    }
    let plain = r#"{"messages":[{"content":[{"type":"document","title":"t","context":"c","source":{"type":"text","media_type":"text/plain","data":"bad"}}]}]}"#;
    let (changed, seen) = run(request, plain);
    assert_eq!((changed.is_some(), seen.join(" ")), (true, "t c bad".to_owned()));
}

#[test]
fn what_cannot_be_read_is_told_in_every_api() {
    let png = "iVBORw0KGgo=";
    let part = |part: &str| unread(&format!(r#"{{"messages":[{{"role":"user","content":[{part}]}}]}}"#));
    for (json, expected) in [
        (format!(r#"{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{png}"}}}}"#), "image"),
        (r#"{"type":"image_url","image_url":{"url":"https://x.test/a.png"}}"#.to_owned(), "image"),
        (r#"{"type":"input_image","image_url":"https://x.test/a.png"}"#.to_owned(), "image"),
        (r#"{"type":"input_image","file_id":"file-1"}"#.to_owned(), "image"),
        (format!(r#"{{"type":"input_audio","input_audio":{{"data":"{png}","format":"wav"}}}}"#), "audio"),
        (format!(r#"{{"type":"file","file":{{"file_data":"data:application/pdf;base64,{png}"}}}}"#), "file"),
        (r#"{"type":"file","file":{"file_id":"file-1"}}"#.to_owned(), "file"),
        (r#"{"type":"input_file","file_url":"https://x.test/a.pdf"}"#.to_owned(), "file"),
        (
            format!(r#"{{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"{png}"}}}}"#),
            "image",
        ),
        (r#"{"type":"image","source":{"type":"url","url":"https://x.test/a.png"}}"#.to_owned(), "image"),
        (r#"{"type":"image","source":{"type":"file","file_id":"f"}}"#.to_owned(), "image"),
        (
            format!(
                r#"{{"type":"document","source":{{"type":"base64","media_type":"application/pdf","data":"{png}"}}}}"#
            ),
            "file",
        ),
        (r#"{"type":"redacted_thinking","data":"abcd"}"#.to_owned(), "encrypted"),
        (r#"{"type":"reasoning","summary":[],"encrypted_content":"abcd"}"#.to_owned(), "encrypted"),
        (format!(r#"{{"inlineData":{{"mimeType":"video/mp4","data":"{png}"}}}}"#), "video"),
        (r#"{"fileData":{"mimeType":"audio/mp3","fileUri":"gs://b/f"}}"#.to_owned(), "audio"),
        (
            format!(
                r#"{{"type":"tool_result","content":[{{"type":"image","source":{{"type":"base64","media_type":"image/png","data":"{png}"}}}}]}}"#
            ),
            "image",
        ),
    ] {
        assert_eq!(part(&json), [expected], "{json}");
    }
    assert_eq!(unread(r#"{"messages":[{"role":"assistant","audio":{"id":"audio_1"}}]}"#), ["audio"]);
    assert_eq!(unread(r#"{"input":[[1,2],[3]]}"#), ["tokens"]);
    assert_eq!(unread(r#"{"prompt":[1,2]}"#), ["tokens"]);
    assert_eq!(unread(r#"{"input":[{"type":"item_reference","id":"msg_1"}]}"#), ["stored"]);
    assert_eq!(unread(r#"{"input":"and then?","previous_response_id":"resp_1","conversation":null}"#), ["stored"]);
    for json in [
        r#"{"type":"text","text":"t","annotations":[{"type":"url_citation","url":"https://x.test"},{"type":"file_citation","file_id":"f"}]}"#,
        r#"{"type":"thinking","thinking":"t","signature":"abcd"}"#,
        r#"{"type":"tool_use","id":"call_1","name":"f","input":{"url":"https://x.test","data":"x"}}"#,
    ] {
        assert_eq!(part(json), [""; 0], "{json}");
    }
}

#[test]
fn only_what_changed_is_rewritten() {
    let (changed, _) = run(
        request,
        r#"{ "x":1.50e3,"messages" : [{"content":"a \u0062ad \"day\"", "role":"user"} ],"seed":18446744073709551616}"#,
    );
    let expected =
        r#"{ "x":1.50e3,"messages" : [{"content":"a [X] \"day\"", "role":"user"} ],"seed":18446744073709551616}"#;
    assert_eq!(changed.as_deref(), Some(expected));
}

#[test]
fn arguments_stay_json_inside_json() {
    let json = r#"{"messages":[{"tool_calls":[{"function":{"arguments":"{\"a\":\"\\u0062ad\",\"bad\":1}"}}]}]}"#;
    let (changed, _) = run(request, json);
    let expected = r#"{"messages":[{"tool_calls":[{"function":{"arguments":"{\"a\":\"[X]\",\"[X]\":1}"}}]}]}"#;
    assert_eq!(changed.as_deref(), Some(expected));
    let number = inspect_number(r#"{"messages":[{"tool_calls":[{"function":{"arguments":{"card":411}}}]}]}"#);
    assert_eq!(
        number.as_deref(),
        Some(r#"{"messages":[{"tool_calls":[{"function":{"arguments":{"card":"[card]"}}}]}]}"#)
    );
}

fn inspect_number(json: &str) -> Option<String> {
    request(&raw(json), &mut |key, text| (text == "411").then(|| format!("[{key}]")))
}

#[test]
fn repeated_keys_and_odd_shapes_hide_nothing() {
    for json in [
        r#"{"messages":[{"content":"bad"}],"messages":[]}"#,
        r#"{"messages":[{"content":"ok","content":"bad"}]}"#,
        r#"{"m\u0065ssages":[{"content":"bad"}]}"#,
        r#"{"messages":"bad"}"#,
        r#"{"messages":{"content":{"text":"bad"}}}"#,
        r#"{"messages":[],"prompt":"bad"}"#,
        r#"{"other":[["bad"]]}"#,
        r#"["bad"]"#,
        r#""bad""#,
    ] {
        let (changed, _) = run(request, json);
        assert!(changed.is_some_and(|c| !c.contains("bad")), "{json}");
    }
    let deep = format!(r#"{{"messages":{}"bad"{}}}"#, "[".repeat(5_000), "]".repeat(5_000));
    let seen = std::cell::Cell::new(false);
    request(&raw(&deep), &mut |_, text| {
        seen.set(seen.get() || text == "bad");
        None
    });
    assert!(seen.get());
}

#[test]
fn answers_are_read_and_their_log_probabilities_follow() {
    let (changed, seen) = run(
        answer,
        r#"{"id":"bad","model":"bad","choices":[
            {"index":0,"logprobs":{"content":[{"token":"bad"}]},"message":{"role":"assistant","content":"bad","refusal":null},"finish_reason":"stop"},
            {"index":1,"message":{"content":"fine","reasoning_content":"why","tool_calls":[{"id":"i","function":{"name":"f","arguments":"{}"}}]},"logprobs":{"content":[{"token":"fine"}]}}],
          "usage":{"total_tokens":3}}"#,
    );
    let changed = changed.expect("changed");
    assert!(
        changed.contains(r#""logprobs":null,"message":{"role":"assistant","content":"[X]","refusal":null}"#),
        "{changed}"
    );
    assert!(changed.contains(r#""logprobs":{"content":[{"token":"fine"}]}"#), "{changed}");
    assert_eq!(seen, ["bad", "fine", "why", "f"]);
    let found = r#"{"choices":[{"message":{"content":"c","annotations":[{"type":"url_citation","url_citation":{"url":"https://x.test/bad","title":"t"}}]}}],
        "citations":["bad"],"usage":{}}"#;
    let (changed, seen) = run(answer, found);
    assert_eq!(seen, ["c", "https://x.test/bad", "t", "bad"]);
    assert!(changed.expect("changed").contains(r#""citations":["[X]"]"#));
}

#[test]
fn other_apis_are_read_too() {
    let (changed, seen) = run(
        request,
        r#"{"model":"m-bad","system":[{"type":"text","text":"bad s","cache_control":{"type":"ephemeral"}}],"messages":[
            {"role":"assistant","content":[{"type":"tool_use","id":"bad","name":"f","input":{"k":"v"}}]},
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"bad","content":[{"type":"text","text":"r"}]},
                {"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgo="}}]}]}"#,
    );
    assert_eq!(seen, ["bad s", "f", "k", "v", "r"]);
    assert!(changed.expect("changed").contains(r#""text":"[X] s","cache_control":{"type":"ephemeral"}"#));
    let (changed, seen) = run(request, r#"{"model":"m-bad","input":["bad","b"],"encoding_format":"float"}"#);
    assert_eq!(seen, ["bad", "b"]);
    assert_eq!(changed.as_deref(), Some(r#"{"model":"m-bad","input":["[X]","b"],"encoding_format":"float"}"#));
    let message = r#"{"type":"message","id":"bad","model":"m-bad","content":[{"type":"text","text":"bad"}],"stop_reason":"end_turn"}"#;
    let (changed, seen) = run(answer, message);
    assert_eq!(seen, ["bad"]);
    assert!(changed.expect("changed").contains(r#""model":"m-bad","content":[{"type":"text","text":"[X]"}]"#));
    let response = r#"{"object":"response","id":"bad","model":"m-bad","instructions":"bad","output":[
        {"type":"reasoning","id":"bad","summary":[{"type":"summary_text","text":"why"}],"encrypted_content":"bad"},
        {"type":"message","id":"bad","status":"completed","content":[
            {"type":"output_text","text":"bad","annotations":[],"logprobs":[{"token":"bad"}]},
            {"type":"output_text","text":"fine","logprobs":[{"token":"fine"}]},{"type":"refusal","refusal":"no"}]},
        {"type":"function_call","call_id":"bad","name":"f","arguments":"{\"k\":\"bad\"}"},
        {"type":"custom_tool_call","call_id":"c","input":"free"},"odd bad"]}"#;
    let (changed, seen) = run(answer, response);
    assert_eq!(seen, ["why", "bad", "fine", "no", "f", "k", "bad", "free", "odd bad"]);
    let changed = changed.expect("changed");
    assert!(changed.contains(r#""text":"[X]","annotations":[],"logprobs":[]}"#), "{changed}");
    assert!(
        changed.contains(r#""logprobs":[{"token":"fine"}]"#) && changed.contains(r#""arguments":"{\"k\":\"[X]\"}""#)
    );
    let (changed, seen) = run(
        request,
        r#"{"model":"m-bad","instructions":"i","input":[{"role":"user","content":[{"type":"input_text","text":"t"},
            {"type":"input_image","image_url":"https://x.test/bad"},{"type":"input_file","file_url":"https://x.test/bad"}]},
            {"type":"function_call","call_id":"bad","arguments":"{\"k\":1}"},
            {"type":"function_call_output","call_id":"bad","status":"completed","output":"o"},
            {"type":"function_call_output","call_id":"c","output":[{"type":"input_text","text":"p"}]},
            {"type":"reasoning","summary":[{"type":"summary_text","text":"s"}],"encrypted_content":"bad"}]}"#,
    );
    assert_eq!((changed, seen.join(" ")), (None, "i t k 1 o p s".to_owned()));
    let (changed, seen) = run(answer, r#"{"object":"list","data":[{"embedding":[0.1],"index":0}],"model":"bad"}"#);
    assert_eq!((changed, seen.len()), (None, 0));
}

#[test]
fn text_completions_and_moderations_are_read_too() {
    let (changed, seen) =
        run(request, r#"{"model":"m-bad","prompt":["bad a","b"],"suffix":"bad s","stop":"bad","best_of":2}"#);
    assert_eq!(seen, ["bad a", "b", "bad s", "bad"]);
    let expected = r#"{"model":"m-bad","prompt":["[X] a","b"],"suffix":"[X] s","stop":"[X]","best_of":2}"#;
    assert_eq!(changed.as_deref(), Some(expected));
    let (changed, seen) = run(
        answer,
        r#"{"object":"text_completion","model":"bad","choices":[{"index":0,"text":"bad","logprobs":{"tokens":["bad"]},"finish_reason":"stop"}]}"#,
    );
    assert_eq!(seen, ["bad"]);
    assert!(changed.expect("changed").contains(r#""text":"[X]","logprobs":null"#));
    let parts =
        r#"{"input":[{"type":"text","text":"bad"},{"type":"image_url","image_url":{"url":"https://x.test/bad"}}]}"#;
    let (changed, seen) = run(request, parts);
    assert_eq!((changed.as_deref(), seen.len()), (Some(parts.replacen("bad", "[X]", 1).as_str()), 1));
    let result =
        r#"{"id":"bad","model":"bad","results":[{"flagged":true,"category_scores":{"hate":4.11e-5},"why":"bad"}]}"#;
    let (changed, seen) = run(answer, result);
    assert_eq!((changed, seen.join(" ")), (Some(result.replace(r#""why":"bad""#, r#""why":"[X]""#)), "bad".to_owned()));
}

#[test]
fn every_text_of_googles_contents_and_candidates_is_seen() {
    let (changed, seen) = run(
        request,
        r#"{"system_instruction":{"parts":[{"text":"s"}]},"systemInstruction":{"parts":[{"text":"t"}]},"contents":[
            {"role":"user","parts":[{"text":"bad u"},{"inlineData":{"mimeType":"image/png","data":"iVBORw0KGgo="}},{"fileData":{"fileUri":"gs://bad/x"}}]},
            {"role":"model","parts":[{"text":"m","thoughtSignature":"bad"},{"functionCall":{"id":"bad","name":"f","args":{"k":["v",7]}}}]},
            {"role":"user","parts":[{"functionResponse":{"id":"bad","name":"f","response":{"output":"bad r"}}}]}],
          "tools":[{"functionDeclarations":[{"description":"bad"}]}],
          "generationConfig":{"temperature":0.5,"responseMimeType":"text/plain","stopSequences":["stop"]}}"#,
    );
    assert_eq!(seen, ["s", "t", "bad u", "m", "f", "k", "v", "7", "f", "output", "bad r", "bad", "stop"]);
    let changed = changed.expect("changed");
    assert!(changed.contains(r#"{"text":"[X] u"}"#) && changed.contains(r#"{"output":"[X] r"}"#), "{changed}");
    let (changed, seen) = run(
        answer,
        r#"{"candidates":[
            {"content":{"role":"model","parts":[{"text":"bad"},{"functionCall":{"name":"f","args":{"k":"bad"}}}]},"finishReason":"bad",
             "logprobsResult":{"chosenCandidates":[{"token":"bad"}]}},
            {"content":{"parts":[{"text":"fine"}]},"finishMessage":"why","logprobsResult":{"chosenCandidates":[{"token":"fine"}]}}],
          "usageMetadata":{"totalTokenCount":7},"modelVersion":"m-bad","responseId":"bad"}"#,
    );
    assert_eq!(seen, ["bad", "f", "k", "bad", "fine", "why"]);
    let changed = changed.expect("changed");
    assert!(changed.contains(r#""args":{"k":"[X]"}"#) && changed.contains(r#""logprobsResult":null"#), "{changed}");
    assert!(changed.contains(r#"{"token":"fine"}"#) && changed.contains(r#""modelVersion":"m-bad""#), "{changed}");
    let blocked =
        r#"{"promptFeedback":{"blockReason":"bad","blockReasonMessage":"m"},"usageMetadata":{"totalTokenCount":7}}"#;
    assert_eq!(run(answer, blocked), (None, vec!["m".to_owned()]));
}
