//! Damage: what turned over on the disk is found by the scrub and by whoever reads it, and nothing
//! of it is given to anybody; all else is.

use bytes::Bytes;
use ottla_log::disk::mem::MemDisk;
use ottla_log::{Damage, Disk, FileId, LogConfig, OpenMode, ReadError, ReadPlan, ScrubStep};
use wire::batch::{BatchHeader, Batches, HEADER_BYTES};

use crate::rig::{Rig, dir, small};

/// A disk that must not wait: nothing may be checked on it.
struct Hurried<'a>(&'a MemDisk);

impl Disk for Hurried<'_> {
    fn execute(&self, op: &ottla_log::Op) -> Result<(), ottla_log::StorageError> {
        self.0.execute(op)
    }

    fn is_patient(&self) -> bool {
        false
    }

    fn read_at(&self, file: FileId, at: u64, len: usize) -> Result<Bytes, ottla_log::StorageError> {
        self.0.read_at(file, at, len)
    }

    fn len(&self, file: FileId) -> Result<u64, ottla_log::StorageError> {
        self.0.len(file)
    }

    fn space(&self, dir: &std::path::Path) -> Result<ottla_log::Space, ottla_log::StorageError> {
        self.0.space(dir)
    }

    fn list(&self, dir: &std::path::Path) -> Result<Vec<String>, ottla_log::StorageError> {
        self.0.list(dir)
    }

    fn read_file(&self, path: &std::path::Path) -> Result<Bytes, ottla_log::StorageError> {
        self.0.read_file(path)
    }
}

/// Three segments of some four batches each, closed in order.
fn closed() -> Rig {
    closed_with(0)
}

fn closed_with(index_interval_bytes: u32) -> Rig {
    let mut rig = Rig::new(LogConfig { index_interval_bytes, ..small() });
    for number in 0..12 {
        let value = format!("{number:>100}");
        rig.append_values(1_000 + number, &[&value, &value]);
    }
    rig.settle();
    assert!(rig.log.segment_bases().len() >= 3, "{:?}", rig.log.segment_bases());
    let Rig { log, out, .. } = &mut rig;
    log.close(out);
    rig.settle();
    assert!(rig.log.is_closed());
    rig
}

fn open(rig: &mut Rig) {
    let recovery_point = rig.log.recovery_point();
    let mode = OpenMode { clean: true, recovery_point, mark: None };
    let report = rig.reopen(mode, None).unwrap();
    assert_eq!(report.recovered_segments, 0);
}

/// The simulator's seeds 350 and 1350, as they were: a timestamp that rotted came into the time
/// index, and made that a damaged one, too.
#[test]
fn a_timestamp_that_rotted_does_not_spread_to_the_time_index() {
    for index_interval_bytes in [0, 1 << 20] {
        let mut rig = closed_with(index_interval_bytes);
        let base = *rig.log.segment_bases().last().unwrap();
        // The highest byte of the first batch's largest timestamp.
        rig.disk.rot(&path(base, "log"), 35, 0x40);
        open(&mut rig);
        rig.append_values(2_000, &["later"]);
        rig.settle();
        let Rig { log, out, .. } = &mut rig;
        log.close(out);
        rig.settle();
        let index = rig.disk.content(&path(base, "timeindex")).unwrap();
        let timestamp = |entry: &[u8]| i64::from_be_bytes(entry[..8].try_into().unwrap());
        let times: Vec<i64> = index.chunks(12).map(timestamp).collect();
        assert_eq!(times.last(), Some(&2_000), "{times:?}");
        assert!(times.is_sorted(), "{times:?}");
    }
}

/// What the scrub finds; the log takes note of it.
fn scrub(rig: &mut Rig) -> Vec<Damage> {
    let mut job = rig.log.plan_scrub().unwrap().start();
    let expected = job.bytes();
    let mut found = Vec::new();
    loop {
        match job.step(&rig.disk).unwrap() {
            ScrubStep::Checked(_) => {}
            ScrubStep::Found(_, file, damage) => {
                found.extend(rig.log.note_damage(file, *damage));
            }
            ScrubStep::Done(stats) => {
                assert!(stats.bytes <= expected && stats.segments > 0);
                return found;
            }
        }
    }
}

fn path(base: i64, extension: &str) -> std::path::PathBuf {
    dir().join(format!("{base:020}.{extension}"))
}

/// The batches of a segment's file: where they begin, and their headers.
fn batches(rig: &Rig, base: i64) -> Vec<(usize, BatchHeader)> {
    let content = Bytes::from(rig.disk.content(&path(base, "log")).unwrap());
    let mut at = 0;
    let all = Batches::new(content).map(|next| next.unwrap());
    all.map(|(header, batch)| {
        at += batch.len();
        (at - batch.len(), header)
    })
    .collect()
}

