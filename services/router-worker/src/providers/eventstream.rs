//! Amazon's binary event stream, `application/vnd.amazon.eventstream`, parsed incrementally from bytes split anywhere.
//!
//! Source: <https://smithy.io/2.0/aws/amazon-eventstream.html>. A message is, with numbers in network byte order: its length and
//! that of its headers (4 bytes each), the CRC-32 of these eight bytes, the headers, the payload, and the CRC-32 of everything
//! before. The length is believed only when its own checksum fits, so nothing is awaited that a broken byte announces.
//!
//! A message becomes a [`Frame`], so that decoders are the same for either framing: `:event-type` is its event, the payload its
//! data. An exception's event is its name behind [`EXCEPTION`], as is that of an error nobody modelled; its data is never empty.

use super::sse::{FRAME_MAX_BYTES, Frame};
use serde_json::json;

/// What a frame's event begins with if its message is an exception; no event's name does.
pub(crate) const EXCEPTION: &str = "exception:";

const PRELUDE_BYTES: usize = 12;
const CHECKSUM_BYTES: usize = 4;

/// Why no more messages can be told apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    /// Longer than [`FRAME_MAX_BYTES`].
    #[error("an event-stream message that is larger than {FRAME_MAX_BYTES} bytes")]
    TooLarge,
    /// A checksum that does not fit.
    #[error("an event-stream message with a wrong checksum")]
    Checksum,
    /// Lengths that contradict each other, or headers that are none.
    #[error("an event-stream message that cannot be read")]
    Malformed,
}

/// The state between two pieces of input: what came of the message that is not whole yet.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    held: Vec<u8>,
}

impl Parser {
    /// Takes the next piece of input and appends the frames it completes. After an error every piece gives it again.
    pub(crate) fn push(&mut self, input: &[u8], frames: &mut Vec<Frame>) -> Result<(), Broken> {
        self.held.extend_from_slice(input);
        let mut taken = 0;
        let result = loop {
            match message(&self.held[taken..]) {
                Ok(Some((bytes, frame))) => {
                    taken += bytes;
                    frames.push(frame);
                }
                Ok(None) => break Ok(()),
                Err(broken) => break Err(broken),
            }
        };
        self.held.drain(..taken);
        result
    }
}

/// The message that the bytes begin with, and how many they are; `None` if it is not whole.
fn message(bytes: &[u8]) -> Result<Option<(usize, Frame)>, Broken> {
    let Some(prelude) = bytes.get(..PRELUDE_BYTES) else { return Ok(None) };
    let (lengths, checksum) = prelude.split_at(8);
    if crc32fast::hash(lengths) != number(checksum) {
        return Err(Broken::Checksum);
    }
    let (length, headers) = (number(&lengths[..4]) as usize, number(&lengths[4..]) as usize);
    if length > FRAME_MAX_BYTES {
        return Err(Broken::TooLarge);
    }
    if length.checked_sub(PRELUDE_BYTES + CHECKSUM_BYTES).is_none_or(|rest| headers > rest) {
        return Err(Broken::Malformed);
    }
    let Some(message) = bytes.get(..length) else { return Ok(None) };
    let (message, checksum) = message.split_at(length - CHECKSUM_BYTES);
    if crc32fast::hash(message) != number(checksum) {
        return Err(Broken::Checksum);
    }
    let (headers, payload) = message[PRELUDE_BYTES..].split_at(headers);
    Ok(Some((length, frame(&texts(headers)?, payload))))
}

