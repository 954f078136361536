//! The raw results of a commit: one JSON file, to which every workload adds its part.
//!
//! ```text
//! {"commit", "date", "machine", "versions",
//!  "start": {"ottla": {...}, "apache": {...}}, "idle": {...},
//!  "sets": [{"peer", "workload", "rounds", "warm": {"ottla", "apache"},
//!            "runs": [{"side", "round", "driver", "broker"}]}]}
//! ```
//!
//! Runs of round 0 are those that warmed up and don't count.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use crate::broker::{Peer, Side};
use crate::stats::Round;

/// What a results file is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The workloads of [`crate::run`]: `COMMIT.json`.
    Workloads,
    /// The cells of [`crate::cells`]: `cells-COMMIT.json`.
    Cells,
}

impl Kind {
    /// By the file's name.
    pub fn of(name: &str) -> Self {
        if name.starts_with("cells-") { Self::Cells } else { Self::Workloads }
    }

    /// The file's name for a commit.
    pub fn file(self, commit: &str) -> String {
        match self {
            Self::Workloads => format!("{commit}.json"),
            Self::Cells => format!("cells-{commit}.json"),
        }
    }
}

/// A results file in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Results {
    value: Map<String, Value>,
}

impl Results {
    /// Nothing measured yet.
    pub fn empty() -> Self {
        Self { value: Map::new() }
    }

    /// What the file holds; empty if there is none.
    ///
    /// # Errors
    /// If it can't be read or is no JSON object.
    pub fn read(path: &Path) -> Result<Self, String> {
        let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        match fs::read_to_string(path) {
            Ok(text) => {
                let value = serde_json::from_str(&text).map_err(|error| wrong(&error))?;
                Ok(Self { value })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::empty()),
            Err(error) => Err(wrong(&error)),
        }
    }

    /// The results with the latest date among the files of a directory; `None` without any.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn newest(directory: &Path, kind: Kind) -> Result<Option<Self>, String> {
        let mut all = Vec::new();
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".json") && Kind::of(&name) == kind {
                all.push(Self::read(&entry.path())?);
            }
        }
        Ok(all.into_iter().max_by_key(|results| results.text("date").to_owned()))
    }

    /// Writes the file anew, a run a line so that changes can be read.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn write(&self, path: &Path) -> Result<(), String> {
        let mut text = String::from("{\n");
        for (index, (key, value)) in self.value.iter().enumerate() {
            let comma = if index == 0 { "" } else { ",\n" };
            text.push_str(&format!("{comma}{}: {}", json!(key), lines(value)));
        }
        text.push_str("\n}\n");
        let directory = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(directory)
            .and_then(|()| fs::write(path, text))
            .map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Sets a part of the file.
    pub fn put(&mut self, key: &str, value: Value) {
        self.value.insert(key.to_owned(), value);
    }

    /// A part of the file, null if it is not there.
    pub fn part(&self, key: &str) -> &Value {
        self.value.get(key).unwrap_or(&Value::Null)
    }

    /// A part that is text, empty if it is not there.
    pub fn text(&self, key: &str) -> &str {
        self.part(key).as_str().unwrap_or_default()
    }

    /// Adds the runs of a workload, in place of those it had with that peer.
    pub fn put_set(&mut self, peer: Peer, workload: &str, warm: &Value, runs: Vec<Value>) {
        let rounds = runs.iter().filter_map(|run| run["round"].as_u64()).max();
        let sets = self.value.entry("sets").or_insert_with(|| json!([]));
        if let Some(sets) = sets.as_array_mut() {
            sets.retain(|set| !is(set, peer, workload));
            sets.push(json!({
                "peer": peer.word(), "workload": workload, "rounds": rounds, "warm": warm,
                "runs": runs,
            }));
        }
    }

    /// The runs of a workload with that peer.
    pub fn runs(&self, peer: Peer, workload: &str) -> &[Value] {
        let set = self.set(peer, workload);
        set.and_then(|set| set["runs"].as_array()).map_or(&[], Vec::as_slice)
    }

    /// False if that broker was not warm when the rounds began.
    pub fn warm(&self, peer: Peer, workload: &str, side: Side) -> bool {
        self.set(peer, workload).is_none_or(|set| set["warm"][side.word()] != false)
    }

    fn set(&self, peer: Peer, workload: &str) -> Option<&Value> {
        self.part("sets").as_array()?.iter().find(|set| is(set, peer, workload))
    }

    /// A figure of a workload by rounds; only rounds in which all four runs have it.
    pub fn rounds(
        &self,
        peer: Peer,
        workload: &str,
        figure: impl Fn(&Value) -> Option<f64>,
    ) -> Vec<Round> {
        paired(
            self.runs(peer, workload),
            "side",
            [Side::Ottla, Side::Apache].map(Side::word),
            figure,
        )
    }
}

