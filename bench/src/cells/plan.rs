//! The cells as data: loads, who runs them, and what must be reached. Owns nothing.

use serde_json::Value;

use crate::broker::Side;

/// A load, and what is asked of it.
#[derive(Debug)]
pub struct Cell {
    /// Its number, from 1.
    pub number: u8,
    /// What it is, for people.
    pub words: &'static str,
    /// Of its topic.
    pub partitions: i32,
    /// MiB that are written to the topic first; it is kept through all rounds then.
    pub preload: Option<u64>,
    /// Who runs what; a round is all of them, and all of them the other way round.
    pub arms: &'static [Arm],
    /// What is compared.
    pub figures: &'static [Figure],
}

/// A broker under a load.
#[derive(Debug)]
pub struct Arm {
    /// Its word in results.
    pub name: &'static str,
    /// The broker.
    pub side: Side,
    /// False if a topic of ours leaves flushing to the operating system, as Apache Kafka's do.
    pub flush: bool,
    /// What it is loaded with.
    pub load: Load,
}

/// What an arm is loaded with; acks=all unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Load {
    /// Raw, five requests in flight.
    Produce {
        /// Bytes of a batch.
        size: usize,
        /// MiB, or what is taken in five seconds.
        volume: u64,
    },
    /// Raw, an open loop of batches of one record.
    Paced {
        /// Bytes of its value.
        record: usize,
        /// A second.
        rate: u32,
        /// How long.
        seconds: u64,
    },
    /// Raw, single records at a rate and a reader who waits for them.
    Latency {
        /// Bytes of a value.
        record: usize,
        /// A second.
        rate: u32,
        /// How long.
        seconds: u64,
    },
    /// Raw, from the beginning again and again.
    Fetch {
        /// Of an answer.
        max_bytes: i32,
        /// Connections.
        readers: usize,
        /// MiB that each of them reads.
        volume: u64,
    },
    /// As `Produce` with 16 KiB, while a reader reads what was evicted from the page cache.
    Cold {
        /// MiB that are produced.
        volume: u64,
    },
    /// A producer on librdkafka.
    Librdkafka {
        /// Bytes of a value.
        record: u64,
        /// MiB of values.
        volume: u64,
        /// Of the library.
        properties: &'static [&'static str],
    },
    /// Apache Kafka's own `ProducerPerformance`.
    Java {
        /// Bytes of a value.
        record: u64,
        /// MiB of values.
        volume: u64,
        /// Of the producer.
        properties: &'static [&'static str],
    },
}

/// What is read from the runs of two arms, and compared.
#[derive(Debug)]
pub struct Figure {
    /// What it is, with its unit.
    pub name: &'static str,
    /// Where a run has it.
    pub kind: Kind,
    /// The arm that must reach something.
    pub arm: &'static str,
    /// The arm it is compared with.
    pub beside: &'static str,
    /// What it must reach.
    pub target: Target,
    /// Where the limits have what the bare loop ([`crate::bare`]) came to under this load.
    pub floor: Option<&'static str>,
}

impl Figure {
    const fn above(self, floor: &'static str) -> Self {
        Self { floor: Some(floor), ..self }
    }
}

/// A figure of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// MB/s (10^6 bytes).
    Rate,
    /// Seconds of the broker's CPU time by GB (10^9 bytes).
    Cpu,
    /// The 99th percentile of requests.
    Request,
    /// The 99th percentile from the time to send to the reader.
    EndToEnd,
}

impl Kind {
    /// Of a run.
    pub fn of(self, run: &Value) -> Option<f64> {
        let number = |at: &str| run.pointer(at)?.as_f64();
        match self {
            Self::Rate => number("/driver/mb_per_second"),
            Self::Cpu => Some(number("/broker/cpu_seconds")? * 1e9 / number("/driver/bytes")?),
            Self::Request => number("/driver/request_ms/p99"),
            Self::EndToEnd => number("/driver/end_to_end_ms/p99"),
        }
    }

    /// True if more is better.
    pub fn more_is_better(self) -> bool {
        self == Self::Rate
    }

