//! The one place where the node is stepped.
//!
//! Whoever has an event puts it into the inbox and tries to take the node; whoever holds the node
//! steps it for all. So an idle node is stepped by the thread that brought the request, with no
//! hand-over, and a busy one takes events in batches.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, TryLockError, Weak};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use broker::metrics::Sample;
use broker::{ConnId, Effect, Event, Lane, Node, Now};
use ottla_log::Damage;
use ottla_log::disk::os::OsDisk;
use ottla_log::disk::{Completion, Submission};
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::clean::Cleaners;
use crate::disk::{DiskRunner, Done, Help, Promise};
use crate::full::{Errand, Errands};
use crate::key_filter;
use crate::line::Line;
use crate::log_line;
use crate::lookout::Lookout;
use crate::scrub::Scrubs;
use crate::send::Sender;

/// The node and everything that moves it.
pub struct Shell {
    node: Mutex<Option<Node>>,
    inbox: Mutex<Vec<Event>>,
    runner: OnceLock<Arc<DiskRunner>>,
    disk: Arc<OsDisk>,
    cleaners: Cleaners,
    errands: Errands,
    scrubs: Scrubs,
    /// To be told of by threads that may outlive it.
    weak: Weak<Self>,
    /// What connections send their answers with.
    pub sender: Sender,
    connections: RwLock<HashMap<ConnId, Arc<Line>>>,
    started: Instant,
    next_deadline_ms: AtomicI64,
    /// Wakes the timer when the next deadline became earlier.
    pub deadline_changed: Notify,
    /// Wakes whoever waits for the node's end; one waits.
    pub halted: Notify,
    is_halted: AtomicBool,
}

impl Shell {
    /// Takes a node over, for connections of that runtime.
    ///
    /// # Errors
    /// The disk threads can't be started.
    pub fn new(node: Node, disk: Arc<OsDisk>, runtime: Handle) -> std::io::Result<Arc<Self>> {
        let alone = disk.volumes() == 1;
        let lookout = alone.then(|| Lookout::new(runtime)).transpose()?;
        let shell = Arc::new_cyclic(|weak| Self {
            weak: weak.clone(),
            cleaners: Cleaners::default(),
            errands: Errands::default(),
            scrubs: Scrubs::default(),
            next_deadline_ms: AtomicI64::new(node.next_deadline_ms()),
            node: Mutex::new(Some(node)),
            inbox: Mutex::default(),
            runner: OnceLock::new(),
            sender: Sender::new(disk.clone(), weak.clone()),
            disk: disk.clone(),
            connections: RwLock::default(),
            started: Instant::now(),
            deadline_changed: Notify::new(),
            halted: Notify::new(),
            is_halted: AtomicBool::new(false),
        });
        let weak: Weak<Self> = Arc::downgrade(&shell);
        let ended = Arc::new(move |done: Done| {
            let Some(shell) = weak.upgrade() else { return };
            match done {
                Done::Operations(done) => {
                    shell.completed(done);
                    shell.pump();
                }
                Done::Read(lane, load, read, damage) => {
                    shell.damaged(damage);
                    shell.submit(Event::Loaded(lane, load, read));
                }
                Done::Failed => shell.halt("a disk thread failed; see the panic above"),
            }
        });
        let runner = DiskRunner::new(disk, DISK_THREADS, lookout, ended)?;
        let _ = shell.runner.set(runner);
        Ok(shell)
    }

    /// The disk that replies are read from.
    pub fn disk(&self) -> &Arc<OsDisk> {
        &self.disk
    }

