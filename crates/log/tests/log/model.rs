//! The log against a `Vec` of batches, under random orders, delays, crashes and clean stops.

use bytes::Bytes;
use ottla_log::OpenMode;
use wire::batch::{BatchHeader, PREFIX_BYTES};
use wire::files::RecoveryMark;

use crate::rig::{Random, Rig, batch, checked, small};

struct Model {
    rig: Rig,
    random: Random,
    /// Base offset, last offset, bytes as stored.
    batches: Vec<(i64, i64, Bytes)>,
    epoch: i32,
    /// What the last recovery-point checkpoint says.
    checkpoint: i64,
    /// What is written down as the log's mark, perhaps long ago.
    mark: Option<RecoveryMark>,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut config = small();
        let mut random = Random(seed);
        config.flush_messages = [1, 1, 7, u64::MAX][random.below(4) as usize];
        Self {
            rig: Rig::new(config),
            random,
            batches: Vec::new(),
            epoch: 0,
            checkpoint: 0,
            mark: None,
        }
    }

    fn end(&self) -> i64 {
        self.batches.last().map_or(self.rig.log.start(), |(_, last, _)| last + 1)
    }

    fn append(&mut self) {
        let count = 1 + self.random.below(4);
        let values: Vec<Bytes> = (0..count)
            .map(|_| vec![self.random.below(256) as u8; self.random.below(120) as usize].into())
            .collect();
        let sent = batch(self.random.below(1_000) as i64, &values, None);
        let info = self.rig.append(checked(sent.clone()), self.epoch).unwrap();
        assert_eq!(info.first_offset, self.end());
        let header = BatchHeader::parse(&sent).unwrap();
        let head = header.stamp(info.first_offset, self.epoch);
        let stored = Bytes::from([&head[..], &sent[PREFIX_BYTES..]].concat());
        self.batches.push((info.first_offset, info.last_offset, stored));
    }

    fn pump(&mut self, steps: u64) {
        self.rig.starve_paths = steps < u64::MAX && self.random.below(3) > 0;
        for _ in 0..steps {
            match self.rig.step(&mut self.random) {
                Some(result) => result.unwrap(),
                None => break,
            };
        }
    }

    fn read(&mut self) {
        let (start, written) = (self.rig.log.start(), self.rig.log.written());
        let offset = start + self.random.below((written - start + 1) as u64) as i64;
        let max_bytes = self.random.below(800) as usize;
        let got = self.rig.read(offset, max_bytes);
        let mut expected = Vec::new();
        // A read stays within one segment, so a prefix of what the model has is right.
        for (_, last, bytes) in &self.batches {
            let fits = expected.is_empty() || expected.len() + bytes.len() <= max_bytes;
            if *last >= offset && *last < written && fits && expected.len() < got.len() {
                expected.extend_from_slice(bytes);
            }
        }
        assert_eq!(got, expected, "read at {offset} of {start}..{written}");
        assert!(offset == written || !got.is_empty());
    }

    fn truncate(&mut self) {
        let (start, end) = (self.rig.log.start(), self.end());
        let to = start + self.random.below((end - start + 1) as u64) as i64;
        if self.rig.log.written() < end {
            self.pump(u64::MAX);
        }
        self.checkpoint = self.checkpoint.min(start.min(to));
        let Rig { log, disk, out, .. } = &mut self.rig;
        assert!(log.truncate_to(to, disk, out).unwrap());
        self.batches.retain(|(_, last, _)| *last < to);
        self.epoch += 1;
        assert_eq!(self.rig.log.end(), self.end());
    }

    /// The process is killed, or the power is cut, too.
    fn crash(&mut self, power: bool) {
        let flushed = self.rig.log.flushed();
        let random = &mut self.random;
        if power {
            self.rig.disk.crash(&mut |bound| random.below(bound));
        }
        let made = self.rig.disk.content(&crate::rig::dir().join("partition.metadata")).is_some();
        if !made {
            // The log itself was not durable yet, so nothing in it was.
            assert_eq!(flushed, 0);
            *self = Self::new(self.random.below(u64::MAX));
            return;
        }
        let mode = OpenMode { clean: false, recovery_point: self.checkpoint, mark: self.mark };
        self.rig.reopen(mode, None).unwrap();
        self.compare(flushed);
        // What was not durable may be gone or be an older history: go on with what is there.
        self.batches = self.rig.read_all();
        self.epoch += 1;
    }

    fn stop(&mut self) {
        let Rig { log, out, .. } = &mut self.rig;
        log.close(out);
        self.pump(u64::MAX);
        assert!(self.rig.log.is_closed());
        assert_eq!(self.rig.log.flushed(), self.end());
        // Powered off after the stop: all of it must be there.
        let random = &mut self.random;
        self.rig.disk.crash(&mut |bound| random.below(bound));
        let mode =
            OpenMode { clean: true, recovery_point: self.rig.log.recovery_point(), mark: None };
        let report = self.rig.reopen(mode, None).unwrap();
        assert_eq!(report.recovered_segments, 0);
        assert_eq!(self.rig.log.end(), self.end());
        self.compare(self.end());
    }

    /// Everything below `durable` is in the log, unchanged.
    fn compare(&self, durable: i64) {
        assert!(self.rig.log.end() >= durable, "{} < {durable}", self.rig.log.end());
        let found = self.rig.read_all();
        for (index, expected) in self.batches.iter().enumerate() {
            if expected.1 < durable {
                assert_eq!(found.get(index), Some(expected), "offset {}", expected.0);
            }
        }
    }

    fn step(&mut self) {
        match self.random.below(100) {
            0..45 => self.append(),
            45..75 => {
                let steps = self.random.below(12);
                self.pump(steps);
            }
            75..88 => self.read(),
            88..90 => self.rig.log.flush(&mut self.rig.out),
            90 => self.rig.log.write_mark(&mut self.rig.out),
            91..93 => {
                self.checkpoint = self.rig.log.recovery_point();
                // The files are written one after the other.
                if self.random.below(2) == 0 {
                    self.mark = self.rig.log.mark();
                }
            }
            93..95 => self.truncate(),
            95..97 => self.crash(true),
            97 => self.crash(false),
            _ => self.stop(),
        }
    }
}

#[test]
fn the_log_is_a_vec_of_batches_whatever_happens() {
    for seed in 0..400 {
        let mut model = Model::new(seed);
        for step in 0..300 {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| model.step()));
            assert!(done.is_ok(), "seed {seed} step {step}");
        }
        model.pump(u64::MAX);
        assert_eq!(model.rig.log.written(), model.end(), "seed {seed}");
        model.rig.log.flush(&mut model.rig.out);
        model.pump(u64::MAX);
        assert_eq!(model.rig.log.flushed(), model.end(), "seed {seed}");
        assert_eq!(model.rig.read_all(), model.batches, "seed {seed}");
    }
}
