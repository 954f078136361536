//! One connection: a reader that turns bytes into requests, and a [`Line`] that turns answers into
//! bytes.
//!
//! The reader stops taking bytes when the connection has too many requests under way or all
//! connections together hold too much.
//!
//! Invariants:
//! - I1: what was asked before a connection has to be closed is answered first, within
//!   `LAST_WORDS`.
//! - I2: however a connection ends, by a panic too, it is counted and known no more.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use broker::{ConnId, Event, ListenerId, Node};
use bytes::{BufMut, Bytes, BytesMut};
use messages::ApiKey;
use rustix::io::ioctl_fionread;
use rustix::net::{RecvFlags, recv};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::task::{JoinHandle, yield_now};
use tokio::time::timeout;

use crate::line::{Line, is_light};
use crate::log_line::Limited;
use crate::shell::{Held, Shell};

/// Bounds over all connections.
#[derive(Debug)]
pub struct Limits {
    /// `socket.request.max.bytes`.
    pub request_max_bytes: usize,
    /// Bytes of requests held at a time over all connections.
    pub memory: Arc<Semaphore>,
    /// `connections.max.idle.ms`.
    pub idle: Duration,
    /// Lines about peers that misbehave.
    pub complaints: Limited,
    /// Connections now open.
    pub open: AtomicUsize,
    /// `max.connections`.
    pub connections_max: usize,
    /// Connections may do quick syncs: there is another thread of the runtime while one waits, and
    /// only one volume. What is next on a thread that waits, waits with it, and with several
    /// volumes that may be for another one's sake.
    pub helps: bool,
}

impl Limits {
    /// What the operator set, and half a gigabyte for requests under way; to be called in the
    /// runtime that serves.
    pub fn new(node: &Node, volumes: usize) -> Self {
        let runtime = Handle::current();
        let several = runtime.runtime_flavor() == RuntimeFlavor::MultiThread;
        let number = |key: &str| node.setting(key).max(0) as u64;
        let idle_ms = node.setting("connections.max.idle.ms");
        // A negative time is no limit.
        let idle = if idle_ms < 0 { FOREVER } else { Duration::from_millis(idle_ms as u64) };
        Self {
            request_max_bytes: number("socket.request.max.bytes") as usize,
            memory: Arc::new(Semaphore::new(REQUEST_MEMORY_BYTES)),
            idle,
            complaints: Limited::default(),
            open: AtomicUsize::new(0),
            connections_max: number("max.connections") as usize,
            helps: several && runtime.metrics().num_workers() > 1 && volumes == 1,
        }
    }
}

