//! New segments take the place of old ones: at once in memory, and on the disk in steps that a cut
//! may come between.
//!
//! Files change their names in the order of Apache Kafka's `replaceSegments`, with the directory
//! made durable between the steps. `open.rs` finishes or undoes what was cut:
//! 1. `.cleaned` becomes `.swap`. While any `.cleaned` is left the old segments count.
//! 2. The old segments go: `.log` becomes `.log.deleted`, the other files are removed. From the
//!    first step on the `.swap` files count.
//! 3. `.swap` gets its proper name.
//!
//! Apache Kafka finds the segments that a `.swap` replaces by the offsets in it. Where the newest
//! of these were all dropped it does not see that the last old segments must go, and a cut in step
//! 2 brings back deleted keys. So a group of several has a list beside it, `<base>.replaced`;
//! Apache Kafka takes no notice of the file.
//!
//! Invariants:
//! - I1: the files of one group at a time are renamed, and nothing else happens to segments
//!   meanwhile: retention and truncation wait.
//! - I2: a log whose history was cut since the plan takes nothing: newer records that made others
//!   go may be among those that were cut off.

use std::collections::VecDeque;

use super::CleanedGroup;
use crate::disk::{Op, Submission, Token};
use crate::log::Log;
use crate::planted::{self, Bug};
use crate::retention::{Trash, extensions_of, files_of};
use crate::segment::{self, Segment};

/// A group whose files are being renamed.
#[derive(Debug)]
pub(crate) struct Install {
    /// Each to be submitted when all of the one before completed.
    steps: VecDeque<Vec<Op>>,
    waiting: Vec<Token>,
    /// The old segments: to be unlinked once they are renamed.
    trash: Vec<Trash>,
}

impl Install {
    /// The old segments, which have yet to go.
    pub fn into_trash(self) -> Vec<Trash> {
        self.trash
    }
}

impl Log {
    /// How often the history was cut: truncated, or begun anew.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Puts a cleaned group in the place of the segments it was made of. False if those are not all
    /// there any more; its files are removed then, and the cleaning it is of must not count.
    pub fn install_cleaned(
        &mut self,
        group: CleanedGroup,
        now_ms: i64,
        out: &mut Vec<Submission>,
    ) -> bool {
        let CleanedGroup { generation, replaces, segment } = group;
        let first = self.segments.iter().position(|s| Some(&s.file) == replaces.first());
        let range = first.map(|first| first..first + replaces.len());
        let there = range.clone().and_then(|range| self.segments.get(range)).unwrap_or_default();
        let same = there.iter().map(|segment| segment.file).eq(replaces.iter().copied());
        let usable = self.accepts_appends().is_ok() && generation == self.generation;
        let Some(range) = range.filter(|_| same && usable) else {
            self.remove_cleaned(&segment, out);
            return false;
        };
        let old: Vec<Segment> = self.segments.splice(range, [segment.clone()]).collect();
        self.marks.forget(|base| old.iter().any(|segment| segment.base == base));
        let steps = self.steps(&segment, &old);
        let due_ms = now_ms.saturating_add(self.config.file_delete_delay_ms);
        let trash = |old: &Segment| {
            let path = segment::path(&self.dir, old.base, "log.deleted");
            Trash::new(due_ms, path, files_of(old))
        };
        let trash = old.iter().map(trash).collect();
        let gone = |offset: &i64| old.iter().any(|s| s.base == *offset && s.base != segment.base);
        self.snapshots.retain(|offset| !gone(offset));
        self.installs.push_back(Install { steps, waiting: Vec::new(), trash });
        self.continue_installing(None, out);
        true
    }

    /// Removes the files of a group that nobody wants any more.
    pub fn refuse_cleaned(&mut self, group: CleanedGroup, out: &mut Vec<Submission>) {
        self.remove_cleaned(&group.segment, out);
    }

