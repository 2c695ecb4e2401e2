//! The closed set of errors a caller can see, and their OpenAI shape.
//!
//! Shape: `{"error":{"message","type","param","code"}}`, as OpenAI's API reference documents its errors.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An error as a caller sees it. The message says what to do and never holds a secret or matched text.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{code}: {message}", code = code.as_str())]
pub struct ApiError {
    /// Which error.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
    /// The request field at fault.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
    /// Names of the checks that blocked (guardrails only).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
    /// What kinds of things they found (guardrails only).
    #[serde(default, skip_serializing_if = "<[String]>::is_empty")]
    pub categories: Box<[String]>,
    /// Headers that go with it at the HTTP door. Not part of records.
    #[serde(skip)]
    pub headers: Vec<(&'static str, String)>,
}

/// Whose error documents a caller knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Shape {
    OpenAi,
    Anthropic,
    Databricks,
    Google,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal, $status:literal, $kind:literal;)*) => {
        /// Every error code, with its text, HTTP status and OpenAI `type`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum ErrorCode { $($(#[$doc])* #[serde(rename = $text)] $variant,)* }

        impl ErrorCode {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant,)*];
            /// The `code` field.
            pub fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$variant => $text,)* }
            }
            /// The HTTP status.
            pub fn status(self) -> u16 {
                match self { $(ErrorCode::$variant => $status,)* }
            }
            /// The `type` field.
            pub fn kind(self) -> &'static str {
                match self { $(ErrorCode::$variant => $kind,)* }
            }
        }
    };
}

codes! {
    /// The body is not what the API takes.
    InvalidRequest = "invalid_request_error", 400, "invalid_request_error";
    /// A check refused the request or its answer.
    GuardrailBlocked = "guardrail_blocked", 400, "invalid_request_error";
    /// The provider refused the request as wrong (its 4xx, passed on).
    ProviderRejected = "provider_rejected", 400, "invalid_request_error";
    /// The request is longer than the model takes.
    ContextLengthExceeded = "context_length_exceeded", 400, "invalid_request_error";
    /// The provider or its model will not speak of it.
    ContentPolicyViolation = "content_policy_violation", 400, "invalid_request_error";
    /// No key, or one that is not known.
    InvalidApiKey = "invalid_api_key", 401, "authentication_error";
    /// Known, but not allowed to do this.
    PermissionDenied = "permission_denied", 403, "permission_error";
    /// No such route.
    NotFound = "not_found", 404, "invalid_request_error";
    /// No such endpoint for this key.
    ModelNotFound = "model_not_found", 404, "invalid_request_error";
    /// No finished request of that id for this team.
    RequestNotFound = "request_not_found", 404, "invalid_request_error";
    /// No such object for this administrator.
    ObjectNotFound = "object_not_found", 404, "invalid_request_error";
    /// The route exists, the method does not.
    MethodNotAllowed = "method_not_allowed", 405, "invalid_request_error";
    /// The request's head or body did not come in time.
    RequestTimeout = "request_timeout", 408, "invalid_request_error";
    /// The object has changed since the caller looked at it.
    VersionConflict = "version_conflict", 412, "invalid_request_error";
    /// The body is over its bound.
    RequestTooLarge = "request_too_large", 413, "invalid_request_error";
    /// The body's encoding is not taken.
    UnsupportedEncoding = "unsupported_content_encoding", 415, "invalid_request_error";
    /// The idempotency key came before with another body.
    IdempotencyKeyReused = "idempotency_key_reused", 422, "invalid_request_error";
    /// The request's headers are over their bound.
    HeadersTooLarge = "headers_too_large", 431, "invalid_request_error";
    /// Too many requests, here or at every provider.
    RateLimitExceeded = "rate_limit_exceeded", 429, "rate_limit_error";
    /// A budget has no room for it; waiting does not help.
    InsufficientQuota = "insufficient_quota", 429, "insufficient_quota";
    /// The request was cancelled by its caller.
    Cancelled = "cancelled", 499, "invalid_request_error";
    /// A defect or an outage inside the gateway.
    Internal = "internal_error", 500, "server_error";
    /// Every provider failed.
    ProviderError = "provider_error", 502, "server_error";
    /// An output arrived in two runs and cannot be joined honestly.
    StreamInterrupted = "stream_interrupted", 502, "server_error";
    /// A check the policy demands cannot run.
    GuardrailUnavailable = "guardrail_unavailable", 503, "server_error";
    /// The issuer of a token cannot be asked for its keys.
    IdentityUnavailable = "identity_unavailable", 503, "server_error";
    /// The gateway's bound on waiting work is reached.
    Overloaded = "overloaded", 503, "server_error";
    /// A provider did not answer in time.
    ProviderTimeout = "provider_timeout", 504, "server_error";
    /// The deadline passed before a provider could be called or had answered.
    DeadlineExceeded = "deadline_exceeded", 504, "server_error";
    /// The HTTP wait ran out; the work goes on.
    StillRunning = "still_running", 504, "server_error";
}

