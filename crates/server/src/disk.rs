//! Who executes the node's disk operations, and when.
//!
//! Submissions enter in the order the node gave them. Quick ones (page-cache writes, opens) run on
//! the thread that brought them; what waits for the device runs on a pool. One lane's operations
//! start in order; a write or sync may start while syncs are under way, everything else waits for
//! them, so that no file is closed or cut under a sync. Reads for the node itself share the pool;
//! they are in no lane, because a plan for files that are gone reads nothing.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;

use broker::Lane;
use bytes::Bytes;
use ottla_log::ReadPlan;
use ottla_log::disk::{Completion, Disk, Op, Submission};

/// A submission of a lane that was just made, or the news that a pooled one ended.
enum Job {
    Submitted(Lane, Submission),
    Ended(Lane),
}

/// What the pool is given.
enum Work {
    Operation(Lane, Submission),
    Read(Lane, u64, ReadPlan),
}

/// What the pool has done.
pub enum Done {
    /// A disk operation.
    Operation(Lane, Completion),
    /// A read for the node: its lane, its number, and what was there.
    Read(Lane, u64, Result<Bytes, String>),
}

#[derive(Default)]
struct LaneState {
    queue: VecDeque<Submission>,
    pooled: usize,
}

/// Executes disk operations.
pub struct DiskRunner {
    disk: Arc<dyn Disk>,
    inbox: Mutex<VecDeque<Job>>,
    lanes: Mutex<HashMap<Lane, LaneState>>,
    pool: Sender<Work>,
    outstanding: AtomicUsize,
}

/// What is told of each end.
pub type Sink = dyn Fn(Done) + Send + Sync;

impl DiskRunner {
    /// A runner with its pool; `ended` is called on a pool thread after each pooled operation and
    /// must call [`Self::run`] again.
    pub fn new(
        disk: Arc<dyn Disk>,
        threads: usize,
        ended: Arc<Sink>,
    ) -> std::io::Result<Arc<Self>> {
        let (sender, receiver) = channel();
        let runner = Arc::new(Self {
            disk: disk.clone(),
            inbox: Mutex::default(),
            lanes: Mutex::default(),
            pool: sender,
            outstanding: AtomicUsize::new(0),
        });
        let receiver = Arc::new(Mutex::new(receiver));
        for index in 0..threads {
            let (disk, receiver, ended) = (disk.clone(), receiver.clone(), ended.clone());
            let weak = Arc::downgrade(&runner);
            thread::Builder::new().name(format!("disk-{index}")).spawn(move || {
                while let Some(work) = next(&receiver) {
                    let (lane, submission) = match work {
                        Work::Operation(lane, submission) => (lane, submission),
                        Work::Read(lane, load, plan) => {
                            let read = plan.execute(&*disk, true).map_err(|e| e.to_string());
                            ended(Done::Read(lane, load, read));
                            continue;
                        }
                    };
                    let result = disk.execute(&submission.op);
                    if let Some(runner) = weak.upgrade() {
                        lock(&runner.inbox).push_back(Job::Ended(lane));
                    }
                    let completion = Completion { token: submission.token, result };
                    ended(Done::Operation(lane, completion));
                }
            })?;
        }
        Ok(runner)
    }

    /// Takes submissions; the caller holds whatever orders them and calls [`Self::run`] later.
    pub fn submit(&self, submissions: impl IntoIterator<Item = (Lane, Submission)>) {
        let mut inbox = lock(&self.inbox);
        for (lane, submission) in submissions {
            self.outstanding.fetch_add(1, Ordering::Relaxed);
            inbox.push_back(Job::Submitted(lane, submission));
        }
    }

    /// Reads for the node, on the pool.
    pub fn read(&self, lane: Lane, load: u64, plan: ReadPlan) {
        // The pool lives as long as the runner, so this can't fail.
        let _ = self.pool.send(Work::Read(lane, load, plan));
    }

    /// Operations submitted and not ended.
    pub fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Acquire)
    }

    /// To be called once for each completion that was handed on.
    pub fn ended(&self, count: usize) {
        self.outstanding.fetch_sub(count, Ordering::Release);
    }

    /// Starts what can be started, unless another thread is at it; `done` takes the quick ones'
    /// ends. False if there was nothing to do.
    pub fn run(&self, done: &mut Vec<(Lane, Completion)>) -> bool {
        let mut worked = false;
        // Whoever holds the lanes looks at the inbox again after letting go, so nothing that was
        // put there meanwhile is left behind.
        while !lock(&self.inbox).is_empty() {
            let mut lanes = match self.lanes.try_lock() {
                Ok(lanes) => lanes,
                Err(TryLockError::WouldBlock) => return worked,
                // The queues are whole at every point a disk could panic.
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            };
            let jobs = std::mem::take(&mut *lock(&self.inbox));
            worked |= !jobs.is_empty();
            for job in jobs {
                match job {
                    Job::Submitted(lane, submission) => {
                        let state = lanes.entry(lane).or_default();
                        state.queue.push_back(submission);
                        self.advance(lane, state, done);
                    }
                    Job::Ended(lane) => {
                        let state = lanes.entry(lane).or_default();
                        state.pooled -= 1;
                        self.advance(lane, state, done);
                    }
                }
            }
        }
        worked
    }

    fn advance(&self, lane: Lane, state: &mut LaneState, done: &mut Vec<(Lane, Completion)>) {
        while let Some(front) = state.queue.front() {
            let may_overtake = matches!(front.op, Op::Write { .. } | Op::Sync { .. });
            if state.pooled > 0 && !may_overtake {
                return;
            }
            let Some(submission) = state.queue.pop_front() else { return };
            if waits_for_device(&submission.op) {
                state.pooled += 1;
                // The pool lives as long as the runner, so this can't fail.
                let _ = self.pool.send(Work::Operation(lane, submission));
            } else {
                let result = self.disk.execute(&submission.op);
                done.push((lane, Completion { token: submission.token, result }));
            }
        }
    }
}

fn waits_for_device(op: &Op) -> bool {
    matches!(
        op,
        Op::Sync { .. } | Op::SyncDir { .. } | Op::Replace { .. } | Op::RemoveDirAll { .. }
    )
}

fn next(receiver: &Mutex<Receiver<Work>>) -> Option<Work> {
    lock(receiver).recv().ok()
}

/// A panic elsewhere is reported where it happened; the data under these locks is whole at every
/// point a panic can occur.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
