//! Leaving a field out of a request's body, wherever it stands. Pure.

use crate::{dialects::camel, providers::Fields};
use serde_json::{Map, Value};

/// On the way to a field.
#[derive(Debug, Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    /// An item's place in a list.
    Item(usize),
}

/// Takes out the field that a refusal names (`top_k`, `output_config.effort`, `tools[0].input_examples`), from every item of the lists
/// on the way to it: what is not known in one of them is not known in any. A name that ends with a place (`include[1]`) is that item
/// alone. Google's names stand for both of their spellings. Returns what a caller is told, without places in lists
/// (`tools[].input_examples`); `None` if there is no such field.
pub(crate) fn leave_out(body: &mut Fields, param: &str) -> Option<String> {
    if body.get(param).is_some() {
        body.remove(param);
        return Some(param.to_owned());
    }
    let steps = steps(param)?;
    let [Step::Field(first), rest @ ..] = steps.as_slice() else { return None };
    let first = body.iter().map(|(name, _)| name).find(|name| is(name, first))?.to_owned();
    if rest.is_empty() {
        body.remove(&first);
        return Some(param.to_owned());
    }
    let mut value: Value = body.read(&first).ok().flatten()?;
    if !taken_out(&mut value, rest) {
        return None;
    }
    body.put(&first, &value);
    Some(told(&steps))
}

/// `None` if it is no name of a field.
fn steps(param: &str) -> Option<Vec<Step<'_>>> {
    let mut steps = Vec::new();
    for part in param.split('.') {
        let (name, places) = part.split_at(part.find('[').unwrap_or(part.len()));
        steps.push(Step::Field(name));
        for place in places.split_terminator(']') {
            steps.push(Step::Item(place.strip_prefix('[')?.parse().ok()?));
        }
    }
    Some(steps)
}

fn is(name: &str, wanted: &str) -> bool {
    name == wanted || camel(name) == wanted
}

fn key(map: &Map<String, Value>, wanted: &str) -> Option<String> {
    map.keys().find(|name| is(name, wanted)).cloned()
}

/// Whether anything was there.
fn taken_out(value: &mut Value, steps: &[Step<'_>]) -> bool {
    match (steps, value) {
        ([Step::Field(name)], Value::Object(map)) => {
            key(map, name).is_some_and(|key| map.shift_remove(&key).is_some_and(|value| !value.is_null()))
        }
        ([Step::Item(at)], Value::Array(items)) if *at < items.len() => {
            items.remove(*at);
            true
        }
        ([Step::Field(name), rest @ ..], Value::Object(map)) => {
            key(map, name).and_then(|key| map.get_mut(&key)).is_some_and(|value| taken_out(value, rest))
        }
        ([Step::Item(_), rest @ ..], Value::Array(items)) => {
            let mut any = false;
            for item in items {
                any |= taken_out(item, rest);
            }
            any
        }
        _ => false,
    }
}

fn told(steps: &[Step<'_>]) -> String {
    let mut told = String::new();
    for step in steps {
        match step {
            Step::Item(_) => told.push_str("[]"),
            Step::Field(name) if told.is_empty() => told.push_str(name),
            Step::Field(name) => {
                told.push('.');
                told.push_str(name);
            }
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn left(body: &Value, param: &str) -> Option<(Value, String)> {
        let mut fields = Fields::parse(&body.to_string()).expect("an object");
        let told = leave_out(&mut fields, param)?;
        Some((serde_json::from_str(&fields.to_json()).expect("JSON"), told))
    }

    #[test]
    fn a_field_is_left_out_wherever_it_stands() {
        let body = json!({
            "top_k": 5, "a.b": 1, "output_config": { "effort": "max", "format": {} }, "include": ["a", "b", "c"],
            "tools": [{ "name": "f", "x": [1] }, { "name": "g" }, { "name": "h", "x": false }],
            "generation_config": { "top_k": 1, "topP": 1 },
        });
        for (param, told, at, expected) in [
            ("top_k", "top_k", "/top_k", None),
            ("a.b", "a.b", "/a.b", None),
            ("output_config.effort", "output_config.effort", "/output_config", Some(json!({ "format": {} }))),
            ("include[1]", "include[]", "/include", Some(json!(["a", "c"]))),
            ("tools[2].x", "tools[].x", "/tools", Some(json!([{ "name": "f" }, { "name": "g" }, { "name": "h" }]))),
            ("generationConfig.topK", "generationConfig.topK", "/generation_config", Some(json!({ "topP": 1 }))),
        ] {
            let (left, named) = left(&body, param).expect(param);
            assert_eq!((named.as_str(), left.pointer(at).cloned()), (told, expected), "{param}");
        }
        for param in ["", "absent", "top_k.x", "tools[0].y", "tools[].x", "tools.x", "include[3]", "tools[x].x"] {
            assert_eq!(left(&body, param), None, "{param}");
        }
    }

    proptest::proptest! {
        /// So whoever goes on until nothing is refused comes to an end.
        #[test]
        #[test]
        fn what_is_left_out_is_gone(body in any_object(), param in r"[ab]{1,2}(\.[ab]|\[[0-2]\]){0,3}") {
            let size = |value: &Value| value.to_string().len();
            if let Some((left, _)) = left(&body, &param) {
                proptest::prop_assert!(size(&left) < size(&body));
            }
        }
    }

    fn any_object() -> impl proptest::strategy::Strategy<Value = Value> {
        use proptest::{collection, prelude::*};
        let leaf = prop_oneof![Just(Value::Null), Just(json!(1)), Just(json!("x"))];
        let any = leaf.prop_recursive(4, 32, 3, |inner| {
            prop_oneof![
                collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                collection::btree_map("[ab]", inner, 0..3).prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        });
        collection::btree_map("[ab]{1,2}", any, 0..3).prop_map(|map| Value::Object(map.into_iter().collect()))
    }
}
