//! Bugs planted in the core: each must be found within [`SEEDS`] seeds, or the simulation looks
//! away. They are compiled in by the feature `planted` only; see `ottla_log::planted`.
#![allow(clippy::print_stdout)] // What found which bug is worth reading.

use ottla_log::planted::{self, Bug};

use crate::simulation::outcome;

/// No bug may hide for longer.
const SEEDS: u64 = 200;

#[test]
fn every_planted_bug_is_found_and_is_what_was_found() {
    let mut hidden = Vec::new();
    for bug in Bug::RAFT {
        planted::choose(Some(bug));
        let caught = (0..SEEDS).find_map(|seed| outcome(seed).err().map(|what| (seed, what)));
        planted::choose(None);
        let Some((seed, what)) = caught else {
            println!("{bug:?}: not found");
            hidden.push(bug);
            continue;
        };
        println!("{bug:?}: caught by seed {seed}: {what}");
        // The same run without the bug keeps its promises: it was the bug that was caught.
        let clean = outcome(seed).err();
        assert_eq!(clean, None, "seed {seed} fails without {bug:?}");
    }
    assert!(hidden.is_empty(), "not found within {SEEDS} seeds: {hidden:?}");
}
