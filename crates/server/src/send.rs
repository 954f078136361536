//! Sending answers: what is in memory as it is, records from their files piece by piece.
//!
//! Records pass through a buffer that is small enough to stay in a processor's cache and is used
//! again for the next answer: on two cores, over loopback, that takes a third of the time that
//! reading a whole answer into fresh memory took. It holds whatever the size of the answer and
//! however slowly its reader reads. What the page cache does not hold is read on threads of its
//! own, so that a reader of old data keeps nobody else waiting.
//!
//! Invariant: a thread of the runtime never waits for the device here.

use std::io::{Error, ErrorKind, IoSlice};
use std::sync::{Arc, Mutex, PoisonError};

use broker::reply::NotCached;
use broker::{Outline, Reply};
use bytes::Bytes;
use ottla_log::Extract;
use ottla_log::disk::os::{Cached, OsDisk, Pinned};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Semaphore;
use tokio::task::coop::consume_budget;
use tokio::task::spawn_blocking;

/// What all connections send with.
#[derive(Debug)]
pub struct Sender {
    disk: Arc<OsDisk>,
    /// Buffers that are not in use.
    buffers: Mutex<Vec<Box<[u8]>>>,
    /// Reads that may wait for the device at a time.
    readers: Semaphore,
}

impl Sender {
    /// One that reads from this disk.
    pub fn new(disk: Arc<OsDisk>) -> Self {
        Self { disk, buffers: Mutex::default(), readers: Semaphore::new(READERS) }
    }

    /// What to send of an answer; `None` if there is nothing.
    ///
    /// # Errors
    /// It can't be encoded: a mistake of ours.
    pub async fn outline(&self, mut reply: Reply) -> Result<Option<Outline>, String> {
        if reply.find(&Cached(&self.disk)) == Err(NotCached) {
            let disk = self.disk.clone();
            let find = move || {
                // This disk waits, so there is nothing to try again.
                let _ = reply.find(&*disk);
                reply
            };
            reply = self.patiently(find).await.map_err(|error| error.to_string())?;
        }
        reply.outline().map_err(|error| error.to_string())
    }

    /// Finds out where an answer's data is, if that takes no waiting.
    pub fn find_at_hand(&self, reply: &mut Reply) -> bool {
        reply.find(&Cached(&self.disk)).is_ok()
    }

    /// Fills the gaps of a small answer, if that takes no waiting.
    pub fn fill_at_hand(&self, outline: &mut Outline) -> bool {
        let disk = Cached(&self.disk);
        let content: Result<Vec<Bytes>, _> =
            outline.extracts.iter().map(|extract| extract.read(&disk)).collect();
        let Ok(content) = content else { return false };
        outline.frame.fill(content);
        outline.extracts.clear();
        true
    }

    /// Sends it.
    ///
    /// # Errors
    /// The peer's, or a file's. The peer may have got a part of the answer.
    pub async fn send(&self, to: &OwnedWriteHalf, outline: &Outline) -> std::io::Result<()> {
        let Outline { frame, extracts } = outline;
        let mut parts = frame.parts.as_slice();
        let mut before = 0;
        for (gap, extract) in frame.gaps.iter().zip(extracts) {
            let (head, rest) = parts.split_at(gap.after.saturating_sub(before).min(parts.len()));
            self.send_extract(to, head, extract).await?;
            parts = rest;
            before = gap.after;
        }
        let parts: Vec<&[u8]> = parts.iter().map(Bytes::as_ref).collect();
        write_parts(to, &parts).await
    }

    /// Sends `head`, and then a piece of a file.
    async fn send_extract(
        &self,
        to: &OwnedWriteHalf,
        head: &[Bytes],
        extract: &Extract,
    ) -> std::io::Result<()> {
        let file = self.disk.pin(extract.file).map_err(Error::other)?;
        let mut parts: Vec<&[u8]> = head.iter().map(Bytes::as_ref).collect();
        let mut buffer = self.take();
        let (mut at, mut left) = (extract.at, extract.len);
        while left > 0 {
            let room = left.min(buffer.len());
            let cached = file.read_cached(buffer.get_mut(..room).unwrap_or_default(), at)?;
            let count = match cached {
                Some(count) => count,
                None => {
                    let count;
                    (buffer, count) = self.read(file.clone(), buffer, room, at).await?;
                    count
                }
            };
            if count == 0 {
                let text = format!("{} ends at byte {at}", file.path().display());
                return Err(Error::new(ErrorKind::UnexpectedEof, text));
            }
            parts.push(buffer.get(..count).unwrap_or_default());
            write_parts(to, &parts).await?;
            parts = Vec::new();
            at += count as u64;
            left -= count;
        }
        self.give_back(buffer);
        Ok(())
    }

    /// Reads what may not be in the page cache.
    async fn read(
        &self,
        file: Pinned,
        mut buffer: Box<[u8]>,
        room: usize,
        at: u64,
    ) -> std::io::Result<(Box<[u8]>, usize)> {
        let read = move || {
            let count = file.read(buffer.get_mut(..room).unwrap_or_default(), at);
            count.map(|count| (buffer, count))
        };
        self.patiently(read).await?
    }

    /// Does what may wait for the device.
    async fn patiently<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> std::io::Result<T> {
        // The semaphore is never closed, and the work does not panic.
        let _turn = self.readers.acquire().await.map_err(Error::other)?;
        spawn_blocking(work).await.map_err(Error::other)
    }

    fn take(&self) -> Box<[u8]> {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        buffers.pop().unwrap_or_else(|| vec![0; PIECE_BYTES].into())
    }

    fn give_back(&self, buffer: Box<[u8]>) {
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        if buffers.len() < BUFFERS_KEPT {
            buffers.push(buffer);
        }
    }
}

async fn write_parts(to: &OwnedWriteHalf, parts: &[&[u8]]) -> std::io::Result<()> {
    let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
    let mut rest = slices.as_mut_slice();
    while !rest.is_empty() {
        match to.try_write_vectored(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == ErrorKind::WouldBlock => to.writable().await?,
            Err(error) => return Err(error),
        }
    }
    // A socket that always takes more must not keep its thread from all others.
    consume_budget().await;
    Ok(())
}

/// Of records, read and written at once.
pub const PIECE_BYTES: usize = 128 << 10;
/// Buffers kept for later: for as many answers as are sent at a time on most machines.
const BUFFERS_KEPT: usize = 16;
/// Enough to keep a device busy.
const READERS: usize = 8;
