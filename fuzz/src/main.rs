//! `ottla-fuzz TARGET [--seconds N | --seed S]`: runs cases for a while, or one again.
#![allow(clippy::print_stdout)] // A command line tool talks to its user.

use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fuzz::{TARGETS, Target};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |text: &str| text.parse::<u64>().ok();
    let Some(target) = args.first().and_then(|name| Target::find(name)) else { return usage() };
    match args.iter().skip(1).map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => run(target, 10),
        ["--seconds", seconds] => number(seconds).map_or_else(usage, |count| run(target, count)),
        ["--seed", seed] => number(seed).map_or_else(usage, |seed| replay(target, seed)),
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    eprintln!("usage: ottla-fuzz TARGET [--seconds N | --seed S]\ntargets: {}", names.join(" "));
    ExitCode::from(2)
}

fn replay(target: &Target, seed: u64) -> ExitCode {
    match target.run(seed) {
        Ok(()) => {
            println!("{} seed {seed}: fine", target.name);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// Starts where no run before has been, so that runs add up.
fn run(target: &Target, seconds: u64) -> ExitCode {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (first, begun) = (now.as_nanos() as u64, Instant::now());
    let (mut cases, mut failures) = (0u64, 0u64);
    while begun.elapsed() < Duration::from_secs(seconds) && failures < FAILURES_MAX {
        if let Err(failure) = target.run(first.wrapping_add(cases)) {
            println!("{failure}\n");
            failures += 1;
        }
        cases += 1;
    }
    let rate = cases as f64 / begun.elapsed().as_secs_f64();
    println!("{}: {cases} cases, {failures} failures, {rate:.0} cases/s", target.name);
    if failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// One bug fails many cases; a few tell it.
const FAILURES_MAX: u64 = 5;
