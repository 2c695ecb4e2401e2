//! Admission: from a body and a caller to a request that may be published. Pure; both doors use it.

mod called;
mod path;
mod tags;

pub use called::Called;
pub(crate) use called::{MODELS, STABLE_MODELS};
pub(crate) use path::{AZURE, AZURE_RESPONSES, Call, DEPLOYMENTS, INVOCATIONS, Path, SERVING, SHARED, below};

use crate::config::IngressConfig;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use std::{borrow::Cow, collections::BTreeMap};
pub(crate) use tags::named as named_tags;
use tollgate_runtime::config::{Endpoint, JOB_DEADLINE, Task};
use tollgate_schemas::{
    ApiError, ApiType, Body, CacheUse, Caller, ErrorCode, Lane, OnDisconnect, ReplyTo, Request, RequestId, now_us,
};

/// A longer `user` is cut in the ledger; the provider gets it whole.
const END_USER_MAX_CHARS: usize = 256;
/// Moderations need not name a model (<https://platform.openai.com/docs/api-reference/moderations/create>).
const MODERATION_MODEL: &str = "omni-moderation-latest";

/// Headers that are part of an API, and the longest value that is taken.
const API_HEADERS: [&str; 1] = ["anthropic-beta"];
const API_HEADER_MAX_CHARS: usize = 4096;

/// The caller's headers that a destination of the same API is to have; `given` knows the value of each, if the caller sent one.
/// What no HTTP header can hold is left out.
pub(crate) fn api_headers(api: ApiType, given: impl Fn(&str) -> Option<String>) -> BTreeMap<String, String> {
    if !matches!(api, ApiType::Messages | ApiType::CountTokens) {
        return BTreeMap::new();
    }
    let fits = |value: &String| {
        (1..=API_HEADER_MAX_CHARS).contains(&value.len()) && value.bytes().all(|byte| matches!(byte, b' '..=b'~'))
    };
    API_HEADERS.iter().filter_map(|name| Some(((*name).to_owned(), given(name).filter(fits)?))).collect()
}

/// Which way a request came in.
#[derive(Debug)]
pub enum Door {
    /// A caller waits on this replica.
    Http {
        /// Its `Idempotency-Key`.
        idempotency_key: Option<String>,
    },
    /// A record of `in.<team>`.
    Topic {
        /// When the job expires, milliseconds since the Unix epoch, if it says so.
        expires_ms: Option<i64>,
        /// How long it may take otherwise.
        default_ms: i64,
        /// Its `ce_id`.
        idempotency_key: Option<String>,
    },
}

impl Door {
    /// Body and way back of a request that asks for its answer in the background. Of its provider nothing is asked in the background, so
    /// that what it costs is counted; and a job has its answer later in any case.
    fn later(&self, stream: bool, body: &RawValue, reply: ReplyTo) -> Result<(Box<RawValue>, ReplyTo), ApiError> {
        let reply = match self {
            Door::Topic { .. } => reply,
            Door::Http { .. } if stream => {
                let message =
                    "an answer in the background is fetched when it is whole; leave out `stream` or `background`";
                return Err(ApiError::new(ErrorCode::InvalidRequest, message).param("stream"));
            }
            Door::Http { .. } => ReplyTo::NOBODY,
        };
        let mut fields: BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(body.get()).map_err(|error| invalid(&error))?;
        fields.remove("background");
        Ok((written(&fields)?, reply))
    }
}

/// A body that is written again, or a part of one.
fn written(document: &impl Serialize) -> Result<Box<RawValue>, ApiError> {
    to_raw_value(document).map_err(|_| ApiError::new(ErrorCode::Internal, "the body could not be written again"))
}

/// A request before it is admitted.
pub struct Admission<'a> {
    /// Its id.
    pub request_id: RequestId,
    /// The API it speaks.
    pub api_type: ApiType,
    /// What its path says, for an API whose bodies do not.
    pub called: Option<Called>,
    /// Headers that are part of the API.
    pub api_headers: BTreeMap<String, String>,
    /// The body as it came.
    pub body: Box<RawValue>,
    /// Tags that do not stand in the body.
    pub tags: BTreeMap<String, String>,
    /// Whether a kept answer will do.
    pub cache: CacheUse,
    /// Who asks.
    pub caller: Caller,
    /// Where the answer goes.
    pub reply: ReplyTo,
    /// Which way it came.
    pub door: &'a Door,
}

/// The few fields the gateway reads of a body; everything else passes through unread.
#[derive(Deserialize)]
struct Peek<'a> {
    #[serde(borrow)]
    model: Option<Cow<'a, str>>,
    stream: Option<bool>,
    #[serde(borrow)]
    user: Option<Cow<'a, str>>,
    #[serde(borrow)]
    safety_identifier: Option<Cow<'a, str>>,
    #[serde(borrow)]
    messages: Option<&'a RawValue>,
    #[serde(borrow)]
    input: Option<&'a RawValue>,
    #[serde(borrow)]
    prompt: Option<&'a RawValue>,
    #[serde(borrow)]
    contents: Option<&'a RawValue>,
    #[serde(borrow)]
    previous_response_id: Option<&'a RawValue>,
    #[serde(borrow)]
    conversation: Option<&'a RawValue>,
    #[serde(borrow)]
    background: Option<&'a RawValue>,
    metadata: Option<serde_json::Value>,
    labels: Option<serde_json::Value>,
}