    /// The time of a step.
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            wall_ms: wall.as_millis() as i64,
            steady_ms: self.started.elapsed().as_millis() as i64,
        }
    }

    /// When the node wants to be ticked, in milliseconds of the steady clock.
    pub fn next_deadline_ms(&self) -> i64 {
        self.next_deadline_ms.load(Ordering::Acquire)
    }

    /// Adds a connection that can be written to.
    pub fn connect(&self, conn: ConnId, line: Arc<Line>) {
        let mut connections = self.connections.write().unwrap_or_else(PoisonError::into_inner);
        connections.insert(conn, line);
    }

    /// Forgets a connection and tells the node.
    pub fn disconnect(&self, conn: ConnId) {
        let mut connections = self.connections.write().unwrap_or_else(PoisonError::into_inner);
        connections.remove(&conn);
        drop(connections);
        self.submit(Event::Disconnected(conn));
    }

    /// Brings an event to the node.
    pub fn submit(&self, event: Event) {
        lock(&self.inbox).push(event);
        self.pump();
    }

    /// Does the syncs that were promised, and what follows. Waits for the device.
    pub fn keep(&self, promise: Promise) -> Followed {
        let Some(runner) = self.runner.get() else { return Followed::default() };
        let guard = Unkept(self);
        let done = runner.keep(&promise);
        std::mem::forget(guard);
        drop(promise);
        self.completed(done);
        self.pump_helping(Help::Offered)
    }

    /// Tells the node of damage that somebody came across.
    pub fn damaged(&self, damage: Vec<Damage>) {
        if !damage.is_empty() {
            self.submit(Event::Damaged(damage));
        }
    }

    /// True once the node must not be used any more.
    pub fn is_halted(&self) -> bool {
        self.is_halted.load(Ordering::Acquire)
    }

    /// What the node counts; `None` once it is gone.
    pub fn sample(&self) -> Option<Sample> {
        let sample = lock(&self.node).as_ref().map(Sample::of);
        // Whoever met a held node left its event to its holder.
        self.pump();
        sample
    }

    /// Disk operations under way.
    pub fn disk_outstanding(&self) -> usize {
        self.runner.get().map_or(0, |runner| runner.outstanding())
    }

    /// Ends all work on logs that the node ordered to be done elsewhere, and waits for that.
    pub fn stop_elsewhere(&self) {
        self.cleaners.stop();
        self.scrubs.stop();
        self.errands.stop();
    }

    fn send_on(&self, errand: Errand) {
        let shell = self.weak.clone();
        self.errands.send(errand, &self.disk, move |event| {
            if let Some(shell) = shell.upgrade() {
                shell.submit(event);
            }
        });
    }

    /// Takes the node out, to close it, if nothing is under way: no event waits, no disk operation
    /// is outstanding, nobody steps. Events that come later are dropped.
    pub fn take_idle(&self) -> Option<Node> {
        let mut guard = self.node.try_lock().ok()?;
        // Completions enter the inbox before they stop being outstanding, so this order can't
        // miss one; while the node is held nothing new is submitted.
        if self.disk_outstanding() > 0 || !lock(&self.inbox).is_empty() {
            return None;
        }
        guard.take()
    }

    /// Works until there is nothing left to do or another thread does it.
    pub fn pump(&self) {
        self.pump_helping(Help::No);
    }

    fn pump_helping(&self, mut help: Help) -> Followed {
        let mut woke = false;
        let Some(runner) = self.runner.get() else { return Followed::default() };
        let mut put_off = 0;
        loop {
            let stepped = self.step(runner, &mut woke);
            let mut done = Vec::new();
            let ran = runner.run(&mut help, &mut done);
            self.completed(done);
            if !stepped && !ran {
                return Followed { promise: help.take(), woke };
            }
            if matches!(help, Help::Promised(_)) {
                put_off += 1;
                if put_off > PUT_OFF_MAX {
                    // Others bring more and more: the threads do it meanwhile.
                    drop(help.take());
                }
            }
        }
    }

    fn completed(&self, done: Vec<(Lane, Completion)>) {
        if done.is_empty() {
            return;
        }
        let count = done.len();
        // What ended together is told of together, so that one sync makes it durable.
        let mut events: Vec<Event> = Vec::new();
        for (lane, done) in done {
            match events.last_mut() {
                Some(Event::Completed(last, together)) if *last == lane => together.push(done),
                _ => events.push(Event::Completed(lane, vec![done])),
            }
        }
        lock(&self.inbox).append(&mut events);
        // After the events are in the inbox: whoever then sees nothing outstanding finds them.
        if let Some(runner) = self.runner.get() {
            runner.ended(count);
        }
    }

    /// Steps the node with what is in the inbox; false if that was nothing or another thread has
    /// the node. `woke` becomes true if a task was woken for what followed.
    fn step(&self, runner: &DiskRunner, woke: &mut bool) -> bool {
        let mut worked = false;
        while !lock(&self.inbox).is_empty() {
            let mut guard = match self.node.try_lock() {
                Ok(guard) => guard,
                // Whoever holds the node looks at the inbox again after letting go.
                Err(TryLockError::WouldBlock) => return worked,
                Err(TryLockError::Poisoned(_)) => {
                    self.halt("a step of the node failed half way; see the panic above");
                    return false;
                }
            };
            let events = std::mem::take(&mut *lock(&self.inbox));
            let Some(node) = guard.as_mut() else { return false };
            worked |= !events.is_empty();
            let mut effects = Vec::new();
            let now = self.now();
            for event in events {
                node.step(now, event, &mut effects);
            }
            let deadline = node.next_deadline_ms();
            let mut submissions: Vec<(Lane, Submission)> = Vec::new();
            effects.retain_mut(|effect| match effect {
                Effect::Load(lane, load, plan) => {
                    runner.read(*lane, *load, plan.clone());
                    false
                }
                Effect::Disk(lane, submission) => {
                    let token = submission.token;
                    let op = std::mem::replace(&mut submission.op, NOTHING);
                    submissions.push((*lane, Submission { token, op }));
                    false
                }
                _ => true,
            });
            // Still holding the node, so that submissions enter in the order of the steps.
            runner.submit(submissions);
            // And the deadline, or an older step could put back a later one.
            if self.next_deadline_ms.swap(deadline, Ordering::AcqRel) > deadline {
                self.deadline_changed.notify_one();
                *woke = true;
            }
            drop(guard);
            *woke |= self.deliver(effects);
        }
        worked
    }

    fn halt(&self, reason: &str) {
        if self.is_halted.swap(true, Ordering::AcqRel) {
            return;
        }
        log_line::line("ERROR", &format!("stopping: {reason}"));
        self.halted.notify_one();
    }

    /// True if a task was woken.
    fn deliver(&self, effects: Vec<Effect>) -> bool {
        let mut woke = false;
        // When many are answered at once, the threads of the runtime share the work.
        let mut here = AT_ONCE;
        let mut effects = effects.into_iter().peekable();
        while let Some(effect) = effects.next() {
            match effect {
                Effect::Reply(reply) => {
                    let conn = reply.call.conn;
                    let mut replies = vec![reply];
                    let follows = |effect: &Effect| match effect {
                        Effect::Reply(reply) => reply.call.conn == conn,
                        _ => false,
                    };
                    while let Some(Effect::Reply(reply)) = effects.next_if(follows) {
                        replies.push(reply);
                    }
                    if let Some(line) = self.line(conn) {
                        // An answer that can't be made ends its connection, and no other.
                        let answer = || line.answer(replies, &self.sender, here > 0);
                        woke |= catch_unwind(AssertUnwindSafe(answer)).unwrap_or(true);
                        here = here.saturating_sub(1);
                    }
                }
                Effect::Close(conn, serial, reason) => {
                    if let Some(line) = self.line(conn) {
                        line.close(serial, reason);
                        woke = true;
                    }
                }
                Effect::Info(text) => log_line::line("INFO", &text),
                Effect::Clean(lane, order) => {
                    let shell = self.weak.clone();
                    self.cleaners.begin(*order, self.disk.clone(), move |news| {
                        if let Some(shell) = shell.upgrade() {
                            shell.submit(Event::Cleaned(lane, news));
                        }
                    });
                }
                Effect::Measure(dir) => self.send_on(Errand::Measure(dir)),
                Effect::Reopen(lane, order) => self.send_on(Errand::Reopen(lane, order)),
                Effect::Scrub(lane, order) => {
                    let shell = self.weak.clone();
                    self.scrubs.begin(lane, *order, &self.disk, move |lane, news| {
                        if let Some(shell) = shell.upgrade() {
                            shell.submit(Event::Scrubbed(lane, news));
                        }
                    });
                }
                Effect::BuildKeyFilter(lane, order) => {
                    let shell = self.weak.clone();
                    key_filter::begin(&self.cleaners, *order, self.disk.clone(), move |built| {
                        if let Some(shell) = shell.upgrade() {
                            shell.submit(Event::KeyFilterBuilt(lane, Box::new(built)));
                        }
                    });
                }
                Effect::Warn(text) => log_line::line("WARN", &text),
                Effect::Error(text) => log_line::line("ERROR", &text),
                Effect::LogLevel(_, level) => log_line::set_level(&level),
                Effect::Halt(reason) => self.halt(&reason),
                // Taken out before.
                Effect::Disk(..) | Effect::Load(..) => {}
            }
        }
        woke
    }

    /// A connection that is gone needs no answer.
    fn line(&self, conn: ConnId) -> Option<Arc<Line>> {
        let connections = self.connections.read().unwrap_or_else(PoisonError::into_inner);
        connections.get(&conn).cloned()
    }
}

