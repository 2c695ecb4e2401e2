//! Google's embeddings, in the three forms that they have: many contents at the Gemini API, and on Vertex AI one content, or
//! instances for models before `gemini-embedding-2`.
//!
//! Sources: <https://ai.google.dev/api/embeddings>,
//! <https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/text-embeddings-api>,
//! <https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/projects.locations.publishers.models/embedContent> and
//! `t_is_vertex_embed_content_model` in googleapis/python-genai, which says what model has which form. A caller may say `task_type`
//! and `title`, and to Vertex AI `auto_truncate`, as Google's own SDK for Python calls them.

use super::{
    super::{
        Answer, Asked, Encoded,
        beside::Side,
        embeddings::{Wanted, answer, counted},
    },
    Google,
};
use crate::failure::Failure;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json, value::RawValue};

/// The side, at the same place as the leaf.
#[derive(Debug)]
pub(in super::super) struct Embeddings(pub(in super::super) Google);

/// How a model is asked.
enum Form {
    /// A list of requests.
    Batch,
    /// One request.
    Content,
    /// Texts and parameters.
    Predict,
}

impl Form {
    fn of(google: &Google, model: &str) -> Self {
        let name = model.rsplit('/').next().unwrap_or(model);
        let takes_content = (name.contains("gemini") && name != "gemini-embedding-001") || name.contains("maas");
        match google {
            Google::Gemini => Self::Batch,
            Google::Vertex { .. } if takes_content => Self::Content,
            Google::Vertex { .. } => Self::Predict,
        }
    }

    fn method(&self) -> &'static str {
        match self {
            Self::Batch => "batchEmbedContents",
            Self::Content => "embedContent",
            Self::Predict => "predict",
        }
    }
}

impl Side for Embeddings {
    fn encode(&self, asked: &Asked<'_>) -> Result<Encoded, Failure> {
        let model = asked.upstream_model;
        let form = Form::of(&self.0, model);
        let body = match form {
            Form::Batch => batch(asked)?,
            Form::Content => {
                let wanted = Wanted::of(asked, &["task_type", "title", "auto_truncate"])?;
                content(wanted.text()?, &wanted)
            }
            Form::Predict => predict(asked)?,
        };
        Ok(Encoded::new(self.0.place(model, form.method()), body.to_string()))
    }

    fn decode(&self, asked: &Asked<'_>, body: &[u8]) -> Result<Answer, Failure> {
        let (embeddings, usage) = match Form::of(&self.0, asked.upstream_model) {
            Form::Batch => {
                let Many { embeddings, usage_metadata } = document(body)?;
                (embeddings, counted(usage_metadata["promptTokenCount"].as_f64(), &usage_metadata))
            }
            Form::Content => {
                let One { embedding, usage_metadata } = document(body)?;
                (vec![embedding], counted(usage_metadata["promptTokenCount"].as_f64(), &usage_metadata))
            }
            Form::Predict => {
                let Predictions { predictions } = document(body)?;
                let embeddings: Vec<Embedding> = predictions.into_iter().map(|of| of.embeddings).collect();
                let count = embeddings.iter().map(|embedding| embedding.statistics["token_count"].as_f64()).sum();
                let statistics = embeddings.iter().map(|embedding| embedding.statistics.clone()).collect();
                (embeddings, counted(count, &Value::Array(statistics)))
            }
        };
        answer(asked, embeddings.into_iter().map(|embedding| embedding.values).collect(), usage)
    }
}

/// What the Gemini API is asked for; each request names the model again.
fn batch(asked: &Asked<'_>) -> Result<Value, Failure> {
    let wanted = Wanted::of(asked, &["task_type", "title"])?;
    let model = asked.upstream_model;
    let name = if model.contains('/') { model.to_owned() } else { format!("models/{model}") };
    let request = |text: &String| {
        let mut request = content(text, &wanted);
        request["model"] = name.as_str().into();
        request
    };
    Ok(json!({ "requests": wanted.texts.iter().map(request).collect::<Vec<_>>() }))
}

/// A request for the vector of one text.
fn content(text: &str, wanted: &Wanted) -> Value {
    let mut request = json!({ "content": { "parts": [{ "text": text }] } });
    for (name, theirs) in [("task_type", "taskType"), ("title", "title"), ("auto_truncate", "autoTruncate")] {
        if let Some(value) = wanted.own(name) {
            request[theirs] = value;
        }
    }
    if let Some(dimensions) = wanted.dimensions {
        request["outputDimensionality"] = dimensions.into();
    }
    request
}

fn predict(asked: &Asked<'_>) -> Result<Value, Failure> {
    let wanted = Wanted::of(asked, &["task_type", "title", "auto_truncate"])?;
    let instance = |text: &String| {
        let mut instance = json!({ "content": text });
        for name in ["task_type", "title"] {
            if let Some(value) = wanted.own(name) {
                instance[name] = value;
            }
        }
        instance
    };
    let mut body = json!({ "instances": wanted.texts.iter().map(instance).collect::<Vec<_>>() });
    let truncate = wanted.own("auto_truncate").map(|value| ("autoTruncate", value));
    let dimensions = wanted.dimensions.map(|dimensions| ("outputDimensionality", Value::from(dimensions)));
    for (name, value) in truncate.into_iter().chain(dimensions) {
        body["parameters"][name] = value;
    }
    Ok(body)
}

#[derive(Deserialize)]
struct Embedding {
    values: Box<RawValue>,
    #[serde(default)]
    statistics: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Many {
    embeddings: Vec<Embedding>,
    #[serde(default)]
    usage_metadata: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct One {
    embedding: Embedding,
    #[serde(default)]
    usage_metadata: Value,
}

#[derive(Deserialize)]
struct Predictions {
    predictions: Vec<Prediction>,
}

#[derive(Deserialize)]
struct Prediction {
    embeddings: Embedding,
}

fn document<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|_| Failure::malformed("an answer without embeddings"))
}
