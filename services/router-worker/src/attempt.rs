//! One provider call: send, read, decode, within the time it may take, until it ends or is cancelled.

mod stream;

use crate::{
    allowance::Allowance,
    coalesce::Coalescer,
    config::Destination,
    failure::{Class, Failure},
    gate::{Full, Permit},
    health::{Admitted, Sign},
    leave_out::leave_out,
    load::Pace,
    patience::Patience,
    providers::{Answer, Asked, Begun, Encoded, Head, Incoming, Parser, Wire},
};
use std::{borrow::Cow, future::Future, time::Duration};
use stream::Stream;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tollgate_runtime::config::Timeout;
use tollgate_schemas::{Lane, StreamEvent};

/// Fields without which there is no request.
const ESSENTIAL: [&str; 7] =
    ["model", "messages", "input", "prompt", "contents", "previous_response_id", "conversation"];
/// Fields, and items of lists, that are left out of one request, each of which has it written anew; with more it is refused.
const LEFT_OUT_MAX: usize = 100;
const LATE: &str = "the provider did not answer in time";

/// Takes the chunks of a stream on their way to the caller.
pub(crate) trait ChunkSink: Send {
    /// Tells who is called next, and which attempt it is (1, 2, …).
    fn trying(&mut self, destination: &str, attempt: u32);
    /// Tells which fields of the request are left out for it, before anything is sent.
    fn leaving_out(&mut self, _: &[String]) {}
    /// Told before anything is sent, if the guardrail has to see it before the caller does.
    fn check_first(&mut self) {}
    /// Sends events in order; never an empty list.
    fn send(&mut self, events: Vec<StreamEvent>) -> impl Future<Output = ()> + Send;
}

/// What may interrupt a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signals<'a> {
    /// Nobody wants it any more.
    pub cancel: &'a CancellationToken,
    /// This process gives its work back: what only waits is parked.
    pub leaving: &'a CancellationToken,
    /// The time to end in order is over: what is still under way is broken off and handed over.
    pub handover: &'a CancellationToken,
}

/// What a call may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The endpoint's time-outs.
    pub timeout: Timeout,
    /// When the request's total time-out strikes.
    pub total: Instant,
    /// When the request's deadline passes.
    pub deadline: Instant,
}

impl Limits {
    /// The earliest of the total time-out, the deadline and `also`, and what passing it means.
    fn earliest(&self, also: Option<Instant>) -> (Instant, Class) {
        let until = also.map_or(self.total, |also| also.min(self.total));
        if self.deadline < until { (self.deadline, Class::Deadline) } else { (until, Class::Timeout) }
    }

    /// When nothing more may happen.
    pub(crate) fn end(&self) -> Instant {
        self.earliest(None).0
    }
}

/// A call to make.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    /// Where.
    pub destination: &'a Destination,
    /// In which words.
    pub wire: &'a dyn Wire,
    /// What.
    pub asked: Asked<'a>,
    /// Whose turn it counts for.
    pub lane: Lane,
    /// See [`crate::execute::Executor::bytes`].
    pub bytes: usize,
    /// How long.
    pub limits: Limits,
    /// How long it may wait for a place among the calls under way.
    pub queue_max: Duration,
    /// It is made even if the circuit is open.
    pub is_forced: bool,
    /// Fields that the destination's API cannot express are left out.
    pub drops_unsupported: bool,
    /// A stream that says no more than that the model will not speak of it is not shown: another destination may do better.
    pub holds_refusals: bool,
    /// What another call needs to go on with its stream is kept, should it break.
    pub may_be_resumed: bool,
    /// Ends the call early.
    pub signals: Signals<'a>,
}

/// A request as it is sent, and the caller's fields that were left out of it or are not done.
struct Sendable {
    request: Encoded,
    dropped: Vec<String>,
}

/// A place among the calls under way, at the destination and at its provider.
struct Places {
    _own: Option<Permit>,
    _provider: Permit,
}

/// Why a call ended without a whole answer.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The provider, the network or the clock.
    Failed(Failure),
    /// The caller does not want it any more.
    Cancelled,
    /// This process ends; another one begins again.
    HandedOver,
    /// Another call for the same request was faster.
    Outrun,
}

impl Broken {
    /// See [`Failure::refined`].
    fn refined(self) -> Self {
        match self {
            Broken::Failed(failure) => Broken::Failed(failure.refined()),
            other => other,
        }
    }