    /// What two equal Apache Kafkas were seen to differ by on a machine of two cores.
    pub fn band(self) -> f64 {
        match self {
            Self::Rate => 0.15,
            Self::Cpu => 0.25,
            Self::Request | Self::EndToEnd => 0.30,
        }
    }
}

/// What a figure must reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// Nothing; it is told beside the others.
    Told,
    /// To be no worse.
    Equal,
    /// A ratio.
    Ratio(f64),
    /// The other's and one sync of the device.
    PlusSync,
    /// Either no worse than a ratio, or than so many times a limit of the machine.
    RatioOrLimit(f64, f64, Limit),
    /// Both no worse, and not so many times a limit of the machine.
    EqualAndLimit(f64, Limit),
}

/// A limit of the machine, measured in the same run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// What it is.
    pub words: &'static str,
    /// Where the limits have it; of several the least.
    pub at: &'static [&'static str],
}

const fn arm(name: &'static str, side: Side, load: Load) -> Arm {
    Arm { name, side, flush: true, load }
}

const fn unflushed(name: &'static str, load: Load) -> Arm {
    Arm { name, side: Side::Ottla, flush: false, load }
}

const fn figure(name: &'static str, kind: Kind, target: Target) -> Figure {
    between(name, kind, OURS, THEIRS, target)
}

const fn between(
    name: &'static str,
    kind: Kind,
    arm: &'static str,
    beside: &'static str,
    target: Target,
) -> Figure {
    Figure { name, kind, arm, beside, target, floor: None }
}

/// The arm of ours, with its default of syncing before it acknowledges.
pub const OURS: &str = "ottla";
/// The arm of Apache Kafka with its defaults.
pub const THEIRS: &str = "apache";
const UNFLUSHED: &str = "ottla, flush off";

const RATE: &str = "MB/s";
const CPU: &str = "broker CPU, s/GB";
const P99: &str = "p99, ms";

const SMALL: Load = Load::Produce { size: 16 << 10, volume: 384 };
const LARGE: Load = Load::Produce { size: 1 << 20, volume: 1024 };
const SPREAD: Load = Load::Produce { size: 16 << 10, volume: 256 };
const PACED: Load = Load::Paced { record: 1024, rate: 500, seconds: 4 };
const LATENCY: Load = Load::Latency { record: 100, rate: 500, seconds: 4 };
const FETCH_1: Load = Load::Fetch { max_bytes: 1 << 20, readers: 1, volume: 2048 };
const FETCH_8: Load = Load::Fetch { max_bytes: 8 << 20, readers: 1, volume: 2048 };
const TWENTY: Load = Load::Fetch { max_bytes: 1 << 20, readers: 20, volume: 192 };
const BESIDE: Load = Load::Produce { size: 16 << 10, volume: 256 };
const COLD: Load = Load::Cold { volume: 256 };
const RDKAFKA_1K: Load = Load::Librdkafka { record: 1024, volume: 512, properties: &["acks=all"] };
const RDKAFKA_100: Load =
    Load::Librdkafka { record: 100, volume: 192, properties: &["acks=1", "compression.codec=lz4"] };
const JAVA: Load = Load::Java { record: 1024, volume: 384, properties: &["compression.type=zstd"] };

/// The floor of producing 1 MiB batches.
const BARE_PRODUCE: Limit =
    Limit { words: "the bare loop", at: &["/bare_produce/cpu_seconds_per_gb"] };
/// As fast as the device takes what is synced.
const FLUSHED: Limit =
    Limit { words: "the device's flushed rate", at: &["/append/1MiB synced/mb_per_second"] };
const BARE_FETCH_1: Limit = Limit {
    words: "the bare loop",
    at: &[
        "/bare_fetch/1MiB/copy/cpu_seconds_per_gb",
        "/bare_fetch/1MiB/sendfile/cpu_seconds_per_gb",
    ],
};
const BARE_FETCH_8: Limit = Limit {
    words: "the bare loop",
    at: &[
        "/bare_fetch/8MiB/copy/cpu_seconds_per_gb",
        "/bare_fetch/8MiB/sendfile/cpu_seconds_per_gb",
    ],
};

