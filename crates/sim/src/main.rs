//! `ottla-sim [--seeds FROM..TO] [--trace SEED]`: runs seeds, each twice, or shows one.
#![allow(clippy::print_stdout)] // A command line tool talks to its user.

fn main() -> Result<(), String> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |text: &str| text.parse::<u64>().ok();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["--trace", seed] => match number(seed) {
            Some(seed) => trace(seed),
            None => usage(),
        },
        ["--seeds", range] => match range.split_once("..").map(|(a, b)| (number(a), number(b))) {
            Some((Some(from), Some(to))) => seeds(from, to),
            _ => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> Result<(), String> {
    Err("usage: ottla-sim --seeds FROM..TO | --trace SEED".into())
}

fn trace(seed: u64) -> Result<(), String> {
    let outcome = sim::run(seed, Some(&mut |line| println!("{line}")));
    match outcome {
        Ok(summary) => println!("{summary:?}"),
        Err(failure) => {
            println!("{failure}");
            return Err(format!("seed {seed} failed"));
        }
    }
    Ok(())
}

fn seeds(from: u64, to: u64) -> Result<(), String> {
    let (mut failed, mut events, mut crashes, mut acknowledged) = (0u64, 0u64, 0u64, 0u64);
    let (mut rotted, mut refused, mut reopened) = (0u64, 0u64, 0u64);
    for seed in from..to {
        let first = sim::run(seed, None);
        if first != sim::run(seed, None) {
            println!("seed {seed}: two runs differ");
            failed += 1;
            continue;
        }
        match first {
            Ok(summary) => {
                events += summary.events;
                crashes += u64::from(summary.crashes);
                acknowledged += summary.acknowledged;
                rotted += summary.rotted;
                refused += summary.refused.0 + summary.refused.1;
                reopened += summary.reopened;
            }
            Err(failure) => {
                println!("{failure}");
                failed += 1;
            }
        }
    }
    println!(
        "{} seeds, each twice: {failed} failed; {events} events, {crashes} power cuts, \
         {acknowledged} records acknowledged; {rotted} bits turned over, {refused} reads and \
         starts refused for it; {reopened} logs stalled by a full disk and back",
        to - from
    );
    if failed == 0 { Ok(()) } else { Err(format!("{failed} seeds failed")) }
}
