//! Who executes the node's disk operations, and when.
//!
//! Submissions enter in the order the node gave them. What waits for the device runs on threads
//! of its volume. Quick operations (page-cache writes, opens) run on the thread that brought them
//! where there is one volume. With several they, too, run on threads of theirs: to the page cache
//! of a slow or dead directory even a write may take for ever, and must not hold the others up.
//! One lane's operations in a volume start in order; a write or sync may start while syncs are
//! under way, everything else waits for them, so that no file is closed or cut under a sync. Reads
//! for the node itself share those threads; they are in no lane, because a plan for files that are
//! gone reads nothing.
//!
//! Group commit has two stages. A log has one sync under way at a time, which covers what was
//! written before (`ottla_log`). And when more syncs of a volume wait than its threads soon get to,
//! all of them become one `syncfs`; those that come meanwhile are the next. For hundreds of files
//! that takes about half as long as eight threads with `fdatasync` (docs/decisions/0004). Small
//! files to be replaced and directories to be synced, of many logs, are done together like that.
//!
//! `syncfs` also waits for what others write on the same file system. Where that makes it slow, the
//! volume does without it for a while.
//!
//! Where a sync is quick, whoever brought what is to be synced does it, so that no thread has to be
//! woken ([`Help`]): one at a time in a volume. Until then it has a [`Promise`]; one that is
//! dropped falls to the threads. So do syncs of several logs: the threads do them side by side.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use broker::Lane;
use bytes::Bytes;
use ottla_log::disk::os::OsDisk;
use ottla_log::disk::{Completion, Disk, FileId, Op, Submission, Token};
use ottla_log::{Damage, ReadPlan};

use crate::log_line;
use crate::lookout::Lookout;

/// A submission of a lane that was just made, or the news that a pooled one ended.
enum Job {
    Submitted(Lane, Submission),
    Ended(Lane),
}

impl Job {
    fn lane(&self) -> Lane {
        match self {
            Self::Submitted(lane, _) | Self::Ended(lane) => *lane,
        }
    }
}

/// What a volume's thread does next.
enum Work {
    /// Starts what is to be started.
    Start,
    Operation(Lane, Submission),
    Read(Lane, u64, ReadPlan),
    /// All these syncs at once.
    Sweep(Vec<(Lane, Submission)>),
    /// All these small files and directories together.
    Names(Vec<(Lane, Submission)>),
}

/// What a volume's threads have done.
pub enum Done {
    /// Disk operations.
    Operations(Vec<(Lane, Completion)>),
    /// A read for the node: its lane, its number, what was there, and damage it came across.
    Read(Lane, u64, Result<Bytes, String>, Vec<Damage>),
    /// Nothing more: a thread failed, and what it was to do is not done.
    Failed,
}

/// Whether whoever starts operations also carries out a sync among them.
#[derive(Default)]
pub enum Help {
    /// No: that may take long.
    #[default]
    No,
    /// Yes.
    Offered,
    /// Yes, and this is the one.
    Promised(Promise),
}

impl Help {
    /// What was promised, if anything was; nothing is offered any more.
    pub fn take(&mut self) -> Option<Promise> {
        match std::mem::take(self) {
            Self::Promised(promise) => Some(promise),
            Self::No | Self::Offered => None,
        }
    }
}

/// A sync that waits for its holder. A thread of the volume does it if it comes by first, or if
/// this is dropped.
pub struct Promise {
    volume: Arc<Volume>,
    number: usize,
}

/// Whether somebody other than the threads does syncs.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Helper {
    /// Nobody.
    #[default]
    No,
    /// Somebody will.
    Promised,
    /// Somebody does.
    Busy,
}

impl Promise {
    /// The sync, if it is still to be done.
    fn work(&self) -> Option<Work> {
        let mut waiting = lock(&self.volume.waiting);
        waiting.helper = Helper::Busy;
        let work = waiting.next_sync();
        let more = waiting.may_begin();
        drop(waiting);
        if more {
            self.volume.ready.notify_one();
        }
        work
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let mut waiting = lock(&self.volume.waiting);
        waiting.helper = Helper::No;
        let may_begin = waiting.may_begin();
        drop(waiting);
        if may_begin {
            self.volume.ready.notify_one();
        }
    }
}

/// Tells of a thread's panic.
struct Failed<'a>(&'a Sink);

impl Drop for Failed<'_> {
    fn drop(&mut self) {
        (self.0)(Done::Failed);
    }
}

#[derive(Default)]
struct LaneState {
    queue: VecDeque<Submission>,
    pooled: usize,
}

impl LaneState {
    fn take(&mut self, job: Job) {
        match job {
            Job::Submitted(_, submission) => self.queue.push_back(submission),
            Job::Ended(_) => self.pooled -= 1,
        }
    }
}

/// The lanes with something to do. Most logs are idle: there is nothing of theirs here.
#[derive(Default)]
struct Lanes {
    busy: HashMap<Lane, LaneState>,
    /// Of lanes that were busy, for the next.
    spare: Vec<LaneState>,
}

impl Lanes {
    fn state(&mut self, lane: Lane) -> &mut LaneState {
        let spare = &mut self.spare;
        self.busy.entry(lane).or_insert_with(|| spare.pop().unwrap_or_default())
    }

