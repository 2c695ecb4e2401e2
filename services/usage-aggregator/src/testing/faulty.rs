//! A store that lies, loses answers and goes away, as the test says.

use async_trait::async_trait;
use futures::{StreamExt, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, memory::InMemory, path::Path,
};
use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

/// What happens at the next put.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fault {
    /// Nothing is written and "already exists" is said, as S3's 409 does.
    FalseConflict,
    /// It is written and the answer is lost.
    LostAnswer,
    /// Nothing is written.
    Refused,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Faulty {
    inner: InMemory,
    puts: Mutex<VecDeque<Fault>>,
    down: AtomicBool,
    weather: Mutex<VecDeque<u8>>,
    reads: AtomicUsize,
}

impl Faulty {
    pub(crate) fn at_next_puts(&self, faults: &[Fault]) {
        self.puts.lock().unwrap().extend(faults);
    }

    pub(crate) fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    /// How often something was read so far; asking for a size counts.
    pub(crate) fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    /// What each call meets, one byte each, until they are used up; then all is well.
    pub(crate) fn set_weather(&self, weather: &[u8]) {
        *self.weather.lock().unwrap() = weather.iter().copied().collect();
    }

    /// Waits as long as the weather says, from nothing to beyond a session's life; and says whether this call fails, and how if
    /// it is a put.
    async fn weather(&self) -> Option<Fault> {
        let byte = self.weather.lock().unwrap().pop_front()?;
        match byte >> 4 {
            0..8 => tokio::task::yield_now().await,
            8..12 => tokio::time::sleep(Duration::from_millis(u64::from(byte & 15) * 50)).await,
            _ => tokio::time::sleep(Duration::from_secs(u64::from(byte & 15) * 4)).await,
        }
        match byte % 8 {
            0 => Some(Fault::Refused),
            4 => Some(Fault::FalseConflict),
            _ => None,
        }
    }

    fn check(&self) -> Result<()> {
        if self.down.load(Ordering::SeqCst) { Err(generic("down")) } else { Ok(()) }
    }
}

fn generic(reason: &'static str) -> Error {
    Error::Generic { store: "faulty", source: reason.into() }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.check()?;
        let fault = self.puts.lock().unwrap().pop_front();
        let fault = match fault {
            None => self.weather().await,
            fault => fault,
        };
        match fault {
            None => {
                let put = self.inner.put_opts(location, payload, opts).await;
                // The answer may be late, lost, or wrong, whatever became of the file.
                match (put, self.weather().await) {
                    (Ok(_), Some(_)) => Err(generic("timed out")),
                    (Err(Error::AlreadyExists { .. }), Some(_)) => Err(generic("connection reset")),
                    (put, _) => put,
                }
            }
            Some(Fault::FalseConflict) => {
                Err(Error::AlreadyExists { path: location.to_string(), source: "409".into() })
            }
            Some(Fault::LostAnswer) => {
                self.inner.put_opts(location, payload, opts).await?;
                Err(generic("timed out"))
            }
            Some(Fault::Refused) => Err(generic("no space left on device")),
        }
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.check()?;
        self.reads.fetch_add(1, Ordering::SeqCst);
        if self.weather().await.is_some() {
            return Err(generic("timed out"));
        }
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let bad = self.weather.lock().unwrap().pop_front().is_some_and(|byte| byte % 4 == 0);
        match self.check() {
            Ok(()) if bad => {
                // Breaks off in the middle: what came before must not be taken for all there is.
                self.inner.list(prefix).take(1).chain(futures::stream::iter([Err(generic("timed out"))])).boxed()
            }
            Ok(()) => self.inner.list(prefix),
            Err(error) => futures::stream::iter([Err(error)]).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.check()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
