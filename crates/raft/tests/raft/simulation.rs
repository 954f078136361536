//! Many seeds, each twice: what a seed does is what it always does. `RAFT_SEED` and `RAFT_SEEDS`
//! in the environment choose the first and how many.
#![allow(clippy::print_stdout)] // How much happened is worth reading.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::cluster::{Report, run};

/// Seeds of an ordinary run.
const SEEDS: u64 = 500;

/// A core that stops itself has found something, too.
pub fn outcome(seed: u64) -> Result<Report, String> {
    match catch_unwind(AssertUnwindSafe(|| run(seed))) {
        Ok(outcome) => outcome,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(format!("an assertion: {}", text.unwrap_or_default()))
        }
    }
}

#[test]
fn every_seed_keeps_the_promises_and_is_the_same_twice() {
    let count = std::env::var("RAFT_SEEDS").ok().and_then(|text| text.parse().ok());
    let first = std::env::var("RAFT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut all = Report::default();
    for seed in first..first + count.unwrap_or(SEEDS) {
        let report = outcome(seed).unwrap_or_else(|what| panic!("RAFT_SEED={seed}: {what}"));
        let again = outcome(seed);
        assert_eq!(Ok(report), again, "RAFT_SEED={seed}: not the same twice");
        all.trace = all.trace.rotate_left(1) ^ report.trace;
        all.steps += report.steps;
        all.elections += report.elections;
        all.crashes += report.crashes;
        all.committed += report.committed;
        all.truncations += report.truncations;
        all.installs += report.installs;
        all.voter_changes += report.voter_changes;
    }
    println!("{all:?}");
    // A simulation in which nothing happens proves nothing.
    if count.is_none() {
        assert!(all.elections > 2 * SEEDS && all.crashes > 2 * SEEDS, "{all:?}");
        assert!(all.truncations > SEEDS / 4 && all.installs > SEEDS / 4, "{all:?}");
        assert!(all.committed > 50 * SEEDS as i64 && all.voter_changes > SEEDS, "{all:?}");
    }
}
