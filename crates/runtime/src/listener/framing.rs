//! Where one HTTP/1 request ends and the next begins, read strictly. Sans-I/O.
//!
//! hyper is lenient where the standard lets it be: a lone line feed ends a line, and `Transfer-Encoding` beats
//! `Content-Length`. Whatever stands in front of the gateway may read such a request in another way, and then the two do not
//! agree where it ends, which is how requests are smuggled. So a request that can be read in two ways is refused here, before
//! hyper sees it.
//!
//! Source: RFC 9112, sections 2.2, 5.2, 6 and 7.

use tollgate_schemas::ErrorCode;

/// Digits of a chunk's size: more would not fit 64 bits.
const CHUNK_DIGITS_MAX: usize = 15;
/// A chunk's size line with its extensions.
const CHUNK_LINE_MAX_BYTES: usize = 256;

/// Why a request is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It can be read in two ways.
    Ambiguous(&'static str),
    /// CONNECT: there is no tunnel here.
    Method,
    /// Its head is over the bound.
    HeadTooLarge,
    /// Its head did not come in time.
    HeadTimeout,
}

impl Refusal {
    pub(super) fn code(self) -> ErrorCode {
        match self {
            Self::Ambiguous(_) => ErrorCode::InvalidRequest,
            Self::Method => ErrorCode::MethodNotAllowed,
            Self::HeadTooLarge => ErrorCode::HeadersTooLarge,
            Self::HeadTimeout => ErrorCode::RequestTimeout,
        }
    }

    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Ambiguous(why) => why,
            Self::Method => "this is no proxy: CONNECT is not served",
            Self::HeadTooLarge => "the request's headers are larger than http.header_max_bytes",
            Self::HeadTimeout => "the request's headers did not come in time",
        }
    }
}

/// Follows the bytes of a connection.
pub(super) struct Framing {
    state: State,
    head_max_bytes: usize,
    /// The head, the size line or the trailers so far.
    line: Vec<u8>,
    /// Nothing after this request's end is looked at.
    last: bool,
}

enum State {
    Head,
    Body { left: u64 },
    ChunkSize,
    Chunk { left: u64 },
    Trailers,
    Over,
}

/// How a request's body is delimited.
#[derive(Debug, PartialEq, Eq)]
enum Length {
    Bytes(u64),
    Chunked,
}

impl Framing {
    pub(super) fn new(head_max_bytes: usize) -> Self {
        Self { state: State::Head, head_max_bytes, line: Vec::new(), last: false }
    }

    /// Whether part of a head has come, but not all of it.
    pub(super) fn in_head(&self) -> bool {
        matches!(self.state, State::Head) && !self.line.is_empty()
    }

    /// Whether part of a body has come, but not all of it.
    pub(super) fn in_body(&self) -> bool {
        !matches!(self.state, State::Head | State::Over)
    }

    /// Whether the connection ends with the request that came last.
    pub(super) fn is_last(&self) -> bool {
        self.last
    }

    /// Takes what has come and appends to `out` what may be read on: whole heads, and bodies as they come. Returns how many heads
    /// were among it. After a refusal nothing more may be fed.
    pub(super) fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, (usize, Refusal)> {
        let mut heads = 0;
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Head => self.head(bytes, out, &mut heads).map_err(|refusal| (heads, refusal))?,
                State::Body { left } => {
                    let (taken, rest) = part(bytes, left);
                    out.extend_from_slice(taken);
                    self.after(left, taken.len(), |left| State::Body { left }, State::Head);
                    rest
                }
                State::Chunk { left } => {
                    let (taken, rest) = part(bytes, left);
                    self.chunk_end(taken, left).map_err(|refusal| (heads, refusal))?;
                    out.extend_from_slice(taken);
                    self.after(left, taken.len(), |left| State::Chunk { left }, State::ChunkSize);
                    rest
                }
                State::ChunkSize => self.chunk_size(bytes, out).map_err(|refusal| (heads, refusal))?,
                State::Trailers => self.trailers(bytes, out).map_err(|refusal| (heads, refusal))?,
                State::Over => &[],
            };
            if self.last && matches!(self.state, State::Head) {
                self.state = State::Over;
            }
        }
        Ok(heads)
    }

    fn after(&mut self, left: u64, taken: usize, more: impl Fn(u64) -> State, done: State) {
        let left = left - taken as u64;
        self.state = if left == 0 { done } else { more(left) };
    }

    fn head<'b>(&mut self, bytes: &'b [u8], out: &mut Vec<u8>, heads: &mut usize) -> Result<&'b [u8], Refusal> {
        let (whole, rest) = self.until_blank_line(bytes)?;
        if whole {
            let head = std::mem::take(&mut self.line);
            if head == b"\r\n" {
                // Empty lines between requests are left over from sloppy clients and mean nothing.
                return Ok(rest);
            }
            let (length, last) = examine(&head)?;
            self.last = last;
            self.state = match length {
                Length::Bytes(0) => State::Head,
                Length::Bytes(left) => State::Body { left },
                Length::Chunked => State::ChunkSize,
            };
            out.extend_from_slice(&head);
            *heads += 1;
        }
        Ok(rest)
    }

    /// Collects lines until an empty one, and whether it has come.
    fn until_blank_line<'b>(&mut self, mut bytes: &'b [u8]) -> Result<(bool, &'b [u8]), Refusal> {
        while let Some(at) = bytes.iter().position(|byte| *byte == b'\n') {
            let begin = self.line.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            self.line.extend_from_slice(&bytes[..=at]);
            bytes = &bytes[at + 1..];
            if self.line.len() > self.head_max_bytes {
                return Err(Refusal::HeadTooLarge);
            }
            let line = &self.line[begin..];
            check_line(line)?;
            if line == b"\r\n" {
                return Ok((true, bytes));
            }
        }
        self.line.extend_from_slice(bytes);
        if self.line.len() > self.head_max_bytes { Err(Refusal::HeadTooLarge) } else { Ok((false, &[])) }
    }

    fn chunk_size<'b>(&mut self, bytes: &'b [u8], out: &mut Vec<u8>) -> Result<&'b [u8], Refusal> {
        let Some(at) = bytes.iter().position(|byte| *byte == b'\n') else {
            self.line.extend_from_slice(bytes);
            return if self.line.len() > CHUNK_LINE_MAX_BYTES { Err(BAD_CHUNK) } else { Ok(&[]) };
        };
        self.line.extend_from_slice(&bytes[..=at]);
        if self.line.len() > CHUNK_LINE_MAX_BYTES {
            return Err(BAD_CHUNK);
        }
        check_line(&self.line)?;
        let size = self.line[..self.line.len() - 2].split(|byte| *byte == b';').next().unwrap_or_default();
        let size = number(size, 16).filter(|_| size.len() <= CHUNK_DIGITS_MAX).ok_or(BAD_CHUNK)?;
        // The line feed and carriage return after the data count as part of it.
        self.state = if size == 0 { State::Trailers } else { State::Chunk { left: size + 2 } };
        out.append(&mut self.line);
        Ok(&bytes[at + 1..])
    }

    /// The last two of a chunk's bytes end its line.
    fn chunk_end(&self, taken: &[u8], left: u64) -> Result<(), Refusal> {
        let expected = |index: u64| match left - index {
            2 => Some(b'\r'),
            1 => Some(b'\n'),
            _ => None,
        };
        let tail = taken.len().saturating_sub(2);
        let fine = (tail..taken.len()).all(|i| expected(i as u64).is_none_or(|byte| byte == taken[i]));
        if fine { Ok(()) } else { Err(BAD_CHUNK) }
    }

    fn trailers<'b>(&mut self, bytes: &'b [u8], out: &mut Vec<u8>) -> Result<&'b [u8], Refusal> {
        let (whole, rest) = self.until_blank_line(bytes)?;
        if whole {
            if self.line.split(|byte| *byte == b'\n').any(|line| line.starts_with(b" ") || line.starts_with(b"\t")) {
                return Err(FOLDED);
            }
            out.append(&mut self.line);
            self.state = State::Head;
        }
        Ok(rest)
    }
}

