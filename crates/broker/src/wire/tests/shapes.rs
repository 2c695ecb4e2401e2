//! The table of shapes is what the decoders read, and what passes it is harmless to decode.

use super::{
    super::{
        fuzz::{decode_any, fuzz_frame},
        request::parse,
        shape::{Misshapen, Shape},
        versions::apis,
    },
    generate::{Tape, all_served, frame},
};
use bytes::Bytes;
use proptest::{collection::vec, prelude::*};

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_walk_reads_what_the_decoders_read(bytes in vec(any::<u8>(), 0..600)) {
        for (api, version) in all_served() {
            let frame = frame(api, version, &mut Tape { bytes: &bytes, nulls: false });
            let request = parse(frame.into()).map_err(|refused| TestCaseError::fail(refused.to_string()))?;
            let again = decode_any(&request).expect("every api served is known");
            let again = again.map_err(|refused| TestCaseError::fail(refused.to_string()))?;
            prop_assert_eq!(again.len(), request.body.len(), "{:?} {}", api.key, version);
            let flexible = api.key.request_header_version(version) >= 2;
            prop_assert_eq!(api.shape.check(&again, version, flexible), Ok(0), "{:?} {}", api.key, version);
        }
    }

    #[test]
    fn nulls_are_for_the_decoder_to_judge(bytes in vec(any::<u8>(), 0..300)) {
        for (api, version) in all_served() {
            let frame = frame(api, version, &mut Tape { bytes: &bytes, nulls: true });
            let request = parse(frame.into()).map_err(|refused| TestCaseError::fail(refused.to_string()))?;
            if let Some(Ok(again)) = decode_any(&request) {
                prop_assert_eq!(again.len(), request.body.len(), "{:?} {}", api.key, version);
            }
        }
    }

    #[test]
    fn a_cut_request_is_refused_and_a_longer_one_is_not(
        bytes in vec(any::<u8>(), 0..300),
        at in any::<prop::sample::Index>(),
    ) {
        for (api, version) in all_served() {
            let mut frame = frame(api, version, &mut Tape { bytes: &bytes, nulls: false });
            prop_assert!(parse(Bytes::copy_from_slice(&frame[..at.index(frame.len())])).is_err());
            frame.extend([0xff; 3]);
            let request = parse(frame.into()).expect("three bytes too many are no fault");
            prop_assert!(matches!(decode_any(&request), Some(Ok(_))), "{:?} {}", api.key, version);
        }
    }

    #[test]
    fn damaged_requests_do_no_harm(
        bytes in vec(any::<u8>(), 0..300),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        for (api, version) in all_served() {
            let mut frame = frame(api, version, &mut Tape { bytes: &bytes, nulls: true });
            for (at, byte) in &damage {
                let at = at.index(frame.len());
                frame[at] = *byte;
            }
            fuzz_frame(&frame);
        }
    }

    #[test]
    fn noise_does_no_harm(bytes in vec(any::<u8>(), 0..200)) {
        for (api, version) in all_served() {
            let header = [(api.key as i16).to_be_bytes(), version.to_be_bytes()].concat();
            fuzz_frame(&[&header, &[0, 0, 0, 1, 0xff, 0xff][..], &bytes].concat());
        }
        fuzz_frame(&bytes);
    }
}

#[test]
fn every_api_is_there_once() {
    let mut keys: Vec<i16> = apis().iter().map(|api| api.key as i16).collect();
    keys.dedup();
    assert!(keys.is_sorted(), "and in the order of their keys");
    assert_eq!(keys.len(), 27);
    assert!(apis().iter().all(|api| api.key.valid_versions().max >= api.max && api.min <= api.max));
}

#[test]
fn lies_about_lengths_are_refused() {
    let shape = Shape::new("{ s [4] } b");
    let plain = |bytes: &[u8]| shape.check(bytes, 0, false);
    let compact = |bytes: &[u8]| shape.check(bytes, 0, true);
    assert_eq!(plain(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]), Ok(0));
    assert_eq!(plain(&[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]), Err(Misshapen::Entries));
    assert_eq!(plain(&[0, 0, 0, 2, 0, 0, 0, 0, 0, 0]), Err(Misshapen::Short));
    assert_eq!(plain(&[0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 0]), Err(Misshapen::Length));
    assert_eq!(plain(&[0, 0, 0, 0, 0, 0, 0, 1]), Err(Misshapen::Short));
    assert_eq!(plain(&[0, 0, 0, 0, 0, 0, 0, 0, 9, 9]), Ok(2));
    assert_eq!(compact(&[1, 1, 0]), Ok(0));
    assert_eq!(compact(&[0, 0, 0]), Ok(0));
    assert_eq!(compact(&[0xff, 0xff, 0xff, 0xff, 0x0f, 1]), Err(Misshapen::Entries));
    assert_eq!(compact(&[0xff, 0xff, 0xff, 0xff, 0x1f, 1]), Err(Misshapen::Length));
    assert_eq!(compact(&[0xff, 0xff, 0xff, 0xff, 0xff, 1]), Err(Misshapen::Length));
    // A struct with two tagged fields claimed and one there.
    assert_eq!(compact(&[2, 1, 1, 2, 7, 0]), Err(Misshapen::Short));
}

#[test]
fn entries_are_bounded_even_if_they_are_there() {
    let shape = Shape::new("[s]");
    let names = |count: u32| [&count.to_be_bytes()[..], &vec![0; 2 * count as usize]].concat();
    assert_eq!(shape.check(&names(50_000), 0, false), Ok(0));
    assert_eq!(shape.check(&names(50_001), 0, false), Err(Misshapen::Entries));
}

#[test]
fn a_word_that_is_none_refuses() {
    assert!(Shape::new("quatre").check(&[0; 64], 0, false).is_err());
}
