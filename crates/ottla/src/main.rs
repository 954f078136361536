//! The binary: without a verb it is a working node on this machine.
#![allow(clippy::print_stdout)] // A command line tool talks to its user.

use std::path::PathBuf;
use std::process::ExitCode;

use server::{Running, Settings};
use tokio::signal::unix::{SignalKind, signal};

fn main() -> ExitCode {
    match parse(std::env::args().skip(1)) {
        Ok(Command::Serve(settings)) => serve(settings),
        Ok(Command::Print(text)) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(usage) => {
            eprintln!("error: {usage}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

enum Command {
    Serve(Settings),
    Print(String),
}

fn parse(args: impl Iterator<Item = String>) -> Result<Command, String> {
    let mut settings = Settings {
        log_dir: PathBuf::from("./ottla-data"),
        node_id: 1,
        port: DEFAULT_PORT,
        port_may_move: true,
    };
    let mut args = args.peekable();
    while let Some(arg) = args.next() {
        let (flag, inline) = match arg.split_once('=') {
            Some((flag, value)) => (flag.to_owned(), Some(value.to_owned())),
            None => (arg, None),
        };
        let mut value = || {
            inline.clone().or_else(|| args.next()).ok_or_else(|| format!("{flag} needs a value"))
        };
        match flag.as_str() {
            "--data" => settings.log_dir = PathBuf::from(value()?),
            "--port" => {
                let text = value()?;
                settings.port = text
                    .parse()
                    .map_err(|_| format!("--port {text}: expected a number from 0 to 65535"))?;
                settings.port_may_move = false;
            }
            "--version" | "-V" => {
                return Ok(Command::Print(format!(
                    "ottla {} ({})",
                    env!("CARGO_PKG_VERSION"),
                    env!("OTTLA_COMMIT")
                )));
            }
            "--help" | "-h" => return Ok(Command::Print(HELP.to_owned())),
            other => return Err(format!("unknown argument {other}\n\n{HELP}")),
        }
    }
    Ok(Command::Serve(settings))
}

fn serve(settings: Settings) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.to_string()),
    };
    runtime.block_on(async {
        // Taken over before anything is written, so that a signal at any time ends in order.
        let signals = signal(SignalKind::terminate())
            .and_then(|term| signal(SignalKind::interrupt()).map(|interrupt| (term, interrupt)));
        let (mut term, mut interrupt) = match signals {
            Ok(signals) => signals,
            Err(error) => return fail(&error.to_string()),
        };
        let wanted = settings.port;
        let data = settings.log_dir.clone();
        let running = match server::start(settings).await {
            Ok(running) => running,
            Err(error) => return fail(&error.to_string()),
        };
        greet(&running, wanted, &data);
        let halted = tokio::select! {
            _ = term.recv() => false,
            _ = interrupt.recv() => false,
            () = running.halted() => true,
        };
        match running.stop().await {
            Ok(()) if !halted => ExitCode::SUCCESS,
            Ok(()) => ExitCode::FAILURE,
            Err(error) => fail(&error.to_string()),
        }
    })
}

fn greet(running: &Running, wanted: u16, data: &std::path::Path) {
    let port = running.address.port();
    if wanted != port && wanted != 0 {
        println!("port {wanted} is taken, so this node listens on {port}");
    }
    println!("Ottla {} serves cluster {}", env!("CARGO_PKG_VERSION"), running.cluster_id);
    println!("  listening  localhost:{port}");
    println!(
        "  data       {} (survives exit; every acknowledged record is on disk)",
        data.display()
    );
    if running.report.recovered {
        println!("  recovered  the last run was not stopped in order");
    }
    for cut in running.report.cuts.iter().take(3) {
        println!("  cut        {cut}");
    }
    println!("  try        kcat -b localhost:{port} -t letters -P");
}

fn fail(reason: &str) -> ExitCode {
    eprintln!("error: {reason}");
    ExitCode::FAILURE
}

const HELP: &str = "\
usage: ottla [--data DIR] [--port PORT]

Serves one node on this machine.

  --data DIR    where its data is (./ottla-data); formatted if empty or absent
  --port PORT   listen here and nowhere else (9092, or another port if that is taken)
  --version     print the version and the commit
  --help        print this";

const DEFAULT_PORT: u16 = 9092;
/// A wrong command line.
const EXIT_USAGE: u8 = 2;
