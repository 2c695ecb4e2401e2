//! Requests made from the shape table: dense, arbitrary, and valid for every decoder unless nulls are asked for.

use super::super::{
    shape::{Field, Kind},
    versions::{Api, apis},
};
use kafka_protocol::messages::ApiKey;

/// Every api in every version that is served.
pub(super) fn all_served() -> impl Iterator<Item = (&'static Api, i16)> {
    let first = |api: &Api| if api.key == ApiKey::Produce { 3 } else { api.min };
    apis().iter().flat_map(move |api| (first(api)..=api.max).map(move |version| (api, version)))
}

/// Makes choices; zeros when it runs out.
pub(super) struct Tape<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) nulls: bool,
}

impl Tape<'_> {
    fn next(&mut self) -> u8 {
        let Some((byte, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *byte
    }

    fn below(&mut self, bound: u8) -> usize {
        usize::from(self.next() % bound)
    }
}

/// A frame without its length prefix.
pub(super) fn frame(api: &Api, version: i16, tape: &mut Tape<'_>) -> Vec<u8> {
    let flexible = api.key.request_header_version(version) >= 2;
    let mut out = Out { bytes: Vec::new(), version, flexible: false };
    out.bytes.extend([(api.key as i16).to_be_bytes(), version.to_be_bytes()].concat());
    out.bytes.extend(7_i32.to_be_bytes());
    out.kind(&Kind::Text, tape);
    out.flexible = flexible;
    out.tagged_fields(tape);
    out.fields(&api.shape.0, tape);
    out.tagged_fields(tape);
    out.bytes
}

struct Out {
    bytes: Vec<u8>,
    version: i16,
    flexible: bool,
}

impl Out {
    fn fields(&mut self, fields: &[Field], tape: &mut Tape<'_>) {
        let version = self.version;
        for field in fields.iter().filter(|field| (field.since..=field.until).contains(&version)) {
            self.kind(&field.kind, tape);
        }
    }

    fn kind(&mut self, kind: &Kind, tape: &mut Tape<'_>) {
        match kind {
            Kind::Fixed(bytes) => self.bytes.extend((0..*bytes).map(|_| tape.next())),
            Kind::Text => {
                let letters = |tape: &mut Tape<'_>, n| (0..n).map(|_| b'a' + tape.next() % 26).collect::<Vec<_>>();
                let count = self.length(2, 200, tape);
                self.bytes.extend(letters(tape, count));
            }
            Kind::Blob => {
                let count = self.length(4, 200, tape);
                self.bytes.extend((0..count).map(|_| tape.next()));
            }
            Kind::Array(kind) => (0..self.length(4, 4, tape)).for_each(|_| self.kind(kind, tape)),
            Kind::Structs(fields) => (0..self.length(4, 4, tape)).for_each(|_| {
                self.fields(fields, tape);
                self.tagged_fields(tape);
            }),
        }
    }

    /// Two known tags exist: `ClusterId` of Fetch and those of later versions; these here are unknown.
    fn tagged_fields(&mut self, tape: &mut Tape<'_>) {
        if self.flexible {
            let count = if tape.below(4) == 0 { tape.below(3) } else { 0 };
            self.varint(count);
            for tag in 0..count {
                self.varint(100 + 100 * tag);
                let bytes = tape.below(5);
                self.varint(bytes);
                self.bytes.extend((0..bytes).map(|_| tape.next()));
            }
        }
    }

    fn length(&mut self, width: usize, bound: u8, tape: &mut Tape<'_>) -> usize {
        if tape.nulls && tape.below(4) == 0 {
            let null = if self.flexible { vec![0] } else { vec![0xff; width] };
            self.bytes.extend(null);
            return 0;
        }
        let length = tape.below(bound);
        if self.flexible {
            self.varint(length + 1);
        } else {
            self.bytes.extend(&(length as u32).to_be_bytes()[4 - width..]);
        }
        length
    }

    fn varint(&mut self, mut value: usize) {
        while value >= 0x80 {
            self.bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }
}
