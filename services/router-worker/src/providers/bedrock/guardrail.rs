//! Moderations by a guardrail of Amazon Bedrock's (ApplyGuardrail), in OpenAI's shape with the guardrail's own categories.
//!
//! Source: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ApplyGuardrail.html> and the types it names. The model is
//! the guardrail, `ID/VERSION`. `tollgate.stage: output` in the body says that the text is a model's answer. What the guardrail
//! matched in a text, and what it would put in its place, go no further.

use super::{
    super::{
        Answer, Asked, Encoded,
        beside::Side,
        moderations::{Finding, found, parts},
    },
    sigv4,
};
use crate::failure::Failure;
use serde_json::{Value, json};

const GUARDRAIL: &str = "must mean a guardrail at this provider: ID/VERSION, as in abc123/1 or abc123/DRAFT";

/// The side.
#[derive(Debug)]
pub(in super::super) struct Guardrail;

impl Side for Guardrail {
    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        let model = asked.upstream_model.rsplit_once('/').filter(|(id, version)| !id.is_empty() && !version.is_empty());
        let (id, version) = model.ok_or_else(|| Failure::inexpressible("model", GUARDRAIL))?;
        let content: Vec<Value> = parts(asked)?.iter().map(|text| json!({ "text": { "text": text } })).collect();
        let own = asked.chat.read::<Value>("tollgate").ok().flatten().unwrap_or_default();
        let source = if own["stage"] == "output" { "OUTPUT" } else { "INPUT" };
        let body = json!({ "source": source, "content": content, "outputScope": "INTERVENTIONS" });
        let path = format!("/guardrail/{}/version/{}/apply", sigv4::encode(id, b""), sigv4::encode(version, b""));
        Ok(Encoded::new(path, body.to_string()))
    }

    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        let document: Value = serde_json::from_slice(body).unwrap_or_default();
        let is_flagged = match document["action"].as_str() {
            Some("GUARDRAIL_INTERVENED") => true,
            Some("NONE") => false,
            _ => return Err(Failure::malformed("an answer without an action")),
        };
        let assessments = document["assessments"].as_array();
        let findings =
            if is_flagged { assessments.into_iter().flatten().flat_map(findings).collect() } else { Vec::new() };
        Ok(found(asked, is_flagged, findings))
    }
}

/// What an assessment names: kinds and names, never what was matched.
fn findings(assessment: &Value) -> Vec<Finding> {
    let lists = [
        ("topicPolicy", "topics", "name", "topic:"),
        ("contentPolicy", "filters", "type", ""),
        ("wordPolicy", "managedWordLists", "type", ""),
        ("sensitiveInformationPolicy", "piiEntities", "type", "pii:"),
        ("sensitiveInformationPolicy", "regexes", "name", "regex:"),
        ("contextualGroundingPolicy", "filters", "type", ""),
    ];
    let mut findings = Vec::new();
    for (policy, list, field, prefix) in lists {
        for item in assessment[policy][list].as_array().into_iter().flatten() {
            if item["action"] != "NONE"
                && let Some(name) = item[field].as_str()
            {
                let name = if prefix.is_empty() { name.to_lowercase() } else { format!("{prefix}{name}") };
                findings.push(Finding { category: name, score: 1.0 });
            }
        }
    }
    if assessment["wordPolicy"]["customWords"].as_array().is_some_and(|words| !words.is_empty()) {
        findings.push(Finding { category: "word".to_owned(), score: 1.0 });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::super::Fields;
    use super::*;

    #[test]
    fn a_text_is_shown_to_the_guardrail() {
        let chat = Fields::parse(
            r#"{"input":[{"type":"text","text":"a"},{"type":"text","text":"b"}],"tollgate":{"stage":"output"}}"#,
        );
        let chat = chat.expect("an object");
        let sent = Guardrail.encode(&Asked { upstream_model: "abc123/1", ..Asked::of(&chat) }).expect("expressible");
        assert_eq!(sent.path, "/guardrail/abc123/version/1/apply");
        let content = r#"{"source":"OUTPUT","content":[{"text":{"text":"a"}},{"text":{"text":"b"}}],"outputScope":"INTERVENTIONS"}"#;
        assert_eq!(sent.body, content);
        for bad in ["abc123", "/1", "abc123/"] {
            assert!(Guardrail.encode(&Asked { upstream_model: bad, ..Asked::of(&chat) }).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_it_found_is_named_and_never_what_it_matched() {
        let chat = Fields::parse(r#"{"input":"x"}"#).expect("an object");
        let answer = json!({
            "usage": { "topicPolicyUnits": 1 }, "action": "GUARDRAIL_INTERVENED", "outputs": [{ "text": "blocked secret" }],
            "assessments": [{
                "topicPolicy": { "topics": [{ "name": "Finance", "type": "DENY", "action": "BLOCKED" }] },
                "contentPolicy": { "filters": [{ "type": "VIOLENCE", "confidence": "HIGH", "action": "BLOCKED" },
                    { "type": "HATE", "confidence": "LOW", "action": "NONE" }] },
                "wordPolicy": { "customWords": [{ "match": "secret", "action": "BLOCKED" }], "managedWordLists": [] },
                "sensitiveInformationPolicy": { "piiEntities": [{ "match": "secret", "type": "EMAIL", "action": "ANONYMIZED" }] },
            }],
        });
        let decoded = Guardrail.decode(&Asked::of(&chat), answer.to_string().as_bytes()).expect("decodes");
        assert!(!decoded.body.get().contains("secret"));
        let document: Value = serde_json::from_str(decoded.body.get()).expect("JSON");
        let categories = json!({ "topic:Finance": true, "violence": true, "pii:EMAIL": true, "word": true });
        assert_eq!(
            (&document["results"][0]["flagged"], &document["results"][0]["categories"]),
            (&json!(true), &categories)
        );
        let none = Guardrail.decode(&Asked::of(&chat), br#"{"action":"NONE","assessments":[]}"#).expect("decodes");
        assert!(none.body.get().contains(r#""flagged":false"#));
        for nonsense in ["{}", "[]", r#"{"action":"MAYBE"}"#, "<html>"] {
            assert!(Guardrail.decode(&Asked::of(&chat), nonsense.as_bytes()).is_err(), "{nonsense}");
        }
    }
}
