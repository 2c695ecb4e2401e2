//! Google's schemas, a part of OpenAPI's with types in capitals, as JSON Schema.
//!
//! Source: <https://ai.google.dev/api/caching#Schema>. Names of properties stay as they are.

use super::camel;
use serde_json::{Map, Value, json};

/// The schema; what is none stays what it is.
pub(super) fn json_schema(schema: &Value) -> Value {
    let Some(given) = schema.as_object() else { return schema.clone() };
    let (mut out, mut is_nullable) = (Map::new(), false);
    for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
        let name = camel(name);
        let translated = match name.as_str() {
            "type" => match value.as_str().map(str::to_ascii_lowercase) {
                Some(kind) if kind == "type_unspecified" => continue,
                Some(kind) => kind.into(),
                None => value.clone(),
            },
            "nullable" => {
                is_nullable = *value == true;
                continue;
            }
            // An order, which JSON Schema has no word for, and a kind of text, which `enum` says.
            "propertyOrdering" => continue,
            "format" if value == "enum" => continue,
            "properties" | "$defs" => each(value),
            "items" | "additionalProperties" => json_schema(value),
            "anyOf" | "prefixItems" => {
                value.as_array().map_or_else(|| value.clone(), |list| list.iter().map(json_schema).collect())
            }
            "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties" => count(value),
            "example" => {
                out.insert("examples".to_owned(), json!([value]));
                continue;
            }
            _ => value.clone(),
        };
        out.insert(name, translated);
    }
    if is_nullable {
        nullable(&mut out);
    }
    Value::Object(out)
}

fn each(schemas: &Value) -> Value {
    let Some(schemas) = schemas.as_object() else { return schemas.clone() };
    Value::Object(schemas.iter().map(|(name, schema)| (name.clone(), json_schema(schema))).collect())
}

/// A count, which Google writes as a text: it has 64 bits.
fn count(value: &Value) -> Value {
    value.as_str().and_then(|text| text.parse::<u64>().ok()).map_or_else(|| value.clone(), Value::from)
}

fn nullable(schema: &mut Map<String, Value>) {
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.push(Value::Null);
    }
    if let Some(Value::Array(others)) = schema.get_mut("anyOf") {
        others.push(json!({ "type": "null" }));
    }
    if let Some(kind) = schema.get_mut("type").filter(|kind| kind.is_string()) {
        *kind = json!([*kind, "null"]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_counts_are_json_schemas_and_names_of_properties_stay() {
        let given = json!({
            "type": "OBJECT",
            "properties": {
                "given_name": { "type": "STRING", "nullable": true, "max_length": "9" },
                "kind": { "type": "STRING", "format": "enum", "enum": ["a"], "nullable": true },
                "list": { "type": "ARRAY", "items": { "type": "INTEGER", "format": "int32" }, "minItems": "1" },
                "either": { "anyOf": [{ "type": "NUMBER" }, { "type": "BOOLEAN" }], "nullable": true },
            },
            "property_ordering": ["kind"],
            "required": ["given_name"],
        });
        let expected = json!({
            "type": "object",
            "properties": {
                "given_name": { "type": ["string", "null"], "maxLength": 9 },
                "kind": { "type": ["string", "null"], "enum": ["a", null] },
                "list": { "type": "array", "items": { "type": "integer", "format": "int32" }, "minItems": 1 },
                "either": { "anyOf": [{ "type": "number" }, { "type": "boolean" }, { "type": "null" }] },
            },
            "required": ["given_name"],
        });
        assert_eq!(json_schema(&given), expected);
    }
}
