//! Writes replies with few system calls and little memory: small parts and replies are gathered, files are read in
//! chunks as the client takes them.

use super::{
    connection::Closed,
    limits::Limits,
    reply::{Part, Reply},
};
use crate::log::Slice;
use std::os::unix::fs::FileExt;
use tokio::{io::AsyncWriteExt, net::tcp::WriteHalf, time::timeout};

/// What is gathered at most, and so what a slow client holds.
const CHUNK_BYTES: usize = 64 * 1024;
/// What an idle connection may keep of it.
const KEPT_BYTES: usize = 4 * 1024;

pub(super) struct Writer<'a> {
    socket: WriteHalf<'a>,
    limits: &'a Limits,
    chunk: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(socket: WriteHalf<'a>, limits: &'a Limits) -> Self {
        Self { socket, limits, chunk: Vec::new() }
    }

    /// Gathers or writes a reply; [`flush`](Self::flush) sends the rest. Not to be cancelled, or the client would see
    /// half a reply.
    pub(super) async fn put(&mut self, reply: Reply) -> Result<(), Closed> {
        for part in reply.parts {
            match part {
                Part::Bytes(bytes) => self.put_bytes(&bytes).await?,
                Part::File(slice) => self.put_file(slice).await?,
            }
        }
        Ok(())
    }

    pub(super) async fn flush(&mut self) -> Result<(), Closed> {
        self.send().await?;
        if self.chunk.capacity() > KEPT_BYTES {
            self.chunk = Vec::new();
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Closed> {
        write(&mut self.socket, self.limits, &self.chunk).await?;
        self.chunk.clear();
        Ok(())
    }

    async fn put_bytes(&mut self, bytes: &[u8]) -> Result<(), Closed> {
        if self.chunk.len() + bytes.len() > CHUNK_BYTES {
            self.send().await?;
        }
        if bytes.len() > CHUNK_BYTES {
            return write(&mut self.socket, self.limits, bytes).await;
        }
        self.chunk.extend_from_slice(bytes);
        Ok(())
    }

    async fn put_file(&mut self, mut slice: Slice) -> Result<(), Closed> {
        while slice.len > 0 {
            if self.chunk.len() >= CHUNK_BYTES {
                self.send().await?;
            }
            let old = self.chunk.len();
            let bytes = slice.len.min(CHUNK_BYTES - old);
            self.chunk.resize(old + bytes, 0);
            // Inline: mostly from the page cache, in microseconds.
            let read = slice.file.read_exact_at(&mut self.chunk[old..], slice.position);
            read.map_err(|error| Closed::Cut(format!("its records could not be read from the log: {error}")))?;
            slice.position += bytes as u64;
            slice.len -= bytes;
        }
        Ok(())
    }
}

async fn write(socket: &mut WriteHalf<'_>, limits: &Limits, mut bytes: &[u8]) -> Result<(), Closed> {
    while !bytes.is_empty() {
        match timeout(limits.write_timeout, socket.write(bytes)).await {
            Ok(Ok(0)) => return Err(Closed::ByClient),
            Ok(Ok(written)) => bytes = &bytes[written..],
            Ok(Err(error)) => return Err(Closed::Lost(error)),
            Err(_) => {
                let waited = limits.write_timeout;
                return Err(Closed::Cut(format!("it took nothing of its answer for {waited:?}")));
            }
        }
    }
    Ok(())
}