/// Reads all that can be, passing over what is refused; gives the offsets of both.
fn read_around(rig: &Rig) -> (Vec<i64>, Vec<i64>) {
    let (mut at, mut given, mut refused) = (0, Vec::new(), Vec::new());
    while at < rig.log.end() {
        let plan = rig.log.plan_read(at, 500, i64::MAX).unwrap();
        match plan.execute(&rig.disk, true) {
            Ok(bytes) => {
                assert!(!bytes.is_empty(), "nothing at {at}");
                for next in Batches::new(bytes) {
                    let (header, batch) = next.unwrap();
                    wire::batch::verify_crc(&batch).unwrap();
                    assert!(header.base_offset >= at.min(header.base_offset), "{header:?}");
                    given.push(header.base_offset);
                    at = header.next_offset();
                }
            }
            Err(ReadError::Damaged(damage)) => {
                assert!(damage.offsets.contains(&at), "{at} in {damage}");
                refused.push(at);
                at = damage.offsets.end;
            }
            Err(other) => panic!("at {at}: {other}"),
        }
    }
    (given, refused)
}

/// One bit of each byte of a header, and of some of the records, in the first, a middle and the
/// last batch of a rolled segment: the scrub finds it, whether or not a read did before; reads give
/// all else.
#[test]
fn every_bit_that_turns_over_in_a_rolled_segment_is_found_and_not_given() {
    let pristine = closed();
    let base = pristine.log.segment_bases()[1];
    let all = batches(&pristine, base);
    let picked = [0, all.len() / 2, all.len() - 1];
    // Bits that change a value a lot, and a little.
    for (index, within, bit) in picked.iter().flat_map(|index| {
        let records = [HEADER_BYTES, HEADER_BYTES + 1, HEADER_BYTES + 60];
        let places = (0..HEADER_BYTES).chain(records);
        places.flat_map(move |within| [0x40, 0x01].map(|bit| (*index, within, bit)))
    }) {
        let (at, header) = all[index];
        let last = at + header.size_in_bytes() - 1;
        for byte in [at + within, last] {
            for read_first in [false, true] {
                let mut rig = closed();
                rig.disk.rot(&path(base, "log"), byte, bit);
                open(&mut rig);
                let what = format!("batch {index} byte {within} {bit} read first {read_first}");
                let (before, mut told) = (read_first.then(|| read_around(&rig)), Vec::new());
                if read_first {
                    let plan = rig.log.plan_read(base, 1, i64::MAX).unwrap();
                    told = plan.take_damage();
                    assert_eq!(told.len(), 1, "{what}");
                    assert!(plan.take_damage().is_empty(), "{what}: told twice");
                }
                told.extend(scrub(&mut rig));
                assert_eq!(told.len(), 1, "{what}: {told:?}");
                let damage = &told[0];
                assert!(damage.bytes.contains(&(byte as u64)), "{what}: {damage}");
                assert!(damage.is_of_records() && damage.path == path(base, "log"), "{damage}");
                let offsets = header.base_offset..header.next_offset();
                assert_eq!(damage.offsets, offsets, "{what}: {damage}");
                let after = read_around(&rig);
                assert_eq!(after.1, [header.base_offset], "{what}");
                assert_eq!(after.0.len(), 11, "{what}: {:?}", after.0);
                assert!(before.is_none_or(|before| before == after), "{what}");
                assert!(scrub(&mut rig).is_empty(), "{what}: told of again");
                assert_eq!(rig.log.damage(), told);
            }
        }
    }
}

/// Whoever must not wait does not check, and is sent to somebody who may; after that it need not.
#[test]
fn a_hurried_reader_is_given_what_was_checked_and_nothing_else() {
    let mut rig = closed();
    open(&mut rig);
    let base = rig.log.segment_bases()[1];
    let plan = rig.log.plan_read(base, 1 << 20, i64::MAX).unwrap();
    let hurried = |rig: &Rig, plan: &ReadPlan| plan.find(&Hurried(&rig.disk), 1 << 20, true);
    assert_eq!(hurried(&rig, &plan), Err(ReadError::NotCached));
    let patient = plan.find(&rig.disk, 1 << 20, true).unwrap();
    assert_eq!(hurried(&rig, &plan).unwrap(), patient);
    // All of the segment was checked: the next plan has nothing to look up.
    let next = rig.log.plan_read(base, 1 << 20, i64::MAX).unwrap();
    assert_ne!(next, plan);
    // What is appended in this life is believed by all.
    let info = rig.append_values(5_000, &["new"]);
    rig.settle();
    let plan = rig.log.plan_read(info.first_offset, 1 << 20, i64::MAX).unwrap();
    assert!(hurried(&rig, &plan).is_ok());
}

