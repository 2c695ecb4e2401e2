//! Answers that say no more than that the model will not speak of it, where the endpoint has a fallback for that.
//!
//! Nothing of such an answer has been shown: as long as a stream says no more than that, it is held
//! ([`crate::attempt::Call::holds_refusals`]). It is kept, and goes out whole if nobody does better.

use super::{End, Execution};
use crate::{
    attempt::{ChunkSink, Ended},
    providers::Answer,
};
use tollgate_runtime::config::Trigger;

impl<S: ChunkSink> Execution<'_, S> {
    /// Whether there is another destination, not called yet, for what that one will not speak of.
    pub(super) fn may_do_better(&self, index: usize) -> bool {
        let may_stand_in = |(other, on): (usize, &Vec<Trigger>)| {
            other != index && on.contains(&Trigger::ContentPolicy) && !self.is_tried(other)
        };
        self.task.endpoint.on.iter().enumerate().any(may_stand_in)
    }

    /// Whether an answer that nobody has seen says no more than that the model would not speak of it, and another one may.
    pub(super) fn is_unwilling(&self, index: usize, ended: &Ended) -> bool {
        !ended.is_seen && ended.answer.as_ref().is_some_and(Answer::is_refusal) && self.may_do_better(index)
    }

    /// The answer of a model that would not speak of it is better than none.
    pub(super) fn unwilling(&mut self) -> Option<End> {
        let (index, ended) = self.unwilling.take()?;
        self.ledger.served_by(&self.task.endpoint.destinations[index], &self.task.models[index]);
        Some(End::Answered(ended))
    }
}
