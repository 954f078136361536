//! Bit rot: bits of durable records turn over while nobody looks, and what must come of it.
//!
//! - C13: no answer has a byte of a batch that rotted; what is refused instead is known to be
//!   damaged, and nothing is that did not rot.
//! - C14: all rot in what was acknowledged is told of: by a read, by the scrub, or by a start that
//!   is refused. (The operator then restores the bytes, and starts again.)
//!
//! Only what recovery is promised to keep rots: records below the recovery point on the disk. Above
//! it nobody can tell a bit that turned over from a write that was torn.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use ottla_log::disk::Disk;
use ottla_log::disk::mem::MemDisk;
use wire::Bytes;
use wire::batch::{BatchHeader, Batches};
use wire::files::parse_offsets;

use crate::client::{PARTITIONS, TOPIC};
use crate::random::Random;

/// A bit that turned over.
#[derive(Clone, Debug)]
struct Flip {
    path: PathBuf,
    at: usize,
    mask: u8,
    /// The batch as it is now, and where in it.
    batch: Vec<u8>,
    within: usize,
    told: bool,
}

/// All rot of a run.
#[derive(Debug, Default)]
pub struct Rot {
    flips: Vec<Flip>,
    /// Bits that ever turned over.
    pub count: u64,
    /// Starts that were refused for it.
    pub refused_starts: u64,
    /// Reads that were.
    pub refused_reads: u64,
}

/// A batch on the disk.
struct Place {
    path: PathBuf,
    bytes: Range<usize>,
    rolled: bool,
}

impl Rot {
    /// Some bits turn over in what was durable before the power was cut.
    pub fn strike_durable(&mut self, disk: &MemDisk, random: &mut Random) {
        let path = Path::new("/data/recovery-point-offset-checkpoint");
        let points = disk.read_file(path).ok().and_then(|content| parse_offsets(&content).ok());
        let points = points.unwrap_or_default().into_iter();
        let points: BTreeMap<_, _> = points.map(|e| ((e.topic, e.partition), e.offset)).collect();
        let point = |index| points.get(&(TOPIC.to_owned(), index)).copied().unwrap_or(0);
        self.strike(&places(disk, point, true), disk, random);
    }

    /// Some bits turn over in segments that nothing is appended to any more.
    pub fn strike_rolled(&mut self, disk: &MemDisk, random: &mut Random) {
        self.strike(&places(disk, |_| i64::MAX, false), disk, random);
    }

    fn strike(&mut self, places: &[Place], disk: &MemDisk, random: &mut Random) {
        if places.is_empty() {
            return;
        }
        for _ in 0..1 + random.below(3) {
            let Some(place) = places.get(random.below(places.len() as u64) as usize) else {
                return;
            };
            let within = random.below(place.bytes.len() as u64) as usize;
            // Epochs that rose can't be told from true ones where recovery gathers them.
            let is_epoch = (12..16).contains(&within) && !place.rolled;
            let struck = self.flips.iter().any(|flip| flip.path == place.path);
            // One a file at a time, so that each is told of by itself.
            if is_epoch || struck {
                continue;
            }
            let (at, mask) = (place.bytes.start + within, 1 << random.below(8));
            disk.rot(&place.path, at, mask);
            let content = disk.content(&place.path).unwrap_or_default();
            let batch = content.get(place.bytes.clone()).unwrap_or_default().to_vec();
            let path = place.path.clone();
            self.flips.push(Flip { path, at, mask, batch, within, told: false });
            self.count += 1;
        }
    }

    /// The operator was told of damage.
    ///
    /// # Errors
    /// There is none.
    pub fn told(&mut self, text: &str) -> Result<(), String> {
        let mut found = false;
        for flip in &mut self.flips {
            let (Some(start), Some(end)) = (number(text, "bytes "), number(text, " to ")) else {
                break;
            };
            let here = text.contains(&flip.path.display().to_string());
            if here && (start..=end).contains(&flip.at) {
                flip.told = true;
                found = true;
            }
        }
        if found { Ok(()) } else { Err(format!("C13: nothing rotted there: {text}")) }
    }

    /// A start was refused: true if rot is why, which is mended then.
    pub fn refused(&mut self, text: &str, disk: &MemDisk) -> bool {
        let is_why = |flip: &Flip| text.contains(&flip.path.display().to_string());
        if !self.flips.iter().any(is_why) {
            return false;
        }
        self.refused_starts += 1;
        self.mend(disk);
        true
    }

    /// The operator restores all bytes.
    pub fn mend(&mut self, disk: &MemDisk) {
        for flip in self.flips.drain(..) {
            disk.rot(&flip.path, flip.at, flip.mask);
        }
    }

    /// Somebody was given these bytes, of whole batches and perhaps a part of one more.
    ///
    /// # Errors
    /// They rotted.
    pub fn given(&self, bytes: &[u8]) -> Result<(), String> {
        let mut rest = bytes;
        while !rest.is_empty() {
            for flip in &self.flips {
                let len = rest.len().min(flip.batch.len());
                if len > flip.within && rest.get(..len) == flip.batch.get(..len) {
                    let path = flip.path.display();
                    return Err(format!("C13: byte {} of {path} was given", flip.at));
                }
            }
            let size = BatchHeader::parse(rest).map_or(rest.len(), |header| header.size_in_bytes());
            rest = rest.get(size..).unwrap_or_default();
        }
        Ok(())
    }

    /// A read was refused for this damage.
    ///
    /// # Errors
    /// Nothing rotted there.
    pub fn refused_read(&mut self, path: &Path, bytes: &Range<u64>) -> Result<(), String> {
        self.refused_reads += 1;
        let is_why = |flip: &&Flip| flip.path == path && bytes.contains(&(flip.at as u64));
        match self.flips.iter().find(is_why) {
            Some(_) => Ok(()),
            None => Err(format!("C13: {} is refused, bytes {bytes:?}", path.display())),
        }
    }

    /// Everything was scrubbed.
    ///
    /// # Errors
    /// There is rot that nobody was told of.
    pub fn all_told(&self) -> Result<(), String> {
        match self.flips.iter().find(|flip| !flip.told) {
            Some(flip) => {
                Err(format!("C14: byte {} of {} rotted in silence", flip.at, flip.path.display()))
            }
            None => Ok(()),
        }
    }
}

/// The number behind that word.
fn number(text: &str, word: &str) -> Option<usize> {
    let (_, rest) = text.split_once(word)?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// The batches of the topic below these offsets, those of active segments if `active`.
fn places(disk: &MemDisk, below: impl Fn(i32) -> i64, active: bool) -> Vec<Place> {
    let mut found = Vec::new();
    for index in 0..PARTITIONS {
        let dir = PathBuf::from(format!("/data/{TOPIC}-{index}"));
        let names = disk.list(&dir).unwrap_or_default();
        let logs: Vec<&String> = names.iter().filter(|name| name.ends_with(".log")).collect();
        for (position, name) in logs.iter().enumerate() {
            let rolled = position + 1 < logs.len();
            if !rolled && !active {
                continue;
            }
            let path = dir.join(name);
            let content = Bytes::from(disk.content(&path).unwrap_or_default());
            let mut at = 0;
            for (header, batch) in Batches::new(content).map_while(Result::ok) {
                if header.next_offset() > below(index) {
                    break;
                }
                let bytes = at..at + batch.len();
                at = bytes.end;
                found.push(Place { path: path.clone(), bytes, rolled });
            }
        }
    }
    found
}
