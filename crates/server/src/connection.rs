//! One connection: a reader that turns bytes into requests, a writer that turns answers into
//! bytes.
//!
//! The reader stops taking bytes when the connection has too many requests under way or all
//! connections together hold too much; the writer puts answers back into the order of requests.
//!
//! Invariants:
//! - I1: what was asked before a connection has to be closed is answered first, within
//!   `LAST_WORDS`.
//! - I2: however a connection ends, by a panic too, it is counted and known no more.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use broker::{ConnId, Event, ListenerId, Node, Reply};
use bytes::{Bytes, BytesMut};
use messages::ApiKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::log_line::Limited;
use crate::shell::{Outgoing, Shell};

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
}

impl Limits {
    /// What the operator set, and half a gigabyte for requests under way.
    pub fn new(node: &Node) -> Self {
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
        }
    }
}

/// A request's place in line, held until it is answered. Its memory is paid for by its frame.
#[derive(Debug)]
pub struct Ticket {
    slot: OwnedSemaphorePermit,
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

/// A connection that is counted and known (I2).
struct Open {
    shell: Arc<Shell>,
    limits: Arc<Limits>,
    conn: ConnId,
    writer: Option<JoinHandle<String>>,
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(writer) = &self.writer {
            writer.abort();
        }
        self.shell.disconnect(self.conn);
        self.limits.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves one connection to its end.
pub async fn serve(
    shell: Arc<Shell>,
    limits: Arc<Limits>,
    (conn, listener): (ConnId, ListenerId),
    stream: TcpStream,
    peer: SocketAddr,
    mut stop: watch::Receiver<bool>,
) {
    limits.open.fetch_add(1, Ordering::Relaxed);
    let mut open = Open { shell: shell.clone(), limits: limits.clone(), conn, writer: None };
    let _ = stream.set_nodelay(true);
    let (read_half, write_half) = stream.into_split();
    let (sender, receiver) = mpsc::unbounded_channel();
    let (closing, closed) = oneshot::channel();
    shell.connect(conn, sender.clone());
    shell.submit(Event::Connected(conn, format!("/{}", peer.ip())));
    let writer = write(shell.clone(), write_half, receiver, limits.idle, closing);
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
        sender,
        serial: 0,
        partial_since: Instant::now(),
    };
    let mut reason = String::new();
    let mut stopping = false;
    // True if what is under way is still to be answered.
    let answers = tokio::select! {
        ended = reader.run() => match ended {
            // Who went away reads nothing any more.
            Ok(()) => false,
            Err(why) => {
                reason = why;
                true
            }
        },
        ended = &mut *writer => {
            reason = ended.unwrap_or_else(|error| error.to_string());
            false
        }
        // The node wants it closed: nothing more is read.
        _ = closed => true,
        _ = stop.wait_for(|stop| *stop) => {
            stopping = true;
            true
        }
    };
    if answers {
        // I1; but a peer that doesn't read can't hold the node up.
        let _ = reader.sender.send(Outgoing::Close(reader.serial, String::new()));
        let last = async {
            let ended = writer.await.unwrap_or_else(|error| error.to_string());
            if reason.is_empty() {
                reason = ended;
            }
            if !stopping {
                // Bytes left unread would make the system reset the connection, and take away
                // answers that the peer has not read yet.
                reader.discard().await;
            }
        };
        let _ = timeout(LAST_WORDS, last).await;
    }
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
    sender: mpsc::UnboundedSender<Outgoing>,
    serial: u64,
    /// Since when an unfinished request waits for its rest.
    partial_since: Instant,
}

impl Reader {
    /// Reads requests until the peer closes (`Ok`) or must be closed (the reason).
    async fn run(&mut self) -> Result<(), String> {
        loop {
            while let Some(frame) = self.next_frame()? {
                self.request(frame).await?;
            }
            if !self.fill().await? {
                return Ok(());
            }
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
            // Room grows with what has come, so a size alone claims no memory.
            let missing = 4 + size - self.buffer.len();
            self.buffer.reserve(missing.min(self.buffer.len().max(READ_MIN)));
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(4 + size);
        let _ = frame.split_to(4);
        self.partial_since = Instant::now();
        Ok(Some(frame.freeze()))
    }

    /// Reads some bytes; false at the end of the stream.
    async fn fill(&mut self) -> Result<bool, String> {
        if self.buffer.capacity() - self.buffer.len() < READ_MIN / 4 {
            self.buffer.reserve(READ_MIN);
        }
        // Bytes of an unfinished request are held for others to pay, so they are asked after.
        let partial = !self.buffer.is_empty();
        let patience = if partial { PARTIAL_PATIENCE } else { self.limits.idle };
        let scarce = self.limits.memory.available_permits() < REQUEST_MEMORY_BYTES / 4;
        if !partial {
            self.partial_since = Instant::now();
        } else if scarce && self.partial_since.elapsed() > PARTIAL_PATIENCE {
            return Err("its request stays unfinished while memory is scarce".to_owned());
        }
        let read = timeout(patience, self.read_half.read_buf(&mut self.buffer)).await;
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
        let charge = self.limits.memory.clone().acquire_many_owned(count as u32);
        let permit = timeout(MEMORY_PATIENCE, charge)
            .await
            .map_err(|_| "no memory for its request; others hold it all".to_owned())?
            .map_err(|error| error.to_string())?;
        match &mut self.held {
            Some(held) => held.merge(permit),
            None => self.held = Some(permit),
        }
        Ok(true)
    }

    async fn request(&mut self, frame: Bytes) -> Result<(), String> {
        let slots = self.slots.clone().acquire_many_owned(weight(&frame));
        let slot = slots.await.map_err(|error| error.to_string())?;
        let cost = frame.len() + 4;
        let memory = self.held.as_mut().and_then(|held| held.split(cost));
        let frame = Bytes::from_owner(PaidFrame { frame, _memory: memory });
        let event = broker::connection::read(self.conn, self.listener, self.serial, frame)?;
        let ticket = Ticket { slot };
        // A closed channel means the writer ended, which ends this reader too.
        let _ = self.sender.send(Outgoing::Ticket(self.serial, ticket));
        self.serial += 1;
        self.shell.submit(event);
        Ok(())
    }
}

/// How many places in line a request takes. Its answer is held in memory until the peer reads it,
/// so of those whose answers grow with the cluster few are under way at a time.
fn weight(frame: &[u8]) -> u32 {
    let key = frame.first_chunk::<2>().map(|key| i16::from_be_bytes(*key));
    match key.and_then(ApiKey::from_i16) {
        // The records of a Fetch are read from disk when it is its turn to be written.
        Some(
            ApiKey::Produce
            | ApiKey::Fetch
            | ApiKey::ListOffsets
            | ApiKey::OffsetCommit
            | ApiKey::FindCoordinator
            | ApiKey::JoinGroup
            | ApiKey::Heartbeat
            | ApiKey::LeaveGroup
            | ApiKey::SyncGroup
            | ApiKey::ApiVersions
            | ApiKey::InitProducerId,
        ) => 1,
        _ => HEAVY,
    }
}

/// Puts answers into the order of their requests, up to where the connection is to end.
struct Order<R> {
    early: BTreeMap<u64, R>,
    next: u64,
    /// The lowest number that is not answered any more, and why.
    until: Option<(u64, String)>,
}

impl<R> Order<R> {
    fn new() -> Self {
        Self { early: BTreeMap::new(), next: 0, until: None }
    }

