//! What judges are shown: the texts of a body in their order and, for a judge that reads, who said them.
//!
//! Who said a text is told for the judge's sake alone. Every text that [`crate::inspect`] sees is shown, whatever a body looks like:
//! where the parts of a body do not add up to the whole, all of it counts as the user's.

use super::Side;
use crate::checks::mask::Masker;
use crate::inspect::{self, Part, Place, Reader, Unread};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::ops::Range;

/// Fields that hold a conversation, element by element.
const LISTS: [&str; 3] = ["messages", "input", "contents"];
/// Fields that hold what the application tells its model.
const SYSTEM: [&str; 4] = ["instructions", "system", "systemInstruction", "system_instruction"];
/// Whose the definitions of tools, metadata and the like are.
const SETTINGS: &str = "settings";
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
    /// Every text, in the order in which [`Side::inspect`] shows them, blank ones too. Those of one document, such as the definitions of
    /// tools, are one text, a line each. Names that are a single word are none.
    pub texts: Vec<String>,
    /// The same, without the blank ones, by who said them.
    pub turns: Vec<Turn>,
    /// Pictures that are in the body, as `data:` addresses; see [`Case::pictured`].
    pub images: Vec<String>,
    /// Of each text: where a placeholder stands that masking has put there; see [`Case::sparing`].
    pub own: Vec<Vec<Range<usize>>>,
    /// Of each text that [`Side::inspect`] shows: where it stands in `texts`.
    places: Vec<Option<(usize, Range<usize>)>>,
}

/// Collects what judges are shown.
#[derive(Default)]
struct Shown {
    texts: Vec<String>,
    places: Vec<Option<(usize, Range<usize>)>>,
    document: usize,
}

impl Shown {
    /// Adds a text, to the last one or as another. Where it stands.
    fn add(&mut self, text: &str, goes_on: bool) -> (usize, Range<usize>) {
        if !goes_on {
            self.texts.push(String::new());
        }
        let at = self.texts.len() - 1;
        let whole = &mut self.texts[at];
        if goes_on {
            whole.push('\n');
        }
        let start = whole.len();
        whole.push_str(text);
        (at, start..whole.len())
    }
}

impl Reader for Shown {
    fn text(&mut self, part: Part<'_>) -> Option<String> {
        let document = match part.place {
            Place::Name => {
                self.places.push(None);
                return None;
            }
            Place::Piece(document) => document,
            Place::Said(_) | Place::Alone => 0,
        };
        let place = self.add(part.text, document != 0 && document == self.document);
        self.places.push(Some(place));
        self.document = document;
        None
    }
}

/// Collects pictures.
#[derive(Default)]
struct Pictures(Vec<String>);

impl Reader for Pictures {
    fn text(&mut self, _: Part<'_>) -> Option<String> {
        None
    }

    fn unread(&mut self, what: Unread<'_>) {
        self.0.extend(what.picture());
    }
}

impl Case {
    /// Of a body as it would go on.
    pub fn of(side: Side, body: &RawValue) -> Self {
        let mut shown = Shown::default();
        side.read(body, &mut shown);
        let Shown { texts, places, .. } = shown;
        let (told, usual) = match side {
            Side::Input => (turns(body).filter(|turns| is_all(turns, &texts)), "user"),
            Side::Output => (None, "assistant"),
        };
        let untold = || texts.iter().map(|text| Turn { role: usual.to_owned(), text: text.clone() }).collect();
        let mut turns: Vec<Turn> = told.unwrap_or_else(untold);
        turns.retain(|turn| !is_blank(&turn.text));
        Self { side, texts, turns, images: Vec::new(), own: Vec::new(), places }
    }

    /// The same with its pictures, for a judge that sees.
    #[must_use]
    pub fn pictured(self, body: &RawValue) -> Self {
        let mut pictures = Pictures::default();
        self.side.read(body, &mut pictures);
        Self { images: pictures.0, ..self }
    }

