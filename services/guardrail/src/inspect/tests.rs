//! Bodies of every shape, and what inspection must not change.

use super::*;

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

#[test]
fn every_text_of_a_request_is_seen_and_nothing_else() {
    let (changed, seen) = run(
        request,
        r#"{"model":"m-bad","messages":[
            {"role":"system","content":"s"},
            {"role":"user","name":"n-bad","content":[{"type":"text","text":"p1"},{"type":"image_url","image_url":{"url":"data:bad"}},"p2"]},
            {"role":"assistant","content":null,"refusal":"r","reasoning_content":"t","tool_calls":[
                {"id":"bad","type":"function","function":{"name":"f-bad","arguments":"{\"k\":[\"v\",7]}"}},
                {"id":"c","type":"custom","custom":{"name":"f","input":"free text"}}]},
            {"role":"tool","tool_call_id":"bad","content":"result"},
            {"role":"assistant","function_call":{"name":"f","arguments":"not json"}}],
          "prediction":{"type":"content","content":"guess"},"tools":[{"description":"bad"}],"user":"bad"}"#,
    );
    assert_eq!(changed, None);
    assert_eq!(seen, ["s", "p1", "p2", "r", "t", "k", "v", "7", "free text", "result", "not json", "guess"]);
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
    assert_eq!(seen, ["bad", "fine", "why"]);
}

#[test]
fn other_apis_are_read_too() {
    let (changed, seen) = run(
        request,
        r#"{"model":"m-bad","system":[{"type":"text","text":"bad s","cache_control":{"type":"ephemeral"}}],"messages":[
            {"role":"assistant","content":[{"type":"tool_use","id":"bad","name":"f-bad","input":{"k":"v"}}]},
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"bad","content":[{"type":"text","text":"r"}]},
                {"type":"image","source":{"type":"base64","media_type":"image/png","data":"bad"}}]}]}"#,
    );
    assert_eq!(seen, ["bad s", "k", "v", "r"]);
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
        {"type":"function_call","call_id":"bad","name":"f-bad","arguments":"{\"k\":\"bad\"}"},
        {"type":"custom_tool_call","call_id":"c","input":"free"},"odd bad"]}"#;
    let (changed, seen) = run(answer, response);
    assert_eq!(seen, ["why", "bad", "fine", "no", "k", "bad", "free", "odd bad"]);
    let changed = changed.expect("changed");
    assert!(changed.contains(r#""text":"[X]","annotations":[],"logprobs":[]}"#), "{changed}");
    assert!(
        changed.contains(r#""logprobs":[{"token":"fine"}]"#) && changed.contains(r#""arguments":"{\"k\":\"[X]\"}""#)
    );
    let (changed, seen) = run(
        request,
        r#"{"model":"m-bad","instructions":"i","input":[{"role":"user","content":[{"type":"input_text","text":"t"},
            {"type":"input_image","image_url":"bad"},{"type":"input_file","file_url":"bad","file_data":"bad"}]},
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
    let (changed, seen) = run(
        request,
        r#"{"model":"m-bad","prompt":["bad a","b"],"suffix":"bad s","stop":"bad","user":"bad","best_of":2}"#,
    );
    assert_eq!(seen, ["bad a", "b", "bad s"]);
    let expected = r#"{"model":"m-bad","prompt":["[X] a","b"],"suffix":"[X] s","stop":"bad","user":"bad","best_of":2}"#;
    assert_eq!(changed.as_deref(), Some(expected));
    let (changed, seen) = run(
        answer,
        r#"{"object":"text_completion","model":"bad","choices":[{"index":0,"text":"bad","logprobs":{"tokens":["bad"]},"finish_reason":"stop"}]}"#,
    );
    assert_eq!(seen, ["bad"]);
    assert!(changed.expect("changed").contains(r#""text":"[X]","logprobs":null"#));
    let parts = r#"{"input":[{"type":"text","text":"bad"},{"type":"image_url","image_url":{"url":"bad"}}]}"#;
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
            {"role":"user","parts":[{"text":"bad u"},{"inlineData":{"mimeType":"bad","data":"bad"}},{"fileData":{"fileUri":"bad"}}]},
            {"role":"model","parts":[{"text":"m","thoughtSignature":"bad"},{"functionCall":{"id":"bad","name":"f-bad","args":{"k":["v",7]}}}]},
            {"role":"user","parts":[{"functionResponse":{"id":"bad","name":"f-bad","response":{"output":"bad r"}}}]}],
          "tools":[{"functionDeclarations":[{"description":"bad"}]}],"generationConfig":{"stopSequences":["bad"]}}"#,
    );
    assert_eq!(seen, ["s", "t", "bad u", "m", "k", "v", "7", "output", "bad r"]);
    let changed = changed.expect("changed");
    assert!(changed.contains(r#"{"text":"[X] u"}"#) && changed.contains(r#"{"output":"[X] r"}"#), "{changed}");
    let (changed, seen) = run(
        answer,
        r#"{"candidates":[
            {"content":{"role":"model","parts":[{"text":"bad"},{"functionCall":{"name":"f-bad","args":{"k":"bad"}}}]},"finishReason":"bad",
             "logprobsResult":{"chosenCandidates":[{"token":"bad"}]}},
            {"content":{"parts":[{"text":"fine"}]},"finishMessage":"why","logprobsResult":{"chosenCandidates":[{"token":"fine"}]}}],
          "usageMetadata":{"totalTokenCount":7},"modelVersion":"m-bad","responseId":"bad"}"#,
    );
    assert_eq!(seen, ["bad", "k", "bad", "fine", "why"]);
    let changed = changed.expect("changed");
    assert!(changed.contains(r#""args":{"k":"[X]"}"#) && changed.contains(r#""logprobsResult":null"#), "{changed}");
    assert!(changed.contains(r#"{"token":"fine"}"#) && changed.contains(r#""modelVersion":"m-bad""#), "{changed}");
    let blocked =
        r#"{"promptFeedback":{"blockReason":"bad","blockReasonMessage":"m"},"usageMetadata":{"totalTokenCount":7}}"#;
    assert_eq!(run(answer, blocked), (None, vec!["m".to_owned()]));
}
