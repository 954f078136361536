//! Sending answers: what is in memory as it is, records from their files by `sendfile`.
//!
//! Measured over loopback, an answer of 1 MiB from the page cache: read into fresh memory and
//! written 0.7 to 1.0 s of processor time a GB, read into memory used before 0.34 to 0.45, by
//! `sendfile` 0.22 to 0.26 (docs/decisions/0005). And it takes no memory, whatever the size of the
//! answer and however slowly it is read; only records in which it had to be seen how far they may
//! be read (see `ottla_log::Found`) are held. What the page cache does not hold is first read on
//! threads of its volume, so that a reader of old data keeps nobody else waiting.
//!
//! Invariants:
//! - I1: a thread of the runtime does not wait for the device here, but for pages that vanish from
//!   the middle of what the page cache holds.
//! - I2: what an answer is made of is held fast before its first byte is sent.

use std::io::{Error, ErrorKind, IoSlice};
use std::sync::{Arc, Weak};
use std::time::Duration;

use broker::reply::NotCached;
use broker::{Outline, Reply};
use bytes::Bytes;
use ottla_log::Extract;
use ottla_log::disk::os::{Cached, OsDisk, Pinned};
use rustix::net::SendFlags;
use tokio::io::Interest;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Semaphore;
use tokio::task::coop::consume_budget;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use wire::Frame;

use crate::shell::Shell;

/// What all connections send with.
#[derive(Debug)]
pub struct Sender {
    disk: Arc<OsDisk>,
    /// Told of damage.
    shell: Weak<Shell>,
    /// Reads that may wait for the device at a time, by volume.
    readers: Vec<Arc<Semaphore>>,
}

/// An answer with what belongs into its gaps, held fast: once its first byte is sent the rest must
/// follow, whatever becomes of the topics.
#[derive(Debug)]
pub struct Answer {
    frame: Frame,
    pieces: Vec<(Source, Extract)>,
}

/// Where a piece of an answer comes from.
#[derive(Debug)]
enum Source {
    File(Pinned),
    /// Of an answer from very many files: each would take a descriptor until it is sent, and most
    /// hold a few records.
    Memory(Bytes),
}

impl Answer {
    /// The rest of one, in memory.
    pub fn rest(parts: Vec<Bytes>) -> Self {
        Self { frame: parts.into(), pieces: Vec::new() }
    }

    /// Its parts, if they are all in memory.
    pub fn into_parts(self) -> Result<Vec<Bytes>, Self> {
        if self.pieces.is_empty() { Ok(self.frame.parts) } else { Err(self) }
    }
}

impl Sender {
    /// One that reads from this disk, and tells of damage there.
    pub fn new(disk: Arc<OsDisk>, shell: Weak<Shell>) -> Self {
        let readers = (0..disk.volumes()).map(|_| Arc::new(Semaphore::new(READERS))).collect();
        Self { disk, shell, readers }
    }

    /// What to send of an answer; `None` if there is nothing.
    ///
    /// # Errors
    /// It can't be encoded: a mistake of ours.
    pub async fn prepare(&self, mut reply: Reply) -> Result<Option<Answer>, String> {
        if reply.find(&Cached { disk: &self.disk, max: usize::MAX }) == Err(NotCached) {
            let disk = self.disk.clone();
            let volume = reply.file().map_or(0, |file| disk.volume_of_file(file));
            let find = move || {
                // This disk waits, so there is nothing to try again. Nor has it to hurry: what was
                // not checked since the start is.
                let _ = reply.find(&*disk);
                reply
            };
            reply = self.patiently(volume, find).await.map_err(|error| error.to_string())?;
            if let Some(shell) = self.shell.upgrade() {
                shell.damaged(reply.take_damage());
            }
        }
        self.pin(reply)
    }

