//! `ottla-bench run` and `ottla-bench table`; see the library for what they do.
#![allow(clippy::print_stdout)] // A command line tool talks to its user.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ottla_bench::broker::Peer;
use ottla_bench::results::{self, Kind, Results};
use ottla_bench::run::{self, Options, Workload};
use ottla_bench::{cells, limits, raw, table};

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let result = match words.first().map(String::as_str) {
        Some("run") if words.get(1).is_some_and(|word| word == "cells") => {
            cells::Options::parse(&words[2..]).and_then(|options| {
                println!("{}", cells::table::text(&Results::read(&cells::run(&options)?)?));
                Ok(())
            })
        }
        Some("run") => options(&words[1..]).and_then(|options| {
            let path = run::run(&options)?;
            println!("{}", table::text(&Results::read(&path)?));
            Ok(())
        }),
        Some("raw") => raw::command::run(&words[1..]).map(|told| println!("{told}")),
        Some("limits") if words.len() == 2 => {
            limits::measure(Path::new(&words[1]), limits::Volumes::FULL)
                .map(|found| println!("{found:#}"))
        }
        Some("table") => print_table(&words[1..]),
        _ => Err(USAGE.to_owned()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn options(words: &[String]) -> Result<Options, String> {
    let mut options = Options::full();
    let mut words = words.iter();
    while let Some(flag) = words.next() {
        let value = words.next().ok_or_else(|| format!("{flag} needs a value\n{USAGE}"))?;
        let number = || match value.parse::<u64>() {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(format!("{flag} {value}: expected a number from 1")),
        };
        match flag.as_str() {
            "--rounds" => options.rounds = number()? as usize,
            "--volume" => options.volume_mib = number()?,
            "--seconds" => options.seconds = number()?,
            "--peer" => {
                let known = [Peer::Default, Peer::Durable].into_iter();
                options.peer = known
                    .into_iter()
                    .find(|peer| peer.word() == value)
                    .ok_or_else(|| format!("--peer {value}: expected default or durable"))?;
            }
            "--workload" => {
                options.workloads = value.split(',').map(workload).collect::<Result<_, _>>()?;
            }
            _ => return Err(format!("unknown argument {flag}\n{USAGE}")),
        }
    }
    Ok(options)
}

fn workload(name: &str) -> Result<Workload, String> {
    let known = Workload::ALL.into_iter().find(|workload| workload.word() == name);
    known.ok_or_else(|| {
        let all = Workload::ALL.map(Workload::word).join(", ");
        format!("--workload {name}: expected some of {all}")
    })
}

fn print_table(words: &[String]) -> Result<(), String> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let newest = |kind| Results::newest(&results::directory(), kind);
    let (results, cells) = match words[..] {
        ["--file", path] => {
            let path = PathBuf::from(path);
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            match Kind::of(&name) {
                Kind::Workloads => (Some(Results::read(&path)?), None),
                Kind::Cells => (None, Some(Results::read(&path)?)),
            }
        }
        [] | ["--update"] => (newest(Kind::Workloads)?, newest(Kind::Cells)?),
        _ => return Err(USAGE.to_owned()),
    };
    if words == ["--update"] {
        return table::update(&results.unwrap_or(Results::empty()), cells.as_ref());
    }
    for text in [results.as_ref().map(table::text), cells.as_ref().map(cells::table::text)] {
        println!("{}", text.unwrap_or_default());
    }
    Ok(())
}

const USAGE: &str = "usage: ottla-bench run [FLAG VALUE]...   measure, and print the table
  --rounds N          how many times A B B A (5)
  --workload NAME,... of start, ingest, replay, steady (all)
  --peer WHICH        Apache Kafka as it comes (default), or syncing every batch (durable)
  --volume MIB        how much ingest writes (3072)
  --seconds N         how long replay and steady take, each (8)
Results go to bench/results/COMMIT.json, beside those that are there. With less than the default,
or with changes that are not committed, they are scratch and go to target/bench/scratch.json.
       ottla-bench run cells ...        measure the cells; `ottla-bench run cells --help` says how
       ottla-bench table [--file PATH]  print the tables of the newest results, or of that file
       ottla-bench table --update       write the table of the newest results into README
       ottla-bench limits DIRECTORY     what the machine and a bare loop can do on that disk
       ottla-bench raw ...              one load on one broker; see `ottla-bench raw`";
