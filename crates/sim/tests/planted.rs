//! Bugs planted in the cores: each must be found within [`SEEDS`] seeds, or the simulator looks
//! away. They are compiled in by the feature `planted` only; see `ottla_log::planted`.
#![cfg(feature = "planted")]
#![allow(clippy::print_stdout)] // What found which bug is worth reading.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ottla_log::planted::{self, Bug};

/// No bug may hide for longer.
const SEEDS: u64 = 200;

/// What a run found, if it found something. A core that stops itself has found something, too.
fn found(seed: u64) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(|| sim::run(seed, None))) {
        Ok(outcome) => outcome.err().map(|failure| failure.what),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            Some(format!("an assertion: {}", text.unwrap_or_default()))
        }
    }
}

#[test]
fn every_planted_bug_is_found_and_is_what_was_found() {
    let mut hidden = Vec::new();
    for bug in Bug::ALL {
        planted::choose(Some(bug));
        let caught = (0..SEEDS).find_map(|seed| found(seed).map(|what| (seed, what)));
        planted::choose(None);
        let Some((seed, what)) = caught else {
            println!("{bug:?}: not found");
            hidden.push(bug);
            continue;
        };
        println!("{bug:?}: caught by seed {seed}: {what}");
        // The same run without the bug keeps its promises: it was the bug that was caught.
        assert_eq!(found(seed), None, "seed {seed} fails without {bug:?}");
    }
    assert!(hidden.is_empty(), "not found within {SEEDS} seeds: {hidden:?}");
}

#[test]
fn at_least_ten_bugs_are_planted() {
    println!("{} bugs planted", Bug::ALL.len());
    assert!(Bug::ALL.len() >= 10);
}
