//! The way out of a connection: answers leave in the order of their requests.
//!
//! Whoever brings the answer that is next sends it, if it is small, at hand, and the socket takes
//! it at once: the thread that made a batch durable also tells its producer, and no other thread
//! has to wake up for that. Everything else is done by the connection's writer task.
//!
//! Invariants:
//! - I1: one thread sends at a time; it holds `sending`, not the lock.
//! - I2: a thread that brings an answer never waits for the peer or the device.
//! - I3: whoever stops sending looks first for answers that came meanwhile, or wakes the task.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use broker::Reply;
use broker::reply::Body;
use bytes::Bytes;
use messages::ApiKey;
use rustix::net::{Shutdown, shutdown};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};
use tokio::task::coop::consume_budget;

use crate::send::{Answer, Sender};

/// One connection's way out.
#[derive(Debug)]
pub struct Line {
    half: OwnedWriteHalf,
    state: Mutex<State>,
    /// Wakes the writer task.
    wake: Notify,
}

#[derive(Debug)]
struct State {
    order: Order<Reply>,
    /// The places in line of requests that are not answered, by their serial.
    places: BTreeMap<u64, OwnedSemaphorePermit>,
    /// Somebody sends, or nothing is sent any more.
    sending: bool,
    /// What somebody could not finish and left, with `sending`, to the task.
    left: Option<Left>,
    /// Told once when the connection is to be closed.
    closing: Option<oneshot::Sender<()>>,
}

/// What is left to do of an answer, and the place in line it holds.
#[derive(Debug)]
struct Left {
    what: What,
    place: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
enum What {
    /// All of it.
    Reply(Box<Reply>),
    /// Sending it, or its rest.
    Answer(Answer),
    /// Giving up, with the reason.
    Broken(String),
}

impl Line {
    /// The way out by this half; `closing` is told when the connection is to be closed.
    pub fn new(half: OwnedWriteHalf, closing: oneshot::Sender<()>) -> Self {
        let state = State {
            order: Order::new(),
            places: BTreeMap::new(),
            sending: false,
            left: None,
            closing: Some(closing),
        };
        Self { half, state: Mutex::new(state), wake: Notify::new() }
    }

    /// Keeps the place of a request until it is answered.
    pub fn hold(&self, serial: u64, place: OwnedSemaphorePermit) {
        self.lock().places.insert(serial, place);
    }

    /// Ends it when the requests below that serial are answered.
    pub fn close(&self, serial: u64, reason: String) {
        let mut state = self.lock();
        state.order.close(serial, reason);
        let closing = state.closing.take();
        drop(state);
        // The connection may be on its way out by itself.
        let _ = closing.map(|closing| closing.send(()));
        self.wake.notify_one();
    }

    /// Takes an answer; sends it and those that waited for it, up to so many, and gives how many.
    /// The task sends the others.
    pub fn answer(&self, reply: Reply, sender: &Sender, here: usize) -> usize {
        let mut sent = 0;
        let mut state = self.lock();
        state.order.early.insert(reply.call.serial, reply);
        while sent < here && !state.sending {
            let Some((reply, place)) = state.next() else { break };
            drop(state);
            let guard = Unfinished(self);
            let left = self.try_send(reply, place, sender);
            std::mem::forget(guard);
            state = self.lock();
            state.left = left;
            if state.left.is_some() {
                break;
            }
            state.sending = false;
            sent += 1;
        }
        // I3. If another sends, it looks for more itself.
        let ended = state.order.until.is_some();
        if state.left.is_some() || (!state.sending && (ended || state.order.is_ready())) {
            drop(state);
            self.wake.notify_one();
        }
        sent
    }

    /// Sends an answer if nobody has to be waited for; else gives what is left to do.
    fn try_send(
        &self,
        reply: Reply,
        place: Option<OwnedSemaphorePermit>,
        sender: &Sender,
    ) -> Option<Left> {
        let left = |what| Some(Left { what, place });
        if !is_light(reply.call.api) || matches!(reply.body, Body::Offsets(_)) {
            return left(What::Reply(Box::new(reply)));
        }
        let name = reply.call.api.facts().name;
        let parts = match sender.prepare_at_hand(reply) {
            Ok(Ok(None)) => return None,
            Ok(Ok(Some(answer))) => match answer.into_parts() {
                Ok(parts) => parts,
                Err(answer) => return left(What::Answer(answer)),
            },
            Ok(Err(reply)) => return left(What::Reply(Box::new(reply))),
            Err(error) => return left(What::Broken(format!("{name} response: {error}"))),
        };
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let sent = match self.half.try_write_vectored(&slices) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return left(What::Broken(gone(&error))),
        };
        let rest = rest(parts, sent);
        if rest.is_empty() { None } else { left(What::Answer(Answer::rest(rest))) }
    }

