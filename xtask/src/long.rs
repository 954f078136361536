//! `cargo xtask long NAME`: proofs that take too long for `./test`. They go on where they were
//! stopped, as long as the commit is the same, and leave their result in `docs/evidence/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A long proof: a list of runs, each with the line it leaves.
struct Proof {
    name: &'static str,
    /// For `docs/evidence/NAME.md`.
    title: &'static str,
    runs: fn() -> Vec<Run>,
}

/// One resumable piece of a proof.
struct Run {
    label: String,
    program: &'static str,
    arguments: Vec<String>,
    environment: Vec<(&'static str, &'static str)>,
    /// Of what it prints, the lines with one of these words are its result.
    keep: &'static [&'static str],
}

const PROOFS: &[Proof] = &[
    Proof { name: "sim", title: "20 000 seeds of the simulator, each run twice", runs: sim },
    Proof {
        name: "crash",
        title: "100 times kill -9 amid a load, plain and idempotent",
        runs: crash,
    },
    Proof {
        name: "tools",
        title: "Apache Kafka's own tools (4.3.1) on our node, by the transcripts of Apache Kafka's",
        runs: tools,
    },
    Proof {
        name: "oracle",
        title: "The recorded conversations with Apache Kafka 4.4.0, held with it again, and with us",
        runs: oracle,
    },
    Proof {
        name: "bench",
        title: "Ottla and Apache Kafka 4.3.1 in turn on one machine",
        runs: bench,
    },
];

pub fn run(args: &[String]) -> Result<(), String> {
    let wanted = args.first().map(String::as_str);
    match PROOFS.iter().find(|proof| Some(proof.name) == wanted) {
        Some(proof) => prove(proof),
        None => {
            let line =
                |proof: &Proof| format!("\n  cargo xtask long {:7} {}", proof.name, proof.title);
            let lines: String = PROOFS.iter().map(line).collect();
            Err(format!("usage:{lines}"))
        }
    }
}

fn prove(proof: &Proof) -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let commit = commit(&root)?;
    let state = root.join("target/long");
    fs::create_dir_all(&state).map_err(|error| error.to_string())?;
    let state = state.join(format!("{}-{commit}", proof.name));
    let mut done = fs::read_to_string(&state).unwrap_or_default();
    for run in (proof.runs)() {
        // What was done on this commit before is not done again.
        if done.lines().any(|line| line.starts_with(&format!("{}: ", run.label))) {
            continue;
        }
        let lines = carry_out(&root, &run)?;
        print!("{lines}");
        done.push_str(&lines);
        fs::write(&state, &done).map_err(|error| error.to_string())?;
    }
    let evidence: PathBuf = root.join(format!("docs/evidence/{}.md", proof.name));
    let text = format!(
        "# {}\n\nCommit {commit}, `cargo xtask long {}`:\n\n```text\n{done}```\n",
        proof.title, proof.name
    );
    fs::write(&evidence, text).map_err(|error| error.to_string())
}

fn carry_out(root: &Path, run: &Run) -> Result<String, String> {
    let output = Command::new(run.program)
        .args(&run.arguments)
        .envs(run.environment.iter().copied())
        .stdin(Stdio::null())
        .current_dir(root)
        .output()
        .map_err(|error| error.to_string())?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        return Err(format!("{}:\n{text}", run.label));
    }
    let kept = |line: &&str| run.keep.iter().any(|word| line.contains(word));
    let lines: String =
        text.lines().filter(kept).map(|line| format!("{}: {}\n", run.label, line.trim())).collect();
    // A run that says nothing of what it was to say proved nothing.
    if lines.is_empty() { Err(format!("{} left no result:\n{text}", run.label)) } else { Ok(lines) }
}

fn sim() -> Vec<Run> {
    let chunk = |from: u64| {
        let range = format!("{from}..{}", from + CHUNK);
        let words = ["run", "--release", "--quiet", "-p", "ottla-sim", "--", "--seeds", &range];
        Run {
            arguments: words.iter().map(|&word| word.to_owned()).collect(),
            label: range,
            program: "cargo",
            environment: Vec::new(),
            keep: &["seeds"],
        }
    };
    (0..SEEDS / CHUNK).map(|chunk_index| chunk(chunk_index * CHUNK)).collect()
}

fn crash() -> Vec<Run> {
    let round = |number: usize| Run {
        environment: vec![("OTTLA_ROUNDS", "10"), ("CI", "true")],
        keep: &["test result: ok. 2 passed"],
        ..tests(&format!("rounds {} to {}", number * 10 + 1, number * 10 + 10), "survive_kill_9")
    };
    (0..10).map(round).collect()
}

fn tools() -> Vec<Run> {
    vec![Run {
        environment: vec![("OTTLA_TOOLS", "apache"), ("CI", "true")],
        keep: &["commands,"],
        ..tests("4.3.1 on ours", "tools::")
    }]
}

fn oracle() -> Vec<Run> {
    let with = |label: &str, environment: Vec<(&'static str, &'static str)>| Run {
        environment,
        arguments: ["test", "--release", "-p", "ottla-oracle", "--", "--nocapture", "replies"]
            .map(str::to_owned)
            .to_vec(),
        label: label.to_owned(),
        program: "cargo",
        keep: &["requests,"],
    };
    vec![with("4.4.0 again", vec![("OTTLA_PEER", "apache"), ("CI", "true")]), with("ours", vec![])]
}

/// Writes `bench/results/COMMIT.json`, a workload a run; what is kept is the table made of it.
fn bench() -> Vec<Run> {
    let with = |label: &str, arguments: &[&str], keep: &'static [&'static str]| {
        let words = ["run", "--release", "--quiet", "-p", "ottla-bench", "--"];
        Run {
            label: label.to_owned(),
            program: "cargo",
            arguments: words.iter().chain(arguments).map(|&word| word.to_owned()).collect(),
            environment: Vec::new(),
            keep,
        }
    };
    let durable = ["run", "--peer", "durable", "--workload"];
    vec![
        with("start", &["run", "--workload", "start"], &["start: measured"]),
        // Together, because one reads what the other wrote.
        with("ingest and replay", &["run", "--workload", "ingest,replay"], &["rounds"]),
        with("steady", &["run", "--workload", "steady"], &["rounds"]),
        with("durable ingest", &[&durable[..], &["ingest"]].concat(), &["rounds"]),
        with("durable steady", &[&durable[..], &["steady"]].concat(), &["rounds"]),
        with("table", &["table"], &["|", "Commit"]),
    ]
}

/// Tests of the black box whose names have `filter`, one after the other.
fn tests(label: &str, filter: &str) -> Run {
    let words = ["test", "--release", "-p", "ottla-conformance", "--", "--nocapture", filter];
    Run {
        label: label.to_owned(),
        program: "cargo",
        arguments: words.iter().map(|&word| word.to_owned()).collect(),
        environment: Vec::new(),
        keep: &[],
    }
}

/// The commit that is checked out; a tree with changes is none.
fn commit(root: &Path) -> Result<String, String> {
    let git = |args: &[&str]| -> Result<String, String> {
        let output = Command::new("git")
            .args(args)
            .current_dir(root)
            .output()
            .map_err(|error| error.to_string())?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    // What an earlier proof left is no change.
    let left = [":!docs/evidence", ":!bench/results"];
    let changed = git(&[&["status", "--porcelain", "--", "."][..], &left].concat())?;
    if !changed.is_empty() {
        return Err("commit first: evidence is of a commit".into());
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

const SEEDS: u64 = 20_000;
const CHUNK: u64 = 1_000;
