//! What goes back for one request: bytes, and parts of files that are read only as the client takes them.

use super::{Refused, Request};
use crate::log::Slice;
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::Encodable;

/// A reply, from its length prefix to its end.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(super) parts: Vec<Part>,
}

#[derive(Debug)]
pub(super) enum Part {
    Bytes(Bytes),
    File(Slice),
}

impl Request {
    /// Encodes the answer in one allocation.
    pub(crate) fn reply<R: Encodable>(&self, response: &R) -> Result<Reply, Refused> {
        let refuse = |reason| Refused::Close(format!("the answer to {:?} cannot be encoded: {reason:#}", self.api));
        let mut draft = Draft::new(self, response.compute_size(self.version).map_err(refuse)?);
        response.encode(&mut draft.bytes, self.version).map_err(refuse)?;
        draft.finish()
    }
}

/// The reply in the making. All bytes go to one buffer, cut where a file's come between.
pub(super) struct Draft {
    pub(super) bytes: BytesMut,
    files: Vec<(usize, Slice)>,
}

impl Draft {
    /// With room for `body_bytes`, behind a length that is set in the end, and the header: the correlation id and, in
    /// flexible versions, no tagged fields.
    pub(super) fn new(request: &Request, body_bytes: usize) -> Self {
        let mut bytes = BytesMut::with_capacity(9 + body_bytes);
        bytes.put_i32(0);
        bytes.put_i32(request.correlation_id);
        if request.api.response_header_version(request.version) >= 1 {
            bytes.put_u8(0);
        }
        Self { bytes, files: Vec::new() }
    }

    pub(super) fn file(&mut self, slice: Slice) {
        self.files.push((self.bytes.len(), slice));
    }

    pub(super) fn finish(self) -> Result<Reply, Refused> {
        let Self { mut bytes, files } = self;
        let total = bytes.len() - 4 + files.iter().map(|(_, slice)| slice.len).sum::<usize>();
        let Ok(prefix) = i32::try_from(total) else {
            return Err(Refused::Close(format!("the answer would have {total} bytes; ask for less at a time")));
        };
        bytes[..4].copy_from_slice(&prefix.to_be_bytes());
        let (mut bytes, mut parts, mut done) = (bytes.freeze(), Vec::with_capacity(2 * files.len() + 1), 0);
        for (at, slice) in files {
            parts.extend([Part::Bytes(bytes.split_to(at - done)), Part::File(slice)]);
            done = at;
        }
        parts.push(Part::Bytes(bytes));
        Ok(Reply { parts })
    }
}
