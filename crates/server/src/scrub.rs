//! The threads that scrub logs: one of low priority that reads, slowed down to
//! `log.scrub.io.max.bytes.per.second`, and one that brings its news to the node.
//!
//! Decides nothing; whatever ends a scrub is told to the node, once. Invariant I1: the thread of
//! low priority never steps the node, which all others would have to wait for.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use broker::{Lane, ScrubOrder, Scrubbed};
use ottla_log::disk::os::OsDisk;
use ottla_log::{ScrubError, ScrubStats, ScrubStep};

use crate::clean::{Stop, Throttle};
use crate::log_line;

/// What is to be scrubbed.
type Orders = Sender<(Lane, ScrubOrder)>;

/// The scrub of a node's logs.
#[derive(Default)]
pub struct Scrubs {
    stop: Arc<Stop>,
    /// Begun with the first order.
    threads: Mutex<Option<(Orders, [JoinHandle<()>; 2])>>,
}

impl Scrubs {
    /// Has a log scrubbed when those before it are; `tell` is called with all its news, on a thread
    /// of its own.
    pub fn begin(
        &self,
        lane: Lane,
        order: ScrubOrder,
        disk: &Arc<OsDisk>,
        tell: impl Fn(Lane, Scrubbed) + Send + 'static,
    ) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if self.stop.is_set() {
            return;
        }
        if threads.is_none() {
            match self.spawn(disk.clone(), tell) {
                Ok(spawned) => *threads = Some(spawned),
                // Rounds end here: the log in question has none before the next start.
                Err(error) => log_line::line("ERROR", &format!("no thread to scrub with: {error}")),
            }
        }
        if let Some((orders, _)) = &*threads {
            // Whoever received them has failed, and said so.
            let _ = orders.send((lane, order));
        }
    }

    fn spawn(
        &self,
        disk: Arc<OsDisk>,
        tell: impl Fn(Lane, Scrubbed) + Send + 'static,
    ) -> std::io::Result<(Orders, [JoinHandle<()>; 2])> {
        let (orders, ordered) = mpsc::channel();
        let (news, told) = mpsc::channel();
        let stop = self.stop.clone();
        let worker = thread::Builder::new().name("scrub-work".to_owned());
        let worker = worker.spawn(move || {
            // Where the system refuses, the scrub is as quick as the others.
            let _ = rustix::process::nice(10);
            work(&ordered, &disk, &stop, &news);
        })?;
        let teller = thread::Builder::new().name("scrub".to_owned());
        let teller = teller.spawn(move || told.iter().for_each(|(lane, one)| tell(lane, one)))?;
        Ok((orders, [worker, teller]))
    }

    /// Ends it and waits for that; nothing begins any more.
    pub fn stop(&self) {
        self.stop.set();
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((orders, threads)) = threads {
            drop(orders);
            for thread in threads {
                let _ = thread.join();
            }
        }
    }
}

fn work(
    ordered: &Receiver<(Lane, ScrubOrder)>,
    disk: &OsDisk,
    stop: &Stop,
    news: &Sender<(Lane, Scrubbed)>,
) {
    let mut throttle = Throttle::new(0.0);
    let mut rate = 0.0;
    for (lane, order) in ordered {
        // Kept from log to log, or thousands of small ones would not be slowed down.
        if order.bytes_per_second != rate {
            rate = order.bytes_per_second;
            throttle = Throttle::new(rate);
        }
        let ended = one(lane, order, disk, stop, &mut throttle, news);
        if news.send((lane, Scrubbed::Ended(ended))).is_err() {
            return;
        }
    }
}

fn one(
    lane: Lane,
    order: ScrubOrder,
    disk: &OsDisk,
    stop: &Stop,
    throttle: &mut Throttle,
    news: &Sender<(Lane, Scrubbed)>,
) -> Option<Result<ScrubStats, ScrubError>> {
    let mut job = order.plan.start();
    let (mut untold, mut told) = (0, Instant::now());
    // Nobody listens any more only where the node has gone.
    let tell = |one| drop(news.send((lane, one)));
    loop {
        if stop.is_set() {
            return None;
        }
        let (bytes, found) = match job.step(disk) {
            Ok(ScrubStep::Checked(bytes)) => (bytes, None),
            Ok(ScrubStep::Found(bytes, file, damage)) => (bytes, Some((file, damage))),
            Ok(ScrubStep::Done(stats)) => return Some(Ok(stats)),
            Err(error) => return Some(Err(error)),
        };
        if let Some((file, damage)) = found {
            tell(Scrubbed::Found(file, damage));
        }
        untold += bytes;
        if told.elapsed() >= TELL_EVERY {
            tell(Scrubbed::Checked(std::mem::take(&mut untold)));
            told = Instant::now();
        }
        throttle.moved(bytes, stop);
    }
}

/// How often the node is told how far it came.
const TELL_EVERY: Duration = Duration::from_secs(1);
