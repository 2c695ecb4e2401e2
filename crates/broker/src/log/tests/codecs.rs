//! Compression: every codec and shape, bombs, rubbish; and the record walker against hostile bytes.

use super::*;
use crate::log::{
    codec::{DECOMPRESSED_BYTES, Refused},
    records::Records,
};
use proptest::prelude::*;
use std::io::Write;

const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

fn xerial(records: &[u8], block_bytes: usize) -> Vec<u8> {
    let mut body = vec![0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1];
    for block in records.chunks(block_bytes) {
        let block = snap::raw::Encoder::new().compress_vec(block).unwrap();
        body.put_i32(block.len() as i32);
        body.extend(block);
    }
    body
}

#[test]
fn what_was_compressed_comes_back() {
    let records = b"some records, some records, some records".repeat(10_000);
    for codec in CODECS {
        let body = codec.compress(records.clone()).unwrap();
        assert!(codec.decompress(&body).unwrap() == records.as_slice(), "{codec:?}");
        assert_eq!(Codec::numbered(codec as i16), Some(codec));
    }
    assert!(Codec::Snappy.decompress(&xerial(&records, 32 * 1024)).unwrap() == records.as_slice());
    assert_eq!([5, 7, -1].map(Codec::numbered), [None; 3]);
}

#[test]
fn a_batch_in_java_s_snappy_is_taken_and_read() {
    let mut fixture = Fixture::new(settings());
    let sent = batch(vec![rec("a", "1"), rec("b", "2")]).codec(Codec::Snappy);
    let settings = fixture.settings;
    fixture.log().append(&sent.with_body(&xerial(&sent.body(), 8)), &settings, NOW, false).unwrap();
    let read = read_all(fixture.log(), 0, 2, 1_000);
    assert_eq!(read.into_iter().map(|(_, record)| record).collect::<Vec<_>>(), sent.records);
}

#[test]
fn bombs_are_refused() {
    let zeros = vec![0; 1 << 20];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
    let mut zstd = zstd::Encoder::new(Vec::new(), 1).unwrap();
    for _ in 0..=DECOMPRESSED_BYTES >> 20 {
        gzip.write_all(&zeros).unwrap();
        lz4.write_all(&zeros).unwrap();
        zstd.write_all(&zeros).unwrap();
    }
    let snappy = xerial(&vec![0; DECOMPRESSED_BYTES + 1], 32 << 20);
    let bombs = [
        (Codec::Gzip, gzip.finish().unwrap()),
        (Codec::Lz4, lz4.finish().unwrap()),
        (Codec::Zstd, zstd.finish().unwrap()),
        (Codec::Snappy, snappy),
    ];
    for (codec, body) in bombs {
        assert_eq!(codec.decompress(&body).err(), Some(Refused::TooLarge), "{codec:?}");
    }
    // A raw snappy block that claims 4 GiB in a few bytes, and a zstd frame that asks for a window of 2 GiB.
    assert_eq!(Codec::Snappy.decompress(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0]).err(), Some(Refused::Broken));
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00];
    assert_eq!(Codec::Zstd.decompress(&window).err(), Some(Refused::Broken));
}

#[test]
fn a_bomb_does_not_enter_the_log() {
    let mut fixture = Fixture::new(settings());
    let zeros = vec![0; DECOMPRESSED_BYTES + 1];
    let bomb = batch(vec![rec("a", "1")]).codec(Codec::Zstd).with_body(&zstd::encode_all(&zeros[..], 1).unwrap());
    let settings = fixture.settings;
    let error = fixture.log().append(&bomb, &settings, NOW, false).unwrap_err();
    assert!(matches!(error, AppendError::Bomb), "{error}");
    assert_eq!(fixture.log().size_bytes(), 0);
}

#[test]
fn bytes_after_the_end_and_dependent_lz4_blocks_are_refused() {
    for codec in [Codec::Gzip, Codec::Lz4, Codec::Zstd, Codec::Snappy] {
        let mut body = codec.compress(b"some records".to_vec()).unwrap();
        body.extend(b"rubbish");
        assert_eq!(codec.decompress(&body).err(), Some(Refused::Broken), "{codec:?}");
    }
    let mut linked = lz4_flex::frame::FrameInfo::new();
    linked.block_mode = lz4_flex::frame::BlockMode::Linked;
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(linked, Vec::new());
    encoder.write_all(b"some records").unwrap();
    assert_eq!(Codec::Lz4.decompress(&encoder.finish().unwrap()).err(), Some(Refused::Broken));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn hostile_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        count in any::<i32>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        codec in prop::sample::select(CODECS.to_vec()),
    ) {
        assert!(Records::new(&bytes, count).count() <= bytes.len() + 1);
        let _ = codec.decompress(&bytes);
        let mut whole = batch(vec![rec("a", "1"), rec("b", "2")]).codec(codec);
        whole.headers = vec![(b"h".to_vec(), None)];
        let mut damaged = whole.bytes();
        for (index, byte) in flips {
            let index = index.index(damaged.len());
            damaged[index] = byte;
        }
        let mut fixture = Fixture::new(settings());
        let settings = fixture.settings;
        let damaged_body = damaged[batch::HEADER_BYTES..].to_vec();
        // Damage that the checksum shows, and damage that it does not.
        for bytes in [damaged, whole.with_body(&damaged_body)] {
            if fixture.log().append(&bytes, &settings, NOW, false).is_ok() {
                let end = fixture.log().end_offset();
                read_all(fixture.log(), 0, end, 1_000);
            }
        }
    }

    #[test]
    fn the_walker_reads_what_was_written(
        values in prop::collection::vec((any::<Option<Vec<u8>>>(), any::<Option<Vec<u8>>>(), 0i64..1 << 40), 1..20),
    ) {
        let records: Vec<Rec> =
            values.into_iter().map(|(key, value, timestamp)| Rec { key, value, timestamp }).collect();
        let mut sent = batch(records);
        sent.headers = vec![(b"twice".to_vec(), Some(b"1".to_vec())), (b"twice".to_vec(), None)];
        let body = sent.body();
        let walked: Vec<_> = Records::new(&body, sent.records.len() as i32).map(|record| record.unwrap()).collect();
        let mut copied = Vec::new();
        let mut rebased = Vec::new();
        for (index, (record, sent)) in walked.iter().zip(&sent.records).enumerate() {
            prop_assert_eq!(record.key, sent.key.as_deref());
            prop_assert_eq!(record.tombstone, sent.value.is_none());
            prop_assert_eq!(record.offset_delta as usize, index);
            copied.extend_from_slice(record.raw);
            record.write_with_delta(record.timestamp_delta, &mut rebased);
        }
        prop_assert_eq!(&copied, &body);
        prop_assert_eq!(&rebased, &body);
    }
}
