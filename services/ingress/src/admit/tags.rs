//! A request's tags: what it is billed to, beside its key, team and endpoint.
//!
//! They come from a header, from the body's `metadata`, and from the key; of two of one name the first of these holds.

use std::collections::BTreeMap;
use tollgate_schemas::{ApiError, ErrorCode};

type Tags = BTreeMap<String, String>;

/// Tags per request, and characters per tag name and value, as OpenAI documents for `metadata`.
const TAGS_MAX: usize = 16;
const NAME_MAX_CHARS: usize = 64;
const VALUE_MAX_CHARS: usize = 512;

/// The tags of a header's value: `name=value, name=value`, or a JSON object of texts.
pub(crate) fn named(value: &str, header: &str) -> Result<Tags, ApiError> {
    let wrong = || {
        let message = format!("{header} must be NAME=VALUE, NAME=VALUE or a JSON object of strings");
        ApiError::new(ErrorCode::InvalidRequest, message).param(header)
    };
    if value.trim_start().starts_with('{') {
        return serde_json::from_str(value).map_err(|_| wrong());
    }
    let pair = |pair: &str| match pair.split_once('=').map(|(name, value)| (name.trim(), value.trim())) {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(wrong()),
    };
    value.split(',').filter(|part| !part.trim().is_empty()).map(pair).collect()
}

/// Those of `metadata`: OpenAI's is a map of strings; anything else passes through unread.
pub(super) fn of_metadata(metadata: Option<serde_json::Value>) -> Tags {
    let Some(serde_json::Value::Object(map)) = metadata else { return Tags::new() };
    map.into_iter().filter_map(|(name, value)| Some((name, value.as_str()?.to_owned()))).collect()
}

/// All of them. None pushes another out: together they may be as many as one source's alone.
pub(super) fn together(header: Tags, body: Tags, key: Option<&Tags>) -> Result<Tags, ApiError> {
    let refused = |message: String| Err(ApiError::new(ErrorCode::InvalidRequest, message).param("metadata"));
    let is_too_long = |(name, value): (&String, &String)| {
        name.chars().count() > NAME_MAX_CHARS || value.chars().count() > VALUE_MAX_CHARS
    };
    let mut tags = body;
    tags.extend(header);
    if tags.iter().any(is_too_long) {
        return refused(format!(
            "names of metadata and tags may have {NAME_MAX_CHARS} characters, and values {VALUE_MAX_CHARS}"
        ));
    }
    for (name, value) in key.into_iter().flatten().filter(|(name, _)| !name.is_empty()) {
        tags.entry(name.clone()).or_insert_with(|| value.clone());
    }
    if tags.len() > TAGS_MAX {
        let count = tags.len();
        return refused(format!(
            "metadata, tags in headers and the tags of the API key may be {TAGS_MAX} together, and these are {count}; send fewer"
        ));
    }
    Ok(tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(names: std::ops::Range<usize>, value: &str) -> Tags {
        names.map(|n| (format!("t{n:02}"), value.to_owned())).collect()
    }

    #[test]
    fn tags_of_header_body_and_key_stand_together_and_none_is_lost() {
        let all = together(tags(0..4, "header"), tags(2..10, "body"), Some(&tags(8..16, "key"))).expect("sixteen");
        let value = |name: &str| all[name].as_str();
        assert_eq!((all.len(), value("t03"), value("t09"), value("t10")), (16, "header", "body", "key"));
        let error = together(Tags::new(), tags(0..10, "own"), Some(&tags(10..17, "key"))).expect_err("seventeen");
        assert_eq!((error.code, error.param.as_deref()), (ErrorCode::InvalidRequest, Some("metadata")));
        assert!(together(Tags::new(), tags(0..1, &"x".repeat(513)), None).is_err());
        assert_eq!(together(Tags::new(), tags(0..16, "own"), None).expect("sixteen").len(), 16);
    }

    #[test]
    fn a_header_holds_pairs_or_an_object() {
        let expected = Tags::from([("project".into(), "atlas".into()), ("run".into(), "a=b".into())]);
        assert_eq!(named(" project=atlas , run = a=b,", "x").expect("pairs"), expected);
        assert_eq!(named(r#" {"project": "atlas", "run": "a=b"}"#, "x").expect("object"), expected);
        assert_eq!(named("", "x").expect("none"), Tags::new());
        for wrong in ["atlas", "=atlas", "a=b,c", "{", r#"{"a": 1}"#, r#"["a"]"#] {
            let error = named(wrong, "x-tollgate-tags").expect_err(wrong);
            assert_eq!(error.param.as_deref(), Some("x-tollgate-tags"));
        }
    }
}
