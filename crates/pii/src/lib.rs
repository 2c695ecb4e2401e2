//! Personal data and secrets in a text, found without a model.
//!
//! ```text
//! text ─► fold (disguises undone) ─► entities (one recogniser per file) ─► findings ─► mask (overlaps resolved, placeholders)
//! ```
//!
//! Everything is linear in the text and pure: no I/O, no clock, no state between texts. Persons, places and organisations need a
//! model and are not here; neither is what happens to a finding, which is the guardrail's business.

pub mod custom;
mod entities;
pub mod fold;
mod look_alikes;
mod looks;
pub mod mask;
#[cfg(test)]
mod nasty;
mod settled;

pub use entities::{DEFAULT_ENTITIES, DEFAULT_REGIONS, Entity, known_region};
pub use settled::UNBOUNDED_CHARS;

use custom::{Allowed, Pattern};
use entities::{Regions, Text};
use fold::Folded;
use mask::Instead;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// One match in a text.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Byte range in the text; always on character boundaries.
    pub span: Range<usize>,
    /// What was found, as placeholders name it.
    pub label: Cow<'static, str>,
    /// How sure it is, from 0 to 1: about 0.9 with a checksum, 0.7 with a strict format, 0.5 by its context; where two findings
    /// overlap, the higher one keeps its span.
    pub score: f32,
    /// What it is to be replaced by, if it is.
    pub instead: Instead,
}

/// A set of entities, ready to be looked for.
#[derive(Debug)]
pub struct Pii {
    entities: Vec<Entity>,
    regions: Regions,
    patterns: Vec<Pattern>,
    allowed: Arc<[Allowed]>,
}

impl Pii {
    /// Looks for these entities; empty lists mean the defaults. Errors with the region that nobody knows.
    pub fn new(entities: &[Entity], phone_regions: &[String]) -> Result<Self, String> {
        let entities = if entities.is_empty() { DEFAULT_ENTITIES } else { entities };
        let defaults = DEFAULT_REGIONS.iter().map(|r| (*r).to_owned()).collect::<Vec<_>>();
        let regions = if phone_regions.is_empty() { &defaults } else { phone_regions };
        let regions = Regions::new(regions)?;
        Ok(Self { entities: entities.to_vec(), regions, patterns: Vec::new(), allowed: Arc::default() })
    }

    /// Looks for these patterns too, and never reports what is allowed.
    #[must_use]
    pub fn with(self, patterns: Vec<Pattern>, allowed: Vec<Allowed>) -> Self {
        Self { patterns, allowed: allowed.into(), ..self }
    }

    /// The patterns that it looks for.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// What is never a finding, of whoever looks.
    pub fn allowed(&self) -> &Arc<[Allowed]> {
        &self.allowed
    }

    /// Appends every finding of every entity and pattern; they may overlap. A text with dearer disguises is looked at without them too.
    pub fn scan(&self, text: &Folded<'_>, out: &mut Vec<Finding>) {
        self.scan_folded(text, out);
        if let Some(closer) = text.closer() {
            self.scan_folded(closer, out);
        }
    }

    fn scan_folded(&self, text: &Folded<'_>, out: &mut Vec<Finding>) {
        let shared = Text::new(text.text(), text.key());
        for &entity in &self.entities {
            self.collect(text, Cow::Borrowed(entity.as_str()), out, |report| {
                entities::find(entity, &shared, &self.regions, report);
            });
        }
        for pattern in &self.patterns {
            self.collect(text, Cow::Owned(pattern.name().to_owned()), out, |report| pattern.find(&shared, report));
        }
    }

    fn collect(
        &self,
        text: &Folded<'_>,
        label: Cow<'static, str>,
        out: &mut Vec<Finding>,
        find: impl FnOnce(entities::Report<'_>),
    ) {
        find(&mut |span: Range<usize>, score: f32| {
            let value = &text.text()[span.clone()];
            if !self.allowed.iter().any(|allowed| allowed.is(value)) {
                let (span, label) = (text.span(span), label.clone());
                out.push(Finding { span, label, score, instead: Instead::default() });
            }
        });
    }
}

#[cfg(test)]
mod tests;