/// What rots after it was checked is the scrub's to find, and refused from then on.
#[test]
fn rot_in_a_segment_of_this_life_is_found_by_the_scrub() {
    let mut rig = Rig::new(small());
    for number in 0..12 {
        rig.append_values(1_000 + number, &[&format!("{number:>200}")]);
    }
    rig.settle();
    assert!(scrub(&mut rig).is_empty());
    rig.disk.rot(&path(0, "log"), HEADER_BYTES + 20, 4);
    let told = scrub(&mut rig);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].offsets, 0..1);
    assert_eq!(read_around(&rig).1, [0]);
    assert_eq!(rig.log.damaged_places(), 1);
    assert!(scrub(&mut rig).is_empty());
}

/// An index that lies leads to no wrong record; the scrub tells of it.
#[test]
fn a_damaged_index_changes_no_read_and_is_told_of() {
    let mut pristine = closed();
    let base = pristine.log.segment_bases()[1];
    open(&mut pristine);
    let expected = read_around(&pristine).0;
    for extension in ["index", "timeindex"] {
        let size = pristine.disk.content(&path(base, extension)).unwrap().len();
        for byte in 0..size {
            for mask in [0x01, 0x10] {
                let mut rig = closed();
                rig.disk.rot(&path(base, extension), byte, mask);
                let recovery_point = rig.log.recovery_point();
                let mode = OpenMode { clean: true, recovery_point, mark: None };
                // Entries that do not rise are seen at the start, which makes the file anew.
                let report = rig.reopen(mode, None).unwrap();
                let what = format!("{extension} byte {byte} mask {mask}");
                let (given, refused) = read_around(&rig);
                assert_eq!((given, refused.len()), (expected.clone(), 0), "{what}");
                for offset in 0..rig.log.end() {
                    let timestamp = 1_000 + offset / 2;
                    let plan = rig.log.plan_offset_for_timestamp(timestamp, i64::MAX);
                    let found = plan.execute(&rig.disk, 1 << 20).unwrap();
                    // Which segment has it is read from the file's last entry, at the start.
                    let last = extension == "timeindex" && byte + 12 >= size;
                    assert!(
                        last || found.is_some_and(|found| found.offset == offset / 2 * 2),
                        "{what}: {found:?} for {timestamp}"
                    );
                }
                let told = scrub(&mut rig);
                // The other record of the same batch is as good a hint.
                let same = extension == "timeindex" && byte % 12 == 11 && mask == 1;
                let seen = report.recovered_segments == 0 && !same;
                assert_eq!(told.len(), usize::from(seen), "{what}: {told:?}");
                assert!(told.iter().all(|damage| damage.path == path(base, extension)));
                assert!(told.iter().all(|damage| !damage.is_of_records()), "{what}");
            }
        }
    }
}

/// A batch whose length turned over is followed by one that an index entry knows of.
#[test]
fn reads_go_on_behind_a_batch_whose_length_is_gone() {
    let mut rig = closed();
    let base = rig.log.segment_bases()[1];
    let (at, header) = batches(&rig, base)[1];
    rig.disk.rot(&path(base, "log"), at + 8, 0x10);
    open(&mut rig);
    let (given, refused) = read_around(&rig);
    assert_eq!(refused, [header.base_offset]);
    assert_eq!(given.len(), 11);
    // A lookup by time that meets it can't say what was there.
    let plan = rig.log.plan_offset_for_timestamp(header.max_timestamp, i64::MAX);
    assert!(matches!(plan.execute(&rig.disk, 1 << 20), Err(ReadError::Damaged(_))));
}

/// What recovery refuses to cut: an offset that rose below the recovery point, though all that
/// follows is whole.
#[test]
fn an_offset_that_rose_below_the_recovery_point_ends_no_log() {
    let mut rig = Rig::new(LogConfig::default());
    for number in 0..6 {
        rig.append_values(1_000 + number, &["value"]);
    }
    rig.settle();
    let whole = rig.log.end();
    for (index, (at, header)) in batches(&rig, 0).into_iter().enumerate() {
        rig.disk.rot(&path(0, "log"), at + 7, 0x40);
        let recovery_point = 4;
        let mode = OpenMode { clean: false, recovery_point, mark: None };
        let opened = rig.reopen(mode, None);
        if header.base_offset < recovery_point {
            let error = opened.unwrap_err();
            assert!(error.is_damage() && error.text.contains("nothing is cut off"), "{error}");
        } else {
            // Above it nobody can tell it from a torn write.
            assert!(opened.is_ok(), "batch {index}");
            assert!(rig.log.end() >= recovery_point);
            return;
        }
        rig.disk.rot(&path(0, "log"), at + 7, 0x40);
        rig.reopen(mode, None).unwrap();
        assert_eq!(rig.log.end(), whole);
    }
}
