//! The command line: without a verb it is a working node on this machine.
//!
//! A library, so that `planted.rs` can be the same program with a known bug awake.
#![allow(clippy::print_stdout)] // A command line tool talks to its user.

use std::io::{BufReader, BufWriter};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use config::file::{self, Problem, Setting};
use server::{Listen, Listener, Running, Settings, log_line};
use tokio::signal::unix::{SignalKind, signal};

/// Does what the arguments of this process say; its exit code.
pub fn command_line() -> ExitCode {
    let mut args = std::env::args_os();
    let program = args.next().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    // Taken nearly it would be another path, or another key of a record.
    let args = match args.map(std::ffi::OsString::into_string).collect() {
        Ok::<Vec<String>, _>(args) => args,
        Err(arg) => {
            eprintln!("error: the argument {} is not UTF-8", arg.to_string_lossy());
            return ExitCode::from(EXIT_USAGE);
        }
    };
    // Called by the name of a tool, or with it as the first word.
    let own_name = Path::new(&program).file_name().and_then(|name| name.to_str());
    if let Some(tool) = own_name.and_then(tools::find) {
        return with_io(|io| (tool.run)(&args, io));
    }
    if let Some((first, rest)) = args.split_first() {
        if let Some(tool) = tools::find(first) {
            return with_io(|io| (tool.run)(rest, io));
        }
        if tools::verbs::is_noun(first) {
            return with_io(|io| tools::verbs::run(&args, io));
        }
    }
    match parse(args) {
        Ok(Command::Serve(settings, warnings)) => {
            for warning in warnings {
                eprintln!("warning: {warning}");
            }
            serve(settings)
        }
        Ok(Command::Print(text)) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(Refusal::Usage(usage)) => {
            eprintln!("error: {usage}");
            ExitCode::from(EXIT_USAGE)
        }
        Err(Refusal::Configuration(problems)) => {
            for problem in problems {
                eprintln!("error: {problem}");
            }
            ExitCode::FAILURE
        }
    }
}

fn with_io(command: impl FnOnce(&mut tools::Io<'_>) -> u8) -> ExitCode {
    // Not line by line: a dump writes millions of lines. `finish` flushes.
    let mut out = BufWriter::with_capacity(OUT_BYTES, std::io::stdout());
    let mut err = std::io::stderr();
    let mut stdin = BufReader::new(std::io::stdin());
    let mut io = tools::Io { stdin: &mut stdin, out: &mut out, err: &mut err };
    let code = command(&mut io);
    // What a closed pipe did not take must not be tried again at the end.
    let _ = out.into_parts();
    ExitCode::from(code)
}

enum Command {
    Serve(Settings, Vec<Problem>),
    Print(String),
}

enum Refusal {
    Usage(String),
    Configuration(Vec<Problem>),
}

impl From<String> for Refusal {
    fn from(usage: String) -> Self {
        Self::Usage(usage)
    }
}

fn parse(args: Vec<String>) -> Result<Command, Refusal> {
    if args.first().is_some_and(|verb| verb == "start") {
        return parse_start(args.into_iter().skip(1));
    }
    let mut settings = Settings::alone(PathBuf::from("./ottla-data"), DEFAULT_PORT, true);
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let (flag, inline) = split_flag(arg);
        let mut value = || {
            inline.clone().or_else(|| args.next()).ok_or_else(|| format!("{flag} needs a value"))
        };
        match flag.as_str() {
            "--data" => {
                let dir = PathBuf::from(value()?);
                settings.log_dirs = vec![dir.clone()];
                settings.metadata_dir = dir;
            }
            "--port" => {
                let text = value()?;
                let port = text
                    .parse()
                    .map_err(|_| format!("--port {text}: expected a number from 0 to 65535"))?;
                for listener in &mut settings.listeners {
                    listener.listen = Listen::Loopback { port, may_move: false };
                }
            }
            "--admin" | "--log-level" | "--log-format" => {
                shared_flag(&flag, &value()?, &mut settings.admin)?;
            }
            "--version" | "-V" => {
                return Ok(Command::Print(format!(
                    "ottla {} ({})",
                    env!("CARGO_PKG_VERSION"),
                    env!("OTTLA_COMMIT")
                )));
            }
            "--help" | "-h" | "help" => return Ok(Command::Print(help())),
            other => return Err(unknown(other).into()),
        }
    }
    Ok(Command::Serve(settings, Vec::new()))
}

fn split_flag(arg: String) -> (String, Option<String>) {
    match arg.split_once('=') {
        Some((flag, value)) if flag.starts_with("--") => (flag.to_owned(), Some(value.to_owned())),
        _ => (arg, None),
    }
}