    /// The same with the places of what this has masked: what a judge finds there is nothing.
    #[must_use]
    pub fn sparing(self, masker: &Masker) -> Self {
        let own = self.texts.iter().map(|text| masker.own(text)).collect();
        Self { own, ..self }
    }

    /// Where the text that [`Side::inspect`] shows at this place stands in `texts`, if it is this one: a body shows the same texts
    /// each time. `None` within: a name, which stands nowhere.
    pub(super) fn place(&self, at: usize, text: &str) -> Option<Option<(usize, Range<usize>)>> {
        match self.places.get(at)? {
            None => Some(None),
            Some((of, range)) => {
                let is_same = self.texts.get(*of).and_then(|all| all.get(range.clone())) == Some(text);
                is_same.then(|| Some((*of, range.clone())))
            }
        }
    }

    /// Parts of an answer, as they come.
    pub fn of_parts(texts: Vec<String>) -> Self {
        let spoken = texts.iter().filter(|text| !is_blank(text));
        let turns = spoken.map(|text| Turn { role: "assistant".to_owned(), text: text.clone() }).collect();
        Self { side: Side::Output, texts, turns, images: Vec::new(), own: Vec::new(), places: Vec::new() }
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
    // What the last user asks for comes last.
    let (settings, rest): (Vec<_>, Vec<_>) = rest.into_iter().partition(|(name, _)| inspect::is_setting(name));
    let mut turns = Vec::new();
    for (name, value) in first.into_iter().chain(settings).chain(rest) {
        let items = serde_json::from_str::<Vec<&RawValue>>(value.get()).ok();
        match items.filter(|_| LISTS.contains(&name.as_str())) {
            Some(items) => {
                for item in items {
                    said(&mut turns, &role(item), name, &format!("[{}]", item.get()))?;
                }
            }
            None => {
                let role = match name.as_str() {
                    name if SYSTEM.contains(&name) => "system",
                    name if inspect::is_setting(name) => SETTINGS,
                    _ => "user",
                };
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
    // With a prompt beside it, a field is read as in the whole body.
    let name = serde_json::to_string(name).ok()?;
    let alone = RawValue::from_string(format!("{{\"messages\":[],{name}:{json}}}")).ok()?;
    let mut shown = Shown::default();
    inspect::read_request(&alone, &mut shown);
    turns.extend(shown.texts.into_iter().map(|text| Turn { role: role.to_owned(), text }));
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
        let tools = r#"{"messages":[{"role":"user","name":"ada","content":"u"}],"tools":[{"name":"f","description":"d"},{"name":"g"}],"user":"b@c.d"}"#;
        assert_eq!(told(tools), ["settings: f\nd\ng", "settings: b@c.d", "user: u"]);
        let answer = case(Side::Output, r#"{"choices":[{"message":{"role":"assistant","content":"a"}}]}"#);
        assert_eq!(answer.turns, [Turn { role: "assistant".into(), text: "a".into() }]);
    }

    #[test]
    fn a_text_knows_where_it_is_shown() {
        let case = case(Side::Input, r#"{"messages":[{"name":"ada","content":"u"}],"metadata":{"a":"b"}}"#);
        assert_eq!(case.texts, ["u", "a\nb"]);
        assert_eq!(case.place(0, "ada"), Some(None));
        assert_eq!((case.place(1, "u"), case.place(1, "x")), (Some(Some((0, 0..1))), None));
        assert_eq!((case.place(3, "b"), case.place(4, "")), (Some(Some((1, 2..3))), None));
    }

    #[test]
    fn pictures_of_a_body_are_shown_as_addresses() {
        let body = RawValue::from_string(
            r#"{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}},
            {"type":"image","source":{"type":"base64","media_type":"image/jpeg","data":"/9j/4AAQ"}},
            {"type":"image_url","image_url":{"url":"https://x.test/a.png"}}]}]}"#
                .to_owned(),
        );
        let body = body.expect("JSON");
        let images = Case::of(Side::Input, &body).pictured(&body).images;
        assert_eq!(images, ["data:image/png;base64,iVBORw0KGgo=", "data:image/jpeg;base64,/9j/4AAQ"]);
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