/// A figure by rounds, of the two runs in each whose `key` is the one word and of the two whose
/// `key` is the other; only rounds in which all four have it.
pub(crate) fn paired(
    runs: &[Value],
    key: &str,
    [ours, theirs]: [&str; 2],
    figure: impl Fn(&Value) -> Option<f64>,
) -> Vec<Round> {
    let last = runs.iter().filter_map(|run| run["round"].as_u64()).max().unwrap_or(0);
    let pair = |round: u64, word: &str| -> Option<[f64; 2]> {
        let of = |run: &&Value| run["round"] == round && run[key] == word;
        let values: Option<Vec<f64>> = runs.iter().filter(of).map(&figure).collect();
        values?.try_into().ok()
    };
    let round = |number| Some(Round { ours: pair(number, ours)?, theirs: pair(number, theirs)? });
    (1..=last).filter_map(round).collect()
}

fn is(set: &Value, peer: Peer, workload: &str) -> bool {
    set["peer"] == peer.word() && set["workload"] == workload
}

/// JSON with a line for each run and each other small thing.
fn lines(value: &Value) -> String {
    let Some(sets) = value.as_array() else { return value.to_string() };
    let set = |set: &Value| {
        let mut head = set.clone();
        let runs = head.as_object_mut().and_then(|head| head.remove("runs"));
        let runs = runs.and_then(|runs| runs.as_array().cloned()).unwrap_or_default();
        let runs: Vec<String> = runs.iter().map(|run| format!("  {run}")).collect();
        let head = head.to_string();
        let head = head.trim_end_matches('}');
        format!(" {head},\"runs\":[\n{}\n ]}}", runs.join(",\n"))
    };
    let sets: Vec<String> = sets.iter().map(set).collect();
    format!("[\n{}\n]", sets.join(",\n"))
}

/// Where committed results are.
pub fn directory() -> PathBuf {
    harness::root().join("bench/results")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(side: Side, round: u64, value: f64) -> Value {
        json!({ "side": side.word(), "round": round, "driver": { "x": value } })
    }

    fn x(run: &Value) -> Option<f64> {
        run["driver"]["x"].as_f64()
    }

    #[test]
    fn what_is_written_is_read_back_and_a_workload_replaces_itself() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/a.json");
        assert_eq!(Results::read(&path).unwrap(), Results::empty());
        let mut results = Results::empty();
        results.put("date", json!("2026"));
        results.put_set(Peer::Default, "steady", &Value::Null, vec![run(Side::Ottla, 1, 1.0)]);
        results.put_set(Peer::Durable, "steady", &Value::Null, vec![run(Side::Ottla, 1, 3.0)]);
        results.put_set(Peer::Default, "steady", &Value::Null, vec![run(Side::Ottla, 1, 2.0)]);
        results.put_set(Peer::Default, "ingest", &Value::Null, vec![]);
        results.write(&path).unwrap();
        assert_eq!(Results::read(&path).unwrap(), results);
        assert_eq!(
            results.runs(Peer::Default, "steady").iter().map(x).collect::<Vec<_>>(),
            [Some(2.0)]
        );
        assert_eq!(results.runs(Peer::Durable, "steady").len(), 1);
        fs::write(&path, "[]").unwrap();
        assert!(Results::read(&path).unwrap_err().contains("a.json"));
    }

    #[test]
    fn rounds_pair_the_runs_of_each_side_and_leave_out_what_is_not_whole() {
        let mut results = Results::empty();
        let order = [Side::Ottla, Side::Apache, Side::Apache, Side::Ottla];
        let values = (1..).zip(order.iter().cycle());
        let mut runs: Vec<Value> = values
            .take(8)
            .map(|(number, side)| run(*side, 1 + (number - 1) / 4, number as f64))
            .collect();
        runs.push(run(Side::Ottla, 3, 9.0));
        results.put_set(Peer::Default, "steady", &Value::Null, runs);
        assert_eq!(
            results.rounds(Peer::Default, "steady", x),
            [
                Round { ours: [1.0, 4.0], theirs: [2.0, 3.0] },
                Round { ours: [5.0, 8.0], theirs: [6.0, 7.0] },
            ]
        );
        assert_eq!(results.rounds(Peer::Durable, "steady", x), []);
        assert_eq!(results.rounds(Peer::Default, "steady", |_| None), []);
    }

    #[test]
    fn newest_results_are_by_date_not_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let newest = |kind| Results::newest(directory.path(), kind).unwrap();
        assert_eq!(newest(Kind::Workloads), None);
        for (name, date) in
            [("a", "2026-02"), ("b", "2026-03"), ("c", "2026-01"), ("cells-a", "2026-04")]
        {
            let mut results = Results::empty();
            results.put("date", json!(date));
            results.write(&directory.path().join(format!("{name}.json"))).unwrap();
        }
        assert_eq!(newest(Kind::Workloads).unwrap().text("date"), "2026-03");
        assert_eq!(newest(Kind::Cells).unwrap().text("date"), "2026-04");
    }
}
