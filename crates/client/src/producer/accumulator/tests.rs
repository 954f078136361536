//! What happens to batches: order, sequences, deadlines, room.

use std::collections::BTreeSet;
use std::time::Duration;

use super::*;

/// A producer with a broker that may lose requests or answers, and keeps what it is sent as
/// Apache Kafka does: contiguous sequences, the last five batches known.
struct Pair {
    core: Accumulator,
    now: i64,
    log: Vec<String>,
    /// Epoch, and the first sequence of the last batches with their base offsets.
    state: Option<(i16, Vec<(i32, i32)>)>,
    under_way: VecDeque<Outgoing>,
    done: Vec<(BatchId, Outcome)>,
}

fn settings() -> Settings {
    let ms = Duration::from_millis;
    let mut settings = Settings::new(
        &crate::Options::new("a:1").unwrap().producer,
        Backoff { first: ms(10), largest: ms(10) },
    );
    settings.linger_ms = 5;
    settings.batch_bytes = 120;
    settings.delivery_timeout_ms = 100_000;
    settings
}

fn partition() -> TopicPartition {
    TopicPartition::new("t", 0)
}

impl Pair {
    fn new(settings: Settings) -> Self {
        let mut core = Accumulator::new(settings);
        core.identified(7, 0);
        let (log, under_way, done) = (Vec::new(), VecDeque::new(), Vec::new());
        Self { core, now: 0, log, state: None, under_way, done }
    }

    fn append(&mut self, value: &str) -> Append {
        let record = Record::new("t", value.to_owned());
        self.core.append(self.now, &partition(), &record)
    }

    /// Sends what can be sent.
    fn send(&mut self) {
        let (brokers, _) = self.core.ready(self.now, |_| Some(1));
        for broker in brokers {
            while let Some(out) = self.core.drain(self.now, broker, |_| Some(1)) {
                self.under_way.push_back(out);
            }
        }
        self.look();
    }

    fn look(&mut self) {
        for effect in self.core.take_effects() {
            if let Effect::Complete(id, _, outcome) = effect {
                self.done.push((id, outcome));
            }
        }
    }

    /// The broker's part of a request.
    fn write(&mut self, out: &Outgoing) -> Verdict {
        let verdict = |code, base_offset| Verdict {
            code,
            message: String::new(),
            base_offset,
            log_append_time: -1,
        };
        let batch = &out.batches[0].1;
        let header = BatchHeader::parse(batch).unwrap();
        wire::batch::verify_crc(batch).unwrap();
        let (first, count) = (header.base_sequence, header.count);
        let known = self.state.clone().filter(|(epoch, _)| *epoch == header.producer_epoch);
        let last = known.as_ref().and_then(|(_, batches)| batches.last().copied());
        if let Some((_, batches)) = &known
            && batches.iter().rev().take(5).any(|(seen, _)| *seen == first)
        {
            return verdict(ErrorCode::NONE, -1);
        }
        let expected = last.map_or(0, |(sequence, count)| sequence + count);
        if first != expected {
            return verdict(ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1);
        }
        let mut batches = known.map(|(_, batches)| batches).unwrap_or_default();
        batches.push((first, count));
        self.state = Some((header.producer_epoch, batches));
        let offset = self.log.len() as i64;
        for record in RecordIter::open(batch, 1 << 20).unwrap() {
            let value = record.unwrap().value.unwrap();
            self.log.push(String::from_utf8(value.to_vec()).unwrap());
        }
        verdict(ErrorCode::NONE, offset)
    }

    /// Answers the oldest request, or loses it, before or after it is written.
    fn answer(&mut self, fate: u64) {
        let Some(out) = self.under_way.pop_front() else { return };
        let lost = Error::Disconnected { address: "a:1".into(), why: "reset".into() };
        match fate {
            0 => self.core.lost(self.now, out.request, &lost),
            1 => {
                self.write(&out);
                self.core.lost(self.now, out.request, &lost);
            }
            _ => {
                let verdict = self.write(&out);
                let verdicts = BTreeMap::from([(partition(), verdict)]);
                self.core.answered(self.now, out.request, &verdicts);
            }
        }
        self.look();
    }
}

#[test]
fn nothing_is_lost_repeated_or_reordered_whatever_gets_lost() {
    for seed in 1..400u64 {
        let mut random = seed;
        let mut next = |bound: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            (random >> 33) % bound
        };
        let mut pair = Pair::new(settings());
        let mut sent = 0;
        while sent < 60 || !pair.under_way.is_empty() || pair.core.buffered() > 0 {
            pair.now += next(20) as i64;
            if sent < 60 && next(2) == 0 {
                assert!(matches!(pair.append(&format!("record {sent}")), Append::Taken { .. }));
                sent += 1;
            }
            pair.send();
            assert!(pair.under_way.len() <= 5);
            if next(2) == 0 {
                pair.answer(next(5));
            }
        }
        let expected: Vec<String> = (0..60).map(|index| format!("record {index}")).collect();
        assert_eq!(pair.log, expected, "seed {seed}");
        let ids: BTreeSet<BatchId> = pair.done.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids.len(), pair.done.len(), "I3, seed {seed}");
        assert!(pair.done.iter().all(|(_, outcome)| matches!(outcome, Outcome::Written { .. })));
    }
}

