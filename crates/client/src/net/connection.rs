//! One connection to one broker: requests go out in the order they were begun, answers find their
//! request by correlation id.
//!
//! Owns the socket, through a task that reads and one that writes.
//!
//! Invariants:
//! - I1: every request that was begun gets exactly one result: its answer, or the error that
//!   ended the connection.
//! - I2: bytes go out in the order of [`Connection::begin`], whoever calls it.
//! - I3: memory for an answer is taken as its bytes arrive, up to the bound that was given.
//! - I4: dropping the last handle ends both tasks, after what is queued was written or a moment
//!   has passed.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use messages::api_versions_response::ApiVersion;
use messages::header::{request_header_version, response_header_version};
use messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, Message, RequestHeader, ResponseHeader,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use wire::{Bytes, BytesMut, ErrorCode, Frame, Reader, Writer};

use crate::error::{ApiError, Error, Result};
use crate::request::{Request, highest_common};

/// A handle; clones share the connection.
#[derive(Clone, Debug)]
pub struct Connection(Arc<Handle>);

#[derive(Debug)]
struct Handle {
    address: String,
    client_id: String,
    versions: BTreeMap<i16, (i16, i16)>,
    out: mpsc::UnboundedSender<Queued>,
    pending: Arc<Mutex<Pending>>,
    /// Ends the tasks (I4).
    stop: watch::Sender<Stop>,
}

/// Whether the tasks go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    No,
    /// Nobody asks any more: what is queued is written first.
    Drain,
    Now,
}

/// A request to write, and whom to tell that it is written.
#[derive(Debug)]
struct Queued {
    frame: Frame,
    written: Option<oneshot::Sender<()>>,
}

/// That a request is written, to come.
#[derive(Debug)]
pub struct Written {
    receiver: oneshot::Receiver<()>,
    connection: Connection,
}

impl Written {
    /// Waits until the operating system has the bytes.
    ///
    /// # Errors
    /// The connection ended before, or `patience` did, which ends the connection.
    pub async fn done(self, patience: Duration) -> Result<()> {
        let address = self.connection.0.address.clone();
        match timeout(patience, self.receiver).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Error::Disconnected { address, why: "closed".into() }),
            Err(_) => {
                self.connection.kill("a request timed out");
                let what = format!("sending to {address}");
                Err(Error::Timeout { what, after: patience })
            }
        }
    }
}

/// Requests without an answer yet.
#[derive(Debug, Default)]
struct Pending {
    next_correlation: i32,
    waiting: BTreeMap<i32, oneshot::Sender<Result<Bytes>>>,
    dead: Option<Error>,
}

impl Pending {
    /// I1: whoever waits is told, and whoever comes later, too.
    fn fail(&mut self, error: Error) {
        let error = self.dead.get_or_insert(error).clone();
        for (_, waiter) in std::mem::take(&mut self.waiting) {
            let _ = waiter.send(Err(error.clone()));
        }
    }
}

/// An answer to come.
#[derive(Debug)]
pub struct Answer {
    receiver: oneshot::Receiver<Result<Bytes>>,
    connection: Connection,
    correlation: i32,
}

