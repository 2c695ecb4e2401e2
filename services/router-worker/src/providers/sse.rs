//! Server-sent events, parsed incrementally from bytes split anywhere.
//!
//! Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>. Lines end with
//! LF, CR or CRLF; a frame ends with an empty line; a frame that is cut off by the end of the stream is discarded; `id:`
//! and `retry:` mean nothing here. A line is decoded only when it is whole, so a split character does no harm.

/// Longest frame in bytes. A provider that sends more is broken or hostile.
pub(super) const FRAME_MAX_BYTES: usize = 10 * 1024 * 1024;

/// One event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The `event:` field, if there was one.
    pub event: Option<String>,
    /// The `data:` fields, joined by line feeds.
    pub data: String,
}

/// A frame passed [`FRAME_MAX_BYTES`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a server-sent event is larger than {FRAME_MAX_BYTES} bytes")]
pub(crate) struct TooLarge;

/// The state between two pieces of input.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    event: Option<String>,
    data: String,
    has_data: bool,
    after_cr: bool,
    started: bool,
}

impl Parser {
    /// Takes the next piece of input and appends the frames it completes.
    pub(crate) fn push(&mut self, input: &[u8], frames: &mut Vec<Frame>) -> Result<(), TooLarge> {
        let mut rest = input;
        if self.after_cr && !rest.is_empty() {
            self.after_cr = false;
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
        }
        while let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            self.line.extend_from_slice(&rest[..end]);
            self.check_size()?;
            self.take_line(frames);
            let was_cr = rest[end] == b'\r';
            rest = &rest[end + 1..];
            if was_cr {
                match rest.strip_prefix(b"\n") {
                    Some(after) => rest = after,
                    None => self.after_cr = rest.is_empty(),
                }
            }
        }
        self.line.extend_from_slice(rest);
        self.check_size()
    }

    fn check_size(&self) -> Result<(), TooLarge> {
        if self.line.len() + self.data.len() > FRAME_MAX_BYTES { Err(TooLarge) } else { Ok(()) }
    }

    fn take_line(&mut self, frames: &mut Vec<Frame>) {
        let bytes = std::mem::take(&mut self.line);
        let mut line = String::from_utf8_lossy(&bytes);
        if !std::mem::replace(&mut self.started, true)
            && let Some(without_bom) = line.strip_prefix('\u{feff}')
        {
            line = without_bom.to_owned().into();
        }
        if line.is_empty() {
            let (event, data) = (self.event.take(), std::mem::take(&mut self.data));
            if std::mem::take(&mut self.has_data) {
                frames.push(Frame { event, data });
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(value);
            }
            "event" => self.event = Some(value.to_owned()),
            // A comment has an empty field name; `id`, `retry` and unknown fields are ignored.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(pieces: &[&[u8]]) -> Vec<Frame> {
        let (mut parser, mut frames) = (Parser::default(), Vec::new());
        for piece in pieces {
            parser.push(piece, &mut frames).expect("small");
        }
        frames
    }

    const STREAM: &str = "\u{feff}: hello\r\nevent: a\r\ndata: {\"x\":\"é€😀\"}\r\n\r\ndata:one\ndata: two\n\n\n:ping\n\nid: 4\rdata\r\rretry: 9\r\n\r\ndata: [DONE]\n\ndata: cut off";

    fn expected() -> Vec<Frame> {
        vec![
            Frame { event: Some("a".into()), data: "{\"x\":\"é€😀\"}".into() },
            Frame { event: None, data: "one\ntwo".into() },
            Frame { event: None, data: String::new() },
            Frame { event: None, data: "[DONE]".into() },
        ]
    }

    #[test]
    fn every_single_split_gives_the_same_frames() {
        let bytes = STREAM.as_bytes();
        for at in 0..=bytes.len() {
            assert_eq!(parse(&[&bytes[..at], &bytes[at..]]), expected(), "split at {at}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(parse(&single), expected());
    }

    proptest! {
        #[test]
        fn any_split_of_any_lines_gives_what_the_whole_gives(
            lines in proptest::collection::vec("(data|event|id|)(:| :|: )?[a-zé😀: ]{0,6}", 0..12),
            ends in proptest::collection::vec(0..3usize, 12),
            cuts in proptest::collection::vec(0..400usize, 0..8),
        ) {
            let mut text = Vec::new();
            for (line, end) in lines.iter().zip(&ends) {
                text.extend_from_slice(line.as_bytes());
                text.extend_from_slice([&b"\n"[..], b"\r", b"\r\n"][*end]);
            }
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            cuts.push(text.len());
            let (mut pieces, mut from) = (Vec::new(), 0);
            for cut in cuts {
                pieces.push(&text[from..cut]);
                from = cut;
            }
            prop_assert_eq!(parse(&pieces), parse(&[&text]));
        }
    }

    #[test]
    fn a_frame_has_a_bound() {
        let (mut parser, mut frames) = (Parser::default(), Vec::new());
        let big = vec![b'x'; FRAME_MAX_BYTES / 2];
        parser.push(b"data: ", &mut frames).expect("small");
        parser.push(&big, &mut frames).expect("half");
        assert_eq!(parser.push(&[&big[..], b"xxxx"].concat(), &mut frames), Err(TooLarge));
    }
}
