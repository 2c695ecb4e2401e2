//! Any text, under the key that its first line is, through every recogniser: spans are slices of the text, scores are between 0 and 1,
//! and what overlaps is made disjoint.

use tollgate_pii::fold::Folded;
use tollgate_pii::mask::{Masker, resolve};
use tollgate_pii::{Entity, Pii};

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (key, text) = text.split_once('\n').unwrap_or(("", text));
    let regions = ["US", "GB", "DE", "ES", "IN"].map(str::to_owned);
    let pii = Pii::new(Entity::ALL, &regions).expect("known regions");
    let mut found = Vec::new();
    pii.scan(&Folded::new(text).beside(key), &mut found);
    for finding in &found {
        assert!(text.get(finding.span.clone()).is_some_and(|value| !value.is_empty()));
        assert!((0.0..=1.0).contains(&finding.score));
    }
    let resolved = resolve(found.clone());
    assert!(resolved.windows(2).all(|pair| pair[0].span.end <= pair[1].span.start));
    assert!(resolved.is_empty() == found.is_empty());
    let _ = Masker::default().mask(text, found);
}
