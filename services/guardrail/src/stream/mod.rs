//! The checks of a stream while it is produced: events in, events that may go out, with what the checks mask replaced. Sans I/O.
//!
//! ```text
//! events ─► channels: texts as they grow ─► patterns ─► what is decided ─► (judges, part by part) ─► out
//! ```
//!
//! Number, kind and order of events stay. An event waits until every text in it is decided, and all that follow wait behind it. What masking
//! finds is replaced in the event in which it begins; those that go on with it are left with the rest. Whole texts that an event
//! repeats are shown as they were in their parts. Names and what a provider adds beside an answer come whole; a file that is text is read when
//! all of the answer is there, and so all of that is checked then. Judges are asked about the next part of the answer when there is enough of it, with what
//! came before it, and see what masking has left.
//!
//! Where nothing is checked everything passes at once. Deliberately absent: what is decided by who produces an answer, or how it is sent
//! (`service`), and values in place of placeholders ([`crate::restore`], behind this).

mod channel;
mod judging;

use crate::config::Endpoint;
use crate::inspect::event::{self, Kind, Piece};
use crate::inspect::{self, Place, Reader, Unread, encode, splice};
use crate::judges::Ruled;
use crate::pipeline::{Case, Checked, Outcome, Side, Stage, Streaming, Texts, Verdict, error, pattern, unreadable};
use channel::Channel;
use judging::{Judging, Shown};
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use tollgate_schemas::{Originals, StreamEvent};

/// An event that is no JSON, or has a file that is text: what is in it cannot be told, so all of the answer has to be checked when it has
/// ended.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable;

/// What is to be done next.
#[derive(Debug)]
pub enum Next {
    /// These may go out.
    Send(Vec<StreamEvent>),
    /// The judges at these places are to be asked about the next part; what they say goes to [`Stream::ruled`].
    Ask(Part),
    /// Nothing, until more comes.
    Nothing,
}

/// The next part of an answer, for the judges.
#[derive(Debug)]
pub struct Part {
    /// The part, and what came before it.
    pub case: Case,
    /// Which part it is.
    pub number: u32,
    /// Places of the judged checks.
    pub open: Vec<usize>,
}

/// A stream that is checked.
#[derive(Debug)]
pub struct Stream {
    endpoint: Arc<Endpoint>,
    streaming: Streaming,
    texts: Texts,
    /// In an order that is the same whenever the same events come.
    channels: BTreeMap<String, Channel>,
    waiting: VecDeque<Waiting>,
    /// Texts that came whole, or stand in arguments: each is judged once.
    told: BTreeSet<String>,
    judging: Judging,
    is_ended: bool,
    is_broken: bool,
}

/// An event whose texts are not all decided.
#[derive(Debug)]
struct Waiting {
    event: StreamEvent,
    pieces: Vec<(Piece, Range<usize>)>,
}

impl Waiting {
    /// Whether there is a text in it that judges are shown.
    fn has_text(&self) -> bool {
        let is_shown = |kind: &Kind| !matches!(kind, Kind::Name | Kind::Logprobs(_));
        self.pieces.iter().any(|(piece, _)| is_shown(&piece.kind) && !piece.text.trim().is_empty())
    }
}

impl Stream {
    /// One that nothing has come of yet. `None`: its endpoint has checks that cannot be made of parts.
    pub fn new(endpoint: Arc<Endpoint>) -> Option<Self> {
        let stage = &endpoint.policy.output;
        let unchecked = || stage.is_empty().then_some(Streaming { window: 0, is_filtered: false });
        let streaming = stage.streaming.or_else(unchecked)?;
        let (texts, judging) = (Texts::new(stage), Judging::new(stage.judged.len()));
        Some(Self {
            streaming,
            texts,
            judging,
            channels: BTreeMap::new(),
            waiting: VecDeque::new(),
            told: BTreeSet::new(),
            is_ended: false,
            is_broken: false,
            endpoint,
        })
    }

    /// Takes the placeholders of the request for ours: none of them stands for a value of the answer, and nothing is found in them.
    pub fn adopt(&mut self, placeholders: &[String]) {
        self.texts.adopt(placeholders);
    }

    /// The checks.
    pub fn stage(&self) -> &Stage {
        &self.endpoint.policy.output
    }

    /// The version of its checks.
    pub fn policy_version(&self) -> Option<&String> {
        self.endpoint.policy.version.as_ref()
    }

    /// How it ends if it is blocked.
    pub fn is_filtered(&self) -> bool {
        self.streaming.is_filtered
    }

    /// Whether nothing goes out any more.
    pub fn is_blocked(&self) -> bool {
        self.texts.blocked(self.stage()) || self.judging.is_blocked()
    }

