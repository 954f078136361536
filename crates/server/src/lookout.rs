//! Sees to it that connections are served while a thread of the runtime waits for the disk.
//!
//! The runtime looks for what has come on one of its threads at a time, and others look only once
//! they were woken: if that one keeps a [`crate::disk::Promise`], or writes, and the device is
//! slow, or dead, nobody would look. So a thread of our own looks every millisecond whether the
//! same thing is still under way, and wakes another one of the runtime's then. It sleeps while
//! nothing new begins.
//!
//! Owns that thread. Invariant: whoever begins either sees the thread awake or wakes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::runtime::Handle;

/// The thread.
#[derive(Debug)]
pub struct Lookout {
    state: Arc<State>,
    thread: Thread,
}

#[derive(Debug, Default)]
struct State {
    /// How often one of these was begun, and ended, one at a time each: odd while it is under way.
    /// A promise that is kept, and operations that are started.
    counts: [AtomicU64; 2],
    awake: AtomicBool,
    stop: AtomicBool,
}

/// Held while something waits for the disk.
#[derive(Debug)]
pub struct Watched<'a>(&'a AtomicU64);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Lookout {
    /// Looks after the threads of that runtime.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn new(runtime: Handle) -> std::io::Result<Self> {
        let state = Arc::new(State::default());
        let looks = state.clone();
        let wake = move || drop(runtime.spawn(async {}));
        let thread = thread::Builder::new().name("lookout".to_owned());
        let thread = thread.spawn(move || looks.look(wake))?.thread().clone();
        Ok(Self { state, thread })
    }

    /// To be held while a promise is kept; one is at a time.
    pub fn keeping(&self) -> Watched<'_> {
        let [kept, _] = &self.state.counts;
        self.watch(kept)
    }

    /// To be held while operations are started; one thread does at a time.
    pub fn starting(&self) -> Watched<'_> {
        let [_, started] = &self.state.counts;
        self.watch(started)
    }

    fn watch<'a>(&self, count: &'a AtomicU64) -> Watched<'a> {
        count.fetch_add(1, Ordering::SeqCst);
        if !self.state.awake.swap(true, Ordering::SeqCst) {
            self.thread.unpark();
        }
        Watched(count)
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

impl State {
    fn counts(&self) -> [u64; 2] {
        self.counts.each_ref().map(|count| count.load(Ordering::SeqCst))
    }

    /// Wakes somebody at each look that finds the same under way as the one before.
    fn look(&self, wake: impl Fn()) {
        let mut seen = self.counts();
        let mut idle = IDLE_LOOKS;
        while !self.stop.load(Ordering::SeqCst) {
            if idle >= IDLE_LOOKS {
                self.awake.store(false, Ordering::SeqCst);
                if self.counts() == seen {
                    thread::park();
                }
                self.awake.store(true, Ordering::SeqCst);
                idle = 0;
                continue;
            }
            thread::park_timeout(LOOKS_EVERY);
            let now = self.counts();
            if now.iter().zip(&seen).any(|(now, seen)| now == seen && now % 2 == 1) {
                wake();
            }
            idle = if now == seen { idle + 1 } else { 0 };
            seen = now;
        }
    }
}

/// Longer than most of what is watched, and short for whoever waits for an answer. (With eight,
/// while nothing took long, p99 of a producer beside a cold reader was eight in two of eleven.)
const LOOKS_EVERY: Duration = Duration::from_millis(1);
/// Looks that find nothing new before it sleeps.
const IDLE_LOOKS: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn who_waits_long_has_others_woken_and_nobody_else_has() {
        let state = Arc::new(State { awake: AtomicBool::new(true), ..State::default() });
        let (sender, woken) = mpsc::channel();
        let looks = state.clone();
        let thread = thread::spawn(move || looks.look(|| sender.send(()).unwrap()));
        let lookout = Lookout { state: state.clone(), thread: thread.thread().clone() };
        let asleep = || {
            while state.awake.load(Ordering::SeqCst) {
                thread::yield_now();
            }
        };
        for starts in [false, true, false] {
            asleep();
            assert!(woken.try_recv().is_err(), "nobody waits for the disk");
            let watched = if starts { lookout.starting() } else { lookout.keeping() };
            woken.recv_timeout(PATIENCE).unwrap();
            drop(watched);
            asleep();
            while woken.try_recv().is_ok() {}
        }
        drop(lookout);
        thread.join().unwrap();
    }

    /// All threads of a runtime but one are asleep, and that one waits for something else.
    #[test]
    fn a_runtime_whose_only_watchful_thread_waits_hears_of_what_comes() {
        use std::io::{Read, Write};
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(3).enable_all().build().unwrap();
        let lookout = Arc::new(Lookout::new(runtime.handle().clone()).unwrap());
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let keeps = lookout.clone();
        let (sender, release) = mpsc::channel::<()>();
        let (begun, waits) = mpsc::channel();
        runtime.spawn(async move {
            let mut kept = Some((keeps, release));
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut kept = kept.take();
                let begun = begun.clone();
                tokio::spawn(async move {
                    let mut byte = [0];
                    while stream.read_exact(&mut byte).await.is_ok() && byte == *b"x" {
                        stream.write_all(&byte).await.unwrap();
                    }
                    if let Some((keeps, release)) = kept.take() {
                        let _keeping = keeps.keeping();
                        begun.send(()).unwrap();
                        let _ = release.recv_timeout(PATIENCE);
                    }
                    let _ = stream.write_all(&byte).await;
                });
            }
        });
        let connect = || {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(PATIENCE / 2)).unwrap();
            for _ in 0..20 {
                stream.write_all(b"x").unwrap();
                stream.read_exact(&mut [0]).expect("an answer while another waits");
            }
            stream
        };
        let mut first = connect();
        // By now all but one sleep, and that one looks for what comes.
        first.write_all(b"!").unwrap();
        waits.recv_timeout(PATIENCE).unwrap();
        (0..10).for_each(|_| drop(connect()));
        sender.send(()).unwrap();
        first.read_exact(&mut [0]).unwrap();
    }
}