#[test]
fn batch_given_up_does_not_stop_those_behind_it() {
    let mut settings = settings();
    settings.delivery_timeout_ms = 50;
    let mut pair = Pair::new(settings);
    pair.append("first");
    pair.now = 10;
    pair.send();
    pair.answer(0);
    pair.now = 45;
    pair.append("second");
    // The first is given up while it waits: nobody knows whether it was written. It was not, and
    // so the broker refuses the second, which then begins a new epoch.
    pair.now = 60;
    for _ in 0..5 {
        pair.send();
        pair.answer(9);
        pair.now += 15;
    }
    assert_eq!(pair.log, ["second"]);
    assert!(matches!(&pair.done[0].1, Outcome::Failed(Error::Timeout { .. })), "{:?}", pair.done);
    assert!(matches!(&pair.done[1].1, Outcome::Written { .. }));
    assert_eq!(pair.state.as_ref().unwrap().0, 1);
    assert_eq!(pair.core.buffered(), 0);
}

#[test]
fn batch_refused_for_good_fails_alone() {
    let mut pair = Pair::new(settings());
    for value in ["a", "b", "c"] {
        pair.append(&value.repeat(60));
    }
    pair.now = 10;
    pair.send();
    assert_eq!(pair.under_way.len(), 3);
    let out = pair.under_way.pop_front().unwrap();
    let refused = Verdict {
        code: ErrorCode::MESSAGE_TOO_LARGE,
        message: "too large".into(),
        base_offset: -1,
        log_append_time: -1,
    };
    pair.core.answered(pair.now, out.request, &BTreeMap::from([(partition(), refused)]));
    for _ in 0..10 {
        pair.answer(9);
        pair.now += 20;
        pair.send();
    }
    assert_eq!(pair.log, ["b".repeat(60), "c".repeat(60)]);
    let failed = Error::Broker(ErrorCode::MESSAGE_TOO_LARGE, "too large".into());
    assert_eq!(pair.done[0].1, Outcome::Failed(failed));
}

#[test]
fn batches_linger_until_full_flushed_or_pressed() {
    let mut settings = settings();
    settings.buffer_bytes = 400;
    let mut pair = Pair::new(settings);
    pair.append("a");
    pair.send();
    assert!(pair.under_way.is_empty());
    let upto = pair.core.flush();
    pair.send();
    assert_eq!(pair.under_way.len(), 1);
    assert!(pair.core.oldest_open() < upto);
    pair.answer(9);
    assert!(pair.core.oldest_open() >= upto);
    // Room runs out: what is there goes at once, and there is room again.
    pair.append(&"b".repeat(200));
    assert_eq!(pair.append(&"c".repeat(200)), Append::Full);
    pair.send();
    pair.answer(9);
    assert!(matches!(pair.append(&"c".repeat(200)), Append::Taken { .. }));
}

#[test]
fn requests_in_flight_are_bounded_and_identity_comes_first() {
    let mut settings = settings();
    settings.in_flight_max = 2;
    let mut core = Accumulator::new(settings.clone());
    core.append(0, &partition(), &Record::new("t", "a"));
    assert_eq!(core.ready(50, |_| Some(1)).0, [0i32; 0]);
    assert_eq!(core.take_effects(), [Effect::Identify]);
    core.ready(50, |_| Some(1));
    assert_eq!(core.take_effects(), []);
    core.identified(1, 0);
    assert_eq!(core.ready(50, |_| None).0, [0i32; 0]);
    assert_eq!(core.take_effects(), [Effect::Refresh("t".into())]);
    let mut pair = Pair::new(settings);
    for _ in 0..4 {
        pair.append(&"x".repeat(100));
    }
    pair.send();
    assert_eq!(pair.under_way.len(), 2);
}

/// Five batches of three records, each under way.
fn five_of_three() -> Pair {
    let mut settings = settings();
    settings.batch_bytes = 400;
    settings.batch_records = 3;
    let mut pair = Pair::new(settings);
    for index in 0..15 {
        pair.append(&format!("record {index}"));
    }
    pair.now = 10;
    pair.send();
    assert_eq!(pair.under_way.len(), 5);
    pair
}

#[test]
fn batch_that_is_too_large_is_split_in_its_place_with_its_sequences() {
    for largest in [1, 2] {
        let mut pair = five_of_three();
        let too_large = Verdict {
            code: ErrorCode::MESSAGE_TOO_LARGE,
            message: String::new(),
            base_offset: -1,
            log_append_time: -1,
        };
        for _ in 0..100 {
            let count = pair
                .under_way
                .front()
                .map(|out| BatchHeader::parse(&out.batches[0].1).unwrap().count);
            match count {
                Some(count) if count > largest => {
                    let out = pair.under_way.pop_front().unwrap();
                    let verdicts = BTreeMap::from([(partition(), too_large.clone())]);
                    pair.core.answered(pair.now, out.request, &verdicts);
                    pair.look();
                }
                _ => pair.answer(9),
            }
            pair.now += 20;
            pair.send();
        }
        let expected: Vec<String> = (0..15).map(|index| format!("record {index}")).collect();
        assert_eq!(pair.log, expected);
        assert_eq!(pair.state.as_ref().unwrap().0, 0, "no new epoch was needed");
        assert_eq!((pair.core.buffered(), pair.core.open), (0, 0));
        let ids: BTreeSet<BatchId> = pair.done.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids.len(), pair.done.len(), "I3");
        assert!(pair.done.iter().all(|(_, outcome)| matches!(outcome, Outcome::Written { .. })));
    }
}

#[test]
fn answer_that_can_not_be_read_is_asked_for_again() {
    let mut pair = five_of_three();
    let out = pair.under_way.pop_front().unwrap();
    // It is written; only nobody could tell.
    pair.write(&out);
    pair.core.lost(pair.now, out.request, &Error::Protocol("Produce answer".into()));
    for _ in 0..20 {
        pair.answer(9);
        pair.now += 20;
        pair.send();
    }
    assert_eq!(pair.log.len(), 15);
    assert!(pair.done.iter().all(|(_, outcome)| matches!(outcome, Outcome::Written { .. })));
}
