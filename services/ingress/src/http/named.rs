//! Paths of other gateways and providers, so that their callers need to change nothing but the host.
//!
//! | path | whose |
//! | --- | --- |
//! | `/serving-endpoints/{name}/invocations` | Databricks (<https://docs.databricks.com/aws/en/machine-learning/foundation-model-apis/api-reference>) |
//! | `/serving-endpoints/chat/completions`, `…/responses`, `…/embeddings`, `…/completions` | Databricks, by OpenAI's SDK |
//! | `/openai/deployments/{name}/chat/completions` and the others | Azure OpenAI (<https://learn.microsoft.com/azure/ai-foundry/openai/reference>) |
//! | `/openai/v1/chat/completions` and the others | Azure OpenAI, without a version |
//! | `/openai/responses` | Azure OpenAI, by OpenAI's SDK with a version: this API has no deployments |
//! | `/openai/models`, `/openai/v1/models` | the same, for what may be called |
//!
//! What stands in the path is the model, whatever the body says: the name of an endpoint here, or an alias.

use super::{answer, models};
use crate::{Called, Gateway};
use axum::{
    Router,
    extract::{Path as Captured, Request, State},
    routing::{get, post},
};
use serde_json::value::{RawValue, to_raw_value};
use std::{collections::BTreeMap, sync::Arc};
use tollgate_schemas::{ApiError, ApiType, ErrorCode, error::Shape};

/// Databricks' route for any kind of model.
pub(super) const INVOCATIONS: &str = "/serving-endpoints/{name}/invocations";
/// APIs that both have under paths of their own.
const SHARED: [ApiType; 4] = [ApiType::ChatCompletions, ApiType::Responses, ApiType::Embeddings, ApiType::Completions];
/// Where Databricks' callers say what a call is billed to.
const USAGE_CONTEXT: &str = "usage_context";

/// What a path says of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Path {
    /// The API; the model stands in the body.
    Api(ApiType),
    /// API and model.
    Deployment(ApiType, String),
    /// The model; the API is what the body looks like.
    Invocations(String),
    /// Google's, and all that its body does not say.
    Called(Called),
}

/// A call as any other.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) api_type: ApiType,
    pub(super) called: Option<Called>,
    pub(super) body: Box<RawValue>,
    pub(super) tags: BTreeMap<String, String>,
}

pub(super) fn routes() -> Router<Arc<Gateway>> {
    let mut routes = Router::new()
        .route(INVOCATIONS, post(invocations))
        .route("/openai/responses", answer::route(ApiType::Responses));
    for models in ["/openai/models", "/openai/v1/models"] {
        let one = get(models::retrieve);
        routes = routes.route(models, get(models::list)).route(&format!("{models}/{{*id}}"), one);
    }
    for api in SHARED {
        let path = api.path().trim_start_matches("/v1");
        routes = routes
            .route(&format!("/serving-endpoints{path}"), answer::route(api))
            .route(&format!("/openai/v1{path}"), answer::route(api))
            .route(
                &format!("/openai/deployments/{{name}}{path}"),
                post(move |gateway, name, request| deployment(api, gateway, name, request)),
            );
    }
    routes
}

type Answer = Result<axum::response::Response, super::Failure>;

async fn invocations(
    State(gateway): State<Arc<Gateway>>,
    Captured(name): Captured<String>,
    request: Request,
) -> Answer {
    answer::traced(gateway, Path::Invocations(name), request).await
}

async fn deployment(
    api: ApiType,
    State(gateway): State<Arc<Gateway>>,
    Captured(name): Captured<String>,
    request: Request,
) -> Answer {
    answer::traced(gateway, Path::Deployment(api, name), request).await
}

