//! The table that is made of a results file, and its place in README. Owns the text between marks.

use std::fmt::Write as _;

use serde_json::Value;

use crate::broker::{Peer, Side};
use crate::cells;
use crate::results::{Kind, Results};
use crate::run::Workload;
use crate::stats::{self, Comparison, median};

/// A row: what it is called, how it is read from a run, and which way is better.
struct Figure {
    workload: &'static str,
    name: &'static str,
    of: fn(&Value) -> Option<f64>,
    better: Better,
}

/// What is good for a broker.
#[derive(Clone, Copy)]
enum Better {
    More,
    Less,
    /// Of the driver: whether it was the limit.
    Neither,
}

const FIGURES: &[Figure] = &[
    more("ingest", "ingest, MiB/s", |run| number(run, "/driver/mib_per_second")),
    less("ingest", "broker CPU, s/GB", cpu_per_gigabyte),
    less("ingest", "resident, MiB", resident_mib),
    driver_cpu("ingest"),
    more("replay", "replay, MiB/s", |run| number(run, "/driver/mib_per_second")),
    less("replay", "broker CPU, s/GB", cpu_per_gigabyte),
    less("replay", "resident, MiB", resident_mib),
    driver_cpu("replay"),
    less("steady", "steady, ack p50, ms", |run| number(run, "/driver/ack_ms/p50")),
    less("steady", "ack p99, ms", |run| number(run, "/driver/ack_ms/p99")),
    less("steady", "end to end p50, ms", |run| number(run, "/driver/end_to_end_ms/p50")),
    less("steady", "end to end p99, ms", |run| number(run, "/driver/end_to_end_ms/p99")),
    less("steady", "broker CPU, % of a core", cpu_percent),
    less("steady", "resident, MiB", resident_mib),
    driver_cpu("steady"),
];

const fn more(workload: &'static str, name: &'static str, of: fn(&Value) -> Option<f64>) -> Figure {
    Figure { workload, name, of, better: Better::More }
}

const fn less(workload: &'static str, name: &'static str, of: fn(&Value) -> Option<f64>) -> Figure {
    Figure { workload, name, of, better: Better::Less }
}

const fn driver_cpu(workload: &'static str) -> Figure {
    Figure {
        workload,
        name: "(load driver's CPU, % of a core)",
        of: |run| Some(number(run, "/driver/driver_cpu_seconds")? * 100.0 / seconds(run)?),
        better: Better::Neither,
    }
}

fn seconds(run: &Value) -> Option<f64> {
    number(run, "/driver/seconds")
}

fn number(run: &Value, at: &str) -> Option<f64> {
    run.pointer(at)?.as_f64()
}

/// CPU seconds of the broker for a gigabyte (10^9) of values that went in or out.
pub(crate) fn cpu_per_gigabyte(run: &Value) -> Option<f64> {
    let bytes = number(run, "/driver/bytes_in")? + number(run, "/driver/bytes_out")?;
    Some(number(run, "/broker/cpu_seconds")? * 1e9 / bytes)
}

/// How busy the broker kept a core.
fn cpu_percent(run: &Value) -> Option<f64> {
    Some(number(run, "/broker/cpu_seconds")? * 100.0 / seconds(run)?)
}

/// The most that was resident during a run.
fn resident_mib(run: &Value) -> Option<f64> {
    Some(number(run, "/broker/peak_resident_bytes")? / MIB)
}

/// Everything there is to say of the results, in Markdown.
pub fn text(results: &Results) -> String {
    if results.text("commit").is_empty() {
        return "Not measured yet.\n".to_owned();
    }
    let mut text = head(results);
    text.push_str(&start(results));
    for (peer, words) in PEERS {
        let rows: Vec<String> =
            FIGURES.iter().filter_map(|figure| row(results, *peer, figure)).collect();
        if !rows.is_empty() {
            let _ = write!(text, "\n{words}\n\n{HEAD}{}{}", rows.concat(), cold(results, *peer));
        }
    }
    text
}