impl ApiError {
    /// An error without a field at fault.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            param: None,
            checks: Vec::new(),
            categories: Box::default(),
            headers: Vec::new(),
        }
    }

    /// The same, naming the request field at fault.
    #[must_use]
    pub fn param(mut self, param: impl Into<String>) -> Self {
        self.param = Some(param.into());
        self
    }

    /// The checks of a guardrail that refused it and what they found, in the document of an error.
    fn add_checks(&self, error: &mut serde_json::Value) {
        for (name, all) in [("checks", &self.checks[..]), ("categories", &self.categories)] {
            if !all.is_empty() {
                error[name] = all.into();
            }
        }
    }

    /// The OpenAI error document: `{"error":{"message","type","param","code"}}`, plus `checks` and `categories` for guardrails.
    pub fn openai(&self) -> serde_json::Value {
        let mut error = serde_json::json!({
            "message": self.message,
            "type": self.code.kind(),
            "param": self.param,
            "code": self.code.as_str(),
        });
        self.add_checks(&mut error);
        serde_json::json!({ "error": error })
    }

    /// Anthropic's error document: `{"type":"error","error":{"type","message"},"request_id"}`
    /// (<https://platform.claude.com/docs/en/api/errors>). The gateway's own code and the field at fault go with it.
    pub fn anthropic(&self, request_id: Option<&str>) -> serde_json::Value {
        let kind = match self.code.status() {
            401 => "authentication_error",
            402 => "billing_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            503 => "overloaded_error",
            504 => "timeout_error",
            400..=499 => "invalid_request_error",
            _ => "api_error",
        };
        let mut error = serde_json::json!({ "type": kind, "message": self.message, "code": self.code.as_str() });
        if let Some(param) = &self.param {
            error["param"] = param.clone().into();
        }
        self.add_checks(&mut error);
        serde_json::json!({ "type": "error", "error": error, "request_id": request_id })
    }

    /// Databricks' error document, `{"error_code","message"}`
    /// (<https://docs.databricks.com/api/workspace/introduction>). The gateway's own code goes with it, and what Databricks' own
    /// guardrails say: `finishReason` (`input_guardrail_triggered` or `output_guardrail_triggered`) and, under the guardrail's side,
    /// `flagged` with the `categories`.
    pub fn databricks(&self) -> serde_json::Value {
        let code = match self.code.status() {
            401 => "UNAUTHENTICATED",
            403 => "PERMISSION_DENIED",
            404 => "RESOURCE_DOES_NOT_EXIST",
            429 => "REQUEST_LIMIT_EXCEEDED",
            499 => "CANCELLED",
            503 => "TEMPORARILY_UNAVAILABLE",
            504 => "DEADLINE_EXCEEDED",
            400..=499 => "BAD_REQUEST",
            _ => "INTERNAL_ERROR",
        };
        let mut error = serde_json::json!({ "error_code": code, "message": self.message, "code": self.code.as_str() });
        self.add_checks(&mut error);
        if self.code == ErrorCode::GuardrailBlocked {
            let is_output = self.checks.iter().any(|check| check.starts_with("output."));
            let side = if is_output { "output_guardrail" } else { "input_guardrail" };
            let flags = self.categories.iter().map(|name| (name.clone(), serde_json::Value::Bool(true)));
            let found: serde_json::Map<String, serde_json::Value> = flags.collect();
            error["finishReason"] = format!("{side}_triggered").into();
            error[side] = serde_json::json!([{ "flagged": true, "categories": found }]);
        }
        error
    }

    /// Google's error document, `{"error":{"code","message","status","details"}}` (<https://google.aip.dev/193>, and
    /// `google/rpc/error_details.proto` in googleapis/googleapis). The gateway's own code, the field at fault and the checks stand
    /// in an `ErrorInfo`, how long to wait in a `RetryInfo`.
    pub fn google(&self) -> serde_json::Value {
        let code = self.code.status();
        let status = match code {
            401 => "UNAUTHENTICATED",
            403 => "PERMISSION_DENIED",
            404 => "NOT_FOUND",
            412 => "FAILED_PRECONDITION",
            429 => "RESOURCE_EXHAUSTED",
            499 => "CANCELLED",
            502 | 503 => "UNAVAILABLE",
            504 => "DEADLINE_EXCEEDED",
            400..=499 => "INVALID_ARGUMENT",
            _ => "INTERNAL",
        };
        let mut metadata = serde_json::Map::new();
        if let Some(param) = &self.param {
            metadata.insert("param".to_owned(), param.clone().into());
        }
        if !self.checks.is_empty() {
            metadata.insert("checks".to_owned(), self.checks.join(", ").into());
        }
        if !self.categories.is_empty() {
            metadata.insert("categories".to_owned(), self.categories.join(", ").into());
        }
        let mut details = vec![serde_json::json!({
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": self.code.as_str().to_ascii_uppercase(),
            "domain": "tollgate",
            "metadata": metadata,
        })];
        if let Some((_, seconds)) = self.headers.iter().find(|(name, _)| *name == "retry-after") {
            let delay = format!("{seconds}s");
            details
                .push(serde_json::json!({ "@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay }));
        }
        serde_json::json!({
            "error": { "code": code, "message": self.message, "status": status, "details": details },
        })
    }

    /// The error document as callers of that kind know it.
    pub fn document(&self, shape: Shape, request_id: Option<&str>) -> serde_json::Value {
        match shape {
            Shape::OpenAi => self.openai(),
            Shape::Anthropic => self.anthropic(request_id),
            Shape::Databricks => self.databricks(),
            Shape::Google => self.google(),
        }
    }
}
