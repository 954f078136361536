//! The way out of a connection: answers leave in the order of their requests.
//!
//! Whoever brings the answer that is next sends it, if it is small, at hand, and the socket takes
//! it at once: the thread that made a batch durable also tells its producer, and no other thread
//! has to wake up for that. Answers that come together leave together. Everything else is done by
//! the connection's writer task.
//!
//! Invariants:
//! - I1: one thread sends at a time; it holds `sending`, not the lock.
//! - I2: a thread that brings an answer never waits for the peer or the device.
//! - I3: whoever stops sending looks first for answers that came meanwhile, or wakes the task.

use std::collections::{BTreeMap, VecDeque};
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
    /// What somebody could not finish and left, with `sending`, to the task, in order.
    left: VecDeque<Left>,
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
            left: VecDeque::new(),
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

    /// Takes answers; sends them and those that waited for them, if they are to be sent `here`, and
    /// leaves the others to the task. True if that was woken.
    pub fn answer(&self, replies: Vec<Reply>, sender: &Sender, here: bool) -> bool {
        let mut state = self.lock();
        state.order.early.extend(replies.into_iter().map(|reply| (reply.call.serial, reply)));
        let mut rounds = if here { ROUNDS } else { 0 };
        while rounds > 0 && !state.sending {
            let Some(first) = state.next() else { break };
            rounds -= 1;
            drop(state);
            let guard = Unfinished(self);
            let left = self.try_send(first, sender);
            std::mem::forget(guard);
            state = self.lock();
            if !left.is_empty() {
                state.left = left;
                break;
            }
            state.sending = false;
        }
        // I3. If another sends, it looks for more itself.
        let ended = state.order.until.is_some();
        let wakes = !state.left.is_empty() || !state.sending && (ended || state.order.is_ready());
        drop(state);
        if wakes {
            self.wake.notify_one();
        }
        wakes
    }

    /// Sends an answer and those that are next, as far as nobody has to be waited for, all at once;
    /// gives what is left to do.
    fn try_send(&self, first: Next, sender: &Sender) -> VecDeque<Left> {
        let mut left = VecDeque::new();
        let mut parts = Vec::new();
        let mut places = Vec::new();
        let mut next = Some(first);
        while let Some((reply, place)) = next {
            match at_hand(reply, sender) {
                Ok(more) => parts.extend(more),
                Err(what) => {
                    left.push_back(Left { what, place });
                    break;
                }
            }
            places.push(place);
            next = if parts.len() < PARTS_MAX { self.lock().next() } else { None };
        }
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let sent = match slices.as_slice() {
            [] => Ok(0),
            slices => self.half.try_write_vectored(slices),
        };
        let sent = match sent {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => {
                return VecDeque::from([Left { what: What::Broken(gone(&error)), place: None }]);
            }
        };
        let rest = rest(parts, sent);
        if !rest.is_empty() {
            // Which of them it is the rest of does not matter: their places are of one connection.
            let place = places.into_iter().flatten().reduce(|mut all, place| {
                all.merge(place);
                all
            });
            left.push_front(Left { what: What::Answer(Answer::rest(rest)), place });
        }
        left
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
            self.lock().finished();
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
        self.0.lock().left = VecDeque::from([Left { what, place: None }]);
        self.0.wake.notify_one();
    }
}

impl State {
    /// The answer that is next, if it is there, for whoever sends from now on.
    fn next(&mut self) -> Option<Next> {
        let (serial, reply) = self.order.pop()?;
        self.sending = true;
        Some((reply, self.places.remove(&serial)))
    }

    /// The task did what was left, or one thing of it.
    fn finished(&mut self) {
        self.sending = !self.left.is_empty();
    }

    /// What the task does next, if anything.
    ///
    /// # Errors
    /// Nothing any more, for that reason.
    fn left_to_do(&mut self) -> Result<Option<Left>, String> {
        if let Some(left) = self.left.pop_front() {
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

/// An answer that is next, and the place in line it holds.
type Next = (Reply, Option<OwnedSemaphorePermit>);

/// What to send of an answer, if nobody has to be waited for; else what is left to do.
fn at_hand(reply: Reply, sender: &Sender) -> Result<Vec<Bytes>, What> {
    if !is_light(reply.call.api) || matches!(reply.body, Body::Offsets(_)) {
        return Err(What::Reply(Box::new(reply)));
    }
    let name = reply.call.api.facts().name;
    match sender.prepare_at_hand(reply) {
        Ok(Ok(None)) => Ok(Vec::new()),
        Ok(Ok(Some(answer))) => answer.into_parts().map_err(What::Answer),
        Ok(Err(reply)) => Err(What::Reply(Box::new(reply))),
        Err(error) => Err(What::Broken(format!("{name} response: {error}"))),
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

/// How often who brings answers sends what came meanwhile, too.
const ROUNDS: usize = 4;
/// Parts of answers that are sent at once, about; the system takes up to 1024.
const PARTS_MAX: usize = 256;

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
