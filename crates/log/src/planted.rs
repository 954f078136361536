//! Known bugs that prove the simulator finds things: each sleeps until a test chooses it.
//!
//! Without the feature `planted` every [`is`] is `false` at compile time, so that no shipped
//! binary holds any of them. `planted.rs` among the tests of `sim` and of `raft` chooses one after
//! the other.

/// A bug, at most one of which is awake in a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A produce is acknowledged when its write was submitted.
    AckBeforeDurable,
    /// The high watermark follows what is written though the topic asks for every sync.
    WatermarkAtWritten,
    /// A sync's completion counts for what was written while it ran, too.
    SyncCoversLaterWrites,
    /// Neither sequences nor repetitions are looked at.
    SequencesUnchecked,
    /// Only a producer's last batch is recognised when it comes again.
    OnlyLastDuplicateKnown,
    /// After a restart only the batches in a producer snapshot are known, one a producer.
    SnapshotForgetsOlder,
    /// Recovery takes the last whole batch of a file for a torn one.
    RecoveryCutsGoodBatch,
    /// Recovery believes every batch whose length fits.
    RecoveryTrustsChecksums,
    /// There is no recovery: a log ends where its last checkpoint says.
    RecoveryLeftOut,
    /// Recovery takes what came after a mark for a torn tail.
    MarkEndsLog,
    /// A new segment's name is never made durable.
    SegmentNameNotSynced,
    /// A rolled file counts as synced as far as it is written.
    RollForgetsSync,
    /// An index entry names the byte after its batch.
    IndexOneBatchTooFar,
    /// Walks of a whole log begin at the last index entry: the offset arithmetic wraps.
    WalkFromLastEntry,
    /// Metadata is committed when it is written.
    MetadataBeforeDurable,
    /// Producer ids are handed out while their block is being written.
    IdsBeforeDurable,
    /// A fetch session keeps the offset it was opened with.
    SessionKeepsOffset,
    /// A fetch that waited for its time in vain is never answered.
    FetchForgotten,
    /// A produce is answered with the offset after its batch.
    BaseOffsetOfNext,
    /// A snapshot of the metadata leaves out the youngest topic.
    SnapshotForgetsTopic,
    /// A partition is made in the directory of a deleted one that is not renamed yet.
    NameReusedEarly,
    /// A coordinator's answers leave when its records are appended.
    LoseOffsetCommit,
    /// Records are kept until the first of the groups that should read them has, not the last.
    RetentionIgnoresSlowest,
    /// The cleaner drops the newest record of a key, too.
    CleanerDropsNewest,
    /// Cleaned segments take their names before the older ones are durably gone.
    SwapWithoutSync,
    /// A write that found no room counts as written.
    FullDiskCounts,
    /// Reads believe what was on the disk at the start.
    ReadsUnverified,
    /// The scrub does not look at the last batch of a segment.
    ScrubSkipsLastBatch,
    /// What the scrub found is told of, but still read.
    ScrubOnlyTells,
    /// A key filter lacks the keys of its segment's last batch.
    FilterLacksLastBatch,

    // Those of the raft core, which has a simulation of its own: `crates/raft/tests`.
    /// A vote is answered before it is stored.
    RaftVoteBeforeStored,
    /// A candidate counts itself and asks before its vote is stored.
    RaftAskBeforeStored,
    /// A vote is granted to every candidate of the epoch.
    RaftSecondVote,
    /// A vote is granted whatever the candidate's log ends with.
    RaftVoteIgnoresLog,
    /// After a restart nobody was voted for.
    RaftVoteForgotten,
    /// Records of older epochs are committed by counting replicas.
    RaftCommitOlderEpochs,
    /// The leader counts itself at what is written.
    RaftLeaderUnflushed,
    /// A follower asks for more before it flushed what it has.
    RaftFollowerUnflushed,
    /// A follower's last epoch isn't compared with the leader's log.
    RaftDivergenceUnseen,
    /// The voters of truncated records remain in force.
    RaftVotersSurviveTruncation,
}

impl Bug {
    /// Those that the simulator of the whole node finds.
    pub const ALL: [Self; 30] = [
        Self::AckBeforeDurable,
        Self::WatermarkAtWritten,
        Self::SyncCoversLaterWrites,
        Self::SequencesUnchecked,
        Self::OnlyLastDuplicateKnown,
        Self::SnapshotForgetsOlder,
        Self::RecoveryCutsGoodBatch,
        Self::RecoveryTrustsChecksums,
        Self::RecoveryLeftOut,
        Self::MarkEndsLog,
        Self::SegmentNameNotSynced,
        Self::RollForgetsSync,
        Self::IndexOneBatchTooFar,
        Self::WalkFromLastEntry,
        Self::MetadataBeforeDurable,
        Self::IdsBeforeDurable,
        Self::SessionKeepsOffset,
        Self::FetchForgotten,
        Self::BaseOffsetOfNext,
        Self::SnapshotForgetsTopic,
        Self::NameReusedEarly,
        Self::LoseOffsetCommit,
        Self::RetentionIgnoresSlowest,
        Self::CleanerDropsNewest,
        Self::SwapWithoutSync,
        Self::FullDiskCounts,
        Self::ReadsUnverified,
        Self::ScrubSkipsLastBatch,
        Self::ScrubOnlyTells,
        Self::FilterLacksLastBatch,
    ];

    /// Those that the simulation of a raft quorum finds.
    pub const RAFT: [Self; 10] = [
        Self::RaftVoteBeforeStored,
        Self::RaftAskBeforeStored,
        Self::RaftSecondVote,
        Self::RaftVoteIgnoresLog,
        Self::RaftVoteForgotten,
        Self::RaftCommitOlderEpochs,
        Self::RaftLeaderUnflushed,
        Self::RaftFollowerUnflushed,
        Self::RaftDivergenceUnseen,
        Self::RaftVotersSurviveTruncation,
    ];
}

/// Whether this bug is awake.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub const fn is(_bug: Bug) -> bool {
    false
}

/// Whether this bug is awake.
#[cfg(feature = "planted")]
#[inline(always)]
pub fn is(bug: Bug) -> bool {
    CHOSEN.get().or_else(|| EVERYWHERE.get().copied()) == Some(bug)
}

/// Wakes one bug in this thread, or puts the one awake to sleep.
#[cfg(feature = "planted")]
pub fn choose(bug: Option<Bug>) {
    CHOSEN.set(bug);
}

/// Wakes the bug of that name in every thread, for as long as the process lives: the node as a
/// process of its own has more than one.
///
/// # Errors
/// There is none of that name, or another was chosen before.
#[cfg(feature = "planted")]
pub fn choose_everywhere(name: &str) -> Result<(), String> {
    let bug = Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == name);
    let bug = bug.ok_or_else(|| format!("no bug is called {name}"))?;
    EVERYWHERE.set(bug).map_err(|_| "a bug was chosen before".to_owned())
}

#[cfg(feature = "planted")]
thread_local! {
    static CHOSEN: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

#[cfg(feature = "planted")]
static EVERYWHERE: std::sync::OnceLock<Bug> = std::sync::OnceLock::new();
