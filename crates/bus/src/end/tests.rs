//! Ends of requests whose records are whole, broken or garbage.

use super::*;
use serde_json::{Value, json};

fn sample(name: &str) -> Value {
    let path = format!("{}/../../schemas/samples/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).expect("a sample")).expect("JSON")
}

/// The topics, the terminal and the row of a poisoned record's end.
fn ended(value: &Value) -> (Vec<TopicName>, Terminal, UsageRow) {
    let records = poisoned_request(value.to_string().as_bytes(), "main", "local", &TraceContext::new());
    let reply: Reply = serde_json::from_slice(&records.first().expect("a reply").payload).expect("a reply");
    let usage = serde_json::from_slice(&records.last().expect("a row").payload).expect("a row");
    let ReplyEvent::Terminal(terminal) = reply.event else { panic!("a terminal") };
    (records.into_iter().map(|record| record.topic).collect(), *terminal, usage)
}

#[test]
fn a_whole_record_and_a_broken_one_end_alike() {
    for broken in
        [None, Some("deadline_ms"), Some("api_type"), Some("body"), Some("lane"), Some("tags"), Some("caller")]
    {
        let mut value = sample("request-v1-job.json");
        if let Some(field) = broken {
            value[field] = json!({ "secret": "content" });
        }
        let (topics, terminal, usage) = ended(&value);
        let out = TopicName::Full("tollgate.out.search".to_owned());
        assert_eq!(topics, [TopicName::Internal("replies"), out, TopicName::Internal("usage")], "{broken:?}");
        let error = terminal.error.expect("an error");
        assert_eq!((terminal.status, error.code), (500, ErrorCode::Internal));
        assert!(!error.message.contains("secret"));
        assert_eq!((usage.status_code, usage.error_code.as_deref()), (500, Some("internal_error")));
        assert_eq!(usage.request_id.to_string(), value["request_id"]);
        let team = if broken == Some("caller") { "" } else { "search" };
        assert_eq!((usage.team.as_str(), terminal.team.as_str()), (team, team), "{broken:?}");
    }
}

#[test]
fn whoever_waits_is_told_and_what_was_spent_is_kept() {
    let mut value = sample("request-v1-http.json");
    let partition = value["reply"]["partition"].clone();
    value["model"] = json!(7);
    let records = poisoned_request(value.to_string().as_bytes(), "main", "local", &TraceContext::new());
    assert_eq!((records.len(), json!(records[0].partition)), (2, partition));
    let mut value = sample("completion-v1.json");
    let spent = value["usage"]["cost_usd"].clone();
    let attempts = value["usage"]["attempts"].as_array().map_or(0, Vec::len);
    for field in ["terminal", "request"] {
        let (_, terminal, usage) = ended(&value);
        assert_eq!((json!(usage.cost_usd), usage.attempts.len()), (spent.clone(), attempts));
        assert_eq!((terminal.status, terminal.attempts as usize), (500, attempts));
        assert_eq!(json!(usage.execution_id), value["usage"]["execution_id"]);
        value[field]["status"] = json!("broken");
        value[field]["stream"] = json!("broken");
    }
}

#[test]
fn what_names_no_request_ends_none() {
    for value in ["", "garbage", "[]", "{}", r#"{"request_id":7}"#, r#"{"request":{"request_id":"x"}}"#] {
        assert!(poisoned_request(value.as_bytes(), "main", "local", &TraceContext::new()).is_empty(), "{value}");
    }
}

/// The completion behind it does.
#[test]
fn a_chunk_ends_nothing_whole_or_broken() {
    for broken in [None, Some("events"), Some("request"), Some("execution_id")] {
        let mut value = sample("completion-v1-chunk.json");
        if let Some(field) = broken {
            value[field] = json!({ "status": "broken" });
        }
        let ended = poisoned_request(value.to_string().as_bytes(), "main", "local", &TraceContext::new());
        assert!(ended.is_empty(), "{broken:?}");
    }
}

#[test]
fn a_row_of_another_request_is_not_taken_for_its_own() {
    let mut value = sample("completion-v1.json");
    let own = value["request"]["request_id"].clone();
    value["usage"]["request_id"] = json!(tollgate_schemas::RequestId::new());
    value["terminal"]["status"] = json!("broken");
    let (_, _, usage) = ended(&value);
    assert_eq!(json!(usage.request_id), own);
}

#[test]
fn a_number_beyond_all_bounds_hides_nothing_else() {
    let text = sample("request-v1-http.json").to_string();
    let text = text.replacen("\"body\":", "\"body\":1e400,\"was\":", 1).replacen(
        "\"lane\":",
        "\"lane\":1e400,\"was_lane\":",
        1,
    );
    assert!(text.contains("1e400"));
    assert_eq!(poisoned_request(text.as_bytes(), "main", "local", &TraceContext::new()).len(), 2);
}

#[test]
fn a_record_that_says_it_is_from_the_beginning_of_time_has_an_end_too() {
    for (name, field) in [("request-v1-http.json", "/accepted_us"), ("completion-v1.json", "/usage/event_time_us")] {
        let mut value = sample(name);
        *value.pointer_mut(field).expect("a field") = json!(i64::MIN);
        let (_, _, usage) = ended(&value);
        assert_eq!((usage.event_time_us, usage.latency_ms), (i64::MIN, i64::MAX / 1000), "{name}");
    }
}

#[test]
fn a_shadows_copy_answers_nobody_however_it_ends() {
    for broken in [None, Some("deadline_ms"), Some("reply"), Some("caller"), Some("lane")] {
        let mut value = sample("request-v1-shadow.json");
        if let Some(field) = broken {
            value[field] = json!({ "partition": 7, "topic": "broken" });
        }
        let records = poisoned_request(value.to_string().as_bytes(), "main", "local", &TraceContext::new());
        let topics: Vec<_> = records.iter().map(|record| record.topic.clone()).collect();
        assert_eq!(topics, [TopicName::Internal("usage")], "{broken:?}");
        let row: UsageRow = serde_json::from_slice(&records[0].payload).expect("a row");
        assert_eq!((json!(row.parent_request_id), row.status_code), (value["parent_request_id"].clone(), 500));
        assert_eq!((row.team.as_str(), row.requester), ("", None));
        assert_eq!(row.request_tags["experiment"], "gpt-next");
    }
}

/// The `results` group keeps what is marked as a terminal, and what a judge says is nobody's to fetch.
#[test]
fn the_end_of_a_judges_request_is_no_terminal_to_keep() {
    for (name, kind) in [("request-v1-judge.json", "verdict"), ("request-v1-http.json", "terminal")] {
        let records = poisoned_request(sample(name).to_string().as_bytes(), "main", "local", &TraceContext::new());
        assert_eq!((records.len(), records[0].headers.get(headers::REPLY_KIND)), (2, Some(kind)), "{name}");
    }
}

#[test]
fn an_answer_that_stays_in_its_reply_is_pointed_at_in_a_teams_topic() {
    let request: Request = serde_json::from_value(sample("request-v1-job.json")).expect("a request");
    for (bytes, is_pointed_at) in [(1_000, false), (300_000, true)] {
        let body = Body::of(&json!({ "text": "x".repeat(bytes) })).expect("JSON");
        let terminal = Terminal { body: Some(body), ..Terminal::answered("search") };
        let usage = UsageRow::of(&request, ExecutionId::new(), "main", "local", None);
        let records =
            end_request(&request, usage.execution_id, terminal, usage, &TraceContext::new()).expect("records");
        assert!(records[0].payload.len() > bytes);
        let line: Value = serde_json::from_slice(&records[1].payload).expect("a line");
        assert_eq!(line["response"]["body"]["url"].is_string(), is_pointed_at, "{bytes}");
    }
}
