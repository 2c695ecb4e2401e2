//! How sure a finding is.

/// A checksum, or a form that nothing else has.
pub(crate) const CHECKED: f32 = 0.9;

/// A strict format without a checksum.
pub(crate) const FORMAT: f32 = 0.7;

/// Only what stands near speaks for it.
pub(crate) const CONTEXT: f32 = 0.5;

/// What a checksum adds to a number that would not count without its context.
pub(super) const CHECKSUM: f32 = 0.2;

/// What a context word adds to what counts without one.
const LIFT: f32 = 0.1;

/// The score of what counts for `alone` by itself and for `near` by its context; `None` if neither speaks for it.
pub(super) fn weigh(alone: Option<f32>, near: Option<f32>) -> Option<f32> {
    match (alone, near) {
        (Some(alone), Some(_)) => Some(alone + LIFT),
        (alone, near) => alone.or(near),
    }
}
