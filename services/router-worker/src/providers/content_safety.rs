//! Moderations by Azure AI Content Safety, in OpenAI's shape with its own categories.
//!
//! Source: <https://learn.microsoft.com/rest/api/contentsafety/text-operations/analyze-text>. A severity is 0, 2, 4 or 6; from 4 on, which
//! its reference calls medium, a text is flagged, and the score is a part of 6. The model of a destination means nothing here.

use super::{
    Answer, Asked, Encoded,
    beside::Side,
    moderations::{Finding, found, parts},
};
use crate::failure::Failure;
use serde::Deserialize;
use serde_json::json;

const PATH: &str = "/contentsafety/text:analyze?api-version=2024-09-01";
/// The longest text, in characters.
const TEXT_MAX_CHARS: usize = 10_000;
const FLAGGED_FROM: u8 = 4;
const SEVERITY_MAX: u8 = 6;

/// The side.
#[derive(Debug)]
pub(super) struct ContentSafety;

impl Side for ContentSafety {
    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        let text = parts(asked)?.join("\n");
        if text.chars().count() > TEXT_MAX_CHARS {
            let why = format!("may have {TEXT_MAX_CHARS} characters at this provider");
            return Err(Failure::inexpressible("input", &why));
        }
        let body = json!({ "text": text, "outputType": "FourSeverityLevels" });
        Ok(Encoded::new(PATH, body.to_string()))
    }

    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Document {
            categories_analysis: Vec<Analysis>,
        }
        #[derive(Deserialize)]
        struct Analysis {
            category: String,
            severity: u8,
        }
        let document: Document =
            serde_json::from_slice(body).map_err(|_| Failure::malformed("an answer without an analysis"))?;
        if document.categories_analysis.is_empty() {
            return Err(Failure::malformed("an answer with an analysis of no category"));
        }
        let is_flagged = document.categories_analysis.iter().any(|analysis| analysis.severity >= FLAGGED_FROM);
        let each = document.categories_analysis.into_iter().map(|Analysis { category, severity }| Finding {
            category: if category == "SelfHarm" { "self-harm".to_owned() } else { category.to_lowercase() },
            score: f64::from(severity.min(SEVERITY_MAX)) / f64::from(SEVERITY_MAX),
        });
        Ok(found(asked, is_flagged, each.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Fields;
    use super::*;
    use serde_json::Value;

    #[test]
    fn a_severity_is_a_score() {
        let chat = Fields::parse(r#"{"input":"x","model":"any"}"#).expect("an object");
        let sent = ContentSafety.encode(&Asked::of(&chat)).expect("expressible");
        assert_eq!(
            (sent.path.as_str(), sent.body.as_str()),
            (PATH, r#"{"text":"x","outputType":"FourSeverityLevels"}"#)
        );
        let answer = r#"{"blocklistsMatch":[],"categoriesAnalysis":[{"category":"SelfHarm","severity":0},{"category":"Violence","severity":4}]}"#;
        let decoded = ContentSafety.decode(&Asked::of(&chat), answer.as_bytes()).expect("decodes");
        let document: Value = serde_json::from_str(decoded.body.get()).expect("JSON");
        let result = &document["results"][0];
        assert_eq!(result["flagged"], true);
        assert_eq!(result["categories"], json!({ "self-harm": false, "violence": true }));
        assert_eq!(result["category_scores"]["self-harm"], 0.0);
        let long = format!(r#"{{"input":"{}"}}"#, "x".repeat(TEXT_MAX_CHARS + 1));
        let long = Fields::parse(&long).expect("an object");
        assert!(ContentSafety.encode(&Asked::of(&long)).is_err());
        for nonsense in ["{}", "[]", r#"{"categoriesAnalysis":7}"#, r#"{"categoriesAnalysis":[]}"#, "<html>"] {
            assert!(ContentSafety.decode(&Asked::of(&chat), nonsense.as_bytes()).is_err(), "{nonsense}");
        }
    }
}
