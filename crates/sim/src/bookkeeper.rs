//! A client that keeps a ledger: a compacted topic in which each key has a value that it replaces
//! and deletes all the time, in every fourth seed. It also looks at offsets that may be gone.

use std::collections::BTreeMap;

use messages::fetch_request::{FetchPartition, FetchTopic};
use messages::produce_request::{PartitionProduceData, TopicProduceData};
use messages::{FetchRequest, FetchResponse, ProduceRequest, ProduceResponse};
use wire::batch::{BatchError, Batches};
use wire::record::{BatchBuilder, BatchOptions, RecordIter};
use wire::{Bytes, ErrorCode};

use crate::checker::{Checker, Entry};
use crate::client::{request, response};
use crate::random::Random;

/// The compacted topic, of one partition.
pub const LEDGER: &str = "ledger";
const KEYS: u64 = 8;
/// Some that were never written, too.
const HUNTED: u8 = KEYS as u8 + 2;
const OPENED_MAX: usize = 1 << 20;

/// The client.
#[derive(Debug, Default)]
pub struct Bookkeeper {
    under_way: Option<Task>,
    correlation: i32,
    /// An offset it was told of.
    last_offset: i64,
    /// The key it follows through the ledger, and from where on.
    hunt: Option<(u8, i64)>,
    /// When it has read all of the ledger: so many keys were followed through it once more.
    hunted: u8,
    /// It reads all of the ledger once, instead.
    audit: Option<Audit>,
}

#[derive(Clone, Debug)]
enum Task {
    /// Records, in the order they were sent.
    Write(Vec<Entry>),
    /// A look at this offset, at one key perhaps.
    Look(i64, Option<u8>),
}

#[derive(Clone, Debug, Default)]
struct Audit {
    next_offset: i64,
    end: i64,
    /// So many times it may begin anew. A tombstone may go with what it deletes between the reading
    /// of that and of where it was (seed 2589): who reads slowly finds what is no more, once.
    again: u8,
    /// The newest record of each key; `None` is a tombstone.
    newest: BTreeMap<u8, Option<u32>>,
}

impl Bookkeeper {
    /// One that reads the ledger up to `end` and compares it with what was promised.
    pub fn auditor(end: i64) -> Self {
        Self { audit: Some(Audit { end, again: 2, ..Audit::default() }), ..Self::default() }
    }

    /// True if no answer is waited for, nor anything left to read.
    pub fn is_idle(&self) -> bool {
        self.under_way.is_none() && (self.audit.is_none() || self.is_done())
    }

    /// The connection was lost: what was under way may or may not have been written.
    pub fn disconnected(&mut self) {
        self.under_way = None;
    }

    /// The next request, if it is time for one.
    ///
    /// # Errors
    /// It can't be encoded.
    pub fn next(
        &mut self,
        winding_up: bool,
        checker: &mut Checker,
        random: &mut Random,
    ) -> Result<Option<Bytes>, String> {
        if self.under_way.is_some() || (self.audit.is_none() && winding_up) || self.is_done() {
            return Ok(None);
        }
        self.correlation += 1;
        if self.is_read() && self.hunt.is_none() {
            // All keys once more, each by itself: what is passed over for one must not hold it.
            self.hunt = Some((self.hunted, 0));
            self.hunted += 1;
        }
        if let Some((key, offset)) = self.hunt.filter(|_| self.is_read() || random.chance(60)) {
            self.under_way = Some(Task::Look(offset, Some(key)));
            let size = random.pick(&[1, 300]);
            return request(&fetch(offset, size, Some(key)), 12, self.correlation).map(Some);
        }
        let look = match &self.audit {
            Some(audit) => Some(audit.next_offset),
            None if random.chance(30) => Some(match random.chance(50) {
                // From the start on most segments may be passed over.
                true => 0,
                false => random.below(self.last_offset as u64 + 1) as i64,
            }),
            None => None,
        };
        if let Some(offset) = look {
            // Some that were never written, too.
            let key = self.audit.is_none() && random.chance(70);
            let key = key.then(|| random.below(KEYS + 2) as u8);
            self.under_way = Some(Task::Look(offset, key));
            let size = random.pick(&[1, 300, 1 << 20]);
            return request(&fetch(offset, size, key), 12, self.correlation).map(Some);
        }
        let count = 1 + random.below(3);
        let entries: Vec<Entry> =
            (0..count).map(|_| checker.ledger_asked(random.below(KEYS) as u8)).collect();
        let frame = request(&produce(&entries)?, 9, self.correlation)?;
        self.under_way = Some(Task::Write(entries));
        Ok(Some(frame))
    }

    fn is_done(&self) -> bool {
        self.is_read() && self.hunt.is_none() && self.hunted >= HUNTED
    }

    fn is_read(&self) -> bool {
        self.audit.as_ref().is_some_and(|audit| audit.next_offset >= audit.end)
    }

    /// Takes an answer.
    ///
    /// # Errors
    /// A promise broken, or an answer that makes no sense.
    pub fn answered(&mut self, frame: Bytes, checker: &mut Checker) -> Result<(), String> {
        match self.under_way.take().ok_or("C6: an answer to nothing")? {
            Task::Write(entries) => self.written(frame, &entries, checker),
            Task::Look(offset, key) => self.shown(frame, (offset, key), checker),
        }
    }