impl Connection {
    /// Connects and asks for the versions of every API, both within `connect_timeout`: a server
    /// that accepts and says nothing is as far away as one that does not accept.
    ///
    /// # Errors
    /// [`Error::Unreachable`], or what the broker answered.
    pub async fn open(
        address: &str,
        client_id: &str,
        connect_timeout: Duration,
        request_timeout: Duration,
        response_bytes_max: usize,
    ) -> Result<Self> {
        let unreachable = |why: String| Error::Unreachable { address: address.to_owned(), why };
        let began = Instant::now();
        let stream = match timeout(connect_timeout, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(unreachable(reason(&error))),
            Err(_) => {
                let ms = connect_timeout.as_millis();
                return Err(unreachable(format!("no connection within {ms} ms")));
            }
        };
        let _ = stream.set_nodelay(true);
        let (read, write) = stream.into_split();
        let pending = Arc::new(Mutex::new(Pending::default()));
        let (out, requests) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(Stop::No);
        tokio::spawn(write_requests(
            write,
            requests,
            pending.clone(),
            address.to_owned(),
            stopped.clone(),
        ));
        let reader = AnswerReader { read, max: response_bytes_max, pending: pending.clone() };
        tokio::spawn(reader.run(address.to_owned(), stopped));
        let handle = Handle {
            address: address.to_owned(),
            client_id: client_id.to_owned(),
            versions: BTreeMap::new(),
            out,
            pending,
            stop,
        };
        let mut connection = Self(Arc::new(handle));
        let left = connect_timeout.saturating_sub(began.elapsed());
        let late = |after: Duration| unreachable(format!("no answer in {} ms", after.as_millis()));
        let versions = match timeout(left, connection.ask_versions(request_timeout)).await {
            Ok(Ok(versions)) => versions,
            Ok(Err(Error::Timeout { after, .. })) => return Err(late(after)),
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(late(connect_timeout)),
        };
        let versions =
            versions.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect();
        if let Some(handle) = Arc::get_mut(&mut connection.0) {
            handle.versions = versions;
        }
        Ok(connection)
    }

    /// ApiVersions begins with what this client likes best; a broker that doesn't know that
    /// version says so in version 0 and names the versions it knows (KIP-511).
    async fn ask_versions(&self, patience: Duration) -> Result<Vec<ApiVersion>> {
        let mut version = API_VERSIONS_FIRST;
        for _ in 0..2 {
            let known = version >= 3;
            let request = ApiVersionsRequest {
                client_software_name: if known { "ottla".into() } else { String::new() },
                client_software_version: match known {
                    true => env!("CARGO_PKG_VERSION").into(),
                    false => String::new(),
                },
                ..Default::default()
            };
            let mut body = self.begin(&request, version)?.bytes(patience).await?;
            let refused = body.peek_i16() == Some(ErrorCode::UNSUPPORTED_VERSION.0);
            let answered = if refused { 0 } else { version };
            let response = ApiVersionsResponse::decode(&mut body.0, answered)
                .map_err(|error| self.protocol("ApiVersions", &error))?;
            if !refused {
                ApiError::check(response.error_code, None)?;
                return Ok(response.api_keys);
            }
            let own =
                response.api_keys.iter().find(|api| api.api_key == ApiKey::ApiVersions as i16);
            version = own.map_or(0, |api| api.max_version.clamp(0, API_VERSIONS_FIRST - 1));
        }
        Err(Error::Unsupported(format!("{} knows no version of ApiVersions", self.0.address)))
    }

    /// `host:port`.
    pub fn address(&self) -> &str {
        &self.0.address
    }

    /// First and last version of every API the broker serves, by key.
    pub fn versions(&self) -> &BTreeMap<i16, (i16, i16)> {
        &self.0.versions
    }

    /// The highest version of an API that both sides know.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if there is none.
    pub fn version(&self, api: ApiKey) -> Result<i16> {
        highest_common(api, self.0.versions.get(&(api as i16)).copied()).ok_or_else(|| {
            let name = api.facts().name;
            Error::Unsupported(format!("{} does not support {name}", self.0.address))
        })
    }

    /// True once the connection is of no use any more.
    pub fn is_dead(&self) -> bool {
        lock(&self.0.pending).dead.is_some()
    }

    /// Ends the connection; requests under way fail with `why`.
    pub fn kill(&self, why: &str) {
        let address = self.0.address.clone();
        lock(&self.0.pending).fail(Error::Disconnected { address, why: why.to_owned() });
        let _ = self.0.stop.send(Stop::Now);
    }

    /// Sends a request; the answer can be waited for. Never waits itself, so that the order of
    /// calls is the order on the wire (I2).
    ///
    /// # Errors
    /// A field that the version can't carry is set, or the connection is dead.
    pub fn begin<R: Request>(&self, request: &R, version: i16) -> Result<Answer> {
        let (sender, receiver) = oneshot::channel();
        let correlation = self.enqueue(request, version, Then::Answer(sender))?;
        Ok(Answer { receiver, connection: self.clone(), correlation })
    }

