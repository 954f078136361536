//! `ottla` with one of the known bugs of `ottla_log::planted` awake, the one that `OTTLA_PLANTED`
//! names: black-box tests prove with it that they find something. Never shipped: it is built with
//! the feature `planted` only, under a name of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    let name = std::env::var("OTTLA_PLANTED").unwrap_or_default();
    match ottla_log::planted::choose_everywhere(&name) {
        Ok(()) => ottla::command_line(),
        Err(error) => {
            eprintln!("error: OTTLA_PLANTED={name}: {error}");
            ExitCode::FAILURE
        }
    }
}
