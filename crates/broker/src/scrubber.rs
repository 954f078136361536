//! When logs are scrubbed, and what becomes of damage: the node's part of the scrub.
//!
//! In a round every log is read and checked, one after the other, slowed down to
//! `log.scrub.io.max.bytes.per.second`. Rounds begin `log.scrub.interval.ms` apart, the first ten
//! minutes after the start. Nothing of a round outlives the process: the next life begins one of
//! its own, with a log that chance chooses, so that restarts that come too often for a whole round
//! leave no log out for ever. The work itself is `ottla_log`'s, done where [`Effect::Scrub`] is
//! carried out; news come back as [`Event::Scrubbed`].
//!
//! Owns what the operator is told of damage, by whomever it was found: a line and a count, once a
//! place in each life of the node.
//!
//! Invariant I1: one log is scrubbed at a time.
//!
//! [`Event::Scrubbed`]: crate::Event::Scrubbed

use std::collections::VecDeque;

use ottla_log::disk::FileId;
use ottla_log::{Damage, ScrubError, ScrubPlan, ScrubStats};

use crate::event::{Effect, Lane, Now};
use crate::node::Node;

/// A scrub to be carried out.
#[derive(Debug)]
pub struct ScrubOrder {
    /// What to do.
    pub plan: ScrubPlan,
    /// Most bytes it may read in a second; without limit at 0.
    pub bytes_per_second: f64,
}

/// News of a scrub.
#[derive(Debug)]
pub enum Scrubbed {
    /// So many bytes more were looked at.
    Checked(u64),
    /// Something is damaged, in the segment of that file.
    Found(FileId, Box<Damage>),
    /// Nothing more comes; with `None` it was stopped.
    Ended(Option<Result<ScrubStats, ScrubError>>),
}

/// The scrub of a node.
#[derive(Debug)]
pub(crate) struct Scrubber {
    next_ms: i64,
    began_ms: i64,
    round: Option<Round>,
    /// Rounds that came to their end.
    pub rounds: u64,
}

/// A round under way.
#[derive(Debug)]
struct Round {
    /// Logs to come, and what they had when it began.
    left: VecDeque<(Lane, u64)>,
    /// The log being scrubbed.
    at: Option<(Lane, u64)>,
    logs: usize,
    bytes: u64,
    /// Bytes of the logs that are done, and what was read of the one being scrubbed.
    done: u64,
    read: u64,
    found: u64,
    began_ms: i64,
    /// When the last news came, and when the operator was told.
    seen_ms: i64,
    told_ms: i64,
}

/// How far a round has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScrubProgress {
    /// Bytes looked at.
    pub done: u64,
    /// Bytes it is about.
    pub bytes: u64,
    /// Seconds it will take still, about.
    pub left_secs: u64,
}

impl Default for Scrubber {
    fn default() -> Self {
        Self { next_ms: i64::MAX, began_ms: 0, round: None, rounds: 0 }
    }
}

impl Scrubber {
    /// When it looks next, on the steady clock.
    pub fn next_ms(&self) -> i64 {
        self.next_ms
    }

    /// Nothing is begun any more.
    pub fn stop(&mut self) {
        (self.next_ms, self.round) = (i64::MAX, None);
    }

    /// How far the round under way has come; all zero between rounds.
    pub fn progress(&self) -> ScrubProgress {
        let progress = |round: &Round| {
            let done = (round.done + round.read).min(round.bytes);
            let left_secs = left_secs(done, round.bytes, round.seen_ms - round.began_ms);
            ScrubProgress { done, bytes: round.bytes, left_secs }
        };
        self.round.as_ref().map(progress).unwrap_or_default()
    }
}

impl Node {
    /// All logs are open: a round may begin before long.
    pub(crate) fn begin_scrubbing(&mut self, now: Now) {
        let every_ms = self.setting(SCRUB_INTERVAL);
        let first_ms = if every_ms < 0 { FIRST_MS } else { every_ms.min(FIRST_MS) };
        self.scrubber.next_ms = now.steady_ms.saturating_add(first_ms);
        // As if the one before had begun just long enough ago.
        self.scrubber.began_ms = self.scrubber.next_ms.saturating_sub(every_ms.max(0));
    }

