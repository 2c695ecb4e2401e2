//! Whether the lengths and counts in a request are true, found out before anything is decoded.
//!
//! `kafka-protocol` allocates for as many array entries as a request claims: a frame of 20 bytes that claims two
//! billion ends the process. So each frame is first walked along its [`Shape`], which allocates nothing, bounds the
//! entries, and refuses lengths beyond what is left. Deliberately absent: what the decoder checks itself (UTF-8, nulls
//! where none may be); here any string, byte string or array may be null.
//!
//! A shape is written as words. Encodings: the protocol guide, and KIP-482 for flexible versions, whose strings and
//! arrays are compact and whose structs end with tagged fields; one shape serves both.
//!
//! | word | what |
//! | --- | --- |
//! | `1` `2` `4` `8` `16` | so many bytes |
//! | `s` | string |
//! | `b` | byte string |
//! | `[s]` `[4]` | array of such |
//! | `{ … }` | array of structs |
//! | `5-:…` `-4:…` `8-10:…` | only from version 5, to 4, from 8 to 10 |

use std::str::SplitWhitespace;

/// Entries of all arrays in one request. Decoded, one takes at most some 150 bytes, however short it was.
const ENTRIES_MAX: usize = 50_000;
/// A tagged field counts as so many entries: decoded, it takes a map. Known clients send none that this broker does not
/// know.
const TAGGED_FIELD_ENTRIES: usize = 10;

/// What is wrong with a request's bytes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Misshapen {
    #[error("it is cut short, or a length in it is wrong")]
    Short,
    #[error("a length in it is negative or no number")]
    Length,
    #[error("it has more than {ENTRIES_MAX} entries; send fewer at a time")]
    Entries,
}

/// What a request of one api consists of, in every version.
#[derive(Debug)]
pub(super) struct Shape(pub(super) Vec<Field>);

#[derive(Debug)]
pub(super) struct Field {
    pub(super) since: i16,
    pub(super) until: i16,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Fixed(usize),
    Text,
    Blob,
    Array(Box<Kind>),
    Structs(Vec<Field>),
}

impl Shape {
    /// Reads the words. One that is none refuses every request, which the tests would see.
    pub(super) fn new(words: &str) -> Self {
        Self(fields(&mut words.split_whitespace()))
    }

    /// Walks the body of a request; gives how many bytes are left over. They are no fault, as for Apache Kafka:
    /// librdkafka 2.12 sends three too many when it asks for all topics in Metadata 9 and later.
    pub(super) fn check(&self, body: &[u8], version: i16, flexible: bool) -> Result<usize, Misshapen> {
        let mut walk = Walk { rest: body, version, flexible, entries: 0 };
        walk.structure(&self.0)?;
        Ok(walk.rest.len())
    }
}

fn fields(words: &mut SplitWhitespace<'_>) -> Vec<Field> {
    let mut fields = Vec::new();
    while let Some(word) = words.next().filter(|word| *word != "}") {
        let (versions, word) = word.split_once(':').unwrap_or(("-", word));
        let (since, until) = versions.split_once('-').unwrap_or_default();
        let kind = if word == "{" { Kind::Structs(self::fields(words)) } else { kind(word) };
        let (since, until) = (since.parse().unwrap_or(0), until.parse().unwrap_or(i16::MAX));
        fields.push(Field { since, until, kind });
    }
    fields
}

fn kind(word: &str) -> Kind {
    match word.strip_prefix('[').and_then(|word| word.strip_suffix(']')) {
        Some(entry) => Kind::Array(Box::new(kind(entry))),
        None if word == "s" => Kind::Text,
        None if word == "b" => Kind::Blob,
        None => Kind::Fixed(word.parse().unwrap_or(usize::MAX)),
    }
}

/// How many bytes of tagged fields a flexible request header ends with.
pub(super) fn tagged_bytes(bytes: &[u8]) -> Result<usize, Misshapen> {
    let mut walk = Walk { rest: bytes, version: 0, flexible: true, entries: 0 };
    walk.tagged_fields()?;
    Ok(bytes.len() - walk.rest.len())
}

struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    flexible: bool,
    entries: usize,
}

impl Walk<'_> {
    /// Goes no deeper than the shape does.
    fn structure(&mut self, fields: &[Field]) -> Result<(), Misshapen> {
        let version = self.version;
        let there = fields.iter().filter(|field| (field.since..=field.until).contains(&version));
        there.map(|field| &field.kind).try_for_each(|kind| self.one(kind))?;
        if self.flexible { self.tagged_fields() } else { Ok(()) }
    }

    fn one(&mut self, kind: &Kind) -> Result<(), Misshapen> {
        match kind {
            Kind::Fixed(bytes) => self.skip(*bytes),
            Kind::Text => self.length::<2>().and_then(|bytes| self.skip(bytes)),
            Kind::Blob => self.length::<4>().and_then(|bytes| self.skip(bytes)),
            Kind::Array(kind) => self.entries(|walk| walk.one(kind)),
            Kind::Structs(fields) => self.entries(|walk| walk.structure(fields)),
        }
    }

    fn entries(&mut self, mut entry: impl FnMut(&mut Self) -> Result<(), Misshapen>) -> Result<(), Misshapen> {
        let count = self.length::<4>()?;
        self.count(count)?;
        (0..count).try_for_each(|_| entry(self))
    }

    fn tagged_fields(&mut self) -> Result<(), Misshapen> {
        let count = self.varint()?;
        self.count(count.saturating_mul(TAGGED_FIELD_ENTRIES))?;
        for _ in 0..count {
            self.varint()?;
            let bytes = self.varint()?;
            self.skip(bytes)?;
        }
        Ok(())
    }

    fn count(&mut self, entries: usize) -> Result<(), Misshapen> {
        self.entries = self.entries.saturating_add(entries);
        if self.entries > ENTRIES_MAX { Err(Misshapen::Entries) } else { Ok(()) }
    }

    fn skip(&mut self, bytes: usize) -> Result<(), Misshapen> {
        self.rest = self.rest.get(bytes..).ok_or(Misshapen::Short)?;
        Ok(())
    }

    /// A length of 2 or 4 bytes, or a compact one. Null counts as 0.
    fn length<const WIDTH: usize>(&mut self) -> Result<usize, Misshapen> {
        if self.flexible {
            return Ok(self.varint()?.saturating_sub(1));
        }
        let (bytes, rest) = self.rest.split_first_chunk::<WIDTH>().ok_or(Misshapen::Short)?;
        self.rest = rest;
        if bytes.iter().all(|byte| *byte == 0xff) {
            return Ok(0);
        }
        if bytes[0] >= 0x80 {
            return Err(Misshapen::Length);
        }
        Ok(bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
    }

    /// At most 5 bytes for at most 32 bits.
    fn varint(&mut self) -> Result<usize, Misshapen> {
        let mut value = 0_u64;
        for shift in [0, 7, 14, 21, 28] {
            let (byte, rest) = self.rest.split_first().ok_or(Misshapen::Short)?;
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                let value = u32::try_from(value).map_err(|_| Misshapen::Length)?;
                return usize::try_from(value).map_err(|_| Misshapen::Length);
            }
        }
        Err(Misshapen::Length)
    }
}
