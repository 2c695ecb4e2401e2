//! Routes of other gateways and providers (`admit::Path` says which).
//!
//! Beside the calls there are `/openai/models` and `/openai/v1/models`, for what may be called at Azure OpenAI.

use super::{answer, models};
use crate::{
    Gateway,
    admit::{AZURE, AZURE_RESPONSES, DEPLOYMENTS, INVOCATIONS, Path, SERVING, SHARED, below},
};
use axum::{
    Router,
    extract::{Path as Captured, Request, State},
    routing::{get, post},
};
use std::sync::Arc;
use tollgate_schemas::ApiType;

pub(super) fn routes() -> Router<Arc<Gateway>> {
    let mut routes =
        Router::new().route(INVOCATIONS, post(invocations)).route(AZURE_RESPONSES, answer::route(ApiType::Responses));
    for models in ["/openai/models", "/openai/v1/models"] {
        let one = get(models::retrieve);
        routes = routes.route(models, get(models::list)).route(&format!("{models}/{{*id}}"), one);
    }
    for api in SHARED {
        let path = below(api);
        routes = routes
            .route(&format!("{SERVING}{path}"), post(move |gateway, request| serving(api, gateway, request)))
            .route(&format!("{AZURE}{path}"), answer::route(api))
            .route(
                &format!("{DEPLOYMENTS}/{{name}}{path}"),
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

async fn serving(api: ApiType, State(gateway): State<Arc<Gateway>>, request: Request) -> Answer {
    answer::traced(gateway, Path::Serving(api), request).await
}

async fn deployment(
    api: ApiType,
    State(gateway): State<Arc<Gateway>>,
    Captured(name): Captured<String>,
    request: Request,
) -> Answer {
    answer::traced(gateway, Path::Deployment(api, name), request).await
}
