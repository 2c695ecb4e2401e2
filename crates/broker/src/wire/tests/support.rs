//! A client on a loopback socket, and a handler that a test scripts.

use super::super::{
    Answer, Handler, Limits, Refused, Reply, Request,
    connection::{Closed, serve},
};
use bytes::Bytes;
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslAuthenticateResponse};
use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Far more than any test needs; a hang fails instead of lasting.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

type Answering = Box<dyn Fn(Request) -> Answer>;

/// Answers with a closure, and counts what it is told.
#[derive(Default)]
pub(super) struct Script {
    answer: RefCell<Option<Answering>>,
    pub(super) handled: Cell<usize>,
    pub(super) hurried: Cell<usize>,
    pub(super) gone: Cell<usize>,
    pub(super) on_hurry: tokio::sync::Notify,
    pub(super) stop: CancellationToken,
}

impl Script {
    pub(super) fn new(answer: impl Fn(Request) -> Answer + 'static) -> Rc<Self> {
        Rc::new(Self { answer: RefCell::new(Some(Box::new(answer))), ..Self::default() })
    }

    /// For an answer that needs the script itself.
    pub(super) fn set(&self, answer: impl Fn(Request) -> Answer + 'static) {
        *self.answer.borrow_mut() = Some(Box::new(answer));
    }

    pub(super) fn clear(&self) {
        self.answer.borrow_mut().take();
    }
}

impl Handler for Script {
    type Session = ();

    fn handle(&self, _: &Rc<()>, request: Request) -> Answer {
        self.handled.set(self.handled.get() + 1);
        self.answer.borrow().as_ref().map_or(Answer::Nothing, |answer| answer(request))
    }

    fn more_waiting(&self, _: &Rc<()>) {
        self.hurried.set(self.hurried.get() + 1);
        self.on_hurry.notify_waiters();
    }

    fn gone(&self, _: &Rc<()>) {
        self.gone.set(self.gone.get() + 1);
    }
}

/// Sends back the bytes of a SaslAuthenticate request, the simplest one with a body of any size.
pub(super) fn echo(request: &Request) -> Result<Reply, Refused> {
    let body: SaslAuthenticateRequest = request.decode()?;
    request.reply(&SaslAuthenticateResponse::default().with_error_message(None).with_auth_bytes(body.auth_bytes))
}

pub(super) fn echo_now(request: &Request) -> Answer {
    echo(request).map_or_else(|refused| Answer::Close(refused.to_string()), Answer::Now)
}

/// SaslAuthenticate version 0, with its length prefix.
pub(super) fn request(correlation_id: i32, body: &[u8]) -> Vec<u8> {
    let length = 2 + 2 + 4 + 2 + 4 + body.len() as i32;
    let mut bytes = [&length.to_be_bytes()[..], &[0, 36, 0, 0], &correlation_id.to_be_bytes(), &[0xff, 0xff]].concat();
    bytes.extend((body.len() as i32).to_be_bytes());
    bytes.extend(body);
    bytes
}

pub(super) struct Client(pub(super) TcpStream);

impl Client {
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// A reply without its length prefix.
    pub(super) async fn receive(&mut self) -> Bytes {
        let length = self.0.read_i32().await.unwrap();
        let mut bytes = vec![0; length as usize];
        self.0.read_exact(&mut bytes).await.unwrap();
        bytes.into()
    }

    /// The correlation id and the body that [`echo`] sent back.
    pub(super) async fn receive_echo(&mut self) -> (i32, Bytes) {
        let bytes = self.receive().await;
        // Correlation id, error code, null message, length.
        assert_eq!(bytes[4..8], [0, 0, 0xff, 0xff]);
        (i32::from_be_bytes(bytes[..4].try_into().unwrap()), bytes.slice(12..))
    }

    pub(super) async fn is_closed(&mut self) -> bool {
        // A reset counts: the server closed with something unread.
        matches!(self.0.read(&mut [0]).await, Ok(0) | Err(_))
    }
}

pub(super) async fn connect() -> (Client, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (Client(client.unwrap()), accepted.unwrap().0)
}

/// Serves one connection while `client` plays. It ends when `client` returns and so closes it.
pub(super) async fn play(limits: &Limits, script: &Rc<Script>, client: impl AsyncFnOnce(Client)) -> Closed {
    let (near, far) = connect().await;
    let served = serve(far, script.clone(), Rc::new(()), limits, script.stop.clone());
    let both = async { tokio::join!(served, client(near)) };
    let (closed, ()) = timeout(PATIENCE, both).await.expect("a test does not hang");
    assert_eq!(script.gone.get(), 1);
    script.clear();
    closed
}

/// Until something is so; the test hangs, and so fails, if it never is.
pub(super) async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
