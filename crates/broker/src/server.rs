//! The broker's thread: a listener, a task for each connection, the loops beside them; and how it all ends.

use crate::{
    Config, Error,
    access::Grants,
    api::{Api, Session},
    durability, housekeeping,
    node::{self, Node},
    wire,
};
use std::{
    future::Future,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, mpsc},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{JoinSet, LocalSet},
};
use tokio_util::sync::CancellationToken;

/// How long connections may take to write what is ready when the broker ends.
const DRAIN: Duration = Duration::from_secs(2);

/// Opens everything, sends the address, and serves until `stop`.
pub(crate) fn run(
    config: Config,
    grants: watch::Receiver<Arc<Grants>>,
    stop: &CancellationToken,
    started: &mpsc::SyncSender<SocketAddr>,
) -> Result<(), Error> {
    let address = config.listen;
    let listen = |reason| Error::Listen { address, reason };
    // Before recovery: a port that is taken is found out at once, and early clients wait in the backlog.
    let socket = std::net::TcpListener::bind(address).map_err(listen)?;
    socket.set_nonblocking(true).map_err(listen)?;
    let address = socket.local_addr().map_err(listen)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build();
    let runtime = runtime.map_err(|error| Error::Thread(error.to_string()))?;
    // Within the runtime, because opening may begin work in the background.
    let node = runtime.block_on(async { Node::open(config, grants) })?;
    let node = Rc::new(node);
    let result = LocalSet::new().block_on(&runtime, async {
        let listener = TcpListener::from_std(socket).map_err(listen)?;
        // The receiver is gone only if whoever starts the broker has died.
        let _ = started.send(address);
        serve(&node, listener, address, stop).await
    });
    let closed = runtime.block_on(node.close());
    runtime.shutdown_timeout(DRAIN);
    result.and(closed)
}

#[allow(clippy::disallowed_methods, reason = "the one place that starts tasks; each is joined or aborted in `serve`")]
fn start(tasks: &mut JoinSet<()>, work: impl Future<Output = ()> + 'static) {
    tasks.spawn_local(work);
}

async fn serve(
    node: &Rc<Node>,
    listener: TcpListener,
    address: SocketAddr,
    stop: &CancellationToken,
) -> Result<(), Error> {
    let (mut connections, mut beside) = (JoinSet::new(), JoinSet::new());
    start(&mut beside, node::run_groups(node.clone()));
    let (disk, house) = (durability::run(node.clone()), housekeeping::run(node.clone()));
    tokio::pin!(disk, house);
    let api = Rc::new(Api::new(node.clone()));
    let limits = Rc::new(wire::Limits { request_bytes: node.config.limits.request_bytes, ..wire::Limits::default() });
    let result = loop {
        tokio::select! {
            () = stop.cancelled() => break Ok(()),
            error = &mut disk => break Err(error),
            error = &mut house => break Err(error),
            Some(ended) = connections.join_next() => report(ended),
            Some(ended) = beside.join_next() => {
                report(ended);
                break Err(Error::Thread("a task of the broker ended".into()));
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) if connections.len() < node.config.limits.connections => {
                    let told = told(&node.config, &stream, peer, address);
                    let end = stop.child_token();
                    let session = Rc::new(Session::new(peer.ip(), told, node.grants.clone(), end.clone()));
                    start(&mut connections, connection(stream, peer, api.clone(), session, limits.clone(), end));
                }
                Ok((_, peer)) => tracing::warn!(%peer, limit = node.config.limits.connections, "too many connections; closed the newest"),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            },
        }
    };
    stop.cancel();
    drop(listener);
    // Answers that are ready go out; whoever does not take them has had its time.
    let _ = tokio::time::timeout(DRAIN, async { while connections.join_next().await.is_some() {} }).await;
    result
}

/// Where a client is told to connect; see [`Config::advertised`].
fn told(config: &Config, stream: &TcpStream, peer: SocketAddr, bound: SocketAddr) -> (String, u16) {
    let here = stream.local_addr().unwrap_or(bound);
    let elsewhere = config.advertised.as_ref().filter(|_| !peer.ip().is_loopback());
    elsewhere.cloned().unwrap_or_else(|| (here.ip().to_string(), here.port()))
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a task of the broker panicked; please report it");
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    api: Rc<Api>,
    session: Rc<Session>,
    limits: Rc<wire::Limits>,
    end: CancellationToken,
) {
    // Small answers must not wait for a full packet.
    let _ = stream.set_nodelay(true);
    let closed = tokio::select! {
        closed = wire::serve(stream, api.clone(), session.clone(), &limits, end) => closed,
        never = session.keep_judged() => match never {},
    };
    if let Some(reason) = closed.fault()
        && let Some(more) = api.node().closed.pass()
    {
        tracing::warn!(%peer, %reason, more, "closed a Kafka client's connection");
    }
}