impl Peek<'_> {
    /// Refuses a body without what the API is about.
    fn prompt(&self, api: ApiType) -> Result<(), ApiError> {
        let (name, prompt) = match api {
            ApiType::ChatCompletions | ApiType::Messages | ApiType::CountTokens => ("messages", self.messages),
            ApiType::GenerateContent => ("contents", self.contents),
            ApiType::Responses | ApiType::Embeddings | ApiType::Moderations => ("input", self.input),
            ApiType::Completions => ("prompt", self.prompt),
        };
        let text = prompt.map_or("null", RawValue::get);
        let is_full_list = || text.strip_prefix('[').is_some_and(|rest| !rest.trim_start().starts_with(']'));
        let is_there = match api {
            ApiType::ChatCompletions | ApiType::Messages | ApiType::CountTokens | ApiType::GenerateContent => {
                is_full_list()
            }
            ApiType::Responses => {
                // What OpenAI has stored may be all there is to go on with; who else is asked names what it lacks.
                let refers = || self.prompt.or(self.previous_response_id).or(self.conversation).is_some();
                text.starts_with('"') || is_full_list() || (text == "null" && refers())
            }
            ApiType::Embeddings | ApiType::Moderations | ApiType::Completions => text != "null",
        };
        match is_there {
            true => Ok(()),
            false if api == ApiType::Responses && text != "null" => {
                let message = "`input` must be a text or a list of at least one item";
                Err(ApiError::new(ErrorCode::InvalidRequest, message).param(name))
            }
            false => Err(missing(name)),
        }
    }

    /// Refuses a prompt that checks could not read and a model could: numbers that stand for its tokens.
    fn readable(&self, is_checked: bool, api: ApiType) -> Result<(), ApiError> {
        if api != ApiType::Completions || !is_checked {
            return Ok(());
        }
        let is_text = |prompt: &RawValue| {
            prompt.get().starts_with('"') || serde_json::from_str::<Vec<Cow<'_, str>>>(prompt.get()).is_ok()
        };
        if self.prompt.is_some_and(is_text) {
            return Ok(());
        }
        let message = "`prompt` must be text: what is sent to this model is checked, and tokens cannot be read";
        Err(ApiError::new(ErrorCode::InvalidRequest, message).param("prompt"))
    }

    /// The caller's own user, and the tags of the body. Anthropic's user stands in its metadata, which are no tags; Google's API has
    /// labels, and no word for a user.
    fn attribution(self, api: ApiType) -> (Option<String>, BTreeMap<String, String>) {
        let (user, tags) = match api {
            ApiType::GenerateContent => (None, tags::of_metadata(self.labels)),
            ApiType::Messages | ApiType::CountTokens => {
                let user = self.metadata.as_ref().and_then(|metadata| metadata["user_id"].as_str());
                (user.map(str::to_owned), BTreeMap::new())
            }
            ApiType::ChatCompletions
            | ApiType::Responses
            | ApiType::Embeddings
            | ApiType::Completions
            | ApiType::Moderations => {
                (self.user.or(self.safety_identifier).map(Cow::into_owned), tags::of_metadata(self.metadata))
            }
        };
        (user.map(|user| user.chars().take(END_USER_MAX_CHARS).collect()), tags)
    }
}

/// Refuses a request that the endpoint is not for.
fn fits(endpoint: &Endpoint, api: ApiType) -> Result<(), ApiError> {
    let wanted = match endpoint.task {
        Task::Chat => [
            ApiType::ChatCompletions,
            ApiType::Responses,
            ApiType::Messages,
            ApiType::GenerateContent,
            ApiType::CountTokens,
        ]
        .as_slice(),
        Task::Embeddings => &[ApiType::Embeddings],
        Task::Completions => &[ApiType::Completions],
        Task::Moderations => &[ApiType::Moderations],
    };
    if wanted.contains(&api) {
        return Ok(());
    }
    let paths: Vec<&str> = wanted.iter().map(|api| api.path()).collect();
    let message = format!("the model is not for {}; use {}", api.path(), paths.join(" or "));
    Err(ApiError::new(ErrorCode::InvalidRequest, message).param("model"))
}