fn head(results: &Results) -> String {
    let machine = results.part("machine");
    let of = |key: &str| match &machine[key] {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    let memory = machine["memory_mib"].as_f64().unwrap_or_default() / 1024.0;
    format!(
        "Commit {}, {}, {} cores shared with the load driver (franz-go), {memory:.0} GiB of memory, \
         Linux {}, {} on a {} disk that takes {} ms for a sync.\n",
        results.text("commit"),
        results.text("date").split('T').next().unwrap_or_default(),
        of("cores"),
        of("kernel"),
        of("filesystem"),
        of("disk"),
        of("fdatasync_ms"),
    )
}

/// Who was not warm, and in what.
fn cold(results: &Results, peer: Peer) -> String {
    let mut text = String::new();
    for workload in Workload::ALL.map(Workload::word) {
        for side in [Side::Ottla, Side::Apache] {
            if !results.warm(peer, workload, side) {
                let _ = write!(text, "\n**Not warm: {} in {workload}.**\n", side.word());
            }
        }
    }
    text
}

/// Start-up and what is used when nothing is asked for; no rounds, so medians and ranges.
fn start(results: &Results) -> String {
    let cell = |part: &str, side: Side, key: &str, unit: f64, digits: usize| -> String {
        let values = results.part(part)[side.word()][key].as_array().map_or(&[][..], Vec::as_slice);
        let values: Vec<f64> =
            values.iter().filter_map(|value| Some(value.as_f64()? / unit)).collect();
        let low = values.iter().copied().reduce(f64::min);
        let high = values.iter().copied().reduce(f64::max);
        match (median(&values), low, high) {
            (Some(middle), Some(low), Some(high)) => {
                format!("{middle:.digits$} ({low:.digits$}–{high:.digits$})")
            }
            _ => "not measured".to_owned(),
        }
    };
    let mut rows = String::new();
    for (part, name, limit, key, unit, digits) in START {
        if results.part(part).is_object() {
            let of = |side| cell(part, side, key, *unit, *digits);
            let (ours, theirs) = (of(Side::Ottla), of(Side::Apache));
            let _ = writeln!(rows, "| {name} | {limit} | {ours} | {theirs} |");
        }
    }
    if rows.is_empty() {
        return rows;
    }
    format!("\n| median (range) | limit | Ottla | Apache Kafka 4.3.1 |\n|---|--:|--:|--:|\n{rows}")
}

fn row(results: &Results, peer: Peer, figure: &Figure) -> Option<String> {
    let rounds = results.rounds(peer, figure.workload, figure.of);
    let found = stats::compare(&rounds)?;
    let Comparison { ours, theirs, ratio, low, high, noise } = found;
    Some(format!(
        "| {} | {} | {} | {ratio:.2} ({low:.2}–{high:.2}) | {:.2}–{noise:.2} | {} |\n",
        figure.name,
        short(ours),
        short(theirs),
        1.0 / noise,
        verdict(&found, figure.better),
    ))
}

fn verdict(found: &Comparison, better: Better) -> &'static str {
    match better {
        Better::Neither => "",
        _ if found.is_equal() => "equal",
        Better::More if found.ratio > 1.0 => "better",
        Better::Less if found.ratio < 1.0 => "better",
        _ => "worse",
    }
}

