//! One partition this node leads: its log, its marks, and who waits for them.
//!
//! Invariants:
//! - I1: the high watermark never goes back and never passes what the topic's `flush.messages`
//!   asks for: `flushed` at 1, `written` otherwise.

use std::collections::VecDeque;
use std::sync::Arc;

use config::TopicConfig;
use metadata::TopicImage;
use ottla_log::planted::{self, Bug};
use ottla_log::{Log, LogConfig, ValidateConfig};
use wire::batch::TimestampType;
use wire::compress::Compression;
use wire::{ErrorCode, Uuid};

use crate::cleaner::Cleaning;
use crate::metrics::Traffic;

/// A partition.
#[derive(Debug)]
pub struct Partition {
    /// Its topic's name.
    pub topic: Arc<str>,
    /// Its topic's id.
    pub topic_id: Uuid,
    /// Its index.
    pub index: i32,
    /// The epoch in which this node leads it.
    pub leader_epoch: i32,
    /// Its topic's configuration.
    pub config: Arc<TopicConfig>,
    /// Its log.
    pub log: Log,
    /// What consumers may see ends here, exclusive.
    pub high_watermark: i64,
    /// What went in and out.
    pub traffic: Traffic,
    /// Its disk failed; nothing is served from it any more.
    pub offline: bool,
    /// Produces waiting for the high watermark: the mark, and which one. In rising order, because
    /// batches wait in the order they were appended.
    pub produces: VecDeque<(i64, u64)>,
    /// Fetches waiting for more.
    pub fetches: Vec<u64>,
    /// What the cleaner knows of it.
    pub cleaning: Cleaning,
    /// Since when it is written further than it is durable and `flush.ms` runs, on the steady
    /// clock.
    pub late_since_ms: Option<i64>,
    /// The recovery point that was last written down, or is being written.
    pub checkpointed: i64,
    /// Something was done to the log since it was last found at rest.
    pub awake: bool,
    /// What recovery would have read of it when that was last looked at.
    pub unmarked_bytes: u64,
}

impl Partition {
    /// Compares the epoch a client knows with ours.
    ///
    /// # Errors
    /// FENCED_LEADER_EPOCH if the client's is older, UNKNOWN_LEADER_EPOCH if newer (KIP-320).
    pub fn check_epoch(&self, current: i32) -> Result<(), ErrorCode> {
        if current < 0 || current == self.leader_epoch {
            Ok(())
        } else if current < self.leader_epoch {
            Err(ErrorCode::FENCED_LEADER_EPOCH)
        } else {
            Err(ErrorCode::UNKNOWN_LEADER_EPOCH)
        }
    }

    /// Where what a consumer may see ends, exclusive.
    pub fn visible_end(&self, read_committed: bool) -> i64 {
        if read_committed {
            self.log.last_stable_offset(self.high_watermark)
        } else {
            self.high_watermark
        }
    }

    /// A log that begins its life in this node, empty or just opened.
    pub fn new(
        topic: &TopicImage,
        index: i32,
        leader_epoch: i32,
        config: Arc<TopicConfig>,
        log: Log,
    ) -> Self {
        Self {
            topic: topic.name.clone(),
            topic_id: topic.id,
            index,
            leader_epoch,
            config,
            high_watermark: log.end(),
            log,
            traffic: Traffic::default(),
            offline: false,
            produces: VecDeque::new(),
            fetches: Vec::new(),
            cleaning: Cleaning::default(),
            late_since_ms: None,
            checkpointed: 0,
            awake: false,
            unmarked_bytes: 0,
        }
    }

    /// Gives back memory if nothing is under way; true if nothing is to be done soon, either.
    pub fn rest(&mut self) -> bool {
        if self.offline {
            return true;
        }
        if !self.produces.is_empty() || !self.log.rest() {
            return false;
        }
        self.produces = VecDeque::new();
        if self.fetches.is_empty() {
            self.fetches = Vec::new();
        }
        let late = self.config.flush_ms < i64::MAX && self.log.written() > self.log.flushed();
        !late && self.checkpointed == self.log.recovery_point()
    }

    /// Raises the high watermark to what is durable enough; true if it rose.
    pub fn advance(&mut self) -> bool {
        let each = self.config.flush_messages == 1 && !planted::is(Bug::WatermarkAtWritten);
        let mark = if each { self.log.flushed() } else { self.log.written() };
        let rose = mark > self.high_watermark;
        self.high_watermark = self.high_watermark.max(mark);
        self.log.on_high_watermark(self.high_watermark);
        rose
    }
}

/// What a log needs of its topic's configuration.
pub fn log_config(topic: &TopicConfig) -> LogConfig {
    LogConfig {
        segment_bytes: topic.segment_bytes as u32,
        // As Apache Kafka's `maxSegmentMs`: an active segment is never cleaned.
        segment_ms: match topic.compact {
            true => topic.segment_ms.min(topic.max_compaction_lag_ms.max(1)),
            false => topic.segment_ms,
        },
        segment_jitter_ms: 0,
        segment_index_bytes: topic.segment_index_bytes as u32,
        index_interval_bytes: topic.index_interval_bytes as u32,
        flush_messages: if topic.flush_messages == i64::MAX {
            u64::MAX
        } else {
            topic.flush_messages as u64
        },
        retention_ms: topic.retention_ms,
        retention_bytes: topic.retention_bytes,
        file_delete_delay_ms: topic.file_delete_delay_ms,
        delete: topic.delete,
        compact: topic.compact,
        min_compaction_lag_ms: topic.min_compaction_lag_ms,
        max_compaction_lag_ms: topic.max_compaction_lag_ms,
        delete_retention_ms: topic.delete_retention_ms,
        ..LogConfig::default()
    }
}

/// The settings of a log that may lack offsets, whatever is asked of its topic.
pub fn with_gaps(shared: &Arc<LogConfig>, gaps: bool) -> Arc<LogConfig> {
    match gaps && !shared.compact {
        true => Arc::new(LogConfig { compact: true, ..LogConfig::clone(shared) }),
        false => shared.clone(),
    }
}

/// The rules a client's records must keep in a topic.
pub fn validate_config(topic: &TopicConfig, zstd_allowed: bool, now_ms: i64) -> ValidateConfig {
    let (compression, level) = match topic.compression.as_str() {
        "gzip" => (Some(Compression::Gzip), Some(topic.gzip_level)),
        "lz4" => (Some(Compression::Lz4), Some(topic.lz4_level)),
        "zstd" => (Some(Compression::Zstd), Some(topic.zstd_level)),
        "snappy" => (Some(Compression::Snappy), None),
        "uncompressed" => (Some(Compression::None), None),
        _ => (None, None),
    };
    ValidateConfig {
        max_message_bytes: topic.max_message_bytes as usize,
        timestamp_type: if topic.log_append_time {
            TimestampType::LogAppendTime
        } else {
            TimestampType::CreateTime
        },
        timestamp_before_max_ms: topic.timestamp_before_max_ms,
        timestamp_after_max_ms: topic.timestamp_after_max_ms,
        compact: topic.compact,
        compression,
        compression_level: level,
        zstd_allowed,
        now_ms,
        ..ValidateConfig::default()
    }
}