/// A flag that bare `ottla` and `start` both have.
fn shared_flag(
    flag: &str,
    value: &str,
    admin: &mut Option<(SocketAddr, bool)>,
) -> Result<(), String> {
    match flag {
        "--admin" if value == "none" => *admin = None,
        "--admin" => {
            let at = value.parse().map_err(|_| {
                format!("--admin {value}: expected an address and a port, 127.0.0.1:9644, or none")
            })?;
            *admin = Some((at, false));
        }
        "--log-format" => match value {
            "text" => log_line::set_json(false),
            "json" => log_line::set_json(true),
            _ => return Err(format!("--log-format {value}: expected text or json")),
        },
        _ => set_log_level("--log-level", value)?,
    }
    Ok(())
}

fn set_log_level(name: &str, level: &str) -> Result<(), String> {
    let known = log_line::LEVELS.iter().find(|known| known.eq_ignore_ascii_case(level));
    let known = known.ok_or_else(|| {
        let all = log_line::LEVELS.join(", ").to_ascii_lowercase();
        format!("{name} {level}: expected one of {all}")
    })?;
    log_line::set_level(known);
    Ok(())
}

/// `start --config FILE [--override KEY=VALUE]...`, with `KAFKA_*` variables between the two.
fn parse_start(args: impl Iterator<Item = String>) -> Result<Command, Refusal> {
    let one = |problem: Problem| Refusal::Configuration(vec![problem]);
    let mut from_file = Vec::new();
    let default = SocketAddr::from(([127, 0, 0, 1], server::ADMIN_PORT));
    let mut admin = Some((default, true));
    let mut overrides: Vec<Setting> = Vec::new();
    let mut level_given = false;
    let mut args = args;
    while let Some(arg) = args.next() {
        let (flag, inline) = split_flag(arg);
        let mut value = || {
            inline.clone().or_else(|| args.next()).ok_or_else(|| format!("{flag} needs a value"))
        };
        match flag.as_str() {
            "--config" | "-c" => {
                let path = value()?;
                let content = std::fs::read(&path).map_err(|error| {
                    one(Problem { place: path.clone(), text: error.to_string() })
                })?;
                from_file.extend(file::read(&path, &content).map_err(one)?);
            }
            "--admin" | "--log-level" | "--log-format" => {
                level_given |= flag == "--log-level";
                shared_flag(&flag, &value()?, &mut admin).map_err(Refusal::Usage)?;
            }
            "--override" => overrides.push(file::read_override(&value()?).map_err(one)?),
            "--help" | "-h" => return Ok(Command::Print(help())),
            other => return Err(unknown(other).into()),
        }
    }
    // Of the variables of Apache Kafka's container image that are no keys, this one is heeded.
    if let Ok(level) = std::env::var("KAFKA_LOG4J_ROOT_LOGLEVEL")
        && !level_given
    {
        // The two words of log4j that are no level.
        let level = match level.to_ascii_uppercase().as_str() {
            "ALL" => "TRACE".to_owned(),
            "OFF" => "FATAL".to_owned(),
            _ => level,
        };
        set_log_level("KAFKA_LOG4J_ROOT_LOGLEVEL", &level).map_err(Refusal::Usage)?;
    }
    let variables = file::read_variables(std::env::vars_os());
    if from_file.is_empty() && variables.is_empty() && overrides.is_empty() {
        return Err(format!("start needs --config FILE\n\n{USAGE}").into());
    }
    let mut settings = from_file;
    settings.extend(variables);
    settings.extend(overrides);
    let hostname = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let plan = file::plan(settings, &hostname).map_err(Refusal::Configuration)?;
    let endpoint = |at: file::Endpoint| (at.host, at.port);
    let listeners = plan.listeners.into_iter().map(|listener| Listener {
        name: listener.bind.name.clone(),
        listen: match endpoint(listener.bind) {
            (host, port) if host.is_empty() || host == "0.0.0.0" => Listen::Everywhere(port),
            (host, port) => Listen::At(host, port),
        },
        advertised: listener.advertised.map(endpoint),
    });
    let settings = Settings {
        log_dirs: plan.log_dirs.iter().map(PathBuf::from).collect(),
        metadata_dir: PathBuf::from(&plan.metadata_dir),
        node_id: plan.node_id,
        listeners: listeners.collect(),
        controller: plan.controller.map(|at| (at.name, at.host, at.port)),
        admin,
        file: plan.values,
        format: false,
    };
    Ok(Command::Serve(settings, plan.warnings))
}

fn serve(settings: Settings) -> ExitCode {
    // One more than there are cores: one may wait for a sync (`server::connection::Limits::helps`).
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores + 1;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = match builder.worker_threads(threads).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.to_string()),
    };
    let code = runtime.block_on(async {
        // Taken over before anything is written, so that a signal at any time ends in order.
        let signals = signal(SignalKind::terminate())
            .and_then(|term| signal(SignalKind::interrupt()).map(|interrupt| (term, interrupt)));
        let (mut term, mut interrupt) = match signals {
            Ok(signals) => signals,
            Err(error) => return fail(&error.to_string()),
        };
        let listeners = settings.listeners.clone();
        let data: Vec<String> =
            settings.log_dirs.iter().map(|dir| dir.display().to_string()).collect();
        let running = match server::start(settings).await {
            Ok(running) => running,
            Err(error) => return fail(&error.to_string()),
        };
        greet(&running, &listeners, &data.join(", "));
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
    });
    // A thread that waits for a device that does not answer keeps nobody here.
    runtime.shutdown_background();
    code
}

