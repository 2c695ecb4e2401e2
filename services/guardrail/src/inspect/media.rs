//! What stands in a body beside texts: files, pictures, sound. Those that are text are read.
//!
//! A label decides nothing: bytes that are text are text, whatever they are called. Text in UTF-8 is read, and in Latin-1 where it is
//! called a text. Documents in other forms (PDF, Word) are not opened, and nothing is fetched.

use crate::encoded;
use base64::{Engine, engine::general_purpose::STANDARD};

/// Base64 that is decoded to see whether it is text, in bytes.
const HEAD_BYTES: usize = 4 * 1024;
/// Base64 of the largest text that is read, in bytes.
const TEXT_MAX_BYTES: usize = 16 * 1024 * 1024;

/// Something that no check here can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A picture.
    Image,
    /// Sound.
    Audio,
    /// Moving pictures.
    Video,
    /// A document that is no text, or one that is somewhere else.
    File,
    /// A text that a caller has turned into numbers itself.
    Tokens,
    /// What a provider has encrypted, such as thoughts.
    Encrypted,
    /// What a provider has kept, such as earlier responses.
    Stored,
}

impl Kind {
    /// As in the categories of an error.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Image => "image",
            Kind::Audio => "audio",
            Kind::Video => "video",
            Kind::File => "file",
            Kind::Tokens => "tokens",
            Kind::Encrypted => "encrypted",
            Kind::Stored => "stored",
        }
    }

    /// Of a media type; `None` if there is none.
    pub(super) fn of_media_type(media_type: &str) -> Option<Kind> {
        let (family, _) = media_type.split_once('/')?;
        Some(match family.trim().to_ascii_lowercase().as_str() {
            "image" => Kind::Image,
            "audio" => Kind::Audio,
            "video" => Kind::Video,
            _ => Kind::File,
        })
    }

    /// Of the `type` of a part; `None` if it says nothing of that.
    pub(super) fn of_type(name: &str) -> Option<Kind> {
        Some(match name {
            "image" | "image_url" | "input_image" | "computer_screenshot" => Kind::Image,
            "audio" | "audio_url" | "input_audio" => Kind::Audio,
            "video" | "video_url" | "input_video" => Kind::Video,
            "file" | "input_file" | "document" | "container_upload" => Kind::File,
            _ => return None,
        })
    }
}

/// Something unreadable, as it stands in a body.
#[derive(Debug, Clone, Copy)]
pub struct Unread<'p> {
    /// What it is.
    pub kind: Kind,
    /// Media type and base64, if it is in the body.
    pub inline: Option<(&'p str, &'p str)>,
}

impl Unread<'_> {
    /// A picture that is in the body, as a `data:` address.
    pub fn picture(&self) -> Option<String> {
        let (media_type, data) = self.inline.filter(|_| self.kind == Kind::Image)?;
        let media_type = if media_type.contains('/') { media_type } else { "image/png" };
        Some(format!("data:{media_type};base64,{data}"))
    }
}

/// A file that is text.
#[derive(Debug)]
pub(super) struct Document<'t> {
    /// What stands before its base64: nothing, or the head of a `data:` address.
    head: &'t str,
    /// What it says.
    pub(super) text: String,
    is_latin: bool,
}

impl Document<'_> {
    /// The same file with another text.
    pub(super) fn encoded(&self, text: &str) -> String {
        // Placeholders are ASCII, so every character is there in Latin-1 too.
        let latin = || text.chars().map(|c| u8::try_from(u32::from(c)).unwrap_or(b'?')).collect::<Vec<u8>>();
        let bytes = if self.is_latin { latin() } else { text.as_bytes().to_vec() };
        format!("{}{}", self.head, STANDARD.encode(bytes))
    }
}

/// What a field for files, pictures or sound holds.
#[derive(Debug)]
pub(super) enum Content<'t> {
    /// Neither an address nor base64.
    Words,
    /// An address that is somewhere else.
    Elsewhere,
    /// Media type and base64 of bytes that are no text.
    Bytes(&'t str, &'t str),
    /// Text, with its media type and base64.
    Text(Document<'t>, (&'t str, &'t str)),
}

/// What is in such a field. `media_type`: what its part says.
pub(super) fn content<'t>(field: &'t str, media_type: &'t str) -> Content<'t> {
    if let Some((media_type, data)) = data_address(field) {
        let is_base64 = field[..field.len() - data.len()].to_ascii_lowercase().ends_with(";base64,");
        return match inline(&field[..field.len() - data.len()], media_type, data) {
            _ if !is_base64 => Content::Elsewhere,
            Content::Words => Content::Bytes(media_type, data),
            content => content,
        };
    }
    let is_scheme = |scheme: &str| scheme.len() <= 32 && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    match field.trim_start().split_once("://") {
        Some((scheme, _)) if is_scheme(scheme) => Content::Elsewhere,
        _ => inline("", media_type, field),
    }
}