    /// The writer task: sends what was left to it; ends with the reason to close, or an empty one.
    /// Nothing is sent after that.
    pub async fn run(&self, sender: &Sender, idle: Duration) -> String {
        loop {
            let Some(Left { what, place }) = (match self.lock().left_to_do() {
                Ok(left) => left,
                Err(reason) => return reason,
            }) else {
                self.wake.notified().await;
                continue;
            };
            if let Err(reason) = self.finish(what, sender, idle).await {
                return reason;
            }
            drop(place);
            self.lock().sending = false;
            // Nor may a peer whose socket always takes more keep a thread from all others.
            consume_budget().await;
        }
    }

    async fn finish(&self, what: What, sender: &Sender, idle: Duration) -> Result<(), String> {
        let answer = match what {
            What::Broken(reason) => return Err(reason),
            What::Answer(answer) => answer,
            What::Reply(reply) => {
                let name = reply.call.api.facts().name;
                let answer = sender.prepare(*reply).await;
                match answer.map_err(|error| format!("{name} response: {error}"))? {
                    Some(answer) => answer,
                    None => return Ok(()),
                }
            }
        };
        sender.send(&self.half, &answer, idle).await.map_err(|error| gone(&error))
    }

    /// Tells the peer that nothing more comes.
    pub fn end(&self) {
        // It may be gone already.
        let _ = shutdown(self.half.as_ref(), Shutdown::Write);
    }

    /// The data under this lock is whole at every point a panic can occur.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the connection if sending panics: nobody else may go on in the middle of an answer.
struct Unfinished<'a>(&'a Line);

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        let what = What::Broken("its answer could not be made; see the panic above".to_owned());
        self.0.lock().left = Some(Left { what, place: None });
        self.0.wake.notify_one();
    }
}

impl State {
    /// The answer that is next, if it is there, for whoever sends from now on.
    fn next(&mut self) -> Option<(Reply, Option<OwnedSemaphorePermit>)> {
        let (serial, reply) = self.order.pop()?;
        self.sending = true;
        Some((reply, self.places.remove(&serial)))
    }

    /// What the task does next, if anything.
    ///
    /// # Errors
    /// Nothing any more, for that reason.
    fn left_to_do(&mut self) -> Result<Option<Left>, String> {
        if let Some(left) = self.left.take() {
            return Ok(Some(left));
        }
        if self.sending {
            return Ok(None);
        }
        if let Some((reply, place)) = self.next() {
            return Ok(Some(Left { what: What::Reply(Box::new(reply)), place }));
        }
        match self.order.ended() {
            Some(reason) => {
                self.sending = true;
                Err(reason)
            }
            None => Ok(None),
        }
    }
}

/// Puts answers into the order of their requests, up to where the connection is to end.
#[derive(Debug)]
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

    fn is_ready(&self) -> bool {
        let open = self.until.as_ref().is_none_or(|(serial, _)| *serial > self.next);
        open && self.early.contains_key(&self.next)
    }

    /// The next answer, if it is there.
    fn pop(&mut self) -> Option<(u64, R)> {
        if !self.is_ready() {
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

/// What is left of the parts without so many bytes at the front.
fn rest(mut parts: Vec<Bytes>, mut sent: usize) -> Vec<Bytes> {
    parts.retain_mut(|part| {
        let taken = sent.min(part.len());
        sent -= taken;
        drop(part.split_to(taken));
        !part.is_empty()
    });
    parts
}

/// True if answers of that API are small, or (of a Fetch) held in a file until they are sent.
pub fn is_light(api: ApiKey) -> bool {
    matches!(
        api,
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
            | ApiKey::InitProducerId
    )
}

/// A peer that went away is no news.
fn gone(error: &io::Error) -> String {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, TimedOut};
    match error.kind() {
        BrokenPipe | ConnectionReset => String::new(),
        TimedOut => "it does not read its answers".to_owned(),
        _ => error.to_string(),
    }
}

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

    #[test]
    fn what_the_socket_took_is_not_sent_again() {
        let parts = || vec![Bytes::from_static(b"head"), Bytes::from_static(b"records")];
        for (sent, left) in [(0, "headrecords"), (3, "drecords"), (4, "records"), (11, "")] {
            let rest = rest(parts(), sent);
            assert_eq!(rest.concat(), left.as_bytes());
            assert!(rest.iter().all(|part| !part.is_empty()));
        }
    }
}