const BAD_CHUNK: Refusal = Refusal::Ambiguous("a chunk of the body is not framed as RFC 9112 says");
const FOLDED: Refusal = Refusal::Ambiguous("a header is folded over several lines; write it in one");

fn part(bytes: &[u8], left: u64) -> (&[u8], &[u8]) {
    bytes.split_at(usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len()))
}

/// A line ends with both characters, and neither stands in it.
fn check_line(line: &[u8]) -> Result<(), Refusal> {
    let inner = line.strip_suffix(b"\r\n").ok_or(Refusal::Ambiguous("a line ends without a carriage return"))?;
    if inner.contains(&b'\r') || inner.contains(&0) {
        return Err(Refusal::Ambiguous("a line holds a carriage return or a zero byte"));
    }
    Ok(())
}

fn number(digits: &[u8], radix: u32) -> Option<u64> {
    let text = std::str::from_utf8(digits).ok().filter(|text| !text.is_empty() && !text.starts_with('+'))?;
    u64::from_str_radix(text, radix).ok()
}

/// How long the body is, and whether the connection ends with this request.
fn examine(head: &[u8]) -> Result<(Length, bool), Refusal> {
    let mut lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let request = lines.next().unwrap_or_default();
    let mut words = request.split(|byte| *byte == b' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if method == b"CONNECT" {
        return Err(Refusal::Method);
    }
    let (mut length, mut chunked, mut hosts) = (None, false, 0);
    for line in lines.filter(|line| !line.is_empty()) {
        if line[0] == b' ' || line[0] == b'\t' {
            return Err(FOLDED);
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.ok_or(Refusal::Ambiguous("a header has no colon"))?);
        if name.is_empty() || name.iter().any(u8::is_ascii_whitespace) {
            return Err(Refusal::Ambiguous("a header's name is empty or holds a space"));
        }
        let value = value[1..].trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            let bytes = value.iter().all(u8::is_ascii_digit).then(|| number(value, 10)).flatten();
            let bytes = bytes.ok_or(Refusal::Ambiguous("content-length is no number"))?;
            if length.replace(bytes).is_some() {
                return Err(Refusal::Ambiguous("content-length is there twice"));
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if chunked || !value.eq_ignore_ascii_case(b"chunked") || !request.ends_with(b" HTTP/1.1") {
                return Err(Refusal::Ambiguous("transfer-encoding may be chunked, once, in HTTP/1.1"));
            }
            chunked = true;
        } else if name.eq_ignore_ascii_case(b"host") {
            hosts += 1;
        }
    }
    match (length, chunked) {
        _ if hosts > 1 => Err(Refusal::Ambiguous("host is there twice")),
        (Some(_), true) => Err(Refusal::Ambiguous("content-length and transfer-encoding exclude each other")),
        // A target with a scheme is for proxies: answered, and nothing that comes after it.
        (None, true) => Ok((Length::Chunked, !target.starts_with(b"/"))),
        (length, false) => Ok((Length::Bytes(length.unwrap_or(0)), !target.starts_with(b"/"))),
    }
}

#[cfg(test)]
mod tests;