/// Brings events to the node while more are at hand, and holds back what quick operations of the
/// disk end meanwhile: a sync that follows is then one for all of them. What is held is told of
/// when this is dropped, at the latest.
pub struct Held {
    shell: Arc<Shell>,
    done: Vec<(Lane, Completion)>,
    woke: bool,
}

impl Held {
    /// Nothing yet.
    pub fn new(shell: Arc<Shell>) -> Self {
        Self { shell, done: Vec::new(), woke: false }
    }

    /// Brings events to the node, and takes them out of `events`.
    pub fn bring(&mut self, events: &mut Vec<Event>) {
        let shell = &self.shell;
        let Some(runner) = shell.runner.get() else { return };
        lock(&shell.inbox).append(events);
        while shell.step(runner, &mut self.woke) | runner.run(&mut Help::No, &mut self.done) {
            // Others' are among them: there is nothing to be won by holding those back.
            let mixed = !self.done.is_empty() && !self.is_of_one_log();
            if mixed || self.done.len() > HELD_MAX {
                shell.completed(std::mem::take(&mut self.done));
            }
        }
    }

    /// True if it is all of one log, and there is something.
    pub fn is_of_one_log(&self) -> bool {
        let lane = self.done.first().map(|(lane, _)| *lane);
        lane.is_some() && self.done.iter().all(|(of, _)| Some(*of) == lane)
    }

