//! The threads that compact logs: for each cleaning the node ordered one of low priority, slowed
//! down to `log.cleaner.io.max.bytes.per.second`. What else is done at leisure has its threads
//! here, too: [`crate::key_filter`].
//!
//! Owns what the operator reads of a cleaning: a line at its end, and for a long one some on the
//! way. Decides nothing; whatever ends a cleaning is told to the node, once.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use broker::{CleanOrder, Cleaned};
use ottla_log::disk::os::OsDisk;
use ottla_log::{CleanError, CleanStep, CleanedLog, StorageError};

use crate::log_line;

/// Tells all threads to end, those that wait at once.
#[derive(Default)]
pub struct Stop {
    is_set: AtomicBool,
    waiting: Mutex<()>,
    woken: Condvar,
}

impl Stop {
    /// True from [`Self::set`] on.
    pub fn is_set(&self) -> bool {
        self.is_set.load(Ordering::Acquire)
    }

    /// Ends them.
    pub fn set(&self) {
        let waiting = lock(&self.waiting);
        self.is_set.store(true, Ordering::Release);
        drop(waiting);
        self.woken.notify_all();
    }

    /// Waits for so long, or until it is set.
    fn wait(&self, time: Duration) {
        let waiting = lock(&self.waiting);
        let _ = self.woken.wait_timeout_while(waiting, time, |()| !self.is_set());
    }
}

/// All cleanings under way.
#[derive(Default)]
pub struct Cleaners {
    stop: Arc<Stop>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Cleaners {
    /// Begins one; `tell` is called with all its news, on its thread.
    pub fn begin(
        &self,
        order: CleanOrder,
        disk: Arc<OsDisk>,
        tell: impl Fn(Cleaned) + Send + Clone + 'static,
    ) {
        let failed = tell.clone();
        let begun = self.spawn("cleaner", move |stop| {
            let path = order.name.clone();
            let ended = work(order, &disk, stop, &tell).unwrap_or_else(|error| {
                Err(CleanError::Disk(StorageError::io("compact", Path::new(&path), &error)))
            });
            tell(Cleaned::Ended(ended));
        });
        if let Err(error) = begun {
            failed(Cleaned::Ended(Err(CleanError::Disk(error))));
        }
    }

    /// Has something done on a thread that [`Self::stop`] waits for; nothing after that.
    ///
    /// # Errors
    /// There can be no thread.
    pub(crate) fn spawn(
        &self,
        name: &str,
        work: impl FnOnce(&Stop) + Send + 'static,
    ) -> Result<(), StorageError> {
        let mut threads = lock(&self.threads);
        // Asked with the list in hand: whoever stops all of them will find this one there.
        if self.stop.is_set() {
            return Ok(());
        }
        let stop = self.stop.clone();
        let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || work(&stop));
        let thread = spawned.map_err(|error| StorageError::io("begin", Path::new(name), &error))?;
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
        Ok(())
    }

    /// Ends all of them and waits for that; none begins any more.
    pub fn stop(&self) {
        self.stop.set();
        let threads = std::mem::take(&mut *lock(&self.threads));
        for thread in threads {
            let _ = thread.join();
        }
    }
}

/// Has it done on a thread of low priority. News are told on this one: whoever brings them steps
/// the node for all.
fn work(
    order: CleanOrder,
    disk: &OsDisk,
    stop: &Stop,
    tell: &dyn Fn(Cleaned),
) -> std::io::Result<Result<CleanedLog, CleanError>> {
    let (sender, news) = mpsc::channel();
    let name = order.name.clone();
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("cleaner-work".to_owned());
        let worker = builder.spawn_scoped(scope, move || {
            // Where the system refuses, the cleaner is as quick as the others.
            let _ = rustix::process::nice(10);
            run(order, disk, stop, &|news| drop(sender.send(news)))
        })?;
        news.into_iter().for_each(tell);
        Ok(worker.join().unwrap_or_else(|_| {
            let text = "the cleaner failed; see the panic above";
            Err(CleanError::Damaged(StorageError::damaged("compact", Path::new(&name), text)))
        }))
    })
}