    /// What the usage row shows as the attempt's error.
    pub(crate) fn error_code(&self) -> String {
        match self {
            Broken::Failed(failure) => failure.error_code(),
            Broken::Cancelled => "cancelled".to_owned(),
            Broken::HandedOver => "worker_stopped".to_owned(),
            Broken::Outrun => "outrun".to_owned(),
        }
    }
}

/// How a call ended.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    /// The answer's head, if one came.
    pub head: Head,
    /// The answer, or what there was of it.
    pub answer: Option<Answer>,
    /// Why it is not whole.
    pub broken: Option<Broken>,
    /// When the call left for the provider, microseconds since the Unix epoch; `None` if it did not.
    pub sent_us: Option<i64>,
    /// When the first content came.
    pub first_content_us: Option<i64>,
    /// The same by the clock that only goes forward.
    pub first_content_at: Option<Instant>,
    /// When the call that had left was over.
    pub ended_us: Option<i64>,
    /// The caller may have seen a part of it, so nothing can take its place.
    pub is_seen: bool,
    /// The fields that were left out, because the destination's API cannot express them.
    pub dropped: Vec<String>,
    /// What another call needs to go on with a stream that broke.
    pub begun: Option<Box<Begun>>,
    /// The answer is of several calls, of which this is the last.
    pub is_resumed: bool,
}

impl Ended {
    /// The end of a call that went on with the answer of the one `before`, as the end of both.
    pub(crate) fn behind(mut self, before: &Ended) -> Self {
        self.first_content_us = before.first_content_us;
        let only_before = before.dropped.iter().filter(|name| !self.dropped.contains(name)).cloned();
        let only_before: Vec<String> = only_before.collect();
        self.dropped.extend(only_before);
        self.is_resumed = true;
        self
    }

    fn broken(mut self, broken: Broken) -> Self {
        self.broken = Some(broken);
        self
    }
}

