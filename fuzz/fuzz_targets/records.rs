//! Any bytes as a batch of records, in every codec: it must end, without a panic and in little memory. A fuzzer does not guess a
//! checksum, so the same bytes are also tried with a length, a format and a checksum that fit.
#![no_main]

/// Bytes of a batch up to its records; <https://kafka.apache.org/documentation/#recordbatch>.
const HEADER_BYTES: usize = 61;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tollgate_broker::fuzz::records(data);
    if data.len() > HEADER_BYTES {
        tollgate_broker::fuzz::records(&sealed(data));
    }
});

fn sealed(data: &[u8]) -> Vec<u8> {
    let mut batch = data.to_vec();
    let len = u32::try_from(data.len() - 12).unwrap_or(u32::MAX);
    batch[8..12].copy_from_slice(&len.to_be_bytes());
    batch[16] = 2;
    let checksum = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&checksum.to_be_bytes());
    batch
}
