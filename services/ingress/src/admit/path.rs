//! Paths under which the APIs are called, at both doors: their own, and those of other gateways and providers, so that their callers need
//! to change nothing but the host.
//!
//! | path | whose |
//! | --- | --- |
//! | `/serving-endpoints/{name}/invocations` | Databricks (<https://docs.databricks.com/aws/en/machine-learning/foundation-model-apis/api-reference>) |
//! | `/serving-endpoints/chat/completions`, `…/responses`, `…/embeddings`, `…/completions` | Databricks, by OpenAI's SDK |
//! | `/openai/deployments/{name}/chat/completions` and the others | Azure OpenAI (<https://learn.microsoft.com/azure/ai-foundry/openai/reference>) |
//! | `/openai/v1/chat/completions` and the others | Azure OpenAI, without a version |
//! | `/openai/responses` | Azure OpenAI, by OpenAI's SDK with a version: this API has no deployments |
//!
//! What stands in the path is the model, whatever the body says: the name of an endpoint here, or an alias.

use super::{Called, called::decoded};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use tollgate_schemas::{ApiError, ApiType, ErrorCode, error::Shape};

/// Databricks' route for any kind of model, below [`SERVING`].
pub(crate) const INVOCATIONS: &str = "/serving-endpoints/{name}/invocations";
pub(crate) const SERVING: &str = "/serving-endpoints";
/// Azure's: without deployments, with them, and for the API that has none.
pub(crate) const AZURE: &str = "/openai/v1";
pub(crate) const DEPLOYMENTS: &str = "/openai/deployments";
pub(crate) const AZURE_RESPONSES: &str = "/openai/responses";
/// APIs that both have under paths of their own.
pub(crate) const SHARED: [ApiType; 4] =
    [ApiType::ChatCompletions, ApiType::Responses, ApiType::Embeddings, ApiType::Completions];
/// Where Databricks' callers say what a call is billed to.
const USAGE_CONTEXT: &str = "usage_context";

/// Where one of [`SHARED`] is, below what comes before it.
pub(crate) fn below(api: ApiType) -> &'static str {
    api.path().trim_start_matches("/v1")
}

/// What a path says of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Path {
    /// The API; the model stands in the body.
    Api(ApiType),
    /// Databricks' for OpenAI's SDK: the API; the model stands in the body.
    Serving(ApiType),
    /// API and model.
    Deployment(ApiType, String),
    /// The model; the API is what the body looks like.
    Invocations(String),
    /// Google's, and all that its body does not say.
    Called(Called),
}

/// A call as any other.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) api_type: ApiType,
    pub(crate) called: Option<Called>,
    pub(crate) body: Box<RawValue>,
    pub(crate) tags: BTreeMap<String, String>,
}

impl Path {
    /// Of what a job calls its path, or its address without the host; a query behind it says nothing of a job. `None` if nothing is
    /// served there.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let path = path.split('?').next().unwrap_or(path);
        if let Some(api) = ApiType::of_path(path).filter(|api| !api.names_model_in_path()) {
            return Some(Path::Api(api));
        }
        let shared = |rest: &str| SHARED.into_iter().find(|api| rest == below(*api));
        let name = |name: &str| decoded(name).filter(|_| !name.is_empty() && !name.contains('/'));
        if let Some(rest) = path.strip_prefix(DEPLOYMENTS) {
            let rest = rest.strip_prefix('/')?;
            let (deployment, rest) = rest.split_at_checked(rest.find('/')?)?;
            return Some(Path::Deployment(shared(rest)?, name(deployment)?));
        }
        if let Some(rest) = path.strip_prefix(SERVING) {
            return match rest.strip_prefix('/').and_then(|rest| rest.strip_suffix("/invocations")) {
                Some(endpoint) => name(endpoint).map(Path::Invocations),
                None => shared(rest).map(Path::Serving),
            };
        }
        if let Some(rest) = path.strip_prefix(AZURE) {
            return shared(rest).map(Path::Api);
        }
        if path == AZURE_RESPONSES {
            return Some(Path::Api(ApiType::Responses));
        }
        Called::of_path(path).map(Path::Called)
    }

    /// For the name of a span.
    pub(crate) fn pattern(&self) -> &'static str {
        match self {
            Path::Api(api) | Path::Serving(api) | Path::Deployment(api, _) => api.path(),
            Path::Invocations(_) => INVOCATIONS,
            Path::Called(_) => ApiType::GenerateContent.path(),
        }
    }

    /// What errors look like to those who call it.
    pub(crate) fn errors(&self) -> Shape {
        match self {
            Path::Api(api) | Path::Serving(api) | Path::Deployment(api, _) => api.errors(),
            Path::Invocations(_) => Shape::Databricks,
            Path::Called(_) => ApiType::GenerateContent.errors(),
        }
    }

    /// The call that a body makes under this path.
    pub(crate) fn call(self, body: Box<RawValue>) -> Result<Call, ApiError> {
        let has_context = matches!(self, Path::Serving(_) | Path::Invocations(_));
        let (api, name) = match self {
            Path::Api(api_type) => return Ok(Call { api_type, called: None, body, tags: BTreeMap::new() }),
            Path::Called(called) => {
                let (api_type, called) = (ApiType::GenerateContent, Some(called));
                return Ok(Call { api_type, called, body, tags: BTreeMap::new() });
            }
            Path::Serving(api) => (Some(api), None),
            Path::Deployment(api, name) => (Some(api), Some(name)),
            Path::Invocations(name) => (None, Some(name)),
        };
        let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(body.get())
            .map_err(|_| ApiError::new(ErrorCode::InvalidRequest, "the body must be a JSON object"))?;
        let context = if has_context { fields.remove(USAGE_CONTEXT) } else { None };
        let is_as_it_came = name.is_none() && context.is_none();
        let tags = context.map(|context| of_context(&context)).transpose()?.unwrap_or_default();
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
        if let Some(name) = name {
            fields.insert("model".to_owned(), super::written(&name)?);
        }
        let body = if is_as_it_came { body } else { super::written(&fields)? };
        Ok(Call { api_type, called: None, body, tags })
    }
}

