//! Images, files and sound of a message: their bytes, or where they are.
//!
//! Sources: <https://ai.google.dev/gemini-api/docs/image-understanding>, `…/audio`, `…/file-input-methods`;
//! <https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference> (`fileData`).

use super::{
    super::conversation::{data_url, no_detail},
    Google,
};
use crate::failure::Failure;
use serde_json::{Value, json};

/// Media types by the ending of a URL's path.
const IMAGE_TYPES: [(&str, &str); 6] = [
    ("png", "image/png"),
    ("jpg", "image/jpeg"),
    ("jpeg", "image/jpeg"),
    ("webp", "image/webp"),
    ("heic", "image/heic"),
    ("heif", "image/heif"),
];

fn inline(mime_type: &str, data: &str) -> Value {
    json!({ "inlineData": { "mimeType": mime_type, "data": data } })
}

/// An `image_url`.
pub(super) fn image(google: &Google, at: &str, image: &Value) -> Result<Value, Failure> {
    no_detail(at, image)?;
    let url = image["url"].as_str().unwrap_or_default();
    let at = format!("{at}.image_url.url");
    if let Some((mime_type, data)) = data_url(url) {
        return Ok(inline(mime_type, data));
    }
    let is_vertex = matches!(google, Google::Vertex { .. });
    if !(url.starts_with("https://") || is_vertex && (url.starts_with("gs://") || url.starts_with("http://"))) {
        let schemes = if is_vertex { "an http(s), a gs" } else { "an https" };
        return Err(Failure::inexpressible(
            at,
            &format!("must be {schemes} or a base64 `data:` URL for this model's provider"),
        ));
    }
    let mut file = json!({ "fileUri": url });
    match (mime_type(url), is_vertex) {
        (Some(mime_type), _) => file["mimeType"] = mime_type.into(),
        (None, false) => {}
        (None, true) => {
            let why =
                "must end in .png, .jpg, .jpeg, .webp, .heic or .heif: this model's provider asks for the media type";
            return Err(Failure::inexpressible(at, why));
        }
    }
    Ok(json!({ "fileData": file }))
}

fn mime_type(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next().unwrap_or(url);
    let (_, ending) = path.rsplit_once('.')?;
    IMAGE_TYPES.iter().find(|(known, _)| ending.eq_ignore_ascii_case(known)).map(|(_, mime_type)| *mime_type)
}

/// A `file` with its bytes. Its name is a label that the format has no place for, and that nothing is made of.
pub(super) fn file(at: &str, file: &Value) -> Result<Value, Failure> {
    match file["file_data"].as_str().and_then(data_url) {
        Some((mime_type, data)) => Ok(inline(mime_type, data)),
        None => Err(Failure::inexpressible(
            format!("{at}.file"),
            "must have its bytes in `file_data`, as a base64 `data:` URL",
        )),
    }
}

/// An `input_audio`.
pub(super) fn audio(at: &str, audio: &Value) -> Result<Value, Failure> {
    match (audio["data"].as_str(), audio["format"].as_str()) {
        (Some(data), Some("wav")) => Ok(inline("audio/wav", data)),
        (Some(data), Some("mp3")) => Ok(inline("audio/mp3", data)),
        _ => Err(Failure::inexpressible(format!("{at}.input_audio"), "must have `data` in `format` `wav` or `mp3`")),
    }
}
