//! The answers that are due, in the order of their requests. All that wait make progress together; the first goes
//! first.

use super::{Refused, Reply, limits::Share};
use futures::future::LocalBoxFuture;
use std::{
    collections::VecDeque,
    future::poll_fn,
    task::{Context, Poll},
};

/// A reply, or why the connection ends instead.
pub(super) type Outcome = Result<Reply, Refused>;

enum Answer<'a> {
    Ready(Outcome),
    Waiting {
        future: LocalBoxFuture<'static, Outcome>,
        /// The memory of the request, which the future may hold on to.
        _share: Option<Share<'a>>,
    },
}

#[derive(Default)]
pub(super) struct Answers<'a>(VecDeque<Answer<'a>>);

impl<'a> Answers<'a> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn any_waits(&self) -> bool {
        self.0.iter().any(|answer| matches!(answer, Answer::Waiting { .. }))
    }

    pub(super) fn ready(&mut self, outcome: Outcome) {
        self.0.push_back(Answer::Ready(outcome));
    }

    pub(super) fn waiting(&mut self, future: LocalBoxFuture<'static, Outcome>, share: Option<Share<'a>>) {
        self.0.push_back(Answer::Waiting { future, _share: share });
    }

    /// The first answer, if it is ready.
    pub(super) fn pop(&mut self) -> Option<Outcome> {
        match self.0.pop_front()? {
            Answer::Ready(outcome) => Some(outcome),
            waiting => {
                self.0.push_front(waiting);
                None
            }
        }
    }

    /// Until the first answer is ready; for ever if there is none.
    pub(super) async fn first(&mut self) {
        poll_fn(|context| self.poll(context)).await;
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        for answer in &mut self.0 {
            if let Answer::Waiting { future, .. } = answer
                && let Poll::Ready(outcome) = future.as_mut().poll(context)
            {
                *answer = Answer::Ready(outcome);
            }
        }
        if matches!(self.0.front(), Some(Answer::Ready(_))) { Poll::Ready(()) } else { Poll::Pending }
    }
}
