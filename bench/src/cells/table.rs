//! The cells in Markdown: a row each, and a second table of what is no load. Owns nothing.

use std::fmt::Write as _;

use serde_json::Value;

use super::judge::{self, State, Verdict, judge};
use super::plan::{CELLS, Cell, Figure};
use super::workload;
use crate::broker::{Peer, Side};
use crate::results::{Results, paired};
use crate::stats::median;

/// Everything there is to say of the results; empty without any.
pub fn text(results: &Results) -> String {
    let rows: Vec<String> = CELLS.iter().filter_map(|cell| row(results, cell)).collect();
    let parts: Vec<String> = PARTS.iter().filter_map(|part| part_row(results, part)).collect();
    let mut text = String::new();
    if !rows.is_empty() {
        let _ = write!(text, "{}{HEAD}{}", above(results), rows.concat());
    }
    if !parts.is_empty() {
        let _ = write!(text, "\n{PARTS_HEAD}{}", parts.concat());
    }
    text
}

fn above(results: &Results) -> String {
    let limits = results.part("limits");
    let of = |at: &str| limits.pointer(at).and_then(Value::as_f64).map_or("?".into(), short);
    format!(
        "Commit {}, {}. Ottla syncs before it acknowledges unless a row says otherwise, Apache \
         Kafka never (its default). The machine in the same run: loopback {} MB/s with 1 MiB \
         writes, appending to the page cache {} MB/s and with a sync after each MiB {} MB/s, \
         CRC-32C {} MB/s, 4 KiB appended and synced in {} ms (p99 {}). \
         The bare loop is one thread that receives, appends, syncs and answers, one after the \
         other, and nothing else (`bench/src/bare.rs`).\n\n",
        results.text("commit"),
        results.text("date").split('T').next().unwrap_or_default(),
        of("/loopback/1MiB/mb_per_second"),
        of("/append/1MiB/mb_per_second"),
        of("/append/1MiB synced/mb_per_second"),
        of("/crc32c/mb_per_second"),
        of("/sync/p50"),
        of("/sync/p99"),
    )
}

/// One row; its figures are lines within.
fn row(results: &Results, cell: &Cell) -> Option<String> {
    let runs = results.runs(Peer::Default, &workload(cell.number));
    let limits = results.part("limits");
    let mut columns: [Vec<String>; 8] = Default::default();
    for figure in cell.figures {
        let rounds = paired(runs, "arm", [figure.arm, figure.beside], |run| figure.kind.of(run));
        let Some(judged) = judge(figure, &rounds, limits) else { continue };
        let found = judged.found;
        let line = [
            figure.name.to_owned(),
            short(found.ours),
            short(found.theirs),
            floor(figure, limits),
            format!("{:.2} ({:.2}–{:.2})", found.ratio, found.low, found.high),
            ahead(judged.state, figure).to_owned(),
            judge::words(figure, limits),
            told(judged.verdict).to_owned(),
        ];
        columns.iter_mut().zip(line).for_each(|(column, word)| column.push(word));
    }
    if columns[0].is_empty() {
        return None;
    }
    let columns = columns.map(|lines| lines.join("<br>"));
    Some(format!("| {} | {} | {} |\n", cell.number, cell.words, columns.join(" | ")))
}

/// What the bare loop came to; nothing if it was not under this load.
fn floor(figure: &Figure, limits: &Value) -> String {
    let found = figure.floor.and_then(|at| limits.pointer(at)?.as_f64());
    found.map_or(String::new(), short)
}

/// Only where Ottla stands beside Apache Kafka is somebody ahead.
fn ahead(state: State, figure: &Figure) -> &'static str {
    match state {
        _ if !figure.beside.starts_with(super::plan::THEIRS) => "",
        State::Better => "better",
        State::Equal => "equal",
        State::Worse => "worse",
    }
}

fn told(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Met => "met",
        Verdict::Equal => "met (equal)",
        Verdict::Short => "**short**",
        Verdict::None => "",
    }
}

/// A thing that is no load.
struct PartFigure {
    part: &'static str,
    key: &'static str,
    name: &'static str,
    unit: f64,
    target: PartTarget,
}

enum PartTarget {
    /// Nothing.
    Told,
    /// The most of ours.
    Most(f64),
    /// The most that ours may be of Apache Kafka's.
    Share(f64),
}

const PARTS: &[PartFigure] = &[
    PartFigure {
        part: "memory",
        key: "idle_bytes",
        name: "resident, idle, MiB",
        unit: MIB,
        target: PartTarget::Most(40.0),
    },
    PartFigure {
        part: "memory",
        key: "loaded_bytes",
        name: "resident after 2 GiB in and 3 GiB out, MiB",
        unit: MIB,
        target: PartTarget::Share(10.0),
    },
    PartFigure {
        part: "partitions",
        key: "bytes_by_partition",
        name: "a partition written once and idle, KiB",
        unit: 1024.0,
        target: PartTarget::Most(2.0),
    },
    PartFigure {
        part: "partitions",
        key: "created_seconds",
        name: "5 000 partitions created, s",
        unit: 1.0,
        target: PartTarget::Share(5.0),
    },
    PartFigure {
        part: "partitions",
        key: "clean_seconds",
        name: "5 000 partitions back after a clean stop, s",
        unit: 1.0,
        target: PartTarget::Share(10.0),
    },
    PartFigure {
        part: "partitions",
        key: "killed_seconds",
        name: "5 000 partitions back after kill -9, s",
        unit: 1.0,
        target: PartTarget::Share(10.0),
    },
    PartFigure {
        part: "kill",
        key: "acknowledged_seconds",
        name: "librdkafka acknowledged again after kill -9, s",
        unit: 1.0,
        target: PartTarget::Most(1.0),
    },
    of_many("created_seconds", "100 000 partitions created, s"),
    of_many("written_seconds", "each written once, s"),
    of_many("killed_seconds", "100 000 partitions back after kill -9, s"),
    of_many("stopped_seconds", "100 000 partitions stopped in order, s"),
    of_many("clean_seconds", "100 000 partitions back after that, s"),
    PartFigure { unit: MIB, ..of_many("resident_bytes", "resident with 100 000 partitions, MiB") },
];