fn run(
    order: CleanOrder,
    disk: &OsDisk,
    stop: &Stop,
    tell: &dyn Fn(Cleaned),
) -> Result<CleanedLog, CleanError> {
    let CleanOrder { name, plan, budget, bytes_per_second } = order;
    let began = Instant::now();
    let segments = plan.segments();
    let mut job = plan.start(budget);
    let mut throttle = Throttle::new(bytes_per_second);
    let mut pace = |bytes| {
        throttle.moved(bytes, stop);
        !stop.is_set()
    };
    let (mut groups, mut told) = (0, began);
    loop {
        match job.step(disk, &mut pace)? {
            CleanStep::Mapped => {}
            CleanStep::Group(group) => {
                groups += group.segments();
                tell(Cleaned::Group(group));
            }
            CleanStep::Done(done) => {
                log_line::line("INFO", &summary(&name, &done, began.elapsed()));
                return Ok(done);
            }
        }
        if told.elapsed() >= TELL_EVERY && groups > 0 {
            told = Instant::now();
            let took = began.elapsed().as_secs_f64();
            let left = took / groups as f64 * segments.saturating_sub(groups) as f64;
            let line = format!(
                "compacting {name}: {groups} of {segments} segments after {took:.0} s, about \
                 {left:.0} s left"
            );
            log_line::line("INFO", &line);
        }
    }
}

fn summary(name: &str, done: &CleanedLog, took: Duration) -> String {
    let stats = &done.stats;
    let more = if stats.map_was_full { "; more keys than fit, to be continued" } else { "" };
    format!(
        "compacted {name} up to {}: {} segments, {} -> {}, {} of {} records kept, {} keys, in \
         {:.1} s{more}",
        done.end,
        stats.segments_read,
        human(stats.bytes_read),
        human(stats.bytes_written),
        stats.records_written,
        stats.records_read,
        stats.keys,
        took.as_secs_f64(),
    )
}

/// A size for people: three digits and a unit.
fn human(bytes: u64) -> String {
    let (mut size, mut unit) = (bytes as f64, "B");
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if size < 1024.0 {
            break;
        }
        (size, unit) = (size / 1024.0, larger);
    }
    if unit == "B" || size >= 100.0 {
        format!("{size:.0} {unit}")
    } else {
        format!("{size:.1} {unit}")
    }
}

/// Keeps work down to a rate, looked at a second at a time.
pub struct Throttle {
    bytes_per_second: f64,
    since: Instant,
    moved: u64,
}

impl Throttle {
    /// Without a rate above 0 there is no limit.
    pub fn new(bytes_per_second: f64) -> Self {
        Self { bytes_per_second, since: Instant::now(), moved: 0 }
    }

    /// So many bytes were moved: waits until that was no more than the rate allows.
    pub fn moved(&mut self, bytes: u64, stop: &Stop) {
        self.moved += bytes;
        if self.bytes_per_second.is_nan() || self.bytes_per_second <= 0.0 {
            return;
        }
        let due = self.moved as f64 / self.bytes_per_second;
        let early = due - self.since.elapsed().as_secs_f64();
        if early > 0.0 {
            // A rate so small that the time does not fit is as good as a stop.
            stop.wait(Duration::try_from_secs_f64(early).unwrap_or(Duration::MAX));
        }
        if self.since.elapsed() >= Duration::from_secs(1) {
            *self = Self::new(self.bytes_per_second);
        }
    }
}

/// What these guard is whole at every point a panic can occur.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often the operator is told of a long cleaning.
const TELL_EVERY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        let cases = [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (150 << 20, "150 MiB")];
        for (bytes, text) in cases {
            assert_eq!(human(bytes), text);
        }
    }

    #[test]
    fn a_stopped_cleaner_does_not_wait() {
        let stop = Stop::default();
        Throttle::new(f64::MAX).moved(1 << 40, &stop);
        Throttle::new(0.0).moved(1 << 40, &stop);
        stop.set();
        Throttle::new(1.0).moved(u64::MAX, &stop);
        Throttle::new(f64::MIN_POSITIVE).moved(u64::MAX, &stop);
    }
}