    /// Sends a request that is not answered (a produce with `acks=0`); that it is written can be
    /// waited for.
    ///
    /// # Errors
    /// As [`Self::begin`].
    pub fn tell<R: Request>(&self, request: &R, version: i16) -> Result<Written> {
        let (sender, receiver) = oneshot::channel();
        self.enqueue(request, version, Then::Written(sender))?;
        Ok(Written { receiver, connection: self.clone() })
    }

    fn enqueue<R: Request>(&self, request: &R, version: i16, then: Then) -> Result<i32> {
        let mut pending = lock(&self.0.pending);
        if let Some(error) = &pending.dead {
            return Err(error.clone());
        }
        let correlation = pending.next_correlation;
        let header = RequestHeader {
            request_api_key: R::KEY,
            request_api_version: version,
            correlation_id: correlation,
            client_id: Some(self.0.client_id.clone()),
            ..Default::default()
        };
        let mut writer = Writer::new();
        writer.i32(0);
        let encoded = header
            .encode(&mut writer, request_header_version(R::API, version))
            .and_then(|()| request.encode(&mut writer, version));
        if let Err(error) = encoded {
            let name = R::API.facts().name;
            let address = &self.0.address;
            return Err(Error::Unsupported(format!("{address}: {name}: {error}")));
        }
        writer.patch_size();
        pending.next_correlation = correlation.wrapping_add(1) & i32::MAX;
        let written = match then {
            Then::Answer(sender) => {
                pending.waiting.insert(correlation, sender);
                None
            }
            Then::Written(sender) => Some(sender),
        };
        // Within the lock: two callers must not swap between number and place (I2).
        if self.0.out.send(Queued { frame: writer.finish(), written }).is_err() {
            let address = self.0.address.clone();
            pending.fail(Error::Disconnected { address, why: "closed".into() });
        }
        Ok(correlation)
    }

    fn protocol(&self, api: &str, error: &wire::DecodeError) -> Error {
        // What follows on this connection can't be trusted either; but what is wrong with one
        // answer is not what became of the other requests.
        self.kill("an answer can't be read");
        Error::Protocol(format!("{api} answer of {}: {error}", self.0.address))
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let _ = self.stop.send(Stop::Drain);
    }
}

/// What is waited for after a request.
enum Then {
    Answer(oneshot::Sender<Result<Bytes>>),
    Written(oneshot::Sender<()>),
}

/// An answer's body, its header read.
struct Body(Reader);

impl Body {
    fn peek_i16(&self) -> Option<i16> {
        self.0.clone().i16().ok()
    }
}

impl Answer {
    /// Waits for the answer. One that is late ends the connection: what comes after it on the
    /// wire would be late, too, and a request sent again must not overtake the first.
    ///
    /// # Errors
    /// Timeout, a lost connection, or bytes that are no answer.
    pub async fn response<R: Request>(
        self,
        version: i16,
        patience: Duration,
    ) -> Result<R::Response> {
        let connection = self.connection.clone();
        let name = R::API.facts().name;
        let header = response_header_version(R::API, version);
        let mut body = self.body(header, name, patience).await?;
        let response = R::Response::decode(&mut body.0, version)
            .and_then(|response| body.0.finish().map(|()| response));
        response.map_err(|error| connection.protocol(name, &error))
    }

    async fn bytes(self, patience: Duration) -> Result<Body> {
        self.body(0, "ApiVersions", patience).await
    }

    async fn body(self, header: i16, name: &str, patience: Duration) -> Result<Body> {
        let bytes = match timeout(patience, self.receiver).await {
            Ok(Ok(answered)) => answered?,
            Ok(Err(_)) => {
                let address = self.connection.0.address.clone();
                return Err(Error::Disconnected { address, why: "closed".into() });
            }
            Err(_) => {
                let address = self.connection.address();
                let what = format!("{name} answer of {address}");
                self.connection.kill("a request timed out");
                return Err(Error::Timeout { what, after: patience });
            }
        };
        let mut reader = Reader::new(bytes);
        let header = ResponseHeader::decode(&mut reader, header)
            .map_err(|error| self.connection.protocol(name, &error))?;
        debug_assert_eq!(header.correlation_id, self.correlation, "I1");
        Ok(Body(reader))
    }
}

