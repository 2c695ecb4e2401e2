//! Any JSON as a request and as an answer, and any text as a prompt and as a file in base64, through the checks that run in the guardrail
//! itself: what they leave is JSON, and texts are shown to judges as often as before.

use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use std::sync::{Arc, LazyLock};
use tollgate_guardrail::checks::keywords::Keywords;
use tollgate_guardrail::checks::pii::{Entity, Pii};
use tollgate_guardrail::checks::{Action, Check};
use tollgate_guardrail::pipeline::{Case, Configured, Judged, Seat, Side, Stage, Subject, sift};

static STAGE: LazyLock<Stage> = LazyLock::new(|| {
    let words = ["project orion", "a", "机"].map(str::to_owned);
    let keywords = Keywords::new(&words).and_then(|words| words.allowing(&["a b".to_owned()])).expect("a small set");
    let pii = Pii::new(Entity::ALL, &[]).expect("known regions");
    let configured = |check| Configured { name: "input.check".into(), action: Action::Mask, check: Arc::new(check) };
    let injection = Judged {
        name: "input.injection".into(),
        action: Action::Log,
        allows_failure: true,
        subject: Subject::Injection { threshold: 0.6 },
        seat: Seat::Empty,
    };
    let checks = vec![configured(Check::Keywords(keywords)), configured(Check::Pii(pii))];
    Stage { checks, judged: vec![injection], ..Stage::default() }
});

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(body) = RawValue::from_string(text.to_owned()) {
        checked(Side::Input, &body);
        checked(Side::Output, &body);
    }
    let (first, second) = text.split_at(text.floor_char_boundary(text.len() / 2));
    let file = json!({ "type": "file", "file": { "filename": first, "file_data": format!("data:;base64,{second}") } });
    let messages = json!([{ "role": "user", "content": first }, { "role": "user", "content": [file, second, text] }]);
    let body = to_raw_value(&json!({ "messages": messages, "metadata": { first: second } })).expect("JSON");
    checked(Side::Input, &body);
}

fn checked(side: Side, body: &RawValue) {
    let sifted = sift(&STAGE, side, body.to_owned());
    serde_json::from_str::<&RawValue>(sifted.body.get()).expect("still JSON");
    let (before, after) = (Case::of(side, body), Case::of(side, &sifted.body));
    assert!(after.spoken().count() >= before.spoken().count().min(1), "a text that is masked is a text");
    let _ = after.pictured(&sifted.body);
}
