//! Reading a request body: bounded, unzipped if it says so, valid UTF-8, one JSON document.

use crate::config::BODY_MAX_BYTES;
use async_compression::tokio::bufread::GzipDecoder;
use axum::{
    body::Body,
    http::{HeaderMap, header},
};
use futures::TryStreamExt;
use serde_json::value::RawValue;
use tokio::io::{AsyncRead, AsyncReadExt, BufReader};
use tokio_util::io::StreamReader;
use tollgate_schemas::{ApiError, ErrorCode};

/// The body as a JSON document. The bound is on what it is after decompression.
pub(super) async fn json(headers: &HeaderMap, body: Body) -> Result<Box<RawValue>, ApiError> {
    let raw = StreamReader::new(body.into_data_stream().map_err(std::io::Error::other));
    let encoding = headers.get(header::CONTENT_ENCODING).map_or("identity", |v| v.to_str().unwrap_or("?"));
    let bytes = match encoding.to_ascii_lowercase().as_str() {
        "identity" | "" => bounded(raw).await?,
        "gzip" | "x-gzip" => bounded(GzipDecoder::new(BufReader::new(raw))).await?,
        _ => {
            return Err(ApiError::new(
                ErrorCode::UnsupportedEncoding,
                "the body may be sent plain or with content-encoding gzip",
            ));
        }
    };
    let text =
        String::from_utf8(bytes).map_err(|_| ApiError::new(ErrorCode::InvalidRequest, "the body is not UTF-8"))?;
    RawValue::from_string(text).map_err(|error| crate::admit::invalid(&error))
}

async fn bounded(reader: impl AsyncRead + Unpin) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::new();
    let limit = BODY_MAX_BYTES as u64 + 1;
    reader.take(limit).read_to_end(&mut bytes).await.map_err(|_| {
        ApiError::new(ErrorCode::InvalidRequest, "the body could not be read; it was cut off or is not valid gzip")
    })?;
    if bytes.len() > BODY_MAX_BYTES {
        let message = format!("the body is larger than {BODY_MAX_BYTES} bytes (after decompression)");
        return Err(ApiError::new(ErrorCode::RequestTooLarge, message));
    }
    Ok(bytes)
}