    fn written(
        &mut self,
        frame: Bytes,
        entries: &[Entry],
        checker: &mut Checker,
    ) -> Result<(), String> {
        let message: ProduceResponse = response(frame, 9, self.correlation)?;
        let answer = message.responses.first().and_then(|topic| topic.partition_responses.first());
        let answer = answer.ok_or("produce answered without a partition")?;
        match ErrorCode(answer.error_code) {
            ErrorCode::NONE => {
                for (entry, offset) in entries.iter().zip(answer.base_offset..) {
                    checker.ledger_acknowledged(offset, *entry)?;
                    self.last_offset = offset;
                }
                Ok(())
            }
            // The disk failed, or was about to: the node will be started again.
            ErrorCode::KAFKA_STORAGE_ERROR | ErrorCode::REQUEST_TIMED_OUT => Ok(()),
            code => Err(format!("writing to the ledger answered with {code:?}")),
        }
    }

    fn shown(
        &mut self,
        frame: Bytes,
        (asked, only): (i64, Option<u8>),
        checker: &mut Checker,
    ) -> Result<(), String> {
        let message: FetchResponse = response(frame, 12, self.correlation)?;
        let answer = message.responses.first().and_then(|topic| topic.partitions.first());
        let answer = answer.ok_or("fetch answered without a partition")?;
        match ErrorCode(answer.error_code) {
            ErrorCode::NONE => {}
            ErrorCode::KAFKA_STORAGE_ERROR => return Ok(()),
            code => return Err(format!("fetch of the ledger from {asked}: {code:?}")),
        }
        let (mut next, mut read) = (asked, false);
        if let (Some(key), Some(to)) = (only, answer.searched_to()) {
            if to > answer.high_watermark {
                return Err(format!("C12: nothing up to {to}, which is beyond the end"));
            }
            checker.ledger_denied(key, asked, to)?;
        }
        for batch in Batches::new(answer.records.clone().unwrap_or_default()) {
            let (header, batch) = match batch {
                Ok(found) => found,
                // The limit of bytes cuts the last batch off, but not the first.
                Err(BatchError::Truncated { .. }) if read => break,
                Err(error) => return Err(format!("C12: fetched {error}")),
            };
            wire::batch::verify_crc(&batch).map_err(|error| format!("C12: fetched {error}"))?;
            if let (Some(key), false) = (only, read) {
                checker.ledger_denied(key, asked, header.base_offset)?;
            }
            if header.last_offset() < next {
                return Err(format!(
                    "C12: a batch that ends at {} at {next}",
                    header.last_offset()
                ));
            }
            let opened = RecordIter::open(&batch, OPENED_MAX).map_err(|error| error.to_string())?;
            for record in opened {
                let record = record.map_err(|error| error.to_string())?;
                let key = record.key.as_deref().and_then(|key| key.first().copied());
                let key = key.ok_or("C12: a record without a key")?;
                let number = match record.value.as_deref().map(<[u8]>::first_chunk::<4>) {
                    None => None,
                    Some(Some(number)) => Some(u32::from_be_bytes(*number)),
                    Some(None) => return Err("C12: a record nobody wrote".into()),
                };
                checker.ledger_shown(record.offset, key, number)?;
                if let Some(audit) = &mut self.audit
                    && record.offset >= next
                {
                    audit.newest.insert(key, number);
                }
            }
            (next, read) = (header.next_offset(), true);
        }
        if let Some(key) = only {
            // Nothing to read, and nothing passed over: the end.
            let to = if read { Some(next) } else { answer.searched_to() };
            let further = to.filter(|to| *to > asked && *to < answer.high_watermark);
            self.hunt = further.map(|to| (key, to));
            return Ok(());
        }
        let Some(audit) = &mut self.audit else { return Ok(()) };
        // Where the newest records are gone nothing follows, and the high watermark says so.
        audit.next_offset = if read { next } else { next.max(answer.high_watermark) };
        if audit.next_offset >= audit.end
            && let Err((broken, outlived)) = checker.ledger_end(&audit.newest)
        {
            let again = audit.again.checked_sub(1).filter(|_| outlived).ok_or(broken)?;
            *audit = Audit { end: audit.end, again, ..Audit::default() };
        }
        Ok(())
    }
}

fn fetch(offset: i64, partition_max_bytes: i32, key: Option<u8>) -> FetchRequest {
    let fetch_offset = offset;
    let mut partition = FetchPartition { fetch_offset, partition_max_bytes, ..Default::default() };
    key.into_iter().for_each(|key| partition.set_key(vec![key].into()));
    FetchRequest {
        max_wait_ms: 5,
        max_bytes: 1 << 20,
        session_epoch: -1,
        topics: vec![FetchTopic {
            topic: LEDGER.into(),
            partitions: vec![partition],
            ..Default::default()
        }],
        ..Default::default()
    }
}

fn produce(entries: &[Entry]) -> Result<ProduceRequest, String> {
    let options = BatchOptions { leader_epoch: -1, ..Default::default() };
    let mut batch = BatchBuilder::new(options);
    for entry in entries {
        // Sizes differ, so that positions in files do.
        let mut value = entry.number.to_be_bytes().to_vec();
        value.resize(4 + entry.number as usize % 40, b'.');
        let value = (!entry.is_tombstone()).then_some(&value[..]);
        batch.push(1_800_000_000_000, Some(&[entry.key]), value, &[]);
    }
    let records = batch.build().map_err(|error| error.to_string())?;
    Ok(ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: LEDGER.into(),
            partition_data: vec![PartitionProduceData {
                records: Some(records),
                ..Default::default()
            }],
            ..Default::default()
        }],
        ..Default::default()
    })
}