    /// Removes the files of a group that comes too late. A log that is closing leaves that to the
    /// next start.
    fn remove_cleaned(&mut self, segment: &Segment, out: &mut Vec<Submission>) {
        if self.accepts_appends().is_err() {
            return;
        }
        let remove = |extension: &&str| {
            let path = segment::path(&self.dir, segment.base, &format!("{extension}.cleaned"));
            Op::RemoveFile { path }
        };
        let ops = files_of(segment).into_iter().map(|file| Op::Close { file });
        let ops = ops.chain(OUTPUTS.iter().map(remove)).collect();
        // An install of its own, so that no other cleaning writes files of these names meanwhile.
        let steps = VecDeque::from([ops]);
        self.installs.push_back(Install { steps, waiting: Vec::new(), trash: Vec::new() });
        self.continue_installing(None, out);
    }

    fn steps(&self, new: &Segment, old: &[Segment]) -> VecDeque<Vec<Op>> {
        let path = |base: i64, extension: &str| segment::path(&self.dir, base, extension);
        // The log comes last: the others are there when it counts.
        let mut extensions = vec!["index", "timeindex"];
        extensions.extend((!new.aborted.is_empty()).then_some("txnindex"));
        let listed = (old.len() > 1).then_some("replaced");
        let rename = |extension: &str, from: &str, to: &str| Op::RenameFile {
            from: path(new.base, &format!("{extension}{from}")),
            to: path(new.base, &format!("{extension}{to}")),
        };
        let sync = || vec![Op::SyncDir { path: self.dir.to_path_buf() }];
        let swap = extensions.iter().copied().chain(listed).chain(["log"]);
        let swap: Vec<Op> = swap.map(|extension| rename(extension, ".cleaned", ".swap")).collect();
        let mut remove = Vec::new();
        for segment in old {
            let (from, to) = (path(segment.base, "log"), path(segment.base, "log.deleted"));
            remove.push(Op::RenameFile { from, to });
            for extension in extensions_of(segment) {
                remove.push(Op::RemoveFile { path: path(segment.base, extension) });
            }
            if segment.base != new.base && self.snapshots.contains(&segment.base) {
                remove.push(Op::RemoveFile { path: path(segment.base, "snapshot") });
            }
        }
        let proper = extensions.iter().copied().chain(["log"]);
        let proper: Vec<Op> = proper.map(|extension| rename(extension, ".swap", "")).collect();
        let mut steps = VecDeque::from([swap, sync(), remove, sync()]);
        if planted::is(Bug::SwapWithoutSync) {
            steps.retain(|ops| ops.len() > 1);
        }
        steps.extend([proper, sync()]);
        if let Some(extension) = listed {
            let path = path(new.base, &format!("{extension}.swap"));
            steps.push_back(vec![Op::RemoveFile { path }]);
        }
        steps
    }

    /// Goes on with what is being renamed; `ended` is an operation that completed.
    pub(crate) fn continue_installing(&mut self, ended: Option<Token>, out: &mut Vec<Submission>) {
        while let Some(install) = self.installs.front_mut() {
            install.waiting.retain(|token| Some(*token) != ended);
            if !install.waiting.is_empty() {
                return;
            }
            let Some(ops) = install.steps.pop_front() else {
                self.trash.append(&mut install.trash);
                self.installs.pop_front();
                continue;
            };
            let submit = |op| self.commit.other(op, out);
            let waiting = ops.into_iter().map(submit).collect();
            install.waiting = waiting;
            if self.commit.offline().is_some() {
                return;
            }
        }
    }

    /// True while files of a cleaning are being renamed: what is about segments has to wait.
    pub fn is_installing(&self) -> bool {
        !self.installs.is_empty()
    }
}

/// The files of a cleaned segment, `.cleaned` and `.swap` apart; not all of them are always there.
pub(super) const OUTPUTS: [&str; 5] = ["log", "index", "timeindex", "txnindex", "replaced"];

/// The list of segments that a new one replaces: a base offset a line.
pub(super) fn render_replaced(bases: &[i64]) -> Vec<u8> {
    bases.iter().flat_map(|base| format!("{base}\n").into_bytes()).collect()
}

/// Reads such a list; `None` if it is none.
pub(crate) fn parse_replaced(content: &[u8]) -> Option<Vec<i64>> {
    let text = std::str::from_utf8(content).ok()?;
    text.lines().map(|line| line.parse().ok()).collect()
}