impl Admission<'_> {
    /// Checks permission and shape. Errors are the caller's.
    pub(crate) fn admit(self, config: &IngressConfig) -> Result<Request, ApiError> {
        let peek: Peek<'_> = serde_json::from_str(self.body.get()).map_err(|error| invalid(&error))?;
        let (model, stream) = match self.called {
            Some(Called { model, stream }) => (model, stream),
            None => {
                let usual = (self.api_type == ApiType::Moderations).then_some(MODERATION_MODEL);
                let model = peek.model.as_deref().or(usual).ok_or_else(|| missing("model"))?.to_owned();
                (model, self.api_type.has_streams() && peek.stream.unwrap_or(false))
            }
        };
        peek.prompt(self.api_type)?;
        let endpoint = config.endpoint(&self.caller, &model).ok_or_else(|| not_found(&model))?;
        fits(endpoint, self.api_type)?;
        peek.readable(config.checks_input(endpoint, &self.caller), self.api_type)?;
        let asks_for_later = peek.background.is_some_and(|background| background.get() == "true");
        let is_later =
            self.api_type == ApiType::Responses && asks_for_later && config.in_background.contains(&endpoint.name);
        let (end_user, in_body) = peek.attribution(self.api_type);
        let tags = tags::together(self.tags, in_body, config.access.tags(&self.caller))?;
        let accepted_us = now_us();
        let (body, reply) =
            if is_later { self.door.later(stream, &self.body, self.reply)? } else { (self.body, self.reply) };
        let (lane, deadline_ms, idempotency_key) = terms(self.door, endpoint, reply.is_nobody(), accepted_us / 1000);
        Ok(Request {
            request_id: self.request_id,
            lane,
            endpoint: endpoint.name.clone(),
            model,
            api_type: self.api_type,
            // Nobody reads a job's answer piece by piece, so its answer is always whole.
            stream: stream && matches!(self.door, Door::Http { .. }),
            body: Body::Inline(body),
            api_headers: self.api_headers,
            caller: Caller { end_user, ..self.caller },
            reply,
            tags,
            accepted_us,
            deadline_ms,
            cache: self.cache,
            on_disconnect: if idempotency_key.is_some() || lane != Lane::Interactive {
                OnDisconnect::Finish
            } else {
                endpoint.on_disconnect
            },
            parent_request_id: None,
            shadow: None,
            batch_id: None,
            idempotency_key,
            guardrail_outcome: None,
            guardrails: Vec::new(),
            policy_version: None,
            restore: Default::default(),
            masked: Vec::new(),
            reserved: None,
            waiting: None,
        })
    }
}

fn terms(door: &Door, endpoint: &Endpoint, is_later: bool, now_ms: i64) -> (Lane, i64, Option<String>) {
    match door {
        Door::Http { idempotency_key } if is_later => {
            let longest_ms = i64::try_from(JOB_DEADLINE.as_millis()).unwrap_or(i64::MAX / 2);
            (Lane::Batch, now_ms + longest_ms, idempotency_key.clone())
        }
        Door::Http { idempotency_key } => {
            let total_ms = i64::try_from(endpoint.timeout.total.0).unwrap_or(i64::MAX / 2);
            (Lane::Interactive, now_ms + total_ms, idempotency_key.clone())
        }
        Door::Topic { expires_ms, default_ms, idempotency_key } => {
            let latest = now_ms + default_ms;
            (Lane::Batch, expires_ms.map_or(latest, |ms| ms.min(latest)), idempotency_key.clone())
        }
    }
}

fn missing(field: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidRequest, format!("`{field}` is required")).param(field)
}

fn not_found(model: &str) -> ApiError {
    let shown: String = model.chars().take(128).collect();
    ApiError::new(
        ErrorCode::ModelNotFound,
        format!("the model `{shown}` does not exist or you may not use it; GET /v1/models lists what you may use"),
    )
    .param("model")
}

/// A JSON error without a quote of the body.
pub(crate) fn invalid(error: &serde_json::Error) -> ApiError {
    let at = format!("line {}, column {}", error.line(), error.column());
    let message = if error.is_data() {
        format!("a field of the body has the wrong type or is there twice, at {at}")
    } else {
        format!("the body is not valid JSON, at {at}")
    };
    ApiError::new(ErrorCode::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_needs_an_input_or_something_stored_in_its_place() {
        let refused = |body: &str| {
            let peek: Peek<'_> = serde_json::from_str(body).expect("JSON");
            peek.prompt(ApiType::Responses).err().and_then(|error| error.param)
        };
        for whole in [
            r#"{"input":"hi"}"#,
            r#"{"prompt":{"id":"pmpt_1","variables":{"name":"Ada"}}}"#,
            r#"{"previous_response_id":"resp_1"}"#,
            r#"{"conversation":{"id":"conv_1"},"input":null}"#,
        ] {
            assert_eq!(refused(whole), None, "{whole}");
        }
        for lacking in [
            "{}",
            r#"{"input":null,"prompt":null,"previous_response_id":null,"conversation":null}"#,
            r#"{"input":[],"previous_response_id":"resp_1"}"#,
            r#"{"input":{"role":"user"},"prompt":{"id":"pmpt_1"}}"#,
        ] {
            assert_eq!(refused(lacking).as_deref(), Some("input"), "{lacking}");
        }
    }
}
