//! The events of a stream with what masking took put back. Sans I/O.
//!
//! Number, kind and order of events stay. An event waits while one of its texts ends with what may still become a placeholder, and all that
//! follow wait behind it; the value stands in the event in which its placeholder begins, and those that go on with it are left with the rest.
//! What is no JSON goes out as it is.

use super::Restorer;
use crate::inspect::event::{self, Kind, Piece};
use crate::inspect::{self, encode, splice};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::ops::Range;
use tollgate_schemas::{Originals, StreamEvent};

/// A stream into which values are put back.
#[derive(Debug)]
pub struct Restoring {
    restorer: Restorer,
    inside_json: Restorer,
    /// By their channels.
    texts: BTreeMap<String, Growing>,
    waiting: VecDeque<Waiting>,
}

/// An event whose texts are not all decided.
#[derive(Debug)]
struct Waiting {
    event: StreamEvent,
    pieces: Vec<(Piece, Range<usize>)>,
}

impl Restoring {
    /// Of the answer to a request with these originals.
    pub fn new(originals: Originals) -> Self {
        let restorer = Restorer::new(originals);
        Self { inside_json: restorer.inside_json(), restorer, texts: BTreeMap::new(), waiting: VecDeque::new() }
    }

    /// Takes the next events. Those that may go out.
    pub fn push(&mut self, events: Vec<StreamEvent>) -> Vec<StreamEvent> {
        for event in events {
            let read = event::event(&event.data).unwrap_or_default();
            let mut pieces = Vec::with_capacity(read.pieces.len());
            for piece in read.pieces {
                let part = match &piece.kind {
                    Kind::Part(channel) | Kind::ArgumentsPart(channel) => self.grow(channel, &piece),
                    _ => 0..0,
                };
                pieces.push((piece, part));
            }
            for ended in read.ended {
                let ends = self.texts.range_mut(ended.clone()..).take_while(|(name, _)| name.starts_with(&ended));
                ends.for_each(|(_, text)| text.end());
            }
            self.waiting.push_back(Waiting { event, pieces });
        }
        self.ready()
    }

    /// Everything has come. What waited.
    pub fn end(&mut self) -> Vec<StreamEvent> {
        self.texts.values_mut().for_each(Growing::end);
        self.ready()
    }

    fn grow(&mut self, channel: &str, piece: &Piece) -> Range<usize> {
        // What a tool of free text is called with is no JSON, though it comes as arguments do.
        let is_json = matches!(piece.kind, Kind::ArgumentsPart(_))
            && (channel.ends_with("arguments") || channel.ends_with("/json"));
        let restorer = if is_json { &self.inside_json } else { &self.restorer };
        self.texts.entry(channel.to_owned()).or_default().push(restorer, &piece.text)
    }

    fn ready(&mut self) -> Vec<StreamEvent> {
        let mut ready = Vec::new();
        while self.waiting.front().is_some_and(|first| self.is_decided(first)) {
            ready.extend(self.waiting.pop_front().map(|first| self.shown(first)));
        }
        ready
    }

    fn is_decided(&self, waiting: &Waiting) -> bool {
        waiting.pieces.iter().all(|(piece, part)| match &piece.kind {
            Kind::Part(channel) | Kind::ArgumentsPart(channel) => {
                self.texts.get(channel).is_none_or(|text| part.is_empty() || part.end <= text.decided)
            }
            _ => true,
        })
    }

    fn shown(&self, waiting: Waiting) -> StreamEvent {
        let Waiting { event, pieces } = waiting;
        let mut text = |_: &str, text: &str| self.restorer.text(text);
        let mut edits = Vec::new();
        for (piece, part) in pieces {
            let instead = match &piece.kind {
                Kind::Part(channel) | Kind::ArgumentsPart(channel) => {
                    let shown = self.texts.get(channel).map(|text| text.shown(&part)).unwrap_or_default();
                    (shown != piece.text).then(|| encode(&shown))
                }
                Kind::Whole | Kind::Name => self.restorer.text(&piece.text).map(|text| encode(&text)),
                Kind::Arguments => inspect::arguments(&piece.text, &mut text).map(|text| encode(&text)),
                Kind::Json => inspect::tokens_mapped(&piece.text, &mut text),
                Kind::Setting(name) => inspect::setting_mapped(name, &piece.text, &mut text),
                // They spell the text again, and come beside it, but not always beside the same part of it.
                Kind::Logprobs(none) => Some((*none).to_owned()),
            };
            edits.extend(instead.map(|instead| (piece.span, instead)));
        }
        let data = if edits.is_empty() { event.data } else { splice(&event.data, edits) };
        StreamEvent { data, ..event }
    }
}

/// One text as it grows.
#[derive(Default)]
pub(super) struct Growing {
    text: String,
    /// Up to here it is known what is a placeholder.
    pub(super) decided: usize,
    /// Placeholders with their values, in order.
    found: Vec<(Range<usize>, String)>,
}

impl Growing {
    /// Adds a part. Where it stands.
    pub(super) fn push(&mut self, restorer: &Restorer, part: &str) -> Range<usize> {
        let (start, from) = (self.text.len(), self.decided);
        self.text.push_str(part);
        let found = &mut self.found;
        let end = restorer.scan(&self.text[from..], |place, value| {
            found.push((from + place.start..from + place.end, value.to_owned()));
        });
        self.decided = from + end;
        start..self.text.len()
    }

    /// It goes on no more, or as another one: what may have become a placeholder is none.
    pub(super) fn end(&mut self) {
        self.decided = self.text.len();
    }

    /// What stands in a part's place.
    pub(super) fn shown(&self, part: &Range<usize>) -> String {
        let (mut shown, mut done) = (String::with_capacity(part.len()), part.start);
        let first = self.found.partition_point(|(place, _)| place.end <= part.start);
        for (place, value) in self.found[first..].iter().take_while(|(place, _)| place.start < part.end) {
            if place.start >= part.start {
                shown.push_str(&self.text[done..place.start]);
                shown.push_str(value);
            }
            done = place.end.min(part.end);
        }
        shown.push_str(&self.text[done..part.end]);
        shown
    }
}

/// Hides the values, which a derived form would print.
impl fmt::Debug for Growing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Growing").field("decided", &self.decided).finish_non_exhaustive()
    }
}
