//! Parts of a request's address. One that does not parse is refused in the shape of every other error.

use super::Failure;
use axum::{
    extract::{
        FromRequestParts,
        rejection::{PathRejection, QueryRejection},
    },
    http::request::Parts,
};
use serde::de::DeserializeOwned;
use tollgate_schemas::{ApiError, ErrorCode};

/// What the path's places hold.
pub(crate) struct Path<T>(pub(crate) T);

/// What stands behind the question mark.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let read = axum::extract::Path::from_request_parts(parts, state).await;
        read.map(|read| Self(read.0)).map_err(|error: PathRejection| refused(error.body_text()))
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let read = axum::extract::Query::from_request_parts(parts, state).await;
        read.map(|read| Self(read.0)).map_err(|error: QueryRejection| refused(error.body_text()))
    }
}

fn refused(message: String) -> Failure {
    ApiError::new(ErrorCode::InvalidRequest, message).into()
}