    /// How many rounds of the scrub came to their end in this life.
    pub fn scrub_rounds(&self) -> u64 {
        self.scrubber.rounds
    }

    /// Begins a round, or the next log of one, if it is time.
    pub(crate) fn scrub(&mut self, now: Now, out: &mut Vec<Effect>) {
        if now.steady_ms < self.scrubber.next_ms {
            return;
        }
        let every_ms = self.setting(SCRUB_INTERVAL);
        // The operator may change what was chosen.
        let soon = now.steady_ms.saturating_add(LOOK_MS);
        self.scrubber.next_ms = soon;
        if self.scrubber.round.is_none() {
            let due_ms = self.scrubber.began_ms.saturating_add(every_ms);
            if every_ms < 0 || now.steady_ms < due_ms {
                self.scrubber.next_ms = if every_ms < 0 { soon } else { due_ms.min(soon) };
                return;
            }
            self.begin_round(now, out);
        }
        self.scrub_next(now, out);
    }

    fn begin_round(&mut self, now: Now, out: &mut Vec<Effect>) {
        let logs = self.partitions.iter().filter(|(_, partition)| !partition.offline);
        let mut left: VecDeque<_> = logs.map(|(lane, one)| (*lane, one.log.size())).collect();
        left.retain(|(_, bytes)| *bytes > 0);
        self.scrubber.began_ms = now.steady_ms;
        let (logs, bytes) = (left.len(), left.iter().map(|(_, bytes)| bytes).sum());
        if logs > 0 {
            let first = self.rng.next_u64() % logs as u64;
            left.rotate_left(first as usize);
            out.push(Effect::Info(format!("scrub: {logs} logs, {} to be checked", human(bytes))));
        }
        self.scrubber.round = Some(Round {
            left,
            at: None,
            logs,
            bytes,
            done: 0,
            read: 0,
            found: 0,
            began_ms: now.steady_ms,
            seen_ms: now.steady_ms,
            told_ms: now.steady_ms,
        });
    }

    /// Begins with the next log of a round, unless one is at work; ends the round after the last.
    fn scrub_next(&mut self, now: Now, out: &mut Vec<Effect>) {
        let bytes_per_second = self.setting(SCRUB_RATE).max(0) as f64;
        let every_ms = self.setting(SCRUB_INTERVAL);
        let Some(round) = &mut self.scrubber.round else { return };
        while round.at.is_none() {
            let Some((lane, bytes)) = round.left.pop_front() else {
                let took_ms = now.steady_ms - round.began_ms;
                if round.logs > 0 {
                    out.push(Effect::Info(format!(
                        "scrub: {} logs, {} checked in {} s, {} damaged places found",
                        round.logs,
                        human(round.done),
                        took_ms / 1000,
                        round.found
                    )));
                }
                self.scrubber.round = None;
                self.scrubber.rounds += 1;
                // What is due by then is begun with the next step.
                let due_ms = self.scrubber.began_ms.saturating_add(every_ms);
                let due_ms = due_ms.max(now.steady_ms + NEXT_ROUND_MS);
                if every_ms >= 0 {
                    self.scrubber.next_ms = due_ms.min(self.scrubber.next_ms);
                }
                return;
            };
            let partition = self.partitions.get(&lane).filter(|one| !one.offline);
            match partition.and_then(|partition| partition.log.plan_scrub()) {
                Some(plan) => {
                    (round.at, round.read) = (Some((lane, bytes)), 0);
                    out.push(Effect::Scrub(lane, Box::new(ScrubOrder { plan, bytes_per_second })));
                }
                None => round.done += bytes,
            }
        }
    }

