//! The one place where an error becomes an HTTP response.

use axum::{
    Json,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use std::collections::BTreeMap;
use tollgate_schemas::{ApiError, ErrorCode, error::Shape};

/// An error on its way to a caller, in OpenAI's shape.
pub(crate) struct Failure(ApiError);

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let headers = match self.0.code {
            // The bound is a matter of seconds; SDKs retry with this.
            ErrorCode::Overloaded => BTreeMap::from([("retry-after".to_owned(), "1".to_owned())]),
            // The work goes on: a retry would start it again.
            ErrorCode::StillRunning => BTreeMap::from([("x-should-retry".to_owned(), "false".to_owned())]),
            _ => BTreeMap::new(),
        };
        let mut response = respond(self.0.code.status(), &headers, &self.0);
        tell_headers(&mut response, &self.0.headers);
        response
    }
}

/// A response with an error document, in OpenAI's shape until it is [`shaped`], and headers from a terminal.
pub(super) fn respond(status: u16, headers: &BTreeMap<String, String>, error: &ApiError) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(error.openai())).into_response();
    set_headers(&mut response, headers);
    response.extensions_mut().insert(error.clone());
    response
}

/// An error's response in the shape of the API that was called.
pub(super) fn shaped(mut response: Response, shape: Shape, request_id: &str) -> Response {
    if let Some(mut error) = response.extensions_mut().remove::<ApiError>().filter(|_| shape != Shape::OpenAi) {
        // Google's documents say it too. An error that came with a terminal has its headers there.
        if let Some(seconds) = response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()) {
            error.headers = vec![("retry-after", seconds.to_owned())];
        }
        let document = error.document(shape, Some(request_id)).to_string();
        response.headers_mut().remove(header::CONTENT_LENGTH);
        *response.body_mut() = document.into();
    }
    response
}

/// Sets headers whose names are known to be some.
pub(super) fn tell_headers(response: &mut Response, headers: &[(&'static str, String)]) {
    for (name, value) in headers {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(*name, value);
        }
    }
}

/// Copies headers, leaving out what is no header.
pub(super) fn set_headers(response: &mut Response, headers: &BTreeMap<String, String>) {
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::from_str(value)) {
            response.headers_mut().insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn googles_document_says_when_to_come_back_too() {
        let headers = BTreeMap::from([("retry-after".to_owned(), "7".to_owned())]);
        let error = ApiError::new(ErrorCode::RateLimitExceeded, "slow down").param("p");
        let response = shaped(respond(429, &headers, &error), Shape::Google, "id");
        let body = axum::body::to_bytes(response.into_body(), 4096).await.expect("a body");
        let document: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        let error = &document["error"];
        assert_eq!((error["code"].as_u64(), error["status"].as_str()), (Some(429), Some("RESOURCE_EXHAUSTED")));
        assert_eq!(error["details"][0]["reason"], "RATE_LIMIT_EXCEEDED");
        assert_eq!(error["details"][0]["metadata"]["param"], "p");
        assert_eq!(error["details"][1]["retryDelay"], "7s");
    }

    #[test]
    fn a_full_bound_says_when_to_come_back() {
        let full = Failure::from(ApiError::new(ErrorCode::Overloaded, "full")).into_response();
        assert_eq!((full.status().as_u16(), full.headers()[header::RETRY_AFTER].as_bytes()), (503, &b"1"[..]));
        let running = Failure::from(ApiError::new(ErrorCode::StillRunning, "running")).into_response();
        assert_eq!((running.status().as_u16(), running.headers()["x-should-retry"].as_bytes()), (504, &b"false"[..]));
    }
}