fn greet(running: &Running, listeners: &[Listener], data: &str) {
    println!("Ottla {} serves cluster {}", env!("CARGO_PKG_VERSION"), running.cluster_id);
    let mut reach = String::new();
    for (listener, (name, addresses)) in listeners.iter().zip(&running.listening) {
        let (Listen::Loopback { port: wanted, .. }
        | Listen::Everywhere(wanted)
        | Listen::At(_, wanted)) = listener.listen;
        let port = addresses.first().map_or(wanted, std::net::SocketAddr::port);
        if wanted != port && wanted != 0 {
            println!("  port       {wanted} is taken, so this node listens on {port}");
        }
        let at = match &listener.advertised {
            Some((host, 0)) => format!("{host}:{port}"),
            Some((host, told)) => format!("{host}:{told}"),
            None => format!("port {port}, not advertised to clients"),
        };
        if listeners.len() > 1 {
            println!("  listening  {at} ({name})");
        } else {
            println!("  listening  {at}");
        }
        if reach.is_empty() {
            reach = at;
        }
    }
    println!("  data       {data} (survives exit; every acknowledged record is on disk)");
    if let Some(admin) = running.admin {
        println!("  health     http://{admin}/healthz, numbers for Prometheus at /metrics");
    }
    if running.report.recovered {
        let (partitions, mebibytes) =
            (running.report.partitions, running.report.recovered_bytes.div_ceil(1 << 20));
        println!(
            "  recovered  the last run was not stopped in order; {partitions} logs checked, \
             {mebibytes} MiB read"
        );
    }
    for cut in running.report.cuts.iter().take(3) {
        println!("  cut        {cut}");
    }
    // As this was called: it need not be on the path.
    let program = std::env::args().next().unwrap_or_else(|| "ottla".to_owned());
    let server = match reach.as_str() {
        tools::verbs::DEFAULT_SERVER => String::new(),
        _ => format!(" --server {reach}"),
    };
    println!("  try        {program} produce letters{server}");
    println!("             {program} consume letters{server} --offset start");
}

fn fail(reason: &str) -> ExitCode {
    eprintln!("error: {reason}");
    ExitCode::FAILURE
}

/// What to say about an argument that is none.
fn unknown(argument: &str) -> String {
    let flags = FLAGS.split_whitespace().filter(|word| word.starts_with("--"));
    let verbs = tools::verbs::VERBS.iter().filter_map(|verb| verb.words().split(' ').next());
    let tools = tools::TOOLS.iter().map(|tool| tool.name);
    let known = flags.chain(["start", "--config", "--override"]).chain(verbs).chain(tools);
    match config::nearest(argument, known) {
        Some(nearest) => format!("unknown argument {argument}\n  did you mean {nearest}?"),
        None => format!("unknown argument {argument}\n\n{USAGE}\n\n{FLAGS}"),
    }
}

fn help() -> String {
    let mut text = format!("{USAGE}\n\n{FLAGS}\n\nCommands, each with --help:");
    for verb in tools::verbs::VERBS {
        text.push_str(&format!("\n  {:15} {}", verb.words(), verb.about()));
    }
    text.push_str("\n\nApache Kafka's command line tools, each with --help:");
    for tool in tools::TOOLS {
        text.push_str(&format!("\n  {:24} {}", tool.name, tool.about));
    }
    text
}

const USAGE: &str = "\
usage: ottla [--data DIR] [--port PORT]
       ottla start --config FILE [--override KEY=VALUE]...
       ottla COMMAND ...
       ottla TOOL ...

Without a word: serves one node for this machine. With start: serves what Apache Kafka's
configuration FILE says, on directories formatted by kafka-storage; variables KAFKA_* count, too.
With COMMAND: works with a cluster. With TOOL (or called by its name): one of Apache Kafka's.";

const FLAGS: &str =
    "  --data DIR           where its data is (./ottla-data); formatted if empty or absent
  --port PORT          listen here and nowhere else (9092, or another port if that is taken)
  --admin ADDRESS      /healthz and /metrics (127.0.0.1:9644, or another port if that is taken);
                       none for no such port
  --log-level LEVEL    trace, debug, info, warn, error or fatal (info)
  --log-format FORMAT  text or json (text)
  --version            print the version and the commit
  --help               print this, and the commands and tools there are";

const DEFAULT_PORT: u16 = 9092;
/// What a command or tool has written at most before its reader sees any of it.
const OUT_BYTES: usize = 64 << 10;
/// A wrong command line.
const EXIT_USAGE: u8 = 2;
