//! Sending answers: what is in memory as it is, records from their files by `sendfile`.
//!
//! Measured over loopback, an answer of 1 MiB from the page cache: read into fresh memory and
//! written 0.7 to 1.0 s of processor time a GB, read into memory used before 0.34 to 0.45, by
//! `sendfile` 0.22 to 0.26 (docs/decisions/0005). And it takes no memory, whatever the size of the
//! answer and however slowly it is read. What the page cache does not hold is first read on a thread
//! of its own, so that a reader of old data keeps nobody else waiting.
//!
//! Invariant: a thread of the runtime does not wait for the device here.

use std::io::{Error, ErrorKind, IoSlice};
use std::sync::Arc;

use broker::reply::NotCached;
use broker::{Outline, Reply};
use bytes::Bytes;
use ottla_log::Extract;
use ottla_log::disk::os::{Cached, OsDisk};
use rustix::net::SendFlags;
use tokio::io::Interest;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Semaphore;
use tokio::task::coop::consume_budget;
use tokio::task::spawn_blocking;

/// What all connections send with.
#[derive(Debug)]
pub struct Sender {
    disk: Arc<OsDisk>,
    /// Reads that may wait for the device at a time.
    readers: Semaphore,
}

impl Sender {
    /// One that reads from this disk.
    pub fn new(disk: Arc<OsDisk>) -> Self {
        Self { disk, readers: Semaphore::new(READERS) }
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
        let mut head = head.concat();
        while !head.is_empty() {
            // It goes with the first records, not in a packet of its own.
            let more = SendFlags::MORE | SendFlags::NOSIGNAL;
            let sent = when_writable(to, || Ok(rustix::net::send(to.as_ref(), &head, more)?));
            drop(head.drain(..sent.await?));
        }
        let (mut at, mut left) = (extract.at, extract.len);
        while left > 0 {
            let piece = left.min(PIECE_BYTES);
            if !file.is_cached(at, piece)? {
                let file = file.clone();
                self.patiently(move || file.warm(at, piece)).await??;
            }
            let count = when_writable(to, || file.send(to.as_ref(), at, piece)).await?;
            if count == 0 {
                let text = format!("{} ends at byte {at}", file.path().display());
                return Err(Error::new(ErrorKind::UnexpectedEof, text));
            }
            at += count as u64;
            left -= count;
            // A socket that always takes more must not keep its thread from all others.
            consume_budget().await;
        }
        Ok(())
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
}

/// Tries until the socket takes something.
async fn when_writable(
    to: &OwnedWriteHalf,
    mut send: impl FnMut() -> std::io::Result<usize>,
) -> std::io::Result<usize> {
    loop {
        match to.as_ref().try_io(Interest::WRITABLE, &mut send) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => to.writable().await?,
            done => return done,
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
    Ok(())
}

/// Of records, sent at once.
const PIECE_BYTES: usize = 1 << 20;
/// Enough to keep a device busy.
const READERS: usize = 8;