    /// Forgets a lane that has nothing to do.
    fn rest(&mut self, lane: Lane) {
        let idle = |state: &LaneState| state.queue.is_empty() && state.pooled == 0;
        if self.busy.get(&lane).is_some_and(idle)
            && let Some(state) = self.busy.remove(&lane)
            && self.spare.len() < SPARE_LANES
        {
            self.spare.push(state);
        }
        // Room for the thousands of lanes of a moment is not kept for ever.
        if self.busy.is_empty() && self.busy.capacity() > ROOM_KEPT {
            self.busy = HashMap::new();
        }
    }
}

/// A volume's operations: those that are to be started, and what waits for its threads.
#[derive(Default)]
struct Volume {
    inbox: Mutex<VecDeque<Job>>,
    lanes: Mutex<Lanes>,
    waiting: Mutex<Waiting>,
    ready: Condvar,
}

#[derive(Default)]
struct Waiting {
    /// There is something to be started, and nobody else does it.
    starts: bool,
    /// Syncs that a sweep does, too.
    syncs: VecDeque<(Lane, Submission)>,
    /// Syncs of files that no sweep covers.
    alone: VecDeque<(Lane, Submission)>,
    /// Files to be replaced and directories to be synced.
    names: VecDeque<(Lane, Submission)>,
    /// They can't be done together there.
    names_apart: bool,
    others: VecDeque<Work>,
    /// A sweep is under way; syncs wait for its end, to be the next.
    sweeping: bool,
    /// Many names are being done together; others wait, to be the next.
    naming: bool,
    /// Threads that sync one file.
    syncing: usize,
    /// No sweeps before then: they took too long.
    no_sweep_before: Option<Instant>,
    /// No sweeps any more: one failed, and would hide whose write it was.
    no_sweeps: bool,
    /// How long the sync of one file takes, about.
    sync_takes: Duration,
    /// Threads that do what is no sync.
    others_busy: usize,
    /// Whether somebody promised to do a sync, or is at it.
    helper: Helper,
    /// Whether it pays to do names together.
    names_together: Trial,
    /// Nothing comes any more.
    closed: bool,
}

/// Whether it pays to do things together: it does not while others write much to the file system.
#[derive(Default)]
struct Trial {
    /// How much longer it took than one by one, of late.
    lost: Duration,
    /// How long to do without when that is too much; longer each time in a row.
    pause: Duration,
    until: Option<Instant>,
}

impl Trial {
    fn pays(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() >= until)
    }

    /// It took so long, and would have taken about so long apart.
    fn took(&mut self, took: Duration, apart: Duration) {
        self.lost = (self.lost + took).saturating_sub(apart);
        if self.lost > SWEEP_PATIENCE {
            let pause = self.pause.clamp(SWEEP_PATIENCE, WITHOUT_SWEEPS);
            self.until = Some(Instant::now() + pause);
            (self.lost, self.pause) = (Duration::ZERO, pause * 2);
        } else if self.lost.is_zero() {
            self.pause = Duration::ZERO;
        }
    }
}

/// Executes disk operations.
pub struct DiskRunner {
    disk: Arc<OsDisk>,
    volumes: Vec<Arc<Volume>>,
    /// Of several volumes, those that files are in whose making is under way: the disk does not
    /// know them yet.
    made: Mutex<HashMap<FileId, usize>>,
    /// Wakes others of the runtime while one of its threads waits for the disk; with several
    /// volumes none ever does.
    lookout: Option<Lookout>,
    outstanding: AtomicUsize,
}

/// What is told of each end.
pub type Sink = dyn Fn(Done) + Send + Sync;

impl Work {
    fn is_sync(&self) -> bool {
        match self {
            Self::Operation(_, submission) => matches!(submission.op, Op::Sync { .. }),
            Self::Sweep(_) => true,
            Self::Start | Self::Read(..) | Self::Names(_) => false,
        }
    }

    /// It may take long, and threads are kept from doing it all at once.
    fn is_other(&self) -> bool {
        !self.is_sync() && !matches!(self, Self::Start)
    }
}

impl Volume {
    /// `covered`: it can be done together with others. `helps`: the caller can do a sync. True if
    /// it has to, or to hand it over.
    fn put(&self, work: Work, covered: bool, helps: bool) -> bool {
        let mut waiting = lock(&self.waiting);
        let helps = helps && work.is_sync() && waiting.takes_help();
        // Who promised does one, if nothing else waits by then.
        let only = waiting.alone.is_empty() && waiting.syncs.is_empty();
        let left = only && work.is_sync() && waiting.helper == Helper::Promised;
        match work {
            Work::Operation(lane, submission) if covered => {
                if matches!(submission.op, Op::Sync { .. }) {
                    waiting.syncs.push_back((lane, submission));
                } else {
                    waiting.names.push_back((lane, submission));
                    waiting.names_apart = false;
                }
            }
            Work::Operation(
                lane,
                submission @ Submission { op: Op::Replace { .. } | Op::SyncDir { .. }, .. },
            ) => {
                waiting.names.push_back((lane, submission));
                waiting.names_apart = true;
            }
            Work::Operation(lane, submission @ Submission { op: Op::Sync { .. }, .. }) => {
                waiting.alone.push_back((lane, submission));
            }
            other => waiting.others.push_back(other),
        }
        if helps {
            waiting.helper = Helper::Promised;
        }
        let may_begin = waiting.may_begin();
        drop(waiting);
        if may_begin && !helps && !left {
            self.ready.notify_one();
        }
        helps
    }