/// Four bytes in network order; what is missing counts as zero.
fn number(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Frame {
    let header = |name: &str| headers.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    let data = String::from_utf8_lossy(payload).into_owned();
    let exception = |name: Option<&str>| Some(format!("{EXCEPTION}{}", name.unwrap_or_default()));
    match header(":message-type") {
        Some("exception") => {
            let data = if data.trim().is_empty() { "{}".to_owned() } else { data };
            Frame { event: exception(header(":exception-type")), data }
        }
        Some("error") => {
            let data = json!({ "message": header(":error-message") }).to_string();
            Frame { event: exception(header(":error-code")), data }
        }
        _ => Frame { event: header(":event-type").map(str::to_owned), data },
    }
}

/// The headers whose values are texts; the others say nothing that is needed here.
fn texts(mut rest: &[u8]) -> Result<Vec<(&str, &str)>, Broken> {
    let mut found = Vec::new();
    while !rest.is_empty() {
        let name_bytes = usize::from(take(&mut rest, 1)?[0]);
        let name = text(take(&mut rest, name_bytes)?)?;
        let value_bytes = match take(&mut rest, 1)?[0] {
            // true and false
            0 | 1 => 0,
            // numbers of 8, 16, 32 and 64 bits
            2 => 1,
            3 => 2,
            4 => 4,
            5 => 8,
            // bytes, a text
            kind @ (6 | 7) => {
                let length = take(&mut rest, 2)?;
                let value = take(&mut rest, usize::from(u16::from_be_bytes([length[0], length[1]])))?;
                if kind == 7 {
                    found.push((name, text(value)?));
                }
                continue;
            }
            // a time, a UUID
            8 => 8,
            9 => 16,
            _ => return Err(Broken::Malformed),
        };
        take(&mut rest, value_bytes)?;
    }
    Ok(found)
}

fn take<'a>(rest: &mut &'a [u8], bytes: usize) -> Result<&'a [u8], Broken> {
    let (taken, after) = rest.split_at_checked(bytes).ok_or(Broken::Malformed)?;
    *rest = after;
    Ok(taken)
}

fn text(bytes: &[u8]) -> Result<&str, Broken> {
    std::str::from_utf8(bytes).map_err(|_| Broken::Malformed)
}

/// A message with text headers, for tests and measurements.
#[cfg(any(test, feature = "cost"))]
pub(crate) fn encode(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut written = Vec::new();
    for (name, value) in headers {
        written.push(u8::try_from(name.len()).expect("a short name"));
        written.extend_from_slice(name.as_bytes());
        written.push(7);
        written.extend_from_slice(&u16::try_from(value.len()).expect("a short value").to_be_bytes());
        written.extend_from_slice(value.as_bytes());
    }
    sealed(&written, payload)
}