    /// The next events.
    pub fn push(&mut self, events: Vec<StreamEvent>) -> Result<(), Unreadable> {
        if self.stage().is_empty() {
            events.into_iter().for_each(|event| self.judging.add(Shown::new(event, Vec::new())));
            return Ok(());
        }
        for event in events {
            let read = event::event(&event.data).filter(|read| !read.has_file).ok_or(Unreadable)?;
            let mut pieces = Vec::with_capacity(read.pieces.len());
            for piece in read.pieces {
                let range = match &piece.kind {
                    Kind::Part(channel) => self.grow(channel, false, &piece.text),
                    Kind::ArgumentsPart(channel) => self.grow(channel, true, &piece.text),
                    _ => 0..0,
                };
                pieces.push((piece, range));
            }
            for ended in read.ended {
                let ends = self.channels.range_mut(ended.clone()..).take_while(|(name, _)| name.starts_with(&ended));
                ends.for_each(|(_, channel)| channel.end());
            }
            self.waiting.push_back(Waiting { event, pieces });
        }
        self.look();
        Ok(())
    }

    fn grow(&mut self, channel: &str, is_arguments: bool, part: &str) -> Range<usize> {
        if let Some(channel) = self.channels.get_mut(channel) {
            return channel.push(part);
        }
        self.channels.entry(channel.to_owned()).or_insert_with(|| Channel::new(is_arguments)).push(part)
    }

    /// Runs the patterns on what has grown, and lets go of what is decided.
    fn look(&mut self) {
        let stage = &self.endpoint.policy.output;
        for channel in self.channels.values_mut().filter(|channel| channel.is_due()) {
            channel.look(stage, &mut self.texts);
        }
        while !self.is_blocked() && self.waiting.front().is_some_and(|first| self.is_settled(first)) {
            let Some(first) = self.waiting.pop_front() else { return };
            let shown = self.shown(first);
            if self.is_blocked() {
                self.judging.add_whole(shown.said);
            } else {
                self.judging.add(shown);
            }
        }
    }

    fn is_settled(&self, waiting: &Waiting) -> bool {
        let is_settled = |channel: &str, part: &Range<usize>| {
            part.is_empty() || self.channels.get(channel).is_some_and(|channel| channel.is_settled(part))
        };
        waiting.pieces.iter().all(|(piece, part)| match &piece.kind {
            Kind::Part(channel) | Kind::ArgumentsPart(channel) => is_settled(channel, part),
            _ => true,
        })
    }

    /// An event as it may go out.
    fn shown(&mut self, waiting: Waiting) -> Shown {
        let Waiting { event, pieces } = waiting;
        let (mut edits, mut said) = (Vec::new(), Vec::new());
        for (piece, part) in pieces {
            let instead = match &piece.kind {
                Kind::Part(name) | Kind::ArgumentsPart(name) => {
                    let shown = self.channels.get(name).map(|channel| channel.shown(&part)).unwrap_or_default();
                    said.push((name.clone(), shown.to_owned()));
                    (shown != piece.text).then(|| encode(shown))
                }
                Kind::Whole => self.whole(&piece.text, &mut said).map(|text| encode(&text)),
                Kind::Arguments => self.arguments(&piece.text, &mut said).map(|text| encode(&text)),
                Kind::Json => self.json(&piece.text, &mut said),
                Kind::Name => self.named("", &piece.text).map(|text| encode(&text)),
                Kind::Setting(name) => {
                    inspect::setting_mapped(name, &piece.text, &mut |key, text| self.checked(key, text, &mut said))
                }
                // They come beside the text, but not always beside the same part of it.
                Kind::Logprobs(none) => self.stage().has(true).then(|| (*none).to_owned()),
            };
            edits.extend(instead.map(|instead| (piece.span, instead)));
        }
        let data = if edits.is_empty() { event.data } else { splice(&event.data, edits) };
        Shown::new(StreamEvent { data, ..event }, said)
    }

    /// What stands in a whole text's place, if anything else does. What is new is said.
    fn whole(&mut self, text: &str, said: &mut Vec<(String, String)>) -> Option<String> {
        if let Some(known) = self.channels.values().find_map(|channel| channel.instead_of(text)) {
            return known.map(str::to_owned);
        }
        self.checked("", text, said)
    }

    /// A name, which no judge is shown.
    fn named(&mut self, key: &str, text: &str) -> Option<String> {
        self.texts.check(&self.endpoint.policy.output, key, text)
    }