    /// Takes news of a scrub.
    pub(crate) fn scrubbed(&mut self, lane: Lane, news: Scrubbed, now: Now, out: &mut Vec<Effect>) {
        match news {
            Scrubbed::Checked(bytes) => {
                let Some(round) = &mut self.scrubber.round else { return };
                round.read += bytes;
                round.seen_ms = now.steady_ms;
                if now.steady_ms - round.told_ms >= TELL_MS {
                    round.told_ms = now.steady_ms;
                    let done = (round.done + round.read).min(round.bytes);
                    let left = left_secs(done, round.bytes, now.steady_ms - round.began_ms);
                    out.push(Effect::Info(format!(
                        "scrub: {} of {} checked, {} of {} logs, about {left} s left",
                        human(done),
                        human(round.bytes),
                        round.logs - round.left.len() - 1,
                        round.logs
                    )));
                }
            }
            Scrubbed::Found(file, damage) => {
                let partition = self.partitions.get_mut(&lane);
                let news = partition.map(|one| one.log.note_damage(file, *damage));
                let news = news.unwrap_or_default();
                if let Some(round) = &mut self.scrubber.round {
                    round.found += news.len() as u64;
                }
                self.damaged(news, out);
            }
            Scrubbed::Ended(result) => {
                if let Some(Err(error)) = &result {
                    let partition = self.partitions.get(&lane);
                    let name = partition.map(|one| format!("{}-{}", one.topic, one.index));
                    // The next round tries again, and so does whoever reads.
                    out.push(Effect::Error(format!(
                        "{} was not scrubbed to its end: {error}",
                        name.unwrap_or_default()
                    )));
                }
                let Some(round) = &mut self.scrubber.round else { return };
                if let Some((_, bytes)) = round.at.take_if(|(at, _)| *at == lane) {
                    round.done += bytes;
                    round.read = 0;
                    round.seen_ms = now.steady_ms;
                    self.scrub_next(now, out);
                }
            }
        }
    }

    /// Tells the operator of damage, by whomever it was found.
    pub(crate) fn damaged(&mut self, all: Vec<Damage>, out: &mut Vec<Effect>) {
        for damage in all {
            self.counters.damaged += 1;
            let dir = damage.path.parent();
            let here = self.partitions.values().find(|one| Some(one.log.path()) == dir);
            let name = here.map_or_else(
                || dir.map(|dir| dir.display().to_string()).unwrap_or_default(),
                |one| format!("{}-{}", one.topic, one.index),
            );
            let text = if damage.is_of_records() {
                let next = damage.offsets.end;
                format!(
                    "{name} is damaged: {damage}. These records are not served. Restore the \
                     partition from a backup or another replica, or let consumers go on at offset \
                     {next}; kafka-delete-records up to there gives up all records before it, too"
                )
            } else {
                format!("{name} has a damaged index: {damage}")
            };
            out.push(Effect::Error(text));
        }
    }
}

/// About how many seconds the rest takes.
fn left_secs(done: u64, all: u64, took_ms: i64) -> u64 {
    let left = all.saturating_sub(done) as f64 / done.max(1) as f64;
    (left * took_ms.max(0) as f64 / 1000.0) as u64
}

/// A size for people.
fn human(bytes: u64) -> String {
    match bytes {
        ..1024 => format!("{bytes} B"),
        1024..0x10_0000 => format!("{} KiB", bytes >> 10),
        0x10_0000..0x4000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64),
    }
}

/// How far apart rounds begin; none does at -1.
pub const SCRUB_INTERVAL: &str = "log.scrub.interval.ms";
/// How much is read at most.
pub const SCRUB_RATE: &str = "log.scrub.io.max.bytes.per.second";
/// When the first round begins: a start has better things to do.
const FIRST_MS: i64 = 10 * 60_000;
/// And the next one, however often they are wanted.
const NEXT_ROUND_MS: i64 = 1_000;
/// How often it is looked whether the operator chose otherwise.
const LOOK_MS: i64 = 60_000;
/// How often the operator is told how far a round has come.
const TELL_MS: i64 = 5 * 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_takes_as_long_as_what_was_done() {
        assert_eq!(left_secs(0, 0, 0), 0);
        assert_eq!(left_secs(1 << 30, 4 << 30, 10_000), 30);
        assert_eq!(left_secs(5, 4, 10_000), 0);
    }

    #[test]
    fn sizes_are_short() {
        let cases = [(0, "0 B"), (1536, "1 KiB"), (150 << 20, "150 MiB"), (3 << 29, "1.5 GiB")];
        for (bytes, text) in cases {
            assert_eq!(human(bytes), text);
        }
    }
}
