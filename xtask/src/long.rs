//! `cargo xtask long NAME`: proofs that take too long for `./test`. They go on where they were
//! stopped, as long as the commit is the same, and leave their result in `docs/evidence/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub fn run(args: &[String]) -> Result<(), String> {
    match args.first().map(String::as_str) {
        Some("sim") => sim(),
        _ => Err("usage: cargo xtask long sim    20 000 seeds of the simulator, each twice".into()),
    }
}

fn sim() -> Result<(), String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let commit = commit(&root)?;
    let state = root.join("target/long");
    fs::create_dir_all(&state).map_err(|error| error.to_string())?;
    let state = state.join(format!("sim-{commit}"));
    let mut lines = fs::read_to_string(&state).unwrap_or_default();
    let mut from = lines.lines().count() as u64 * CHUNK;
    while from < SEEDS {
        let range = format!("{from}..{}", from + CHUNK);
        let output = Command::new("cargo")
            .args(["run", "--release", "--quiet", "-p", "ottla-sim", "--", "--seeds", &range])
            .current_dir(&root)
            .output()
            .map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            return Err(format!("seeds {range}:\n{text}"));
        }
        let line = format!("{range}: {}\n", text.trim());
        print!("{line}");
        lines.push_str(&line);
        fs::write(&state, &lines).map_err(|error| error.to_string())?;
        from += CHUNK;
    }
    let evidence: PathBuf = root.join("docs/evidence/sim.md");
    let text = format!(
        "# {SEEDS} seeds of the simulator, each run twice\n\nCommit {commit}, `cargo xtask long \
         sim`:\n\n```text\n{lines}```\n"
    );
    fs::write(&evidence, text).map_err(|error| error.to_string())
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
    if !git(&["status", "--porcelain"])?.is_empty() {
        return Err("commit first: evidence is of a commit".into());
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

const SEEDS: u64 = 20_000;
const CHUNK: u64 = 1_000;