async fn write_requests(
    mut write: OwnedWriteHalf,
    mut requests: mpsc::UnboundedReceiver<Queued>,
    pending: Arc<Mutex<Pending>>,
    address: String,
    mut stopped: watch::Receiver<Stop>,
) {
    let written = {
        // Ends when the queue does, whose other end goes with the last handle.
        let mut writing = std::pin::pin!(write_all(&mut write, &mut requests));
        let stop = tokio::select! {
            written = &mut writing => Ok(written),
            stop = stopped.wait_for(|stop| *stop != Stop::No) => Err(stop.map(|stop| *stop)),
        };
        match stop {
            Ok(written) => written,
            Err(Ok(Stop::Drain)) => timeout(DRAIN, writing).await.unwrap_or(Ok(())),
            Err(_) => return,
        }
    };
    if let Err(error) = written {
        lock(&pending).fail(Error::Disconnected { address, why: reason(&error) });
    }
}

/// Writes what comes until nothing comes any more.
async fn write_all(
    write: &mut OwnedWriteHalf,
    requests: &mut mpsc::UnboundedReceiver<Queued>,
) -> io::Result<()> {
    while let Some(Queued { frame, written }) = requests.recv().await {
        for part in &frame.parts {
            write.write_all(part).await?;
        }
        if let Some(written) = written {
            // Whoever asked may have given up.
            let _ = written.send(());
        }
    }
    Ok(())
}

struct AnswerReader {
    read: OwnedReadHalf,
    max: usize,
    pending: Arc<Mutex<Pending>>,
}

impl AnswerReader {
    async fn run(mut self, address: String, mut stopped: watch::Receiver<Stop>) {
        let why = tokio::select! {
            why = self.answers() => why,
            _ = stopped.wait_for(|stop| *stop != Stop::No) => "closed".to_owned(),
        };
        lock(&self.pending).fail(Error::Disconnected { address, why });
    }

    /// Hands out answers until the connection ends; why it did.
    async fn answers(&mut self) -> String {
        let mut buffer = BytesMut::with_capacity(READ_BYTES);
        loop {
            while let Some(prefix) = buffer.first_chunk::<4>() {
                let size = i32::from_be_bytes(*prefix);
                let bound = usize::try_from(size).ok().filter(|size| (4..=self.max).contains(size));
                let Some(size) = bound else {
                    return format!("answer of {size} bytes, receive.message.max.bytes is less");
                };
                if buffer.len() < 4 + size {
                    // Invariant I3: room for what is there, doubled at most.
                    let missing = 4 + size - buffer.len();
                    buffer.reserve(missing.min(buffer.len().max(READ_BYTES)));
                    break;
                }
                let frame = buffer.split_to(4 + size).freeze().slice(4..);
                if let Err(why) = self.hand_out(frame) {
                    return why;
                }
            }
            match self.read.read_buf(&mut buffer).await {
                Ok(0) => return "closed by the broker".to_owned(),
                Ok(_) => {}
                Err(error) => return reason(&error),
            }
        }
    }

    fn hand_out(&self, frame: Bytes) -> Result<(), String> {
        let Some(correlation) = frame.first_chunk::<4>() else { return Err("short answer".into()) };
        let correlation = i32::from_be_bytes(*correlation);
        let waiter = lock(&self.pending).waiting.remove(&correlation);
        let Some(waiter) = waiter else {
            return Err(format!("answer to a request {correlation} that was not sent"));
        };
        // Whoever asked may have given up: then nobody is there, which is fine.
        let _ = waiter.send(Ok(frame));
        Ok(())
    }
}

/// An I/O error in a few words.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".into(),
        io::ErrorKind::ConnectionReset => "connection reset".into(),
        io::ErrorKind::TimedOut => "connection timed out".into(),
        _ if error.to_string().contains("failed to lookup address") => "unknown host".into(),
        _ => error.to_string(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing panics while it holds one of these; and if it did, the data is whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const API_VERSIONS_FIRST: i16 = 4;
const READ_BYTES: usize = 64 * 1024;
/// How long what is queued may take after the last handle is gone.
const DRAIN: Duration = Duration::from_secs(1);
