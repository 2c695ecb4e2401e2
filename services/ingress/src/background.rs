//! Answers in the background: `background: true` of the Responses API.
//!
//! Source: <https://platform.openai.com/docs/guides/background>. The gateway keeps its own promise instead of passing the provider's on: the
//! request becomes one that nobody waits for, which waits, is ended and billed as a job is; its provider is called as ever. What was
//! accepted is kept beside stored results ([`crate::results`]), so that any replica can say that it goes on, and to whom.

use crate::results::Reader;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tollgate_schemas::{ApiError, Body, ErrorCode, Request, RequestId};

/// Longer metadata are not repeated until the answer is there.
const METADATA_MAX_BYTES: usize = 64 << 10;

/// What is known of a request before it has ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Accepted {
    pub(crate) team: String,
    model: String,
    metadata: Value,
}

impl Accepted {
    /// Of a request that nobody waits for.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        #[derive(Deserialize)]
        struct Peek {
            metadata: Option<Value>,
        }
        let Body::Inline(body) = &request.body else { return None };
        if !request.reply.is_nobody() {
            return None;
        }
        let metadata = serde_json::from_str::<Peek>(body.get()).ok().and_then(|peek| peek.metadata);
        let metadata = metadata.filter(|metadata| metadata.to_string().len() <= METADATA_MAX_BYTES);
        let (team, model) = (request.caller.team.clone(), request.model.clone());
        Some(Self { team, model, metadata: metadata.unwrap_or_else(|| json!({})) })
    }

    /// Keeps it under that id.
    pub(crate) async fn keep(&self, results: &Reader, id: RequestId) -> Result<(), ApiError> {
        let noted = serde_json::to_vec(self).map_err(|_| unstored())?;
        results.note(id, noted).await.map_err(|error| {
            tracing::error!(%error, "what is to be answered in the background cannot be stored");
            unstored()
        })
    }

    /// What was kept under that id.
    pub(crate) async fn find(results: &Reader, id: RequestId) -> Result<Option<Self>, ApiError> {
        let noted = results.noted(id).await.map_err(|error| {
            tracing::error!(%error, "stored results cannot be read");
            ApiError::new(ErrorCode::Overloaded, "stored results cannot be read now; try again")
        })?;
        Ok(noted.and_then(|noted| serde_json::from_slice(&noted).ok()))
    }

    /// The response without an answer
    /// (<https://platform.openai.com/docs/api-reference/responses/object>).
    pub(crate) fn response(&self, id: RequestId, status: &str, error: Option<&ApiError>) -> Value {
        json!({
            "id": response_id(id),
            "object": "response",
            "created_at": id.unix_ms() / 1000,
            "status": status,
            "background": true,
            "error": error.map(|error| json!({ "code": error.code, "message": error.message })),
            "incomplete_details": null,
            "instructions": null,
            "metadata": self.metadata,
            "model": self.model,
            "output": [],
            "parallel_tool_calls": true,
            "store": false,
            "temperature": null,
            "tool_choice": "auto",
            "tools": [],
            "top_p": null,
            "usage": null,
        })
    }
}

/// A request's id as the API has it.
fn response_id(id: RequestId) -> String {
    format!("resp_{}", id.0.simple())
}

/// The request whose id the API has so.
pub(crate) fn request_of(response_id: &str) -> Option<RequestId> {
    response_id.strip_prefix("resp_")?.parse().ok()
}

fn unstored() -> ApiError {
    let message = "what is answered in the background must be stored first, which is not possible now; try again";
    ApiError::new(ErrorCode::Overloaded, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_comes_back() {
        let id = RequestId::new();
        assert_eq!(request_of(&response_id(id)), Some(id));
        assert_eq!((request_of(&id.to_string()), request_of("resp_fake"), request_of("")), (None, None, None));
    }
}
