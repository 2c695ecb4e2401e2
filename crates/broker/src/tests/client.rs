//! A tiny blocking client: any request at a version over one connection, in order, pipelined if wanted. Deliberately absent:
//! reconnecting, retries, metadata, buffering: a test says what it sends and sees every answer, or that the connection broke.

use super::random::Random;
use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::{
    ResponseError,
    messages::{ApiKey, RequestHeader, ResponseHeader},
    protocol::{Decodable, HeaderVersion, Request, StrBytes, encode_request_header_into_buffer},
};
use std::{
    collections::VecDeque,
    fmt, io,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Longer than any answer may take on a busy machine; only a broker that hangs reaches it.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Why there is no good answer.
#[derive(Debug)]
pub(super) enum Error {
    /// The connection ended; whether the broker acted is unknown.
    Broken(io::Error),
    /// The broker's answer.
    Refused(ResponseError),
}

impl Error {
    /// The broker's answer.
    pub(super) fn code(&self) -> ResponseError {
        match self {
            Self::Refused(code) => *code,
            Self::Broken(error) => panic!("no answer: {error}"),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

pub(super) type Result<T> = std::result::Result<T, Error>;

/// An error code as a result.
pub(super) fn check(code: i16) -> Result<()> {
    ResponseError::try_from_code(code).map_or(Ok(()), |code| Err(Error::Refused(code)))
}

/// One connection.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    next_id: i32,
    /// Correlation ids of the answers to come.
    waiting: VecDeque<i32>,
    /// Picks versions; the newest if none.
    versions: Option<Random>,
}

impl Client {
    pub(super) fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        Ok(Self { stream, next_id: 0, waiting: VecDeque::new(), versions: None })
    }

    /// Speaks a random version in each request from now on.
    pub(super) fn with_random_versions(mut self, seed: u64) -> Self {
        self.versions = Some(Random::new(seed));
        self
    }

    /// The version to speak out of `lowest..=highest`.
    pub(super) fn version(&mut self, lowest: i16, highest: i16) -> i16 {
        let Some(random) = &mut self.versions else { return highest };
        i16::try_from(random.between(lowest.into(), highest.into())).unwrap()
    }

    /// Sends a request and waits for its answer.
    pub(super) fn call<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response> {
        self.send(version, request)?;
        self.receive::<R>(version)
    }

    /// Sends a request; [`Self::receive`] gets the answers in the same order.
    pub(super) fn send<R: Request>(&mut self, version: i16, request: &R) -> Result<()> {
        self.send_unanswered(version, request)?;
        self.waiting.push_back(self.next_id);
        Ok(())
    }

    /// Sends a request that is not answered.
    pub(super) fn send_unanswered<R: Request>(&mut self, version: i16, request: &R) -> Result<()> {
        self.next_id += 1;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.next_id)
            .with_client_id(Some(StrBytes::from_static_str("tests")));
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        encode_request_header_into_buffer(&mut frame, &header).unwrap();
        request.encode(&mut frame, version).unwrap();
        let len = i32::try_from(frame.len() - 4).unwrap();
        frame[..4].copy_from_slice(&len.to_be_bytes());
        self.send_raw(&frame)
    }

    /// Sends bytes as they are.
    pub(super) fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.stream.write_all(bytes)?)
    }

    /// The next answer.
    pub(super) fn receive<R: Request>(&mut self, version: i16) -> Result<R::Response> {
        let id = self.waiting.pop_front().expect("nothing was asked");
        let mut frame = self.receive_raw()?;
        let header = ResponseHeader::decode(&mut frame, R::Response::header_version(version)).unwrap();
        assert_eq!(header.correlation_id, id, "answers out of order");
        let answer = R::Response::decode(&mut frame, version);
        let answer = answer.unwrap_or_else(|error| panic!("{:?} v{version}: {error}", ApiKey::try_from(R::KEY)));
        assert!(frame.is_empty(), "{:?} v{version}: {} bytes too many", ApiKey::try_from(R::KEY), frame.len());
        Ok(answer)
    }

    /// The next frame as it is, without its length.
    pub(super) fn receive_raw(&mut self) -> Result<Bytes> {
        let mut len = [0; 4];
        self.stream.read_exact(&mut len)?;
        let mut frame = BytesMut::zeroed(usize::try_from(i32::from_be_bytes(len)).expect("a negative length"));
        self.stream.read_exact(&mut frame)?;
        Ok(frame.freeze())
    }

    /// Waits until the broker closes the connection; an answer instead is a failure.
    pub(super) fn expect_closed(&mut self) {
        match self.stream.read(&mut [0; 1]) {
            Ok(0) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            Ok(_) => panic!("it answered instead of closing the connection"),
            Err(error) => panic!("it did not close the connection: {error}"),
        }
    }
}