/// Media type and data of a `data:` address (<https://www.rfc-editor.org/rfc/rfc2397>).
fn data_address(field: &str) -> Option<(&str, &str)> {
    let rest = field.get(..5).filter(|scheme| scheme.eq_ignore_ascii_case("data:")).map(|_| &field[5..])?;
    let (head, data) = rest.split_once(',')?;
    Some((head.split(';').next().unwrap_or_default(), data))
}

fn inline<'t>(head: &'t str, media_type: &'t str, data: &'t str) -> Content<'t> {
    let Some(begin) = encoded::decode(&data[..data.floor_char_boundary(HEAD_BYTES)]) else { return Content::Words };
    let is_called_text = is_textual(media_type);
    if !(is_called_text || is_utf8(&begin)) || has_controls(&begin) || data.len() > TEXT_MAX_BYTES {
        return Content::Bytes(media_type, data);
    }
    let Some(bytes) = encoded::decode(data) else { return Content::Words };
    if has_controls(&bytes) {
        return Content::Bytes(media_type, data);
    }
    match String::from_utf8(bytes) {
        Ok(text) => Content::Text(Document { head, text, is_latin: false }, (media_type, data)),
        Err(not_utf8) if is_called_text => {
            let text = not_utf8.as_bytes().iter().map(|byte| char::from(*byte)).collect();
            Content::Text(Document { head, text, is_latin: true }, (media_type, data))
        }
        Err(_) => Content::Bytes(media_type, data),
    }
}

/// Whether bytes that may be cut off are UTF-8.
fn is_utf8(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).err().is_none_or(|error| error.error_len().is_none())
}

fn has_controls(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| byte.is_ascii_control() && !matches!(byte, b'\t' | b'\n' | b'\r' | 0xc))
}

/// Whether a media type is that of a text.
fn is_textual(media_type: &str) -> bool {
    let media_type = media_type.trim().to_ascii_lowercase();
    let kinds = ["json", "xml", "yaml", "csv", "javascript", "sql", "markdown", "x-sh", "toml"];
    media_type.starts_with("text/") || kinds.iter().any(|kind| media_type.ends_with(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(field: &str, media_type: &str) -> Option<String> {
        match content(field, media_type) {
            Content::Text(document, _) => Some(document.text),
            _ => None,
        }
    }

    #[test]
    fn bytes_that_are_text_are_read_whatever_they_are_called() {
        let plain = STANDARD.encode("naïve, a@b.com\n");
        for media_type in ["text/plain", "application/pdf", "image/png", ""] {
            assert_eq!(text(&plain, media_type).as_deref(), Some("naïve, a@b.com\n"), "{media_type}");
        }
        assert!(text(&format!("data:text/csv;charset=utf-8;base64,{plain}"), "").is_some());
        assert!(text(&format!("DATA:;BASE64,{plain}"), "").is_some());
        let long = STANDARD.encode(format!("x{}", "ä".repeat(HEAD_BYTES)));
        assert_eq!(
            text(&long, "").map(|text| text.len()),
            Some(2 * HEAD_BYTES + 1),
            "a head may end within a character"
        );
        let pdf = STANDARD.encode(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n\0");
        assert!(matches!(content(&pdf, "text/plain"), Content::Bytes("text/plain", _)));
        assert!(matches!(content("data:image/png;base64,iVBORw0KGgo=", ""), Content::Bytes("image/png", _)));
        let late = STANDARD.encode([&b"a".repeat(2 * HEAD_BYTES)[..], &[0, 159]].concat());
        assert!(matches!(content(&late, ""), Content::Bytes(..)));
        for elsewhere in ["https://x.test/a.png", "gs://bucket/file", "data:text/plain,hello"] {
            assert!(matches!(content(elsewhere, ""), Content::Elsewhere), "{elsewhere}");
        }
        assert!(matches!(content("not base64!", "text/plain"), Content::Words));
    }

    #[test]
    fn what_is_changed_goes_back_as_it_came() {
        let latin = STANDARD.encode(b"caf\xe9, a@b.com");
        let address = format!("data:text/plain;base64,{latin}");
        let Content::Text(document, _) = content(&address, "") else { panic!("a text") };
        assert_eq!(document.text, "café, a@b.com");
        let masked = document.encoded(&document.text.replace("a@b.com", "[X]"));
        let data = masked.strip_prefix("data:text/plain;base64,").expect("the same head");
        assert_eq!(STANDARD.decode(data).expect("base64"), b"caf\xe9, [X]");
        assert!(matches!(content(&latin, ""), Content::Bytes(..)), "Latin-1 is nothing that can be told from bytes");
    }
}