impl Call<'_> {
    /// Makes the call. Chunks go to `sink`, if the caller is to see them. `patience` is asked if there is no place free, and
    /// `allowance` is taken before it leaves.
    pub(crate) async fn run<S: ChunkSink>(
        &self,
        patience: &mut Patience<'_>,
        allowance: Option<&mut Allowance<'_>>,
        mut sink: Option<&mut S>,
    ) -> Ended {
        let ended = Ended::default();
        let (Sendable { request, dropped }, _permits) = match self.placed(patience).await {
            Ok(placed) => placed,
            Err(broken) => return ended.broken(broken),
        };
        if let Some(sink) = &mut sink {
            sink.leaving_out(&dropped);
        }
        let ended = Ended { dropped, ..ended };
        if let Some(allowance) = allowance
            && let Err(broken) = self.within(None, allowance.take()).await
        {
            return ended.broken(broken);
        }
        // Asked only now: whoever queued for a place while the provider went down need not find out for himself.
        let admitted = match self.admit() {
            Ok(admitted) => admitted,
            Err(failure) => return ended.broken(Broken::Failed(failure)),
        };
        let (begun, load) = (Instant::now(), &self.destination.load);
        let under_way = load.begin();
        let mut ended = self.send(ended, request, sink).await;
        drop(under_way);
        ended.ended_us = Some(tollgate_schemas::now_us());
        if let Some((pace, time)) = self.pace(&ended, begun) {
            load.took(pace, time, Instant::now());
        }
        ended.broken = ended.broken.map(Broken::refined);
        if let Some(Broken::Failed(failure)) = &mut ended.broken {
            self.destination.provider.transport.hide_credentials(&mut failure.message);
        }
        admitted.tell(match &ended.broken {
            None => Sign::Well,
            Some(Broken::Failed(failure)) => Sign::of(failure),
            Some(Broken::Cancelled | Broken::HandedOver | Broken::Outrun) => Sign::Nothing,
        });
        ended
    }

    /// What a call that left then tells of its destination's speed. One that failed tells nothing, unless it took too long.
    fn pace(&self, ended: &Ended, begun: Instant) -> Option<(Pace, Duration)> {
        let pace = if self.asked.stream { Pace::FirstContent } else { Pace::Whole };
        match &ended.broken {
            None if pace == Pace::FirstContent => Some((pace, ended.first_content_at?.duration_since(begun))),
            Some(Broken::Failed(failure)) if failure.class != Class::Timeout => None,
            None | Some(Broken::Failed(_)) => Some((pace, begun.elapsed())),
            Some(_) => None,
        }
    }

    /// The call as it is sent, and its places. Whoever queues holds its body once, not twice: it is written again afterwards.
    async fn placed(&self, patience: &mut Patience<'_>) -> Result<(Sendable, Places), Broken> {
        let encode = || self.encode().map_err(Broken::Failed);
        let mut request = encode()?;
        let places = match self.free_place() {
            Some(places) => places,
            None => {
                drop(request);
                let places = self.wait_for_place(patience).await?;
                request = encode()?;
                places
            }
        };
        patience.rests();
        // A place that came together with the end came too late: nothing may leave for the provider any more.
        let (end, class) = self.limits.earliest(None);
        let is_late = Instant::now() >= end;
        if is_late { Err(Broken::Failed(Failure::new(class, LATE))) } else { Ok((request, places)) }
    }

    /// The request in the provider's words. What it has no words for is left out, if the endpoint says so, but for what the request
    /// is about.
    fn encode(&self) -> Result<Sendable, Failure> {
        let (mut body, mut dropped) = (Cow::Borrowed(self.asked.chat), Vec::new());
        let mut left = LEFT_OUT_MAX;
        loop {
            let asked = Asked { chat: &body, ..self.asked };
            let failure = match asked.supported().and_then(|()| self.wire.encode(&asked)) {
                Ok(mut request) => {
                    dropped.extend(std::mem::take(&mut request.undone).into_iter().map(str::to_owned));
                    return Ok(Sendable { request, dropped });
                }
                Err(failure) => failure,
            };
            let param = failure.param.as_deref().filter(|param| left > 0 && self.may_leave_out(param, &failure));
            let Some(told) = param.and_then(|param| leave_out(body.to_mut(), param)) else { return Err(failure) };
            left -= 1;
            if !dropped.contains(&told) {
                dropped.push(told);
            }
        }
    }

    /// Top-level fields may be, and those within others that say nothing of them.
    fn may_leave_out(&self, param: &str, failure: &Failure) -> bool {
        let is_within = param.contains(['.', '[']) && self.asked.chat.get(param).is_none();
        let is_spare = if is_within { failure.is_optional } else { !ESSENTIAL.contains(&param) };
        self.drops_unsupported && failure.class == Class::Inexpressible && is_spare
    }

    async fn wait_for_place(&self, patience: &mut Patience<'_>) -> Result<Places, Broken> {
        let busy = || Broken::Failed(Failure::new(Class::Busy, "the destination has no place free"));
        if !patience.may_wait() {
            return Err(busy());
        }
        let (end, class) = self.limits.earliest(None);
        let queue_end = Instant::now() + self.queue_max;
        let (until, class) = if queue_end < end { (queue_end, Class::Busy) } else { (end, class) };
        let queue = async { Ok(self.queue().await) };
        self.until(until, class, queue).await?.map_err(|Full| busy())
    }

    fn free_place(&self) -> Option<Places> {
        let own = match &self.destination.gate {
            Some(gate) => Some(gate.try_enter(self.lane, self.bytes)?),
            None => None,
        };
        Some(Places { _own: own, _provider: self.destination.provider.gate.try_enter(self.lane, self.bytes)? })
    }

    /// The destination's own gate comes first: who queues there holds no place that the provider's other models could use.
    async fn queue(&self) -> Result<Places, Full> {
        let own = match &self.destination.gate {
            Some(gate) => Some(gate.enter(self.lane, self.bytes).await?),
            None => None,
        };
        Ok(Places { _own: own, _provider: self.destination.provider.gate.enter(self.lane, self.bytes).await? })
    }

    fn admit(&self) -> Result<Admitted<'_>, Failure> {
        self.destination.health.admit(self.is_forced).map_err(Failure::open)
    }

    async fn send<S: ChunkSink>(&self, mut ended: Ended, request: Encoded, sink: Option<&mut S>) -> Ended {
        let provider = &self.destination.provider;
        ended.sent_us = Some(tollgate_schemas::now_us());
        let first_byte = self.asked.stream.then(|| Instant::now() + self.limits.timeout.first_byte.duration());
        let connect = self.limits.timeout.connect.duration();
        let call = provider.transport.call(self.wire, &self.asked, request, connect);
        let mut incoming = match self.within(first_byte, call).await {
            Ok(incoming) => incoming,
            Err(broken) => return ended.broken(broken),
        };
        ended.head = incoming.head.clone();
        if !(200..300).contains(&ended.head.status) {
            return self.refusal(ended, &mut incoming, first_byte).await;
        }
        match first_byte {
            Some(first_byte) => self.stream(ended, incoming, first_byte, sink).await,
            None => self.whole(ended, &mut incoming).await,
        }
    }

    /// Waits for `work` until the limits, `also` or the cancellation end it.
    async fn within<T>(
        &self,
        also: Option<Instant>,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Broken> {
        let (until, class) = self.limits.earliest(also);
        self.until(until, class, work).await
    }

    /// Waits for `work` until then, or the cancellation; passing `until` is a failure of that class.
    async fn until<T>(
        &self,
        until: Instant,
        class: Class,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Broken> {
        tokio::select! {
            biased;
            () = self.signals.cancel.cancelled() => Err(Broken::Cancelled),
            () = self.signals.handover.cancelled() => Err(Broken::HandedOver),
            result = timeout_at(until, work) => match result {
                Ok(result) => result.map_err(Broken::Failed),
                Err(_) => Err(Broken::Failed(Failure::new(class, LATE))),
            },
        }
    }

    async fn refusal(&self, ended: Ended, incoming: &mut Incoming, also: Option<Instant>) -> Ended {
        // An error document that does not arrive is no reason to lose the status.
        let body = match self.within(also, incoming.body()).await {
            Ok(body) => body,
            Err(Broken::Failed(_)) => Vec::new(),
            Err(broken) => return ended.broken(broken),
        };
        let mut failure = self.wire.classify(ended.head.status, &body);
        failure.retry_after = ended.head.retry_after.or(failure.retry_after);
        failure.request_id = ended.head.request_id.clone().or(failure.request_id);
        let failure = self.destination.provider.transport.refused(ended.head.credential, failure);
        ended.broken(Broken::Failed(failure))
    }

    async fn whole(&self, mut ended: Ended, incoming: &mut Incoming) -> Ended {
        let body = match self.within(None, incoming.body()).await {
            Ok(body) => body,
            Err(broken) => return ended.broken(broken),
        };
        match self.wire.decode(&self.asked, &body) {
            Ok(answer) => {
                ended.first_content_us = Some(tollgate_schemas::now_us());
                ended.answer = Some(answer);
                ended
            }
            Err(failure) => ended.broken(Broken::Failed(failure)),
        }
    }

    async fn stream<S: ChunkSink>(
        &self,
        ended: Ended,
        incoming: Incoming,
        first_byte: Instant,
        sink: Option<&mut S>,
    ) -> Ended {
        let mut stream = Stream {
            call: self,
            ended,
            decoder: match self.asked.begun {
                Some(begun) => self.wire.resumed(&self.asked, begun),
                None => self.wire.decoder(&self.asked),
            },
            parser: Parser::new(self.wire.framing()),
            frames: Vec::new(),
            held: Coalescer::default(),
            sink,
        };
        let broken = stream.run(incoming, first_byte).await.err();
        // What is still held goes out behind what the caller has seen; else if the answer is whole and it was about to go.
        if stream.held.is_open() || broken.is_none() && stream.held.due().is_some() {
            stream.flush().await;
        }
        let Stream { mut ended, decoder, held, sink, .. } = stream;
        ended.is_seen = sink.is_some() && held.is_open();
        if broken.is_some() && ended.is_seen && self.may_be_resumed {
            let (answer, begun) = decoder.broken();
            ended.begun = begun.map(|begun| Box::new(self.paid(begun, &answer)));
            ended.answer = Some(answer);
        } else {
            // An answer without any content has used nothing that anybody could count.
            ended.answer = (broken.is_none() || ended.first_content_us.is_some()).then(|| decoder.answer());
        }
        ended.broken = broken;
        ended
    }

    /// The beginning of an answer with what it has cost so far: this call, and those that it went on from.
    fn paid(&self, mut begun: Begun, answer: &Answer) -> Begun {
        let before = self.asked.begun.map(|begun| begun.spent).unwrap_or_default();
        begun.spent = before.plus(answer.usage_or_estimate(&self.asked).tokens);
        begun
    }
}