    /// Ends it before that number. Several may want that, and threads deliver in any order: the
    /// lowest counts, because that request has no other answer.
    fn close(&mut self, serial: u64, reason: String) {
        if self.until.as_ref().is_none_or(|(known, _)| serial < *known) {
            self.until = Some((serial, reason));
        }
    }

    /// The next answer, if it is there.
    fn pop(&mut self) -> Option<(u64, R)> {
        if self.until.as_ref().is_some_and(|(serial, _)| *serial <= self.next) {
            return None;
        }
        let answer = self.early.remove(&self.next)?;
        self.next += 1;
        Some((self.next - 1, answer))
    }

    /// Why it has ended, once all before the end is answered.
    fn ended(&mut self) -> Option<String> {
        let next = self.next;
        self.until.take_if(|(serial, _)| *serial <= next).map(|(_, reason)| reason)
    }
}

/// Writes answers in the order of their requests; ends with the reason to close, or an empty one.
/// Tells `closing` when the connection is to be closed.
async fn write(
    shell: Arc<Shell>,
    mut half: OwnedWriteHalf,
    mut receiver: mpsc::UnboundedReceiver<Outgoing>,
    idle: Duration,
    closing: oneshot::Sender<()>,
) -> String {
    let mut order: Order<Reply> = Order::new();
    let mut tickets: BTreeMap<u64, Ticket> = BTreeMap::new();
    let mut closing = Some(closing);
    while let Some(outgoing) = receiver.recv().await {
        match outgoing {
            Outgoing::Ticket(serial, ticket) => drop(tickets.insert(serial, ticket)),
            Outgoing::Reply(reply) => drop(order.early.insert(reply.call.serial, reply)),
            Outgoing::Close(serial, reason) => {
                order.close(serial, reason);
                closing.take().map(|closing| closing.send(()));
            }
        }
        while let Some((serial, reply)) = order.pop() {
            let name = reply.call.api.facts().name;
            // Its place in line is free when the answer is written.
            let slot = tickets.remove(&serial).map(|ticket| ticket.slot);
            match reply.encode(shell.disk()) {
                Ok(Some(frame)) => {
                    match timeout(idle, write_parts(&mut half, &frame.parts)).await {
                        Ok(Ok(())) => {}
                        Ok(Err(error)) => return gone(&error),
                        Err(_) => return "it does not read its answers".to_owned(),
                    }
                }
                Ok(None) => {}
                Err(error) => return format!("{name} response: {error}"),
            }
            drop(slot);
        }
        if let Some(reason) = order.ended() {
            return reason;
        }
    }
    String::new()
}

/// A peer that went away is no news.
fn gone(error: &std::io::Error) -> String {
    use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
    if matches!(error.kind(), BrokenPipe | ConnectionReset) {
        String::new()
    } else {
        error.to_string()
    }
}

async fn write_parts(half: &mut OwnedWriteHalf, parts: &[Bytes]) -> std::io::Result<()> {
    if let [only] = parts {
        return half.write_all(only).await;
    }
    let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let mut rest = slices.as_mut_slice();
    while !rest.is_empty() {
        let written = half.write_vectored(rest).await?;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        IoSlice::advance_slices(&mut rest, written);
    }
    Ok(())
}

/// Requests of one connection under way at a time.
const IN_FLIGHT_MAX: usize = 1024;
/// The places of a request with a large answer: eight of those are under way at a time.
const HEAVY: u32 = 128;
/// Room made for a read.
const READ_MIN: usize = 64 << 10;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(order: &mut Order<()>) -> Vec<u64> {
        std::iter::from_fn(|| order.pop()).map(|(serial, ())| serial).collect()
    }

    #[test]
    fn answers_leave_in_the_order_of_requests() {
        let mut order = Order::new();
        order.early.insert(1, ());
        assert!(answers(&mut order).is_empty());
        order.early.insert(0, ());
        assert_eq!(answers(&mut order), [0, 1]);
        assert_eq!(order.ended(), None);
    }

    #[test]
    fn the_lowest_end_counts_whichever_is_heard_first() {
        for ends in [[3, 5], [5, 3]] {
            let mut order = Order::new();
            for serial in [0, 1, 2, 4] {
                order.early.insert(serial, ());
            }
            for serial in ends {
                order.close(serial, format!("at {serial}"));
            }
            assert_eq!(answers(&mut order), [0, 1, 2]);
            assert_eq!(order.ended(), Some("at 3".to_owned()));
        }
    }

    #[test]
    fn what_was_asked_before_the_end_is_waited_for() {
        let mut order = Order::new();
        order.early.insert(0, ());
        order.close(2, "garbage".to_owned());
        assert_eq!((answers(&mut order), order.ended()), (vec![0], None));
        order.early.insert(2, ());
        order.early.insert(1, ());
        assert_eq!((answers(&mut order), order.ended()), (vec![1], Some("garbage".to_owned())));
    }
}
