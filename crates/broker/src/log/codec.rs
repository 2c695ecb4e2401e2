//! The four compressions of Kafka's batches, each bounded. Snappy comes in two shapes: Java's clients frame it as
//! snappy-java ("xerial") does, librdkafka's send one raw block; both are read, raw is written, which both understand.

use std::{borrow::Cow, io, io::Read};

/// What one batch may hold once decompressed. A larger one is refused: it may be a bomb.
pub(crate) const DECOMPRESSED_BYTES: usize = 64 * 1024 * 1024;
/// A zstd window of 64 MiB (2 to this power); a frame that asks for more memory is refused.
const ZSTD_WINDOW_LOG: u32 = 26;
const ZSTD_LEVEL: i32 = 3;
/// Snappy's longest copy is 64 bytes for 3, so a claim beyond this ratio is false.
const SNAPPY_RATIO: usize = 32;
const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// Magic, version, compatible version.
const XERIAL_HEADER_BYTES: usize = 16;
const LZ4_MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// The flag of a frame whose blocks stand alone. Java's client can read no other.
const LZ4_INDEPENDENT: u8 = 0x20;

/// How a batch's records are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// Why a batch could not be decompressed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Not what the codec writes.
    Broken,
    /// More than [`DECOMPRESSED_BYTES`].
    TooLarge,
}

impl Codec {
    /// The codec with this number in a batch's attributes.
    pub(crate) fn numbered(number: i16) -> Option<Self> {
        [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd].get(usize::try_from(number).ok()?).copied()
    }

    /// The records in `body`.
    pub(crate) fn decompress<'a>(self, body: &'a [u8]) -> Result<Cow<'a, [u8]>, Refused> {
        let records = match self {
            Self::None => return Ok(Cow::Borrowed(body)),
            Self::Gzip => {
                let mut decoder = flate2::bufread::GzDecoder::new(body);
                let records = read_bounded(&mut decoder, body.len())?;
                nothing_after(decoder.into_inner(), records)
            }
            Self::Snappy => unsnap(body),
            Self::Lz4 => {
                if !body.starts_with(&LZ4_MAGIC) || body.get(4).is_none_or(|flags| flags & LZ4_INDEPENDENT == 0) {
                    return Err(Refused::Broken);
                }
                let mut decoder = lz4_flex::frame::FrameDecoder::new(body);
                let records = read_bounded(&mut decoder, body.len())?;
                nothing_after(decoder.get_ref(), records)
            }
            Self::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(body).map_err(|_| Refused::Broken)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(|_| Refused::Broken)?;
                read_bounded(&mut decoder, body.len())
            }
        };
        records.map(Cow::Owned)
    }

    /// `records` as a body of this codec.
    pub(crate) fn compress(self, records: Vec<u8>) -> io::Result<Vec<u8>> {
        match self {
            Self::None => Ok(records),
            Self::Gzip => {
                let mut body = Vec::new();
                flate2::bufread::GzEncoder::new(records.as_slice(), flate2::Compression::default())
                    .read_to_end(&mut body)?;
                Ok(body)
            }
            Self::Snappy => snap::raw::Encoder::new().compress_vec(&records).map_err(io::Error::other),
            Self::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
                io::Write::write_all(&mut encoder, &records)?;
                encoder.finish().map_err(io::Error::other)
            }
            Self::Zstd => zstd::encode_all(records.as_slice(), ZSTD_LEVEL),
        }
    }
}

fn read_bounded(decoder: &mut impl Read, compressed_bytes: usize) -> Result<Vec<u8>, Refused> {
    let mut records = Vec::with_capacity((compressed_bytes * 4).min(DECOMPRESSED_BYTES));
    decoder.take(DECOMPRESSED_BYTES as u64 + 1).read_to_end(&mut records).map_err(|_| Refused::Broken)?;
    if records.len() > DECOMPRESSED_BYTES { Err(Refused::TooLarge) } else { Ok(records) }
}

/// Clients differ in what they make of bytes after the end, so there must be none.
fn nothing_after(rest: &[u8], records: Vec<u8>) -> Result<Vec<u8>, Refused> {
    if rest.is_empty() { Ok(records) } else { Err(Refused::Broken) }
}

fn unsnap(body: &[u8]) -> Result<Vec<u8>, Refused> {
    let mut records = Vec::new();
    if !body.starts_with(&XERIAL_MAGIC) {
        unsnap_block(body, &mut records)?;
        return Ok(records);
    }
    let mut rest = body.get(XERIAL_HEADER_BYTES..).ok_or(Refused::Broken)?;
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk().ok_or(Refused::Broken)?;
        let length = usize::try_from(i32::from_be_bytes(*length)).map_err(|_| Refused::Broken)?;
        let (block, after) = after.split_at_checked(length).ok_or(Refused::Broken)?;
        unsnap_block(block, &mut records)?;
        rest = after;
    }
    Ok(records)
}

fn unsnap_block(block: &[u8], records: &mut Vec<u8>) -> Result<(), Refused> {
    let claimed = snap::raw::decompress_len(block).map_err(|_| Refused::Broken)?;
    if claimed > block.len().saturating_mul(SNAPPY_RATIO) {
        return Err(Refused::Broken);
    }
    let from = records.len();
    if claimed > DECOMPRESSED_BYTES - from {
        return Err(Refused::TooLarge);
    }
    records.resize(from + claimed, 0);
    snap::raw::Decoder::new().decompress(block, &mut records[from..]).map_err(|_| Refused::Broken)?;
    Ok(())
}