impl Path {
    /// For the name of a span.
    pub(super) fn pattern(&self) -> &'static str {
        match self {
            Path::Api(api) | Path::Deployment(api, _) => api.path(),
            Path::Invocations(_) => INVOCATIONS,
            Path::Called(_) => ApiType::GenerateContent.path(),
        }
    }

    /// What errors look like to those who call it.
    pub(super) fn errors(&self) -> Shape {
        match self {
            Path::Api(api) | Path::Deployment(api, _) => api.errors(),
            Path::Invocations(_) => Shape::Databricks,
            Path::Called(_) => ApiType::GenerateContent.errors(),
        }
    }

    /// The call that a body makes under this path.
    pub(super) fn call(self, body: Box<RawValue>) -> Result<Call, ApiError> {
        let (api, name) = match self {
            Path::Api(api_type) => return Ok(Call { api_type, called: None, body, tags: BTreeMap::new() }),
            Path::Called(called) => {
                let (api_type, called) = (ApiType::GenerateContent, Some(called));
                return Ok(Call { api_type, called, body, tags: BTreeMap::new() });
            }
            Path::Deployment(api, name) => (Some(api), name),
            Path::Invocations(name) => (None, name),
        };
        let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(body.get())
            .map_err(|_| ApiError::new(ErrorCode::InvalidRequest, "the body must be a JSON object"))?;
        let tags = match fields.remove(USAGE_CONTEXT).filter(|_| api.is_none()) {
            Some(context) => serde_json::from_str(context.get()).map_err(|_| {
                let message = "usage_context must be an object of strings";
                ApiError::new(ErrorCode::InvalidRequest, message).param(USAGE_CONTEXT)
            })?,
            None => BTreeMap::new(),
        };
        let has = |field: &str| fields.contains_key(field);
        let api_type = match api {
            Some(api) => api,
            None if has("messages") => ApiType::ChatCompletions,
            None if has("input") => ApiType::Embeddings,
            None if has("prompt") => ApiType::Completions,
            None => {
                let message = "the body needs `messages` (chat), `input` (embeddings) or `prompt` (completions)";
                return Err(ApiError::new(ErrorCode::InvalidRequest, message).param("messages"));
            }
        };
        let written = to_raw_value(&name).and_then(|model| {
            fields.insert("model".to_owned(), model);
            to_raw_value(&fields)
        });
        let body = written.map_err(|_| ApiError::new(ErrorCode::Internal, "the body could not be written again"))?;
        Ok(Call { api_type, called: None, body, tags })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(path: Path, body: &str) -> Result<Call, ApiError> {
        path.call(RawValue::from_string(body.to_owned()).expect("json"))
    }

    #[test]
    fn the_model_comes_from_the_path_and_the_api_from_the_body() {
        let invocations = || Path::Invocations("chat".to_owned());
        let found = call(invocations(), r#"{"messages":[{"a":1.50}],"model":"x","usage_context":{"project":"p"}}"#)
            .expect("chat");
        assert_eq!((found.api_type, found.tags["project"].as_str()), (ApiType::ChatCompletions, "p"));
        assert_eq!(found.body.get(), r#"{"messages":[{"a":1.50}],"model":"chat"}"#);
        assert_eq!(call(invocations(), r#"{"input":"x"}"#).expect("embeddings").api_type, ApiType::Embeddings);
        assert_eq!(call(invocations(), r#"{"prompt":"x"}"#).expect("completions").api_type, ApiType::Completions);
        for (body, param) in [
            (r#"{"question":"x"}"#, Some("messages")),
            (r#"{"input":"x","usage_context":[]}"#, Some("usage_context")),
            ("[]", None),
        ] {
            assert_eq!(call(invocations(), body).expect_err(body).param.as_deref(), param);
        }
        let path = Path::Deployment(ApiType::Embeddings, "small".to_owned());
        assert_eq!(call(path, r#"{"input":[1]}"#).expect("azure").body.get(), r#"{"input":[1],"model":"small"}"#);
        let same = call(Path::Api(ApiType::Messages), r#"{ "model" : "x"}"#).expect("as it is");
        assert_eq!(same.body.get(), r#"{ "model" : "x"}"#);
    }
}
