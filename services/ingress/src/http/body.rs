//! Reading a request body: bounded, unzipped if it says so, valid UTF-8, one JSON document.

use super::error::Failure;
use crate::{
    bodies::{Bodies, Held},
    config::BODIES_MAX_BYTES,
};
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

/// The body as a JSON document, and the room that it takes. The bound is on what it is after decompression.
pub(crate) async fn json(
    headers: &HeaderMap,
    body: Body,
    (bodies, max_bytes): (&Bodies, usize),
) -> Result<(Box<RawValue>, Held), Failure> {
    let raw = StreamReader::new(body.into_data_stream().map_err(std::io::Error::other));
    let encoding = headers.get(header::CONTENT_ENCODING).map_or("identity", |v| v.to_str().unwrap_or("?"));
    let (bytes, held) = match encoding.to_ascii_lowercase().as_str() {
        "identity" | "" => bounded(raw, bodies, max_bytes).await?,
        "gzip" | "x-gzip" => bounded(GzipDecoder::new(BufReader::new(raw)), bodies, max_bytes).await?,
        _ => {
            let message = "the body may be sent plain or with content-encoding gzip";
            return Err(ApiError::new(ErrorCode::UnsupportedEncoding, message).into());
        }
    };
    let text =
        String::from_utf8(bytes).map_err(|_| ApiError::new(ErrorCode::InvalidRequest, "the body is not UTF-8"))?;
    let json = RawValue::from_string(text).map_err(|error| crate::admit::invalid(&error))?;
    Ok((json, held))
}

async fn bounded(
    reader: impl AsyncRead + Unpin,
    bodies: &Bodies,
    max_bytes: usize,
) -> Result<(Vec<u8>, Held), Failure> {
    let (mut bytes, mut held) = (Vec::new(), Held::default());
    let mut reader = reader.take(max_bytes as u64 + 1);
    loop {
        let read = reader.read_buf(&mut bytes).await.map_err(|_| {
            ApiError::new(ErrorCode::InvalidRequest, "the body could not be read; it was cut off or is not valid gzip")
        })?;
        if read == 0 {
            return Ok((bytes, held));
        }
        if bytes.len() > max_bytes {
            let message = format!("the body is larger than {max_bytes} bytes (after decompression)");
            return Err(ApiError::new(ErrorCode::RequestTooLarge, message).into());
        }
        if !bodies.take(&mut held, read) {
            let message =
                format!("{BODIES_MAX_BYTES} bytes of bodies are read on this replica already; try again in a moment");
            return Err(ApiError::new(ErrorCode::Overloaded, message).into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;

    fn body(length: usize) -> Body {
        Body::from(format!("\"{}\"", "x".repeat(length - 2)))
    }

    #[tokio::test]
    async fn bodies_together_are_bounded_and_give_their_room_back() {
        let (bodies, headers) = (Bodies::new(100_000), HeaderMap::new());
        let (json, first) = json(&headers, body(60_000), (&bodies, 1 << 20)).await.unwrap_or_else(|_| panic!("room"));
        assert_eq!(json.get().len(), 60_000);
        let Err(full) = super::json(&headers, body(60_000), (&bodies, 1 << 20)).await else {
            panic!("there is no room")
        };
        let full = full.into_response();
        assert_eq!((full.status().as_u16(), full.headers()[header::RETRY_AFTER].as_bytes()), (503, &b"1"[..]));
        let (_, second) =
            super::json(&headers, body(40_000), (&bodies, 1 << 20)).await.unwrap_or_else(|_| panic!("room"));
        drop((first, second));
        assert!(super::json(&headers, body(100_000), (&bodies, 1 << 20)).await.is_ok());
    }
}
