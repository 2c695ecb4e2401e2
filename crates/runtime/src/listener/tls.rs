//! TLS of the listener: PEM files, read again when they change. Connections that stand go on with what they began with.

use crate::{config::Tls as Files, supervised};
use openssl::ssl::{AlpnError, Ssl, SslAcceptor, SslMethod, select_next_proto};
use openssl::{pkey::PKey, x509::X509};
use std::{
    io,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;
use tokio_util::sync::CancellationToken;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A certificate chain and a key are small; this stops a wrong path from eating the memory.
const FILE_MAX_BYTES: u64 = 1 << 20;
/// In the order of preference, as ALPN writes them.
const PROTOCOLS: &[u8] = b"\x02h2\x08http/1.1";

/// The acceptor as it is now. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tls(Arc<RwLock<Arc<SslAcceptor>>>);

impl Tls {
    /// Reads the files, and keeps reading them until `stop`.
    pub(super) async fn start(files: Files, stop: CancellationToken) -> io::Result<Self> {
        let mut pair = read(&files).await?;
        let tls = Self(Arc::new(RwLock::new(Arc::new(acceptor(&pair)?))));
        let current = tls.0.clone();
        supervised("tls reload", async move {
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
                let Ok(new) = read(&files).await else { continue };
                if new == pair {
                    continue;
                }
                match acceptor(&new) {
                    Ok(acceptor) => {
                        *current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(acceptor);
                        tracing::info!(cert = files.cert, "http.tls: the new certificate is in use");
                    }
                    // The one is written before the other, so this may pass.
                    Err(error) => {
                        tracing::warn!(%error, "http.tls: the changed files do not go together yet; the old ones stay in use")
                    }
                }
                pair = new;
            }
        });
        Ok(tls)
    }

    /// Shakes hands. The second is whether the peer speaks HTTP/2.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<(SslStream<TcpStream>, bool)> {
        let acceptor = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        let ssl = Ssl::new(acceptor.context())?;
        let mut stream = SslStream::new(ssl, stream)?;
        Pin::new(&mut stream).accept().await.map_err(io::Error::other)?;
        let http2 = stream.ssl().selected_alpn_protocol() == Some(b"h2");
        Ok((stream, http2))
    }
}

#[derive(PartialEq, Eq)]
struct Pair {
    cert: Vec<u8>,
    key: Vec<u8>,
}

async fn read(files: &Files) -> io::Result<Pair> {
    let one = async |field: &str, path: &str| {
        let failed = |error: io::Error| io::Error::new(error.kind(), format!("http.tls.{field}: {path}: {error}"));
        if tokio::fs::metadata(path).await.map_err(failed)?.len() > FILE_MAX_BYTES {
            return Err(failed(io::Error::other(format!("is larger than {FILE_MAX_BYTES} bytes"))));
        }
        tokio::fs::read(path).await.map_err(failed)
    };
    Ok(Pair { cert: one("cert", &files.cert).await?, key: one("key", &files.key).await? })
}

fn acceptor(pair: &Pair) -> io::Result<SslAcceptor> {
    let wrong = |what: &'static str| move |_| io::Error::other(format!("http.tls: {what}"));
    let mut chain = X509::stack_from_pem(&pair.cert).map_err(wrong("cert holds no PEM certificates"))?.into_iter();
    let own = chain.next().ok_or_else(|| io::Error::other("http.tls: cert holds no PEM certificate"))?;
    let key = PKey::private_key_from_pem_passphrase(&pair.key, b"")
        .map_err(wrong("key holds no PEM private key without a passphrase"))?;
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    builder.set_certificate(&own)?;
    for above in chain {
        builder.add_extra_chain_cert(above)?;
    }
    builder.set_private_key(&key).map_err(wrong("key does not belong to the first certificate of cert"))?;
    builder.check_private_key().map_err(wrong("key does not belong to the first certificate of cert"))?;
    builder.set_alpn_select_callback(|_, offered| select_next_proto(PROTOCOLS, offered).ok_or(AlpnError::NOACK));
    Ok(builder.build())
}
