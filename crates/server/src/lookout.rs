//! Sees to it that connections are served while a thread of the runtime waits for a sync.
//!
//! The runtime looks for what has come on one of its threads at a time, and others look only once
//! they were woken: if that one keeps a [`crate::disk::Promise`] and the device is slow, or dead,
//! nobody would look. So a thread of our own looks every millisecond whether the same sync is still
//! under way, and wakes another one of the runtime's then. It sleeps while no promises are kept.
//!
//! Owns that thread. Invariant: a promise that is kept either sees the thread awake or wakes it.

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

#[derive(Debug)]
struct State {
    /// Of each volume, how many promises were begun to be kept, and ended: odd while one is.
    kept: Vec<AtomicU64>,
    awake: AtomicBool,
    stop: AtomicBool,
}

/// Held while a promise is kept.
#[derive(Debug)]
pub struct Keeping<'a>(&'a AtomicU64);

impl Drop for Keeping<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Lookout {
    /// Looks after the threads of that runtime, one of which at a time syncs for each volume.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn new(volumes: usize, runtime: Handle) -> std::io::Result<Self> {
        let state = Arc::new(State {
            kept: (0..volumes).map(|_| AtomicU64::new(0)).collect(),
            awake: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let looks = state.clone();
        let wake = move || drop(runtime.spawn(async {}));
        let thread = thread::Builder::new().name("lookout".to_owned());
        let thread = thread.spawn(move || looks.look(wake))?.thread().clone();
        Ok(Self { state, thread })
    }

    /// To be held while that volume is synced.
    pub fn keeping(&self, volume: usize) -> Option<Keeping<'_>> {
        let kept = self.state.kept.get(volume)?;
        kept.fetch_add(1, Ordering::SeqCst);
        if !self.state.awake.swap(true, Ordering::SeqCst) {
            self.thread.unpark();
        }
        Some(Keeping(kept))
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

impl State {
    fn kept(&self) -> Vec<u64> {
        self.kept.iter().map(|kept| kept.load(Ordering::SeqCst)).collect()
    }

    /// Wakes somebody at each look that finds the same sync as the one before.
    fn look(&self, wake: impl Fn()) {
        let mut seen = self.kept();
        let mut idle = IDLE_LOOKS;
        while !self.stop.load(Ordering::SeqCst) {
            if idle >= IDLE_LOOKS {
                self.awake.store(false, Ordering::SeqCst);
                if self.kept() == seen {
                    thread::park();
                }
                self.awake.store(true, Ordering::SeqCst);
                idle = 0;
                continue;
            }
            thread::park_timeout(LOOKS_EVERY);
            let now = self.kept();
            if now.iter().zip(&seen).any(|(now, seen)| now == seen && now % 2 == 1) {
                wake();
            }
            idle = if now == seen { idle + 1 } else { 0 };
            seen = now;
        }
    }
}

/// Longer than most syncs that are kept, and short for whoever waits for an answer.
const LOOKS_EVERY: Duration = Duration::from_millis(1);
/// Looks that find nothing new before it sleeps.
const IDLE_LOOKS: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    const PATIENCE: Duration = Duration::from_secs(60);

    #[test]
    fn who_keeps_a_promise_for_long_has_others_woken_and_nobody_else_has() {
        let state = Arc::new(State {
            kept: (0..2).map(|_| AtomicU64::new(0)).collect(),
            awake: AtomicBool::new(true),
            stop: AtomicBool::new(false),
        });
        let (sender, woken) = mpsc::channel();
        let looks = state.clone();
        let thread = thread::spawn(move || looks.look(|| sender.send(()).unwrap()));
        let lookout = Lookout { state: state.clone(), thread: thread.thread().clone() };
        let asleep = || {
            while state.awake.load(Ordering::SeqCst) {
                thread::yield_now();
            }
        };
        for volume in [0, 1, 0] {
            asleep();
            assert!(woken.try_recv().is_err(), "nobody waits for a sync");
            let keeping = lookout.keeping(volume).unwrap();
            woken.recv_timeout(PATIENCE).unwrap();
            drop(keeping);
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
        let lookout = Arc::new(Lookout::new(1, runtime.handle().clone()).unwrap());
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
                        let _keeping = keeps.keeping(0);
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