/// A message of these headers, as they are, and checksums that fit; for tests and fuzzers.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn sealed(headers: &[u8], payload: &[u8]) -> Vec<u8> {
    let length = PRELUDE_BYTES + headers.len() + payload.len() + CHECKSUM_BYTES;
    let mut message = Vec::with_capacity(length);
    for number in [length, headers.len()] {
        message.extend_from_slice(&u32::try_from(number).expect("below 4 GiB").to_be_bytes());
    }
    message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
    message.extend_from_slice(headers);
    message.extend_from_slice(payload);
    message.extend_from_slice(&crc32fast::hash(&message).to_be_bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(pieces: &[&[u8]]) -> (Vec<Frame>, Result<(), Broken>) {
        let (mut parser, mut frames) = (Parser::default(), Vec::new());
        for piece in pieces {
            if let Err(broken) = parser.push(piece, &mut frames) {
                let again = parser.push(b"x", &mut frames);
                assert_eq!(again, Err(broken), "it stays broken");
                return (frames, again);
            }
        }
        (frames, Ok(()))
    }

    fn event(name: &str, payload: &str) -> Vec<u8> {
        let headers = [(":event-type", name), (":content-type", "application/json"), (":message-type", "event")];
        encode(&headers, payload.as_bytes())
    }

    /// A message without anything, and one with a number among its headers; zlib's `crc32` gives the same checksums.
    const EMPTY: &[u8] = b"\0\0\0\x10\0\0\0\0\x05\xc2\x48\xeb\x7d\x98\xc8\xff";
    const NUMBER: &[u8] =
        b"\0\0\0\x2b\0\0\0\x0e\x34\x8b\xec\x7b\x08event-id\x04\0\0\xa0\x0c{'foo':'bar'}\xd3\x89\x02\x85";

    #[test]
    fn messages_of_other_writers_are_read() {
        let (frames, result) = parse(&[EMPTY, NUMBER]);
        assert_eq!(result, Ok(()));
        let data = |data: &str| Frame { event: None, data: data.to_owned() };
        assert_eq!(frames, [data(""), data("{'foo':'bar'}")]);
        assert_eq!(sealed(b"", b""), EMPTY);
    }

    #[test]
    fn every_kind_of_header_is_passed_over() {
        let mut headers = Vec::new();
        let values: [&[u8]; 10] =
            [b"", b"", b"1", b"12", b"1234", b"12345678", b"\0\x02ab", b"\0\x01t", b"12345678", b"0123456789abcdef"];
        for (kind, value) in values.iter().enumerate() {
            headers.extend([1, b'a' + kind as u8, kind as u8]);
            headers.extend_from_slice(value);
        }
        assert_eq!(texts(&headers), Ok(vec![("h", "t")]));
        for cut in 1..headers.len() {
            // Where one header ends the headers may end.
            let _ = texts(&headers[..cut]);
        }
        for bad in [&b"\x01a\x0a"[..], b"\x01a", b"\x05a", b"\x01a\x07\0\x09t", b"\x01\xff\0", b"\x01a\x07\0\x01\xff"] {
            assert_eq!(parse(&[&sealed(bad, b"")]).1, Err(Broken::Malformed), "{bad:?}");
        }
    }

    #[test]
    fn exceptions_and_errors_are_told_from_events() {
        let exception = [(":message-type", "exception"), (":exception-type", "throttlingException")];
        let error = [(":message-type", "error"), (":error-code", "Gone"), (":error-message", "it \"went\"")];
        let bytes = [encode(&exception, b""), encode(&error, b""), event("throttlingException", "{}")].concat();
        let events: Vec<(String, String)> =
            parse(&[&bytes]).0.into_iter().map(|frame| (frame.event.expect("named"), frame.data)).collect();
        let expected = [
            ("exception:throttlingException", "{}"),
            ("exception:Gone", r#"{"message":"it \"went\""}"#),
            ("throttlingException", "{}"),
        ];
        assert_eq!(events, expected.map(|(event, data)| (event.to_owned(), data.to_owned())));
    }

    #[test]
    fn a_wrong_byte_anywhere_is_noticed() {
        let whole = event("messageStart", "{}");
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 0x10;
            let (frames, result) = parse(&[&broken]);
            assert_eq!((frames.len(), result), (0, Err(Broken::Checksum)), "byte {at}");
        }
    }

    #[test]
    fn lengths_are_bounded_before_anything_is_awaited() {
        let prelude = |length: u32, headers: u32| {
            let mut prelude = [length.to_be_bytes(), headers.to_be_bytes()].concat();
            prelude.extend_from_slice(&crc32fast::hash(&prelude).to_be_bytes());
            parse(&[&prelude]).1
        };
        assert_eq!(prelude(u32::MAX, 0), Err(Broken::TooLarge));
        assert_eq!(prelude(FRAME_MAX_BYTES as u32 + 1, 0), Err(Broken::TooLarge));
        assert_eq!(prelude(FRAME_MAX_BYTES as u32, 0), Ok(()));
        assert_eq!(prelude(15, 0), Err(Broken::Malformed));
        assert_eq!(prelude(20, 5), Err(Broken::Malformed));
        assert_eq!(prelude(20, u32::MAX), Err(Broken::Malformed));
    }

    proptest! {
        #[test]
        fn any_split_gives_what_the_whole_gives(
            payloads in proptest::collection::vec("[a-zé😀{}\": ]{0,20}", 0..6),
            wrong in proptest::option::of((0..400usize, 1..=255u8)),
            cuts in proptest::collection::vec(0..600usize, 0..8),
        ) {
            let mut bytes: Vec<u8> = payloads.iter().flat_map(|payload| event("a", payload)).collect();
            if let Some((at, mask)) = wrong.filter(|(at, _)| *at < bytes.len()) {
                bytes[at] ^= mask;
            } else {
                let (frames, result) = parse(&[&bytes]);
                prop_assert_eq!(result, Ok(()));
                prop_assert_eq!(frames.into_iter().map(|frame| frame.data).collect::<Vec<_>>(), payloads);
            }
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            cuts.push(bytes.len());
            let (mut pieces, mut from) = (Vec::new(), 0);
            for cut in cuts {
                pieces.push(&bytes[from..cut]);
                from = cut;
            }
            prop_assert_eq!(parse(&pieces), parse(&[&bytes]));
            prop_assert_eq!(parse(&bytes.chunks(1).collect::<Vec<_>>()), parse(&[&bytes]));
        }
    }
}