    /// These are under way no more: what waited for them can be started.
    fn ended(&self, done: &[(Lane, Completion)]) {
        lock(&self.inbox).extend(done.iter().map(|(lane, _)| Job::Ended(*lane)));
    }

    /// Waits for something to do; `None` at the end.
    fn take(&self) -> Option<Work> {
        let mut waiting = lock(&self.waiting);
        loop {
            if let Some(work) = waiting.next() {
                return Some(work);
            }
            if waiting.closed {
                return None;
            }
            waiting = self.ready.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends a sweep that took so long, for so many syncs; after one that failed there is no other.
    fn swept(&self, syncs: usize, took: Duration, failed: bool) {
        let mut waiting = lock(&self.waiting);
        waiting.sweeping = false;
        // One by one, a few at a time, they would have taken about so long.
        let apart = waiting.sync_takes * syncs as u32 / 2;
        let slow = took > SWEEP_PATIENCE.max(apart);
        if slow {
            waiting.no_sweep_before = Some(Instant::now() + WITHOUT_SWEEPS);
        }
        waiting.no_sweeps |= failed;
        drop(waiting);
        self.ready.notify_all();
        if slow {
            log_line::line(
                "WARN",
                &format!(
                    "making {syncs} logs durable at once took {} ms, longer than one by one: \
                     something else may write to the same file system; each is synced on its own \
                     for {} s",
                    took.as_millis(),
                    WITHOUT_SWEEPS.as_secs()
                ),
            );
        }
    }

    /// Takes note of how long so many names took together.
    fn named(&self, names: usize, took: Duration) {
        let mut waiting = lock(&self.waiting);
        // One by one, a few at a time, each with some two syncs, they would have taken so long.
        let apart = waiting.sync_takes.max(SYNC_TAKES_MIN) * names as u32;
        waiting.names_together.took(took, apart);
    }

    /// Ends the sync of one file.
    fn synced(&self, took: Duration) {
        let mut waiting = lock(&self.waiting);
        waiting.syncing -= 1;
        waiting.sync_takes = (waiting.sync_takes * 7 + took) / 8;
        // This thread has ends to tell of first.
        let more = waiting.may_begin();
        drop(waiting);
        if more {
            self.ready.notify_one();
        }
    }

    /// Ends what is no sync.
    fn other_ended(&self, names: bool) {
        let mut waiting = lock(&self.waiting);
        waiting.others_busy -= 1;
        waiting.naming &= !names;
        let more = waiting.may_begin();
        drop(waiting);
        if more {
            self.ready.notify_one();
        }
    }
}

impl Waiting {
    /// False if a thread that looked now would find nothing it may do.
    fn may_begin(&self) -> bool {
        let others = self.others_busy < OTHERS_MAX
            && (!self.others.is_empty() || !(self.names.is_empty() || self.naming));
        let syncs = !self.sweeping
            && !self.syncs.is_empty()
            && (self.syncing < SYNCING_MAX || self.syncs.len() >= SWEEP_MIN || !self.may_share());
        self.starts || others || syncs || !self.alone.is_empty()
    }

    /// False where syncs of many at once failed, or take too long for now.
    fn may_share(&self) -> bool {
        !self.no_sweeps && self.no_sweep_before.is_none_or(|until| Instant::now() >= until)
    }

    fn next(&mut self) -> Option<Work> {
        if std::mem::take(&mut self.starts) {
            return Some(Work::Start);
        }
        let may_share = self.may_share();
        // What is no sync may take long: some threads are kept for syncs.
        if self.others_busy < OTHERS_MAX
            && let Some(work) = self.next_other(may_share)
        {
            self.others_busy += 1;
            return Some(work);
        }
        if self.is_sweep_due(may_share) {
            self.sweeping = true;
            return Some(Work::Sweep(std::mem::take(&mut self.syncs).into()));
        }
        self.next_sync()
    }

    /// True where nobody syncs, and a sync takes so little time that nobody misses who does it.
    fn takes_help(&self) -> bool {
        let is_idle = self.syncs.is_empty() && self.alone.is_empty();
        is_idle && self.is_free() && self.helper == Helper::No && self.sync_takes < HELP_MAX
    }

    /// True where nobody syncs.
    fn is_free(&self) -> bool {
        self.syncing == 0 && !self.sweeping
    }

    fn is_sweep_due(&self, may_share: bool) -> bool {
        let many = self.syncs.len() >= SWEEP_MIN;
        many && may_share && self.alone.is_empty() && !self.sweeping
    }

    /// The sync of one file, unless that would keep others from being done together.
    fn next_sync(&mut self) -> Option<Work> {
        let may_share = self.may_share();
        if let Some((lane, submission)) = next_of(&mut self.alone) {
            self.syncing += 1;
            return Some(Work::Operation(lane, submission));
        }
        if self.sweeping || self.is_sweep_due(may_share) {
            return None;
        }
        // More of them at once would only keep the device from being asked once for all.
        if may_share && self.syncing >= SYNCING_MAX {
            return None;
        }
        let (lane, submission) = next_of(&mut self.syncs)?;
        self.syncing += 1;
        Some(Work::Operation(lane, submission))
    }

    /// Names first, since records wait for them; reads may take long.
    fn next_other(&mut self, may_share: bool) -> Option<Work> {
        if self.naming {
            return next_of(&mut self.others);
        }
        let together = may_share && !self.names_apart && self.names_together.pays();
        if self.names.len() >= SWEEP_MIN && together {
            self.naming = true;
            let count = self.names.len().min(NAMES_MAX);
            return Some(Work::Names(self.names.drain(..count).collect()));
        }
        match next_of(&mut self.names) {
            Some((lane, submission)) => Some(Work::Operation(lane, submission)),
            None => next_of(&mut self.others),
        }
    }
}

impl DiskRunner {
    /// A runner with `threads` for each volume; `ended` is called on one of them after each work
    /// they did and must call [`Self::run`] again.
    pub fn new(
        disk: Arc<OsDisk>,
        threads: usize,
        lookout: Option<Lookout>,
        ended: Arc<Sink>,
    ) -> std::io::Result<Arc<Self>> {
        let volumes = (0..disk.volumes()).map(|_| Arc::default()).collect();
        let runner = Arc::new(Self {
            disk,
            volumes,
            made: Mutex::default(),
            lookout,
            outstanding: AtomicUsize::new(0),
        });
        for (number, volume) in runner.volumes.iter().enumerate() {
            for index in 0..threads {
                let (volume, ended) = (volume.clone(), ended.clone());
                let (disk, weak) = (runner.disk.clone(), Arc::downgrade(&runner));
                let name = format!("disk-{number}-{index}");
                thread::Builder::new().name(name).spawn(move || {
                    let guard = Failed(&*ended);
                    while let Some(work) = volume.take() {
                        ended(do_next(&disk, number, &volume, &weak, work));
                    }
                    std::mem::forget(guard);
                })?;
            }
        }
        Ok(runner)
    }

    /// Takes submissions; the caller holds whatever orders them and calls [`Self::run`] later.
    pub fn submit(&self, submissions: impl IntoIterator<Item = (Lane, Submission)>) {
        let mut submissions = submissions.into_iter().peekable();
        while let Some((lane, submission)) = submissions.next() {
            let number = self.volume_for(&submission.op);
            let Some(volume) = self.volumes.get(number) else { continue };
            let mut inbox = lock(&volume.inbox);
            inbox.push_back(Job::Submitted(lane, submission));
            let mut count = 1;
            // Of one volume all are.
            let same = |_: &(Lane, Submission)| self.volumes.len() == 1;
            while let Some((lane, submission)) = submissions.next_if(same) {
                inbox.push_back(Job::Submitted(lane, submission));
                count += 1;
            }
            self.outstanding.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// The volume that an operation is to be done in; called in the order of submissions.
    fn volume_for(&self, op: &Op) -> usize {
        if self.volumes.len() == 1 {
            return 0;
        }
        let mut made = lock(&self.made);
        if let Op::Create { file, .. } | Op::OpenExisting { file, .. } = op {
            let number = self.disk.volume(op);
            made.insert(*file, number);
            return number;
        }
        let of_file = op.file().and_then(|file| made.get(&file).copied());
        of_file.unwrap_or_else(|| self.disk.volume(op))
    }

    /// Reads for the node, on the threads of the volume.
    pub fn read(&self, lane: Lane, load: u64, plan: ReadPlan) {
        let volume = plan.file().map_or(0, |file| self.disk.volume_of_file(file));
        if let Some(of) = self.volumes.get(volume) {
            self.put(volume, of, Work::Read(lane, load, plan), &mut Help::No);
        }
    }

    /// Operations submitted and not ended.
    pub fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Acquire)
    }

    /// To be called once for each completion that was handed on.
    pub fn ended(&self, count: usize) {
        self.outstanding.fetch_sub(count, Ordering::Release);
    }

    /// Starts what can be started, or sees to it that others do; `done` takes the ends of what was
    /// quick. False if nothing was done here.
    pub fn run(&self, help: &mut Help, done: &mut Vec<(Lane, Completion)>) -> bool {
        if let [volume] = &self.volumes[..] {
            return self.start(0, volume, help, done);
        }
        for volume in &self.volumes {
            // Whoever holds the lanes looks at the inbox again.
            let held = || matches!(volume.lanes.try_lock(), Err(TryLockError::WouldBlock));
            if !lock(&volume.inbox).is_empty() && !held() {
                lock(&volume.waiting).starts = true;
                volume.ready.notify_one();
            }
        }
        false
    }

    /// Starts what can be started of a volume, unless another thread is at it.
    fn start(
        &self,
        number: usize,
        volume: &Arc<Volume>,
        help: &mut Help,
        done: &mut Vec<(Lane, Completion)>,
    ) -> bool {
        let mut worked = false;
        // Whoever holds the lanes looks at the inbox again after letting go, so nothing that was
        // put there meanwhile is left behind.
        while !lock(&volume.inbox).is_empty() {
            let mut lanes = match volume.lanes.try_lock() {
                Ok(lanes) => lanes,
                Err(TryLockError::WouldBlock) => return worked,
                // The queues are whole at every point a disk could panic.
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            };
            let _starting = self.lookout.as_ref().map(Lookout::starting);
            let jobs = std::mem::take(&mut *lock(&volume.inbox));
            worked |= !jobs.is_empty();
            let mut jobs = jobs.into_iter().peekable();
            while let Some(job) = jobs.next() {
                let lane = job.lane();
                let state = lanes.state(lane);
                state.take(job);
                while let Some(job) = jobs.next_if(|job| job.lane() == lane) {
                    state.take(job);
                }
                self.advance((number, volume), lane, state, help, done);
                lanes.rest(lane);
            }
        }
        worked
    }

    /// Does what was promised, if nobody did yet; gives what ended.
    pub fn keep(&self, promise: &Promise) -> Vec<(Lane, Completion)> {
        let _keeping = self.lookout.as_ref().map(Lookout::keeping);
        let Some(work) = promise.work() else { return Vec::new() };
        match carry_out(&self.disk, promise.number, &promise.volume, work) {
            Done::Operations(done) => {
                promise.volume.ended(&done);
                done
            }
            Done::Read(..) | Done::Failed => Vec::new(),
        }
    }

    fn put(&self, number: usize, volume: &Arc<Volume>, work: Work, help: &mut Help) {
        let covered = match &work {
            Work::Operation(_, Submission { op: Op::Sync { file }, .. }) => {
                self.disk.is_covered(number, *file)
            }
            Work::Operation(_, Submission { op: Op::Replace { .. } | Op::SyncDir { .. }, .. }) => {
                self.disk.shares_names(number)
            }
            _ => false,
        };
        if volume.put(work, covered, matches!(help, Help::Offered)) {
            *help = Help::Promised(Promise { volume: volume.clone(), number });
        }
    }

    fn advance(
        &self,
        (number, volume): (usize, &Arc<Volume>),
        lane: Lane,
        state: &mut LaneState,
        help: &mut Help,
        done: &mut Vec<(Lane, Completion)>,
    ) {
        while let Some(front) = state.queue.front() {
            let may_overtake = matches!(front.op, Op::Write { .. } | Op::Sync { .. });
            if state.pooled > 0 && !may_overtake {
                return;
            }
            let Some(submission) = state.queue.pop_front() else { return };
            if waits_for_device(&submission.op) {
                state.pooled += 1;
                self.put(number, volume, Work::Operation(lane, submission), help);
            } else {
                let (op, others) = with_next(submission.op, &mut state.queue);
                let result = self.disk.execute(&op);
                if self.volumes.len() > 1
                    && let Op::Create { file, .. } | Op::OpenExisting { file, .. } = &op
                {
                    lock(&self.made).remove(file);
                }
                let tokens = std::iter::once(submission.token).chain(others);
                let end = |token| (lane, Completion { token, result: result.clone() });
                done.extend(tokens.map(end));
            }
        }
    }
}

/// What a thread of a volume does with what it took.
fn do_next(
    disk: &OsDisk,
    number: usize,
    volume: &Arc<Volume>,
    runner: &Weak<DiskRunner>,
    work: Work,
) -> Done {
    if matches!(work, Work::Start) {
        let mut done = Vec::new();
        if let Some(runner) = runner.upgrade() {
            runner.start(number, volume, &mut Help::No, &mut done);
        }
        return Done::Operations(done);
    }
    let other = work.is_other();
    let names = matches!(work, Work::Names(_));
    let done = carry_out(disk, number, volume, work);
    if other {
        volume.other_ended(names);
    }
    if let Done::Operations(done) = &done {
        volume.ended(done);
    }
    done
}

/// The front one. Room for thousands is given back with the last of them.
fn next_of<T>(queue: &mut VecDeque<T>) -> Option<T> {
    let next = queue.pop_front();
    if queue.is_empty() && queue.capacity() > ROOM_KEPT {
        *queue = VecDeque::new();
    }
    next
}

/// One write for it and for those that go on where it ends; these are taken out of the queue, and
/// what becomes of it becomes of them. Anything else as it is.
fn with_next(op: Op, queue: &mut VecDeque<Submission>) -> (Op, Vec<Token>) {
    let mut others = Vec::new();
    let Op::Write { file, at, mut parts } = op else { return (op, others) };
    let mut end = at + parts.iter().map(|part| part.len() as u64).sum::<u64>();
    while let Some(Submission { token, op: Op::Write { parts: more, .. } }) =
        queue.pop_front_if(|next| {
            matches!(&next.op, Op::Write { file: of, at, parts: more }
                if (*of, *at) == (file, end) && parts.len() + more.len() <= PARTS_MAX)
        })
    {
        end += more.iter().map(|part| part.len() as u64).sum::<u64>();
        parts.extend(more);
        others.push(token);
    }
    (Op::Write { file, at, parts }, others)
}

fn waits_for_device(op: &Op) -> bool {
    match op {
        Op::Sync { .. } | Op::SyncDir { .. } | Op::Replace { .. } | Op::RemoveDirAll { .. } => true,
        // Of a whole segment: to give its space back may take as long.
        Op::RemoveFile { path } => path.extension().is_some_and(|of| of == "deleted"),
        _ => false,
    }
}

/// Does it, and tells the volume what there is to learn of it.
fn carry_out(disk: &OsDisk, number: usize, volume: &Volume, work: Work) -> Done {
    let began = Instant::now();
    match work {
        Work::Start => Done::Operations(Vec::new()),
        Work::Operation(lane, Submission { token, op }) => {
            let result = disk.execute(&op);
            if matches!(op, Op::Sync { .. }) {
                volume.synced(began.elapsed());
            }
            Done::Operations(vec![(lane, Completion { token, result })])
        }
        Work::Sweep(syncs) => Done::Operations(sweep(disk, number, volume, syncs)),
        Work::Names(names) => {
            let count = names.len();
            let done = together(disk, number, names);
            volume.named(count, began.elapsed());
            Done::Operations(done)
        }
        Work::Read(lane, load, plan) => {
            let read = plan.execute(disk, true).map_err(|error| error.to_string());
            Done::Read(lane, load, read, plan.take_damage())
        }
    }
}

/// All these syncs by one of the volume. If that fails each goes back to be done by itself, and
/// tells whether it was its own: what `syncfs` was told of takes nothing away from that.
fn sweep(
    disk: &OsDisk,
    number: usize,
    volume: &Volume,
    syncs: Vec<(Lane, Submission)>,
) -> Vec<(Lane, Completion)> {
    let began = Instant::now();
    let files = syncs.iter().filter_map(|(_, submission)| match submission.op {
        Op::Sync { file } => Some(file),
        _ => None,
    });
    let swept = disk.sync_all(number, files);
    let took = began.elapsed();
    let count = syncs.len();
    let done = match &swept {
        Ok(()) => {
            let done =
                |(lane, Submission { token, .. })| (lane, Completion { token, result: Ok(()) });
            syncs.into_iter().map(done).collect()
        }
        Err(_) => {
            lock(&volume.waiting).alone.extend(syncs);
            Vec::new()
        }
    };
    volume.swept(count, took, swept.is_err());
    if let Err(error) = &swept {
        log_line::line("ERROR", &format!("{error}; each log is synced on its own from now on"));
    }
    done
}

/// All these together.
fn together(
    disk: &OsDisk,
    number: usize,
    names: Vec<(Lane, Submission)>,
) -> Vec<(Lane, Completion)> {
    let (tokens, ops): (Vec<_>, Vec<_>) =
        names.into_iter().map(|(lane, Submission { token, op })| ((lane, token), op)).unzip();
    let shared = disk.shares_names(number);
    let done = disk.execute_all(&ops);
    if shared && !disk.shares_names(number) {
        let told = "making many files durable at once failed; each is from now on on its own";
        log_line::line("ERROR", told);
    }
    let end = |((lane, token), result)| (lane, Completion { token, result });
    tokens.into_iter().zip(done).map(end).collect()
}

impl Drop for DiskRunner {
    fn drop(&mut self) {
        for volume in &self.volumes {
            lock(&volume.waiting).closed = true;
            volume.ready.notify_all();
        }
    }
}

/// A panic elsewhere is reported where it happened; the data under these locks is whole at every
/// point a panic can occur.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Parts of one write, at most.
const PARTS_MAX: usize = 256;
/// So many lanes that became idle keep their memory for others.
const SPARE_LANES: usize = 64;
/// The most lanes, or things that wait, that room is kept for when there are none.
const ROOM_KEPT: usize = 512;
/// So many syncs that wait become one `syncfs`.
const SWEEP_MIN: usize = 8;
/// So many threads of a volume sync one file each, where it can be done for many at once.
const SYNCING_MAX: usize = 4;
/// So many small files are done together at most: others must not wait for ever.
const NAMES_MAX: usize = 512;
/// A sync that takes longer is worth a thread.
const HELP_MAX: Duration = Duration::from_millis(1);
/// No device makes anything durable in less time.
const SYNC_TAKES_MIN: Duration = Duration::from_micros(50);
/// How long a sweep may take in any case, and how much may be lost by doing things together.
const SWEEP_PATIENCE: Duration = Duration::from_millis(100);
/// Threads of a volume that may do what is no sync, which may take long.
const OTHERS_MAX: usize = 3;
/// How long a volume does without sweeps after one that took too long.
const WITHOUT_SWEEPS: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn sync(number: u64) -> (Lane, Submission) {
        let op = Op::Sync { file: FileId(number) };
        (Lane(number), Submission { token: Token(number), op })
    }

    fn waiting(syncs: u64) -> Waiting {
        Waiting { syncs: (0..syncs).map(sync).collect(), ..Waiting::default() }
    }

    #[test]
    fn few_syncs_are_done_each_and_many_at_once() {
        let few = SWEEP_MIN as u64 - 1;
        let mut queue = waiting(few);
        assert!(matches!(queue.next(), Some(Work::Operation(Lane(0), _))));
        assert_eq!(queue.syncs.len() as u64, few - 1);
        let mut queue = waiting(few + 1);
        let Some(Work::Sweep(swept)) = queue.next() else { panic!("no sweep") };
        assert_eq!(swept.len() as u64, few + 1);
        // Those that come meanwhile wait to be the next; what is no sync doesn't.
        queue.syncs.push_back(sync(90));
        assert!(queue.next().is_none());
        queue.others.push_back(Work::Read(Lane(1), 0, plan()));
        assert!(matches!(queue.next(), Some(Work::Read(..))));
        queue.sweeping = false;
        assert!(matches!(queue.next(), Some(Work::Operation(Lane(90), _))));
    }

    #[test]
    fn a_volume_where_sweeps_take_too_long_does_without_for_a_while() {
        let volume = Volume::default();
        *lock(&volume.waiting) = Waiting { sync_takes: Duration::from_millis(4), ..waiting(100) };
        assert!(matches!(volume.take(), Some(Work::Sweep(_))));
        volume.swept(100, Duration::from_millis(200), false);
        lock(&volume.waiting).syncs = waiting(100).syncs;
        assert!(matches!(volume.take(), Some(Work::Sweep(_))), "that was not too long");
        volume.swept(100, Duration::from_millis(201), false);
        lock(&volume.waiting).syncs = waiting(100).syncs;
        assert!(matches!(volume.take(), Some(Work::Operation(..))));
        lock(&volume.waiting).no_sweep_before = Some(Instant::now());
        assert!(matches!(volume.take(), Some(Work::Sweep(_))));
        volume.swept(100, Duration::ZERO, true);
        lock(&volume.waiting).syncs = waiting(100).syncs;
        assert!(matches!(volume.take(), Some(Work::Operation(..))), "none after one that failed");
    }

    #[test]
    fn what_is_no_sync_does_not_keep_all_threads_from_syncs() {
        let mut queue = waiting(1);
        let read = || Work::Read(Lane(1), 0, plan());
        queue.others.extend((0..10).map(|_| read()));
        let taken: Vec<bool> = (0..4).map(|_| queue.next().unwrap().is_sync()).collect();
        assert_eq!(taken, [false, false, false, true]);
        assert!(queue.next().is_none(), "threads are kept for syncs to come");
        queue.others_busy -= 1;
        assert!(matches!(queue.next(), Some(Work::Read(..))));
    }

    /// A file outside of the volume is synced itself; so is each file after a sweep that failed.
    #[test]
    fn a_sweep_vouches_only_for_what_it_covers() {
        let root = tempfile::tempdir().unwrap();
        let dirs = ["a", "b"].map(|name| root.path().join(name));
        dirs.iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
        let disk = OsDisk::with_volumes(&dirs[..1]).unwrap();
        for (number, dir) in (0..).zip(&dirs) {
            let path = dir.join("x.log");
            disk.execute(&Op::Create { file: FileId(number), path }).unwrap();
        }
        assert!(!disk.is_covered(0, FileId(1)), "it is in no volume");
        assert!(!disk.is_covered(1, FileId(0)), "there is no such volume");
        let volume = Volume::default();
        let work = |number| {
            let (lane, submission) = sync(number);
            Work::Operation(lane, submission)
        };
        (0..20).for_each(|number| {
            volume.put(work(number), false, false);
        });
        assert!(matches!(volume.take(), Some(Work::Operation(Lane(0), _))), "no sweep");
        // There is no volume 1 to be swept.
        let volume = Volume::default();
        (0..20).for_each(|number| {
            volume.put(work(number), true, false);
        });
        let Some(Work::Sweep(syncs)) = volume.take() else { panic!("no sweep") };
        assert!(sweep(&disk, 1, &volume, syncs).is_empty());
        (0..20).for_each(|number| {
            volume.put(work(20 + number), true, false);
        });
        for number in 0..40 {
            let Some(Work::Operation(lane, _)) = volume.take() else { panic!("a sweep") };
            assert_eq!(lane, Lane(number));
        }
    }

    /// Real files of two volumes: each operation is done by threads of its own, in order, and told
    /// of once, whichever way it was done; and the end is orderly.
    #[test]
    fn every_operation_ends_once() {
        let root = tempfile::tempdir().unwrap();
        let dirs = [root.path().join("a"), root.path().join("b")];
        dirs.iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
        let disk = Arc::new(OsDisk::with_volumes(&dirs).unwrap());
        let (sender, receiver) = std::sync::mpsc::channel();
        let sender = Mutex::new(sender);
        let ended = Arc::new(move |done: Done| {
            if let Done::Operations(done) = done {
                lock(&sender).send(done).unwrap();
            }
        });
        let runner = DiskRunner::new(disk.clone(), 2, None, ended).unwrap();
        let count = 200;
        let mut quick = Vec::new();
        for number in 0..count {
            let (lane, file) = (Lane(number), FileId(number));
            let path = dirs[number as usize % 2].join(format!("{number}.log"));
            let write = Op::Write { file, at: 0, parts: vec![Bytes::from_static(b"x")] };
            let ops = [Op::Create { file, path }, write, Op::Sync { file }];
            let tokens = (number * 3..).map(Token);
            let submissions = ops.into_iter().zip(tokens);
            runner.submit(submissions.map(|(op, token)| (lane, Submission { token, op })));
            runner.run(&mut Help::No, &mut quick);
        }
        assert!(quick.is_empty(), "done by whoever brought it");
        let mut ended = BTreeMap::<Lane, Vec<Token>>::new();
        while ended.values().map(Vec::len).sum::<usize>() < 3 * count as usize {
            let done = receiver.recv_timeout(Duration::from_secs(60)).expect("all end");
            for (lane, completion) in done {
                completion.result.unwrap();
                ended.entry(lane).or_default().push(completion.token);
            }
        }
        assert!((0..count).all(|number| disk.volume_of_file(FileId(number)) as u64 == number % 2));
        for (lane, mut tokens) in ended {
            // A sync may be told of by another thread than what it covers.
            tokens.sort();
            assert_eq!(tokens, Vec::from_iter((lane.0 * 3..lane.0 * 3 + 3).map(Token)));
        }
        assert!(lock(&runner.made).is_empty(), "files the disk knows");
    }

    /// To free the space of a segment takes as long as a sync.
    #[test]
    fn the_removal_of_a_segment_is_left_to_threads() {
        let root = tempfile::tempdir().unwrap();
        let disk = Arc::new(OsDisk::with_volumes(&[root.path().to_owned()]).unwrap());
        let runner = DiskRunner::new(disk, 0, None, Arc::new(|_| {})).unwrap();
        let names = ["00.log.deleted", "00.index.deleted", "00.txnindex"];
        for (number, name) in (0..).zip(names) {
            let path = root.path().join(name);
            std::fs::write(&path, "x").unwrap();
            let submission = Submission { token: Token(number), op: Op::RemoveFile { path } };
            runner.submit([(Lane(number), submission)]);
        }
        let mut done = Vec::new();
        runner.run(&mut Help::No, &mut done);
        assert_eq!(done.iter().map(|(lane, _)| lane.0).collect::<Vec<_>>(), [2]);
        assert!(root.path().join(names[0]).exists() && !root.path().join(names[2]).exists());
    }

    #[test]
    fn a_promise_is_kept_by_its_holder_or_falls_to_the_threads() {
        let root = tempfile::tempdir().unwrap();
        let disk = Arc::new(OsDisk::with_volumes(&[root.path().to_owned()]).unwrap());
        let path = root.path().join("x.log");
        disk.execute(&Op::Create { file: FileId(0), path }).unwrap();
        // No threads: what falls to them stays where they would find it.
        let runner = DiskRunner::new(disk, 0, None, Arc::new(|_| {})).unwrap();
        let offer = |token| {
            let op = Op::Sync { file: FileId(0) };
            runner.submit([(Lane(0), Submission { token: Token(token), op })]);
            let mut help = Help::Offered;
            assert!(runner.run(&mut help, &mut Vec::new()));
            help.take()
        };
        let promise = offer(1).expect("a promise");
        let done = runner.keep(&promise);
        let [(Lane(0), Completion { token: Token(1), result: Ok(()) })] = done.as_slice() else {
            panic!("{done:?}")
        };
        assert!(runner.keep(&promise).is_empty());
        // While one is held there is no other, and what comes falls to the threads.
        assert!(offer(2).is_none());
        drop(promise);
        assert!(lock(&runner.volumes[0].waiting).may_begin());
        let Some(Work::Operation(_, Submission { token: Token(2), .. })) = runner.volumes[0].take()
        else {
            panic!("no sync")
        };
        runner.volumes[0].synced(Duration::ZERO);
        // Nor is there one where a sync takes long.
        lock(&runner.volumes[0].waiting).sync_takes = HELP_MAX;
        assert!(offer(3).is_none());
    }

    /// Others are not kept waiting for who does one.
    #[test]
    fn a_promise_is_of_one_sync() {
        let volume = Volume::default();
        let work = |number| {
            let (lane, submission) = sync(number);
            Work::Operation(lane, submission)
        };
        assert!(volume.put(work(0), true, true));
        assert!(!volume.put(work(1), true, true) && !volume.put(work(2), false, true));
        let Some(Work::Operation(Lane(2), _)) = volume.take() else { panic!("no sync") };
        let Some(Work::Operation(Lane(0), _)) = volume.take() else { panic!("no sync") };
        let Some(Work::Operation(Lane(1), _)) = volume.take() else { panic!("no sync") };
        drop(Promise { volume: Arc::new(volume), number: 0 });
    }

    #[test]
    fn writes_that_go_on_are_one_write() {
        let write = |token, file, at, len| {
            let parts = vec![Bytes::from(vec![token as u8; len])];
            Submission { token: Token(token), op: Op::Write { file: FileId(file), at, parts } }
        };
        let next = [write(1, 7, 10, 5), write(2, 7, 15, 1), write(3, 7, 17, 1), write(4, 8, 18, 1)];
        let mut queue = VecDeque::from(next);
        let (op, others) = with_next(write(0, 7, 0, 10).op, &mut queue);
        assert_eq!((others, queue.len()), (vec![Token(1), Token(2)], 2));
        let Op::Write { file, at, parts } = op else { panic!("no write") };
        assert_eq!((file, at, parts.concat().len()), (FileId(7), 0, 16));
        let (op, others) = with_next(queue.pop_front().unwrap().op, &mut queue);
        assert!(matches!(op, Op::Write { at: 17, .. }) && others.is_empty());
        let mut queue: VecDeque<_> = (1..1000).map(|n| write(n, 7, n, 1)).collect();
        let (Op::Write { parts, .. }, _) = with_next(write(0, 7, 0, 1).op, &mut queue) else {
            panic!("no write")
        };
        assert_eq!(parts.len(), PARTS_MAX);
    }

    #[test]
    fn what_does_not_pay_is_left_for_longer_each_time() {
        let mut trial = Trial::default();
        let ms = Duration::from_millis;
        trial.took(ms(150), ms(60));
        assert!(trial.pays(), "90 ms lost");
        trial.took(ms(1), ms(60));
        trial.took(ms(80), ms(20));
        assert!(trial.pays(), "what was won counts");
        for pause in [100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000] {
            trial.took(ms(200), ms(50));
            let left = trial.until.unwrap().saturating_duration_since(Instant::now());
            assert!(!trial.pays() && left <= ms(pause) && left > ms(pause) * 9 / 10);
        }
        trial.took(ms(0), ms(50));
        trial.took(ms(200), ms(50));
        assert!(trial.until.unwrap() <= Instant::now() + ms(100));
    }

    fn plan() -> ReadPlan {
        let mut out = Vec::new();
        let log = ottla_log::Log::create(
            std::path::Path::new("t-0"),
            wire::Uuid(1),
            ottla_log::LogConfig::default(),
            &mut out,
        );
        log.plan_read(0, 1, 0).unwrap()
    }
}