/// All of them.
pub const CELLS: &[Cell] = &[
    Cell {
        number: 1,
        words: "raw, 16 KiB batches, 1 partition, 5 in flight",
        partitions: 1,
        preload: None,
        arms: &[arm(OURS, Side::Ottla, SMALL), arm(THEIRS, Side::Apache, SMALL)],
        figures: &[
            figure(CPU, Kind::Cpu, Target::Ratio(1.0 / 3.0))
                .above("/bare/16KiB/cpu_seconds_per_gb"),
            figure(RATE, Kind::Rate, Target::Ratio(1.5)).above("/bare/16KiB/mb_per_second"),
            figure(P99, Kind::Request, Target::PlusSync).above("/bare/16KiB/request_ms/p99"),
        ],
    },
    Cell {
        number: 2,
        words: "raw, 1 MiB batches, 1 partition",
        partitions: 1,
        preload: None,
        arms: &[arm(OURS, Side::Ottla, LARGE), arm(THEIRS, Side::Apache, LARGE)],
        figures: &[
            figure(CPU, Kind::Cpu, Target::RatioOrLimit(0.5, 1.2, BARE_PRODUCE))
                .above("/bare_produce/cpu_seconds_per_gb"),
            figure(RATE, Kind::Rate, Target::RatioOrLimit(1.0, 1.0, FLUSHED))
                .above("/bare_produce/mb_per_second"),
        ],
    },
    Cell {
        number: 3,
        words: "raw, 1 MiB batches, flush off on both",
        partitions: 1,
        preload: None,
        arms: &[
            unflushed(UNFLUSHED, LARGE),
            arm(THEIRS, Side::Apache, LARGE),
            arm(OURS, Side::Ottla, LARGE),
        ],
        figures: &[
            between(RATE, Kind::Rate, UNFLUSHED, THEIRS, Target::Ratio(1.3))
                .above("/bare/1MiB unsynced/mb_per_second"),
            between("MB/s, flush on beside off", Kind::Rate, OURS, UNFLUSHED, Target::Ratio(0.9)),
        ],
    },
    Cell {
        number: 4,
        words: "raw, 16 KiB batches over 1 000 partitions",
        partitions: 1000,
        preload: Some(0),
        arms: &[arm(OURS, Side::Ottla, SPREAD), arm(THEIRS, Side::Apache, SPREAD)],
        figures: &[
            figure(RATE, Kind::Rate, Target::Ratio(2.0)).above("/bare/spread/mb_per_second"),
            figure(CPU, Kind::Cpu, Target::Ratio(1.0 / 3.0))
                .above("/bare/spread/cpu_seconds_per_gb"),
        ],
    },
    Cell {
        number: 5,
        words: "librdkafka, 1 KiB, acks=all",
        partitions: 1,
        preload: None,
        arms: &[arm(OURS, Side::Ottla, RDKAFKA_1K), arm(THEIRS, Side::Apache, RDKAFKA_1K)],
        figures: &[
            figure(RATE, Kind::Rate, Target::Equal),
            figure(CPU, Kind::Cpu, Target::Ratio(0.5)),
        ],
    },
    Cell {
        number: 6,
        words: "librdkafka, 100 B, acks=1, lz4",
        partitions: 1,
        preload: None,
        arms: &[arm(OURS, Side::Ottla, RDKAFKA_100), arm(THEIRS, Side::Apache, RDKAFKA_100)],
        figures: &[
            figure(RATE, Kind::Rate, Target::Equal),
            figure(CPU, Kind::Cpu, Target::Ratio(0.5)),
        ],
    },
    Cell {
        number: 7,
        words: "Java client, 1 KiB, defaults, zstd",
        partitions: 1,
        preload: None,
        arms: &[arm(OURS, Side::Ottla, JAVA), arm(THEIRS, Side::Apache, JAVA)],
        figures: &[figure(RATE, Kind::Rate, Target::Equal)],
    },
    Cell {
        number: 8,
        words: "raw, 1 KiB at 500/s",
        partitions: 1,
        preload: None,
        arms: &[
            arm(OURS, Side::Ottla, PACED),
            unflushed(UNFLUSHED, PACED),
            arm(THEIRS, Side::Apache, PACED),
        ],
        figures: &[
            between("p99, flush off, ms", Kind::Request, UNFLUSHED, THEIRS, Target::Ratio(0.5))
                .above("/bare/1KiB paced, unsynced/request_ms/p99"),
            figure("p99, flush on, ms", Kind::Request, Target::PlusSync)
                .above("/bare/1KiB paced/request_ms/p99"),
        ],
    },
    Cell {
        number: 9,
        words: "raw, 100 B at 500/s, produce to fetch, acks=all",
        partitions: 1,
        preload: None,
        arms: &[
            arm(OURS, Side::Ottla, LATENCY),
            unflushed(UNFLUSHED, LATENCY),
            arm(THEIRS, Side::Apache, LATENCY),
        ],
        figures: &[
            between("p99, flush off, ms", Kind::EndToEnd, UNFLUSHED, THEIRS, Target::Ratio(0.5))
                .above("/bare/100B paced, unsynced/end_to_end_ms/p99"),
            figure("p99, flush on, ms", Kind::EndToEnd, Target::PlusSync)
                .above("/bare/100B paced/end_to_end_ms/p99"),
        ],
    },
    Cell {
        number: 10,
        words: "raw fetch, 1 MiB and 8 MiB, what was just written",
        partitions: 1,
        preload: Some(512),
        arms: &[
            arm("ottla, 1 MiB", Side::Ottla, FETCH_1),
            arm("apache, 1 MiB", Side::Apache, FETCH_1),
            arm("ottla, 8 MiB", Side::Ottla, FETCH_8),
            arm("apache, 8 MiB", Side::Apache, FETCH_8),
        ],
        figures: &[
            between(
                "1 MiB: broker CPU, s/GB",
                Kind::Cpu,
                "ottla, 1 MiB",
                "apache, 1 MiB",
                Target::EqualAndLimit(1.15, BARE_FETCH_1),
            ),
            between(
                "8 MiB: broker CPU, s/GB",
                Kind::Cpu,
                "ottla, 8 MiB",
                "apache, 8 MiB",
                Target::EqualAndLimit(1.15, BARE_FETCH_8),
            ),
            between("1 MiB: MB/s", Kind::Rate, "ottla, 1 MiB", "apache, 1 MiB", Target::Told),
            between("8 MiB: MB/s", Kind::Rate, "ottla, 8 MiB", "apache, 8 MiB", Target::Told),
        ],
    },
    Cell {
        number: 11,
        words: "20 consumers of one topic",
        partitions: 1,
        preload: Some(512),
        arms: &[arm(OURS, Side::Ottla, TWENTY), arm(THEIRS, Side::Apache, TWENTY)],
        figures: &[
            figure(RATE, Kind::Rate, Target::Ratio(1.3))
                .above("/bare_fetch/20 readers/mb_per_second"),
            figure(CPU, Kind::Cpu, Target::Told),
        ],
    },
    Cell {
        number: 12,
        words: "cold reader from the start while cell 1 runs",
        partitions: 1,
        preload: Some(1024),
        arms: &[
            arm("ottla, cold reader", Side::Ottla, COLD),
            arm("apache, cold reader", Side::Apache, COLD),
            arm(OURS, Side::Ottla, BESIDE),
            arm(THEIRS, Side::Apache, BESIDE),
        ],
        figures: &[
            between(
                "p99 with the reader beside without, ms",
                Kind::Request,
                "ottla, cold reader",
                OURS,
                Target::Ratio(1.5),
            ),
            between(
                "p99 with the reader, ms",
                Kind::Request,
                "ottla, cold reader",
                "apache, cold reader",
                Target::Told,
            ),
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_numbered_and_their_figures_are_of_their_arms() {
        let numbers: Vec<u8> = CELLS.iter().map(|cell| cell.number).collect();
        assert_eq!(numbers, (1..=12).collect::<Vec<u8>>());
        for cell in CELLS {
            let has = |name: &str| cell.arms.iter().filter(|arm| arm.name == name).count() == 1;
            for figure in cell.figures {
                assert!(has(figure.arm) && has(figure.beside), "{}: {figure:?}", cell.number);
            }
            let flushed = |arm: &&Arm| arm.side == Side::Apache && !arm.flush;
            assert_eq!(cell.arms.iter().find(flushed).map(|arm| arm.name), None);
        }
    }
}