    fn checked(&mut self, key: &str, text: &str, said: &mut Vec<(String, String)>) -> Option<String> {
        let masked = self.named(key, text);
        if !text.trim().is_empty() && self.told.insert(text.to_owned()) {
            said.push((String::new(), masked.clone().unwrap_or_else(|| text.to_owned())));
        }
        masked
    }

    fn arguments(&mut self, text: &str, said: &mut Vec<(String, String)>) -> Option<String> {
        if let Some(known) = self.channels.values().find_map(|channel| channel.instead_of(text)) {
            return known.map(str::to_owned);
        }
        inspect::arguments(text, &mut |key, text| self.checked(key, text, said))
    }

    fn json(&mut self, text: &str, said: &mut Vec<(String, String)>) -> Option<String> {
        inspect::tokens_mapped(text, &mut |key, text| self.checked(key, text, said))
    }

    /// Everything has come. The whole answer with the same in its place as in its parts, if anything was replaced.
    pub fn end(&mut self, body: Option<&RawValue>) -> Option<Box<RawValue>> {
        self.is_ended = true;
        if self.stage().is_empty() {
            return None;
        }
        self.channels.values_mut().for_each(Channel::end);
        self.look();
        self.channels.values().for_each(|channel| channel.tell_arguments(&mut self.told));
        let mut whole = Whole { stream: self, said: Vec::new() };
        let masked = inspect::read_answer(body?, &mut whole);
        // Whatever of it did not come in parts is judged too.
        let said = whole.said;
        self.judging.add_whole(said);
        let masked = masked.filter(|_| !self.is_blocked())?;
        let masked = RawValue::from_string(masked);
        // Splicing strings into JSON gives JSON; if it ever did not, the unmasked body must not go on.
        self.is_broken |= masked.is_err();
        masked.ok()
    }

    /// What is to be done now. To be called until it is nothing.
    pub fn advance(&mut self) -> Next {
        if self.is_blocked() {
            return Next::Nothing;
        }
        let has_judges = !self.judges().is_empty();
        // Where nothing is checked, nothing that comes can change what has come.
        let events = self.judging.passed(has_judges, self.is_ended || self.stage().is_empty());
        if !events.is_empty() {
            return Next::Send(events);
        }
        match self.judging.part(self.streaming.window, self.is_ended) {
            Some((case, number)) => {
                Next::Ask(Part { case: case.sparing(&self.texts.masker), number, open: self.judges() })
            }
            None => Next::Nothing,
        }
    }

    fn judges(&self) -> Vec<usize> {
        let judged = self.stage().judged.iter().enumerate();
        judged.filter(|(_, judged)| judged.seat.name().is_some()).map(|(at, _)| at).collect()
    }

    /// The rulings on the part that was asked about.
    pub fn ruled(&mut self, rulings: Vec<(usize, Ruled)>) {
        self.judging.ruled(&self.endpoint.policy.output.judged, rulings);
    }

    /// What the checks did, and why nothing goes on, if nothing does.
    pub fn verdict(&self, body: Option<Box<RawValue>>) -> Verdict {
        let (stage, is_blocked) = (self.stage(), self.is_blocked());
        let patterns = stage.checks.iter().zip(&self.texts.found);
        let mut checks: Vec<Checked> =
            patterns.map(|(configured, found)| pattern(configured, found, is_blocked)).collect();
        checks.extend(unreadable(stage, &self.texts.unread));
        let has_more = self.waiting.iter().any(Waiting::has_text);
        checks.extend(self.judging.checked(&stage.judged, is_blocked, has_more));
        let mut error = error(Side::Output, &checks, &self.judging.must(&stage.judged));
        if self.is_broken && error.is_none() {
            error = Some(Verdict::broken_error(&checks));
        }
        let outcome = checks.iter().map(|checked| checked.outcome).max().unwrap_or(Outcome::None);
        let (body, restore, masked) = (body.filter(|_| error.is_none()), Originals::default(), Vec::new());
        Verdict { outcome, checks, body, restore, masked, error }
    }
}

/// The whole answer, behind its parts.
struct Whole<'s> {
    stream: &'s mut Stream,
    said: Vec<(String, String)>,
}

impl Reader for Whole<'_> {
    fn text(&mut self, part: inspect::Part<'_>) -> Option<String> {
        match (part.place, part.key) {
            (Place::Name, key) => self.stream.named(key, part.text),
            (_, "") => self.stream.whole(part.text, &mut self.said),
            (_, key) => self.stream.checked(key, part.text, &mut self.said),
        }
    }

    fn unread(&mut self, what: Unread<'_>) {
        self.stream.texts.leave(&self.stream.endpoint.policy.output, what);
    }
}

#[cfg(test)]
mod tests;