    /// Tells the node. The caller may be given a sync to do if it `helps`; [`Shell::keep`] is next
    /// for it then, and must not be put off.
    pub fn tell(mut self, helps: bool) -> Followed {
        self.shell.completed(std::mem::take(&mut self.done));
        let mut followed = self.shell.pump_helping(if helps { Help::Offered } else { Help::No });
        followed.woke |= self.woke;
        followed
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.done.is_empty() {
            self.shell.completed(std::mem::take(&mut self.done));
            self.shell.pump();
        }
    }
}

/// What came of events.
#[derive(Default)]
pub struct Followed {
    /// A sync that is left to whoever brought them.
    pub promise: Option<Promise>,
    /// A task was woken, perhaps to run next on this thread.
    pub woke: bool,
}

/// Halts the node if a sync panics: what it was to make durable never will be.
struct Unkept<'a>(&'a Shell);

impl Drop for Unkept<'_> {
    fn drop(&mut self) {
        self.0.halt("a sync failed half way; see the panic above");
    }
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Left in place of an operation that was taken out of an effect; never executed.
const NOTHING: ottla_log::disk::Op =
    ottla_log::disk::Op::Close { file: ottla_log::disk::FileId(u64::MAX) };

/// Of a volume: enough to keep a device's queue busy.
const DISK_THREADS: usize = 8;
/// Rounds of work that a promised sync is put off for.
const PUT_OFF_MAX: usize = 4;
/// Operations whose ends are held back.
const HELD_MAX: usize = 256;
/// Connections whose answers the thread that brings them sends by itself.
const AT_ONCE: usize = 4;