/// The tags that a [`USAGE_CONTEXT`] holds; `null` holds none.
fn of_context(context: &RawValue) -> Result<BTreeMap<String, String>, ApiError> {
    let tags: Option<BTreeMap<String, String>> = serde_json::from_str(context.get()).map_err(|_| {
        let message = "usage_context must be an object of strings";
        ApiError::new(ErrorCode::InvalidRequest, message).param(USAGE_CONTEXT)
    })?;
    Ok(tags.unwrap_or_default())
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
        let path = Path::Deployment(ApiType::Embeddings, "small".to_owned());
        let theirs = call(path, r#"{"usage_context":[7]}"#).expect("azure");
        assert_eq!(theirs.body.get(), r#"{"model":"small","usage_context":[7]}"#, "it is Databricks' field only");
        let same = call(Path::Api(ApiType::Messages), r#"{ "model" : "x"}"#).expect("as it is");
        assert_eq!(same.body.get(), r#"{ "model" : "x"}"#);
    }

    #[test]
    fn what_a_call_is_billed_to_leaves_the_body_of_every_api_of_databricks() {
        for api in SHARED {
            let path = || Path::Serving(api);
            let found = call(path(), r#"{"model":"m","usage_context":{"project":"p"},"input":1.50}"#).expect("a call");
            assert_eq!((found.api_type, found.tags["project"].as_str()), (api, "p"));
            assert_eq!(found.body.get(), r#"{"input":1.50,"model":"m"}"#);
            let same = call(path(), r#"{ "model" : "x"}"#).expect("as it is");
            assert_eq!((same.body.get(), same.tags.len()), (r#"{ "model" : "x"}"#, 0));
            let empty = call(path(), r#"{"model":"m","usage_context":null}"#).expect("none");
            assert_eq!((empty.body.get(), empty.tags.len()), (r#"{"model":"m"}"#, 0));
            let wrong = call(path(), r#"{"model":"m","usage_context":{"project":1}}"#).expect_err("no string");
            assert_eq!(wrong.param.as_deref(), Some("usage_context"));
        }
    }

    #[test]
    fn a_job_names_any_path_that_a_caller_may() {
        for api in ApiType::ALL.into_iter().filter(|api| !api.names_model_in_path()) {
            assert_eq!(Path::of(api.path()), Some(Path::Api(api)));
        }
        let (chat, deployment) =
            (ApiType::ChatCompletions, |api, name: &str| Some(Path::Deployment(api, name.to_owned())));
        let invocations = |name: &str| Some(Path::Invocations(name.to_owned()));
        let google = Called { model: "m".to_owned(), stream: true };
        for (path, expected) in [
            ("/v1/messages?beta=true", Some(Path::Api(ApiType::Messages))),
            ("/v1/models/m:streamGenerateContent?alt=sse", Some(Path::Called(google))),
            ("/serving-endpoints/chat/invocations", invocations("chat")),
            ("/serving-endpoints/a%2Fb%20c/invocations?x", invocations("a/b c")),
            ("/serving-endpoints/chat/completions", Some(Path::Serving(chat))),
            ("/serving-endpoints/responses", Some(Path::Serving(ApiType::Responses))),
            ("/openai/v1/completions", Some(Path::Api(ApiType::Completions))),
            ("/openai/responses?api-version=2025-03-01-preview", Some(Path::Api(ApiType::Responses))),
            ("/openai/deployments/gpt%204/chat/completions?api-version=2024-10-21", deployment(chat, "gpt 4")),
            ("/openai/deployments/small/embeddings", deployment(ApiType::Embeddings, "small")),
        ] {
            assert_eq!(Path::of(path), expected, "{path}");
        }
        for other in [
            "",
            "?",
            "/v1/nothing",
            "/v1/messages/",
            "/v1beta/models/m",
            "/serving-endpoints",
            "/serving-endpoints/invocations",
            "/serving-endpoints//invocations",
            "/serving-endpoints/a/b/invocations",
            "/serving-endpoints/a%/invocations",
            "/serving-endpoints/messages",
            "/openai/deployments",
            "/openai/deployments/small",
            "/openai/deployments//embeddings",
            "/openai/deployments/small/messages",
            "/openai/v1",
        ] {
            assert_eq!(Path::of(other), None, "{other}");
        }
    }
}
