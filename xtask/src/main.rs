//! Development commands of Ottla: `cargo xtask COMMAND`.
#![allow(clippy::print_stdout)] // A command line tool talks to its user.

mod codegen;
mod codegen_schema;
mod long;
mod schema;
mod schemas;
mod tidy;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match args.first().map(String::as_str) {
        Some("schemas") => schemas::run(&args[1..]),
        Some("codegen") => codegen::run(&args[1..]),
        Some("long") => long::run(&args[1..]),
        Some("tidy") => tidy::run(&args[1..]),
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

const USAGE: &str = "usage: cargo xtask COMMAND
  schemas DIR...    write crates/messages/schema from the JSON schemas unpacked in DIR...
  codegen [--check] write crates/messages/src/generated from crates/messages/schema
  long NAME         a proof too long for ./test, with its result in docs/evidence
  tidy              check the conventions that a program can check";
