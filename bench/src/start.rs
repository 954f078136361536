//! Start-up: how soon a connection is accepted, how much memory is resident then, and how soon
//! somebody with an empty directory sees a first record. Owns the directories it makes.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::broker::{self, Broker, Peer, Side, TOOL_HEAP, dying_with_us, java};
use crate::driver::lines;
use crate::proc;

/// Measures both sides, in fresh directories under `data`; each figure is a list of all repeats.
///
/// # Errors
/// If a broker doesn't start. A first record that fails to arrive is told and left out.
pub fn measure(data: &Path) -> Result<Value, String> {
    let mut found = json!({});
    for (side, repeats, firsts) in [(Side::Ottla, OURS, OURS), (Side::Apache, THEIRS, THEIRS)] {
        let mut accepted = Vec::new();
        let mut resident = Vec::new();
        for _ in 0..repeats {
            let directory = fresh(data)?;
            let formatted = format_if_needed(side, &directory)?;
            let start = Instant::now();
            let broker = launch(side, &formatted, &directory)?;
            accepted.push(round(start.elapsed().as_secs_f64() * 1000.0));
            resident.push(proc::sample(broker.pid())?.resident_bytes);
        }
        let mut records = Vec::new();
        for _ in 0..firsts {
            let directory = fresh(data)?;
            // A tool that hangs ends in a panic of the harness.
            let first = std::panic::catch_unwind(|| first_record(side, &directory));
            match first.unwrap_or_else(|_| Err("a tool hung".to_owned())) {
                Ok(seconds) => records.push(round(seconds)),
                Err(error) => {
                    eprintln!("{}: no first record: {error}", side.word());
                    break;
                }
            }
        }
        found[side.word()] = json!({
            "accepted_ms": accepted, "resident_bytes": resident, "first_record_seconds": records,
        });
    }
    Ok(found)
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn fresh(data: &Path) -> Result<std::path::PathBuf, String> {
    let directory = data.join("start");
    if directory.exists() {
        fs::remove_dir_all(&directory).map_err(|error| error.to_string())?;
    }
    fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    Ok(directory)
}

/// Where Apache Kafka's directory was formatted to, and for which port.
type Formatted = Option<(std::path::PathBuf, u16)>;

/// Bare `ottla` formats by itself.
fn format_if_needed(side: Side, directory: &Path) -> Result<Formatted, String> {
    if side == Side::Ottla {
        return Ok(None);
    }
    let port = harness::free_port();
    Ok(Some((broker::format(side, Peer::Default, directory, port)?, port)))
}

/// From the start of the process to the first connection that is accepted.
fn launch(side: Side, formatted: &Formatted, directory: &Path) -> Result<Broker, String> {
    let mut broker = match (side, formatted) {
        (Side::Apache, Some((properties, port))) => Broker::apache(properties, directory, *port)?,
        _ => Broker::bare(directory)?,
    };
    broker.wait_until_it_accepts()?;
    Ok(broker)
}

/// Seconds from an empty directory to a record on the console consumer's output.
fn first_record(side: Side, directory: &Path) -> Result<f64, String> {
    let start = Instant::now();
    let formatted = format_if_needed(side, directory)?;
    let broker = launch(side, &formatted, directory)?;
    let address = broker.address();
    let to = ["--bootstrap-server", &address, "--topic", "letters"];
    let mut create = tool(side, "kafka-topics", "org.apache.kafka.tools.TopicCommand")?;
    succeed(create.arg("--create").args(to), b"")?;
    let mut produce =
        tool(side, "kafka-console-producer", "org.apache.kafka.tools.ConsoleProducer")?;
    succeed(produce.args(to), b"Dear sister\n")?;
    let mut consume =
        tool(side, "kafka-console-consumer", "org.apache.kafka.tools.consumer.ConsoleConsumer")?;
    let line = first_line(consume.args(to).args(["--from-beginning", "--max-messages", "1"]))?;
    let took = start.elapsed().as_secs_f64();
    if line == "Dear sister" { Ok(took) } else { Err(format!("the consumer printed {line}")) }
}

fn tool(side: Side, name: &str, class: &str) -> Result<Command, String> {
    let mut command = match side {
        Side::Ottla => dying_with_us(harness::binary()),
        Side::Apache => java(TOOL_HEAP)?,
    };
    command.arg(if side == Side::Ottla { name } else { class });
    Ok(command)
}

fn succeed(command: &mut Command, input: &[u8]) -> Result<(), String> {
    let finished = harness::command::run_with(command, input.to_vec(), TOOL);
    match finished.code {
        Some(0) => Ok(()),
        code => {
            // The rest is how to use it.
            let why = finished.stderr.lines().next().unwrap_or("it says nothing").to_owned();
            Err(format!("exit code {code:?}: {why}"))
        }
    }
}

/// The first line that a program prints; how it ends doesn't count any more.
fn first_line(command: &mut Command) -> Result<String, String> {
    let piped = command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = piped.spawn().map_err(|error| format!("{command:?}: {error}"))?;
    let line = child.stdout.take().map(|output| lines(output).recv_timeout(TOOL));
    let _ = child.kill();
    let _ = child.wait();
    // Why, it has said on standard error, which is ours, too.
    line.and_then(Result::ok).ok_or("the consumer printed nothing".into())
}

/// Repeats, of which the median counts.
const OURS: usize = 5;
/// Half a minute each, most of it of JVMs that start.
const THEIRS: usize = 3;
const TOOL: Duration = Duration::from_secs(60);