    /// The same without waiting, if that is possible and no work that others would have to wait
    /// for; else the answer again.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub fn prepare_at_hand(
        &self,
        mut reply: Reply,
    ) -> Result<Result<Option<Answer>, Reply>, String> {
        let few = reply.plans() <= AT_HAND_PLANS;
        let disk = Cached { disk: &self.disk, max: AT_HAND_BYTES };
        if !few || reply.find(&disk).is_err() {
            return Ok(Err(reply));
        }
        let mut answer = self.pin(reply)?;
        if let Some(Answer { frame, pieces }) = &mut answer
            && frame.len() <= AT_HAND_BYTES
        {
            let content: Result<Vec<Bytes>, _> =
                pieces.iter().map(|(_, extract)| extract.read(&disk)).collect();
            if let Ok(content) = content {
                frame.fill(content);
                pieces.clear();
            }
        }
        Ok(Ok(answer))
    }

    fn pin(&self, mut reply: Reply) -> Result<Option<Answer>, String> {
        let many = reply.plans() > MANY_PLANS;
        let mut files = Vec::new();
        reply.keep(|extract| {
            let source = if many && extract.len <= SMALL_PIECE_BYTES {
                // Its first bytes were just looked at, so this is a copy and no wait.
                extract.read(&*self.disk).ok().map(Source::Memory)
            } else {
                self.disk.pin(extract.file).ok().map(Source::File)
            };
            let there = source.is_some();
            files.extend(source);
            there
        });
        let outline = reply.outline().map_err(|error| error.to_string())?;
        let answer = |Outline { frame, extracts }| {
            let pieces = files.into_iter().zip(extracts).collect();
            Answer { frame, pieces }
        };
        Ok(outline.map(answer))
    }

    /// Sends it; the peer may take `patience` for each piece.
    ///
    /// # Errors
    /// The peer's (`TimedOut` if it does not read), or a file's. The peer may have got a part.
    pub async fn send(
        &self,
        to: &OwnedWriteHalf,
        answer: &Answer,
        patience: Duration,
    ) -> std::io::Result<()> {
        let Answer { frame, pieces } = answer;
        let to = To { half: to, patience };
        let mut parts = frame.parts.as_slice();
        let mut before = 0;
        for (gap, (file, extract)) in frame.gaps.iter().zip(pieces) {
            let (head, rest) = parts.split_at(gap.after.saturating_sub(before).min(parts.len()));
            if let Some((last, others)) = head.split_last() {
                to.write(others).await?;
                to.write_more(last).await?;
            }
            match file {
                Source::File(file) => self.send_piece(&to, file, extract).await?,
                Source::Memory(bytes) => to.write(std::slice::from_ref(bytes)).await?,
            }
            parts = rest;
            before = gap.after;
        }
        to.write(parts).await
    }

    async fn send_piece(
        &self,
        to: &To<'_>,
        file: &Pinned,
        extract: &Extract,
    ) -> std::io::Result<()> {
        let (mut at, mut left) = (extract.at, extract.len);
        while left > 0 {
            let wrong = |error: Error| {
                let text = format!("{} at byte {at}: {error}", file.path().display());
                Error::new(error.kind(), text)
            };
            let piece = left.min(PIECE_BYTES);
            if !file.is_cached(at, piece).map_err(wrong)? {
                let file = file.clone();
                let volume = self.disk.volume_of_file(extract.file);
                let warm = move || file.warm(at, piece);
                self.patiently(volume, warm).await?.map_err(wrong)?;
            }
            let send = || file.send(to.half.as_ref(), at, piece);
            let count = to.when_writable(send).await.map_err(|error| match error.kind() {
                // The peer's.
                ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::TimedOut => error,
                _ => wrong(error),
            })?;
            if count == 0 {
                return Err(wrong(ErrorKind::UnexpectedEof.into()));
            }
            at += count as u64;
            left -= count;
            // A socket that always takes more must not keep its thread from all others.
            consume_budget().await;
        }
        Ok(())
    }

    /// Does what may wait for a volume's device.
    async fn patiently<T: Send + 'static>(
        &self,
        volume: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::io::Result<T> {
        let readers = self.readers.get(volume).ok_or(ErrorKind::NotFound)?;
        // The semaphore is never closed, and the work does not panic. Its turn lasts until it has
        // ended, even if nobody waits for it any more.
        let turn = readers.clone().acquire_owned().await.map_err(Error::other)?;
        let work = move || {
            let done = work();
            drop(turn);
            done
        };
        spawn_blocking(work).await.map_err(Error::other)
    }
}

/// A peer, and how long it may take nothing.
struct To<'a> {
    half: &'a OwnedWriteHalf,
    patience: Duration,
}

impl To<'_> {
    /// Tries until the socket takes something.
    async fn when_writable(
        &self,
        mut send: impl FnMut() -> std::io::Result<usize>,
    ) -> std::io::Result<usize> {
        loop {
            match self.half.as_ref().try_io(Interest::WRITABLE, &mut send) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    timeout(self.patience, self.half.writable()).await??;
                }
                done => return done,
            }
        }
    }

    async fn write(&self, parts: &[Bytes]) -> std::io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut rest = slices.as_mut_slice();
        while !rest.is_empty() {
            match self.half.try_write_vectored(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut rest, written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    timeout(self.patience, self.half.writable()).await??;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes what goes with the records behind it, not in a packet of its own.
    async fn write_more(&self, part: &[u8]) -> std::io::Result<()> {
        let more = SendFlags::MORE | SendFlags::NOSIGNAL;
        let mut rest = part;
        while !rest.is_empty() {
            let send = || Ok(rustix::net::send(self.half.as_ref(), rest, more)?);
            let sent = self.when_writable(send).await?;
            rest = rest.get(sent..).unwrap_or_default();
        }
        Ok(())
    }
}

/// Of records, sent at once.
const PIECE_BYTES: usize = 1 << 20;
/// From so many partitions on an answer's small pieces are read before it is sent.
const MANY_PLANS: usize = 64;
/// Such a piece, at most.
const SMALL_PIECE_BYTES: usize = 8 << 10;
/// Of a volume: enough to keep a device busy.
const READERS: usize = 8;
/// The largest answer that is sent by whoever brings it, and the most places looked at for it.
const AT_HAND_BYTES: usize = 64 << 10;
const AT_HAND_PLANS: usize = 16;
