//! What judges are shown: the texts of a body in their order and, for a judge that reads, who said them.
//!
//! Who said a text is told for the judge's sake alone. Every text that [`crate::inspect`] sees is shown, whatever a body looks like:
//! where the parts of a body do not add up to the whole, all of it counts as the user's.

use super::Side;
use crate::inspect;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// Fields that hold a conversation, element by element.
const LISTS: [&str; 3] = ["messages", "input", "contents"];
/// Fields that hold what the application tells its model.
const SYSTEM: [&str; 4] = ["instructions", "system", "systemInstruction", "system_instruction"];
/// Roles that are told; any other is the user's.
const ROLES: [&str; 7] = ["system", "developer", "user", "assistant", "model", "tool", "function"];

/// A text and who said it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Turn {
    /// As the body has it.
    pub role: String,
    /// The text.
    pub text: String,
}

/// The texts of a body.
#[derive(Debug)]
pub struct Case {
    /// Which side it stands on.
    pub side: Side,
    /// Every text, in the order in which [`Side::inspect`] shows them, blank ones too.
    pub texts: Vec<String>,
    /// The same, without the blank ones, by who said them.
    pub turns: Vec<Turn>,
}

impl Case {
    /// Of a body as it would go on.
    pub fn of(side: Side, body: &RawValue) -> Self {
        let mut texts = Vec::new();
        side.inspect(body, &mut |_, text| {
            texts.push(text.to_owned());
            None
        });
        let (told, usual) = match side {
            Side::Input => (turns(body).filter(|turns| is_all(turns, &texts)), "user"),
            Side::Output => (None, "assistant"),
        };
        let untold = || texts.iter().map(|text| Turn { role: usual.to_owned(), text: text.clone() }).collect();
        let mut turns: Vec<Turn> = told.unwrap_or_else(untold);
        turns.retain(|turn| !is_blank(&turn.text));
        Self { side, texts, turns }
    }

    /// Parts of an answer, as they come.
    pub fn of_parts(texts: Vec<String>) -> Self {
        let spoken = texts.iter().filter(|text| !is_blank(text));
        let turns = spoken.map(|text| Turn { role: "assistant".to_owned(), text: text.clone() }).collect();
        Self { side: Side::Output, texts, turns }
    }

    /// Texts with something in them, with their places among all.
    pub fn spoken(&self) -> impl Iterator<Item = (usize, &str)> {
        self.texts.iter().enumerate().map(|(at, text)| (at, text.as_str())).filter(|(_, text)| !is_blank(text))
    }
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

/// Whether the turns have the same texts, in whatever order.
fn is_all(turns: &[Turn], texts: &[String]) -> bool {
    let mut told: Vec<&str> = turns.iter().map(|turn| turn.text.as_str()).collect();
    let mut all: Vec<&str> = texts.iter().map(String::as_str).collect();
    told.sort_unstable();
    all.sort_unstable();
    told == all
}

fn turns(body: &RawValue) -> Option<Vec<Turn>> {
    let fields: BTreeMap<String, &RawValue> = serde_json::from_str(body.get()).ok()?;
    let (first, rest): (Vec<_>, Vec<_>) = fields.iter().partition(|(name, _)| SYSTEM.contains(&name.as_str()));
    let mut turns = Vec::new();
    for (name, value) in first.into_iter().chain(rest) {
        let items = serde_json::from_str::<Vec<&RawValue>>(value.get()).ok();
        match items.filter(|_| LISTS.contains(&name.as_str())) {
            Some(items) => {
                for item in items {
                    said(&mut turns, &role(item), name, &format!("[{}]", item.get()))?;
                }
            }
            None => {
                let role = if SYSTEM.contains(&name.as_str()) { "system" } else { "user" };
                said(&mut turns, role, name, value.get())?;
            }
        }
    }
    Some(turns)
}

fn role(item: &RawValue) -> String {
    #[derive(Deserialize)]
    struct Said {
        role: String,
    }
    let role = serde_json::from_str::<Said>(item.get()).map(|said| said.role).unwrap_or_default();
    if ROLES.contains(&role.as_str()) { role } else { "user".to_owned() }
}

/// Adds the texts of one field, or of one element of it.
fn said(turns: &mut Vec<Turn>, role: &str, name: &str, json: &str) -> Option<()> {
    // With a field that is known beside it, one that is not is left alone, as in the whole body.
    let name = serde_json::to_string(name).ok()?;
    let alone = RawValue::from_string(format!("{{\"messages\":[],{name}:{json}}}")).ok()?;
    inspect::request(&alone, &mut |_, text| {
        turns.push(Turn { role: role.to_owned(), text: text.to_owned() });
        None
    });
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn case(side: Side, body: &str) -> Case {
        Case::of(side, &RawValue::from_string(body.to_owned()).expect("JSON"))
    }

    fn told(body: &str) -> Vec<String> {
        case(Side::Input, body).turns.iter().map(|turn| format!("{}: {}", turn.role, turn.text)).collect()
    }

    #[test]
    fn who_said_what_is_known_in_every_api() {
        let chat = r#"{"model":"m","messages":[{"role":"system","content":"s"},{"role":"user","content":[{"type":"text","text":"u"}]},
            {"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{\"k\":\"v\"}"}}]},{"role":"tool","content":"t"}]}"#;
        assert_eq!(told(chat), ["system: s", "user: u", "assistant: k", "assistant: v", "tool: t"]);
        let messages = r#"{"messages":[{"role":"user","content":"u"}],"system":[{"type":"text","text":"s"}]}"#;
        assert_eq!(told(messages), ["system: s", "user: u"]);
        let responses = r#"{"input":[{"role":"user","content":"u"},{"type":"message","role":"root","content":"x"}],"instructions":"s"}"#;
        assert_eq!(told(responses), ["system: s", "user: u", "user: x"]);
        assert_eq!(told(r#"{"contents":[{"role":"model","parts":[{"text":"m"}]}]}"#), ["model: m"]);
        assert_eq!(told(r#"{"prompt":["a"," "],"suffix":"b"}"#), ["user: a", "user: b"]);
        let answer = case(Side::Output, r#"{"choices":[{"message":{"role":"assistant","content":"a"}}]}"#);
        assert_eq!(answer.turns, [Turn { role: "assistant".into(), text: "a".into() }]);
    }

    #[test]
    fn a_repeated_field_hides_no_text() {
        let twice = r#"{"messages":[{"role":"system","content":"hidden"}],"messages":[{"role":"user","content":"u"}]}"#;
        assert_eq!(told(twice), ["user: hidden", "user: u"]);
    }

    proptest! {
        #[test]
        fn every_text_is_shown(
            names in prop::collection::vec(prop_oneof![Just("messages"), Just("input"), Just("system"), Just("prompt"), Just("other")], 0..4),
            texts in prop::collection::vec("[a-z ]{0,4}", 4),
        ) {
            let fields: Vec<String> = names.iter().zip(&texts).map(|(name, text)| format!(r#""{name}":[{{"role":"user","content":"{text}"}}]"#)).collect();
            let case = case(Side::Input, &format!("{{{}}}", fields.join(",")));
            let mut shown: Vec<&str> = case.turns.iter().map(|turn| turn.text.as_str()).collect();
            let mut all: Vec<&str> = case.spoken().map(|(_, text)| text).collect();
            shown.sort_unstable();
            all.sort_unstable();
            prop_assert_eq!(shown, all);
        }
    }
}