/// A figure of the 100 000 partitions, of which nothing is asked.
const fn of_many(key: &'static str, name: &'static str) -> PartFigure {
    PartFigure { part: "many", key, name, unit: 1.0, target: PartTarget::Told }
}

/// Medians and ranges of repeats; the worst of ours is judged.
fn part_row(results: &Results, figure: &PartFigure) -> Option<String> {
    let values = |side: Side| -> Option<Vec<f64>> {
        let values = results.part(figure.part)[side.word()][figure.key].as_array()?;
        values.iter().map(|value| Some(value.as_f64()? / figure.unit)).collect()
    };
    let cell = |values: &[f64]| {
        let low = values.iter().copied().reduce(f64::min)?;
        let high = values.iter().copied().reduce(f64::max)?;
        Some(format!("{} ({}–{})", short(median(values)?), short(low), short(high)))
    };
    let ours = values(Side::Ottla)?;
    let theirs = values(Side::Apache);
    let worst = ours.iter().copied().reduce(f64::max)?;
    let (target, met) = match figure.target {
        PartTarget::Told => (String::new(), None),
        PartTarget::Most(most) => (format!("≤ {most}"), Some(worst <= most)),
        PartTarget::Share(by) => {
            let met = theirs.as_deref().and_then(median).map(|theirs| worst * by <= theirs);
            (format!("≤ 1/{by}"), met)
        }
    };
    let verdict = met.map_or("", |met| if met { "met" } else { "**short**" });
    let beside = theirs.as_deref().and_then(cell).unwrap_or_else(|| "not measured".into());
    Some(format!("| {} | {} | {beside} | {target} | {verdict} |\n", figure.name, cell(&ours)?))
}

/// Three digits that count.
pub(super) fn short(value: f64) -> String {
    let digits = match value {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        value if value >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

const HEAD: &str = "| # | load | figure | Ottla | beside | bare loop | ratio (range of rounds) | Ottla is \
                    | target | verdict |\n|--:|---|---|--:|--:|--:|--:|---|---|---|\n";
const PARTS_HEAD: &str = "| median (range) | Ottla | Apache Kafka 4.3.1 | target | verdict |\n\
                          |---|--:|--:|--:|---|\n";
const MIB: f64 = 1_048_576.0;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(arm: &str, round: u64, rate: f64, cpu: f64) -> Value {
        json!({
            "arm": arm, "round": round,
            "driver": {
                "mb_per_second": rate, "bytes": 1_000_000_000_u64, "request_ms": { "p99": 1.0 },
            },
            "broker": { "cpu_seconds": cpu },
        })
    }

    fn measured() -> Results {
        let mut results = Results::empty();
        results.put("commit", json!("0123456789ab"));
        results.put("date", json!("2026-11-22T01:00:00Z"));
        results.put(
            "limits",
            json!({
                "sync": { "p50": 0.2, "p99": 0.4 },
                "bare": { "16KiB": { "cpu_seconds_per_gb": 1.1, "mb_per_second": 500 } },
            }),
        );
        let round = |round: u64| {
            ["ottla", "apache", "apache", "ottla"].map(|arm| {
                let (rate, cpu) = if arm == "ottla" { (400.0, 2.0) } else { (200.0, 5.0) };
                run(arm, round, rate, cpu)
            })
        };
        let runs = (1..=2).flat_map(round).collect();
        results.put_set(Peer::Default, "cell 1", &Value::Null, runs);
        results
    }

    #[test]
    fn row_has_its_figures_with_target_and_verdict() {
        let text = text(&measured());
        let row = text.lines().find(|line| line.starts_with("| 1 |")).unwrap();
        assert_eq!(
            row,
            "| 1 | raw, 16 KiB batches, 1 partition, 5 in flight \
             | broker CPU, s/GB<br>MB/s<br>p99, ms | 2.00<br>400<br>1.00 | 5.00<br>200<br>1.00 \
             | 1.10<br>500<br> \
             | 0.40 (0.40–0.40)<br>2.00 (2.00–2.00)<br>1.00 (1.00–1.00) \
             | better<br>better<br>equal | ≤ 1/3<br>≥ 1.5<br>≤ Apache's + a sync (0.200) \
             | **short**<br>met<br>met |"
        );
        assert!(!text.contains("| 2 |"), "nobody measured it");
        assert!(text.contains("synced in 0.200 ms (p99 0.400)") && !text.contains("median"));
    }

    #[test]
    fn parts_have_medians_and_the_worst_of_ours_is_judged() {
        let mut results = Results::empty();
        assert_eq!(text(&results), "");
        results.put(
            "kill",
            json!({
                "ottla": { "acknowledged_seconds": [0.5, 1.5, 0.6] },
                "apache": { "acknowledged_seconds": [12.0, 13.0] },
            }),
        );
        results.put(
            "partitions",
            json!({
                "ottla": { "created_seconds": [1.0] }, "apache": { "created_seconds": [9.0] },
            }),
        );
        let text = text(&results);
        let wanted =
            "again after kill -9, s | 0.600 (0.500–1.50) | 12.5 (12.0–13.0) | ≤ 1 | **short**";
        assert!(text.contains(wanted), "{text}");
        assert!(text.contains("created, s | 1.00 (1.00–1.00) | 9.00 (9.00–9.00) | ≤ 1/5 | met"));
    }
}