/// A frame with what pays for its memory: paid back with the last slice of it, be that in a decoded
/// request, in a queue or on its way to a disk.
struct PaidFrame {
    frame: Bytes,
    _memory: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for PaidFrame {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

/// A connection that is counted (I2).
pub struct Counted(Arc<Limits>);

impl Counted {
    /// Counts one more; `None` if that would be too many.
    pub fn one_more(limits: &Arc<Limits>) -> Option<Self> {
        let counted = Self(limits.clone());
        let before = limits.open.fetch_add(1, Ordering::Relaxed);
        (before < limits.connections_max).then_some(counted)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that is known (I2).
struct Open {
    shell: Arc<Shell>,
    conn: ConnId,
    writer: Option<JoinHandle<String>>,
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(writer) = &self.writer {
            writer.abort();
        }
        self.shell.disconnect(self.conn);
    }
}

/// Serves one connection to its end.
pub async fn serve(
    shell: Arc<Shell>,
    counted: Counted,
    (conn, listener): (ConnId, ListenerId),
    stream: TcpStream,
    peer: SocketAddr,
    mut stop: watch::Receiver<bool>,
) {
    let limits = counted.0.clone();
    let mut open = Open { shell: shell.clone(), conn, writer: None };
    let _ = stream.set_nodelay(true);
    let (read_half, write_half) = stream.into_split();
    let (closing, closed) = oneshot::channel();
    let line = Arc::new(Line::new(write_half, closing));
    shell.connect(conn, line.clone());
    shell.submit(Event::Connected(conn, format!("/{}", peer.ip())));
    let writer = {
        let (shell, line, idle) = (shell.clone(), line.clone(), limits.idle);
        async move { line.run(&shell.sender, idle).await }
    };
    let writer = open.writer.insert(tokio::spawn(writer));
    let mut reader = Reader {
        shell,
        limits: limits.clone(),
        conn,
        listener,
        read_half,
        buffer: BytesMut::new(),
        held: None,
        slots: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
        line: line.clone(),
        serial: 0,
        partial_since: Instant::now(),
        next: None,
        room: READ_MIN,
        is_full: false,
        events: Vec::new(),
    };
    let mut reason = String::new();
    let mut stopping = false;
    let mut written = None;
    tokio::select! {
        ended = reader.run() => match ended {
            // Who went away reads nothing any more.
            Ok(()) => return,
            Err(why) => reason = why,
        },
        ended = &mut *writer => written = Some(ended),
        // The node wants it closed: nothing more is read.
        _ = closed => {}
        _ = stop.wait_for(|stop| *stop) => stopping = true,
    }
    // I1; but a peer that doesn't read can't hold the node up.
    line.close(reader.serial, String::new());
    let last = async {
        let ended = match written {
            Some(ended) => ended,
            None => writer.await,
        };
        let ended = ended.unwrap_or_else(|error| error.to_string());
        if reason.is_empty() {
            reason = ended;
        }
        line.end();
        if !stopping {
            // Bytes left unread would make the system reset the connection, and take away answers
            // that the peer has not read yet.
            reader.discard().await;
        }
    };
    let _ = timeout(LAST_WORDS, last).await;
    if !reason.is_empty() {
        limits.complaints.line("WARN", &format!("closed {peer}: {reason}"));
    }
}

struct Reader {
    shell: Arc<Shell>,
    limits: Arc<Limits>,
    conn: ConnId,
    listener: ListenerId,
    read_half: OwnedReadHalf,
    buffer: BytesMut,
    /// Pays for what is in `buffer`.
    held: Option<OwnedSemaphorePermit>,
    slots: Arc<Semaphore>,
    line: Arc<Line>,
    serial: u64,
    /// Since when an unfinished request waits for its rest.
    partial_since: Instant,
    /// A request that waits for its place in line.
    next: Option<Bytes>,
    /// Room made for a read.
    room: usize,
    /// The last read filled what room there was: more may have come.
    is_full: bool,
    /// Requests that were read and are not yet brought to the node; nothing is waited for while
    /// there are any.
    events: Vec<Event>,
}

/// What keeps more requests from being gathered.
enum Ended {
    /// There are no more in the buffer.
    Empty,
    /// The next needs so many places in line.
    Full(u32),
}

impl Reader {
    /// Reads requests until the peer closes (`Ok`) or must be closed (the reason).
    async fn run(&mut self) -> Result<(), String> {
        loop {
            let ended = self.gather();
            // What came before an end by a fault is to be answered.
            match self.bring(ended).await? {
                Ended::Empty if !self.fill().await? => return Ok(()),
                Ended::Empty => {}
                Ended::Full(places) => {
                    let free = self.slots.acquire_many(places).await;
                    drop(free.map_err(|error| error.to_string())?);
                }
            }
        }
    }

    /// Takes requests out of the buffer.
    fn gather(&mut self) -> Result<Ended, String> {
        loop {
            let Some(frame) =
                self.next.take().map_or_else(|| self.next_frame(), |f| Ok(Some(f)))?
            else {
                return Ok(Ended::Empty);
            };
            let places = weight(&frame);
            let Ok(slot) = self.slots.clone().try_acquire_many_owned(places) else {
                self.next = Some(frame);
                return Ok(Ended::Full(places));
            };
            self.request(frame, slot)?;
        }
    }

    /// Brings what was gathered, and what can be gathered without waiting, to the node. If that
    /// makes a quick sync due it is done here, since nobody has to be woken for it then, and for
    /// all that has come when it begins. What comes meanwhile waits in the socket, for the next.
    /// Gives what ended the last gathering.
    async fn bring(&mut self, mut ended: Result<Ended, String>) -> Result<Ended, String> {
        if self.events.is_empty() {
            return ended;
        }
        let mut held = Held::new(self.shell.clone());
        held.bring(&mut self.events);
        // Several logs are better made durable side by side, by others.
        let may_help = self.limits.helps;
        let helps = |held: &Held| may_help && held.is_of_one_log();
        for _ in 0..GATHERED_IN_A_ROW {
            if !helps(&held) || !matches!(ended, Ok(Ended::Empty)) || !self.fill_at_hand() {
                break;
            }
            ended = self.gather();
            held.bring(&mut self.events);
        }
        let helps = helps(&held);
        let mut followed = held.tell(helps);
        let mut kept = 0;
        let mut woke = followed.woke;
        for _ in 0..KEPT_IN_A_ROW {
            // A task that was woken here may be run nowhere else while this thread waits.
            let Some(promise) = followed.promise.take().filter(|_| !followed.woke) else { break };
            followed = self.shell.keep(promise);
            woke |= followed.woke;
            kept += 1;
        }
        // Never with a promise in hand: this may be long.
        drop(followed);
        // Nobody may have looked for what came for others meanwhile, and a peer that always has
        // more would keep this thread from it, and from a task that was woken here.
        if kept == KEPT_IN_A_ROW || woke && self.is_full {
            yield_now().await;
        }
        ended
    }

    /// Reads what has come; false if that is nothing, or there is no memory for it. What is wrong
    /// with the connection is left to be seen by [`Self::fill`].
    fn fill_at_hand(&mut self) -> bool {
        // Not the runtime's way: that knows what has come only after it has looked for it.
        let socket: &TcpStream = self.read_half.as_ref();
        let come = ioctl_fionread(socket).map_or(0, |come| (come as usize).min(READ_MIN));
        if come == 0 {
            return false;
        }
        let memory = self.limits.memory.clone().try_acquire_many_owned(come as u32);
        let Ok(mut memory) = memory else { return false };
        let before = self.buffer.len();
        self.buffer.resize(before + come, 0);
        let into = self.buffer.get_mut(before..).unwrap_or_default();
        let read = recv(socket, into, RecvFlags::DONTWAIT).map_or(0, |(count, _)| count);
        self.buffer.truncate(before + read);
        self.is_full = read == READ_MIN;
        if let Some(memory) = memory.split(read) {
            self.hold(memory);
        }
        read > 0
    }

    /// Pays for what is in the buffer.
    fn hold(&mut self, memory: OwnedSemaphorePermit) {
        match &mut self.held {
            Some(held) => held.merge(memory),
            None => self.held = Some(memory),
        }
    }

    /// Reads and forgets until the peer closes.
    async fn discard(&mut self) {
        let mut sink = [0; 4096];
        while self.read_half.read(&mut sink).await.is_ok_and(|count| count > 0) {}
    }

    /// A whole frame from the buffer, without its size.
    fn next_frame(&mut self) -> Result<Option<Bytes>, String> {
        let Some(prefix) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let size = i32::from_be_bytes(*prefix);
        let size = usize::try_from(size).map_err(|_| format!("negative request size {size}"))?;
        if size > self.limits.request_max_bytes {
            return Err(format!(
                "request of {size} bytes is larger than socket.request.max.bytes of {}",
                self.limits.request_max_bytes
            ));
        }
        if self.buffer.len() < 4 + size {
            // Room grows with what has come, so a size alone claims no memory; a request that most
            // topics take gets all of it, which nothing is written to before it has come.
            let missing = 4 + size - self.buffer.len();
            let plenty = self.limits.memory.available_permits() > REQUEST_MEMORY_BYTES / 2;
            let at_once = if plenty { ROOM_AT_ONCE } else { READ_MIN };
            // And so much more that its end, too, is read without making room once more.
            self.buffer.reserve(missing.min(self.buffer.len().max(at_once)) + READ_MIN);
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(4 + size);
        let _ = frame.split_to(4);
        self.partial_since = Instant::now();
        Ok(Some(frame.freeze()))
    }

    /// Reads some bytes; false at the end of the stream.
    async fn fill(&mut self) -> Result<bool, String> {
        if self.buffer.capacity() - self.buffer.len() < self.room / 4 {
            self.buffer.reserve(self.room);
        }
        let room = (self.buffer.capacity() - self.buffer.len()).min(READ_MAX);
        // Bytes of an unfinished request are held for others to pay, so they are asked after.
        let partial = !self.buffer.is_empty();
        let patience = if partial { PARTIAL_PATIENCE } else { self.limits.idle };
        let scarce = self.limits.memory.available_permits() < REQUEST_MEMORY_BYTES / 4;
        if !partial {
            self.partial_since = Instant::now();
        } else if scarce && self.partial_since.elapsed() > PARTIAL_PATIENCE {
            return Err("its request stays unfinished while memory is scarce".to_owned());
        }
        let mut into = (&mut self.buffer).limit(room);
        let read = timeout(patience, self.read_half.read_buf(&mut into)).await;
        let count = match read {
            Ok(Ok(count)) => count,
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionReset => {
                return Ok(false);
            }
            Ok(Err(error)) => return Err(error.to_string()),
            // Waiting for an answer is not idling.
            Err(_) if self.slots.available_permits() < IN_FLIGHT_MAX => return Ok(true),
            Err(_) if partial && self.partial_since.elapsed() < self.limits.idle => {
                return Ok(true);
            }
            Err(_) => return Err("idle for longer than connections.max.idle.ms".to_owned()),
        };
        if count == 0 {
            return Ok(false);
        }
        // Whoever sends more at once than there was room for is read in fewer, larger pieces.
        self.is_full = count == room;
        let grown = if self.is_full { self.room * 2 } else { self.room.min(count * 4) };
        self.room = grown.clamp(READ_MIN, READ_MAX);
        let charge = self.limits.memory.clone().acquire_many_owned(count as u32);
        let permit = timeout(MEMORY_PATIENCE, charge)
            .await
            .map_err(|_| "no memory for its request; others hold it all".to_owned())?
            .map_err(|error| error.to_string())?;
        self.hold(permit);
        Ok(true)
    }

    fn request(&mut self, frame: Bytes, slot: OwnedSemaphorePermit) -> Result<(), String> {
        let cost = frame.len() + 4;
        let memory = self.held.as_mut().and_then(|held| held.split(cost));
        let frame = Bytes::from_owner(PaidFrame { frame, _memory: memory });
        let event = broker::connection::read(self.conn, self.listener, self.serial, frame)?;
        self.line.hold(self.serial, slot);
        self.serial += 1;
        self.events.push(event);
        Ok(())
    }
}

/// How many places in line a request takes. Its answer is held in memory until the peer reads it,
/// so of those whose answers grow with the cluster few are under way at a time.
fn weight(frame: &[u8]) -> u32 {
    let key = frame.first_chunk::<2>().map(|key| i16::from_be_bytes(*key));
    match key.and_then(ApiKey::from_i16) {
        // The records of a Fetch are read from disk when it is its turn to be written.
        Some(api) if is_light(api) => 1,
        _ => HEAVY,
    }
}

/// Requests of one connection under way at a time.
const IN_FLIGHT_MAX: usize = 1024;
/// The places of a request with a large answer: eight of those are under way at a time.
const HEAVY: u32 = 128;
/// Syncs that a connection does before it reads on; more are left to others.
const KEPT_IN_A_ROW: usize = 2;
/// How often a connection looks for more before it tells of what it has.
const GATHERED_IN_A_ROW: usize = 16;
/// Room made for a read, at least.
const READ_MIN: usize = 64 << 10;
/// And at most.
const READ_MAX: usize = 256 << 10;
/// Room made for the rest of a request, if there is plenty of memory: for one of 1 MiB.
const ROOM_AT_ONCE: usize = (1 << 20) + (64 << 10);
/// Bytes of requests over all connections.
const REQUEST_MEMORY_BYTES: usize = 512 << 20;
/// No connection lives so long.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 86_400);
/// How long an unfinished request is left alone.
const PARTIAL_PATIENCE: Duration = Duration::from_secs(60);
/// How long a peer's bytes may wait for memory that others hold.
const MEMORY_PATIENCE: Duration = Duration::from_secs(30);
/// How long answers under way may take when a connection is closed.
const LAST_WORDS: Duration = Duration::from_secs(5);
