//! The thread that looks whether a full disk has room again, and opens the logs it stalled: one
//! after the other, apart from those that serve.
//!
//! Owns the thread. Decides nothing; what it finds is told to the node.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use broker::{Event, Lane, Reopening};
use ottla_log::Disk;
use ottla_log::disk::os::OsDisk;

/// Something to do there.
pub enum Errand {
    /// Measure the room in a directory.
    Measure(PathBuf),
    /// Open a log anew.
    Reopen(Lane, Box<Reopening>),
}

/// The thread, from its first errand on.
#[derive(Default)]
pub struct Errands {
    stop: Arc<AtomicBool>,
    begun: Mutex<Option<(mpsc::Sender<Errand>, JoinHandle<()>)>>,
}

impl Errands {
    /// Has one done; `tell` is told what came of the first and of all after it.
    pub fn send(&self, errand: Errand, disk: &Arc<OsDisk>, tell: impl Fn(Event) + Send + 'static) {
        let mut begun = lock(&self.begun);
        // Asked with the thread in hand: whoever stops it finds it there.
        if self.stop.load(Ordering::Acquire) {
            return;
        }
        if begun.is_none() {
            let (sender, errands) = mpsc::channel::<Errand>();
            let (stop, disk) = (self.stop.clone(), disk.clone());
            let work = move || {
                for errand in errands {
                    if !stop.load(Ordering::Acquire) {
                        tell(run(errand, &disk));
                    }
                }
            };
            // Without a thread it stays as it is: records are refused, and an operator sees why.
            *begun = thread::Builder::new()
                .name("full-disk".to_owned())
                .spawn(work)
                .ok()
                .map(|thread| (sender, thread));
        }
        if let Some((sender, _)) = &*begun {
            let _ = sender.send(errand);
        }
    }

    /// Ends it, and waits for what is under way; nothing begins any more.
    pub fn stop(&self) {
        let begun = {
            let mut begun = lock(&self.begun);
            self.stop.store(true, Ordering::Release);
            begun.take()
        };
        if let Some((sender, thread)) = begun {
            drop(sender);
            let _ = thread.join();
        }
    }
}

fn run(errand: Errand, disk: &OsDisk) -> Event {
    match errand {
        Errand::Measure(dir) => {
            let space = disk.space(&dir);
            Event::Measured(dir, space)
        }
        Errand::Reopen(lane, reopening) => Event::Reopened(lane, reopening.carry_out(disk)),
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