/// Three digits that count.
fn short(value: f64) -> String {
    let digits = match value {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

/// README with the table in its place.
///
/// # Errors
/// If the marks are missing.
pub fn place(readme: &str, results: &Results, cells: Option<&Results>) -> Result<String, String> {
    let marks = readme.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let (before, after) = marks.ok_or("README has no marks for the table")?;
    let source = match results.text("commit") {
        "" => String::new(),
        commit => format!("\nRaw results: [{commit}.json]({DIRECTORY}{commit}.json).\n"),
    };
    let cells = cells.map(cells_section).unwrap_or_default();
    Ok(format!("{before}{BEGIN}{}{source}{cells}{END}{after}", text(results)))
}

/// Nothing before anything is measured.
fn cells_section(results: &Results) -> String {
    let text = cells::table::text(results);
    if text.is_empty() {
        return text;
    }
    let name = Kind::Cells.file(results.text("commit"));
    format!("\n{CELLS}\n\n{text}\nRaw results: [{name}]({DIRECTORY}{name}).\n")
}

/// The name of the results file that README's table of that kind is of; `None` before there is one.
pub fn source(readme: &str, kind: Kind) -> Option<&str> {
    let link = format!("]({DIRECTORY}");
    let links = readme.split(&link).skip(1);
    let mut names = links.filter_map(|rest| Some(rest.split_once(')')?.0));
    names.find(|name| Kind::of(name) == kind)
}

/// Writes the table into README.
///
/// # Errors
/// If README can't be read or written, or has no marks.
pub fn update(results: &Results, cells: Option<&Results>) -> Result<(), String> {
    let path = harness::root().join("README.md");
    let readme = std::fs::read_to_string(&path).map_err(|error| error.to_string())?;
    std::fs::write(path, place(&readme, results, cells)?).map_err(|error| error.to_string())
}

const BEGIN: &str =
    "<!-- bench: made by `cargo run --release -p ottla-bench -- table --update` -->\n";
const DIRECTORY: &str = "bench/results/";
const END: &str = "<!-- /bench -->";
const HEAD: &str = "| | Ottla | Apache Kafka 4.3.1 | ratio (range of rounds) | noise | Ottla is |\n\
                    |---|--:|--:|--:|--:|---|\n";
const CELLS: &str = "The log under twelve loads (raw ones are requests encoded beforehand, on bare \
                     sockets: `bench/src/raw`), each with what it must reach. Two equal Apache \
                     Kafkas differ on two cores by up to 15 % in MB/s, 25 % in CPU, and 30 % in \
                     p99: within that, or within what rounds differ by, Ottla is equal.";
const PEERS: &[(Peer, &str)] = &[
    (
        Peer::Default,
        "Both with their defaults, which differ: **Ottla syncs every batch to disk before it \
         acknowledges it, Apache Kafka leaves it to the page cache.**",
    ),
    (
        Peer::Durable,
        "Durable beside durable: Apache Kafka with `log.flush.interval.messages=1`, which syncs \
         every batch, too (the segment and its indexes; Ottla the segment alone).",
    ),
];
/// Part of the results, name, limit, key, unit and digits.
const START: &[(&str, &str, &str, &str, f64, usize)] = &[
    ("start", "start to the first connection, ms", "150", "accepted_ms", 1.0, 0),
    ("start", "resident then, MiB", "40", "resident_bytes", MIB, 1),
    ("start", "empty directory to the first record, s", "1", "first_record_seconds", 1.0, 2),
    ("idle", "idle, CPU ms/s", "", "cpu_ms_per_second", 1.0, 0),
];
const MIB: f64 = 1_048_576.0;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Two rounds of `ingest`: ours writes twice as fast and takes about as much CPU.
    fn measured() -> Results {
        let mut results = Results::empty();
        results.put("commit", json!("0123456789ab"));
        results.put("date", json!("2026-11-21T20:00:00Z"));
        results.put(
            "machine",
            json!({
                "cores": 2, "memory_mib": 24105, "kernel": "6.1", "filesystem": "ext4",
                "disk": "virtio", "fdatasync_ms": 0.129,
            }),
        );
        let run = |round: u64, (side, speed, cpu): &(Side, f64, f64)| {
            json!({
                "side": side.word(), "round": round,
                "driver": {
                    "mib_per_second": speed,
                    "bytes_in": 1_000_000_000_u64, "bytes_out": 1_000_000_000_u64,
                },
                "broker": { "cpu_seconds": cpu * if round == 1 { 4.2 } else { 4.0 }, "peak_resident_bytes": 3 << 20 },
            })
        };
        let order = [
            (Side::Ottla, 200.0, 1.0),
            (Side::Apache, 100.0, 1.0),
            (Side::Apache, 110.0, 1.0),
            (Side::Ottla, 220.0, 1.0),
        ];
        let runs = (1..=2).flat_map(|round| order.iter().map(move |one| run(round, one)));
        let warm = json!({ "ottla": true, "apache": false });
        results.put_set(Peer::Default, "ingest", &warm, runs.collect());
        results
    }

    #[test]
    fn row_has_medians_ratio_noise_and_who_is_ahead() {
        let text = text(&measured());
        let row = |name: &str| {
            let start = format!("| {name} |");
            text.lines().find(|line| line.starts_with(&start)).map(str::to_owned)
        };
        let wanted = "| ingest, MiB/s | 210 | 105 | 2.00 (2.00–2.00) | 0.99–1.01 | better |";
        assert_eq!(row("ingest, MiB/s").as_deref(), Some(wanted));
        let wanted = "| broker CPU, s/GB | 2.05 | 2.05 | 1.00 (1.00–1.00) | 0.99–1.01 | equal |";
        assert_eq!(row("broker CPU, s/GB").as_deref(), Some(wanted));
        assert_eq!(row("replay, MiB/s"), None, "nobody measured it");
        assert!(text.contains("Not warm: apache in ingest") && !text.contains("Not warm: ottla"));
        assert!(text.contains("Ottla syncs every batch") && text.contains("takes 0.129 ms"));
        assert!(!text.contains("Durable beside durable") && !text.contains("limit"), "{text}");
    }

    #[test]
    fn more_is_better_or_worse_by_the_figure() {
        let found = stats::compare(&[stats::Round { ours: [2.0, 2.0], theirs: [1.0, 1.0] }; 2]);
        let found = found.unwrap();
        let words = [Better::More, Better::Less, Better::Neither].map(|way| verdict(&found, way));
        assert_eq!(words, ["better", "worse", ""]);
    }

    #[test]
    fn start_has_medians_with_their_range_and_says_what_is_missing() {
        let mut results = measured();
        results.put(
            "start",
            json!({
                "ottla": { "accepted_ms": [9.0, 7.0, 8.0], "resident_bytes": [6 << 20] },
                "apache": { "accepted_ms": [4000.0], "first_record_seconds": [15.5, 16.0] },
            }),
        );
        let text = text(&results);
        assert!(text.contains("connection, ms | 150 | 8 (7–9) | 4000 (4000–4000) |"), "{text}");
        assert!(
            text.contains("resident then, MiB | 40 | 6.0 (6.0–6.0) | not measured |"),
            "{text}"
        );
        assert!(
            text.contains("first record, s | 1 | not measured | 15.75 (15.50–16.00) |"),
            "{text}"
        );
    }

    #[test]
    fn table_replaces_what_is_between_the_marks() {
        let readme = format!("a\n{BEGIN}old{END}\nb\n");
        let wanted = format!("a\n{BEGIN}Not measured yet.\n{END}\nb\n");
        assert_eq!(place(&readme, &Results::empty(), None), Ok(wanted.clone()));
        assert_eq!(place(&readme, &Results::empty(), Some(&Results::empty())), Ok(wanted));
        assert!(place("a", &Results::empty(), None).is_err());
        assert_eq!(source(&readme, Kind::Workloads), None);
        let mut cells = Results::empty();
        cells.put("commit", json!("ab"));
        cells.put("kill", json!({ "ottla": { "acknowledged_seconds": [0.5] } }));
        let placed = place(&readme, &measured(), Some(&cells)).unwrap();
        assert_eq!(source(&placed, Kind::Workloads), Some("0123456789ab.json"));
        assert_eq!(source(&placed, Kind::Cells), Some("cells-ab.json"));
        let placed = place(&readme, &measured(), None).unwrap();
        assert_eq!(source(&placed, Kind::Cells), None);
    }
}
