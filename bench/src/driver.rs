//! The load driver (`bench/driver`, Go) as a process, and a broker watched while it loads it.
//!
//! Owns the driver's process. The driver stops before and after its load until it is told to go on,
//! and the broker is sampled there: connections and the driver's own start don't count.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use harness::command::left;
use serde_json::{Value, json};

use crate::broker::dying_with_us;
use crate::proc;

/// The built driver.
#[derive(Clone, Debug)]
pub struct Driver {
    binary: PathBuf,
}

impl Driver {
    /// Builds it on first use.
    ///
    /// # Errors
    /// If Go is missing or the build fails; in one line.
    pub fn build() -> Result<Self, String> {
        let script = harness::root().join("bench/driver/build");
        let finished = harness::run(&mut Command::new(script), harness::DOWNLOAD);
        if finished.code != Some(0) {
            let why = finished.stderr.lines().last().unwrap_or("unknown").to_owned();
            return Err(format!("no load driver: {why}"));
        }
        Ok(Self { binary: finished.stdout.trim().into() })
    }

    /// Creates a topic with that many partitions, all of them led.
    ///
    /// # Errors
    /// If the broker refuses; with the driver's words.
    pub fn create(&self, address: &str, topic: &str, partitions: u32) -> Result<(), String> {
        let partitions = partitions.to_string();
        self.ask(&["create", "-partitions", &partitions, address, topic])
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn delete(&self, address: &str, topic: &str) -> Result<(), String> {
        self.ask(&["delete", address, topic])
    }

    fn ask(&self, arguments: &[&str]) -> Result<(), String> {
        let finished = harness::run(self.command().args(arguments), ASK);
        match finished.code {
            Some(0) => Ok(()),
            _ => Err(format!("driver {}: {}", arguments[0], finished.stderr.trim())),
        }
    }

    /// Runs a workload; `{"driver": ..., "broker": ...}` is what the driver printed, and the CPU
    /// time and memory of process `pid` meanwhile.
    ///
    /// # Errors
    /// If a record failed, the driver or the broker ended, or it took too long.
    pub fn load(&self, arguments: &[String], pid: u32) -> Result<Value, String> {
        let mut command = self.command();
        command.arg(&arguments[0]).arg("-deadline").arg(format!("{}s", LOAD.as_secs()));
        command.args(&arguments[1..]);
        conduct(&mut command, pid)
    }

    fn command(&self) -> Command {
        dying_with_us(OsString::from(&self.binary))
    }
}

/// Runs a load program that says "begin" and "end", waits for a line each time, and then prints
/// what it did; `{"driver": ..., "broker": ...}` is that, and the CPU time and memory of process
/// `pid` between the two.
///
/// # Errors
/// If either ended, or it took too long.
pub(crate) fn conduct(command: &mut Command, pid: u32) -> Result<Value, String> {
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut running = Running(child.map_err(|error| format!("{command:?}: {error}"))?);
    // The driver's own deadline comes first, and says more.
    let until = Instant::now() + LOAD + GRACE;
    let mut input = running.0.stdin.take().ok_or("the driver has no input")?;
    let output = running.0.stdout.take().ok_or("the driver has no output")?;
    let lines = lines(output);
    let mut go_on = || writeln!(input).map_err(|error| format!("the driver: {error}"));
    expect(&lines, until, "begin")?;
    proc::forget_peak(pid)?;
    let before = proc::sample(pid)?;
    go_on()?;
    expect(&lines, until, "end")?;
    let after = proc::sample(pid)?;
    go_on()?;
    let line = next(&lines, until)?;
    let driver: Value =
        serde_json::from_str(&line).map_err(|error| format!("{error} in {line}"))?;
    let broker = json!({
        // The kernel counts hundredths; differences of them shall look like it.
        "cpu_seconds": ((after.cpu_seconds - before.cpu_seconds) * 100.0).round() / 100.0,
        "resident_bytes": after.resident_bytes,
        "peak_resident_bytes": after.peak_bytes,
    });
    Ok(json!({ "driver": driver, "broker": broker }))
}

/// Killed when let go of.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The lines of a pipe, as they come.
pub(crate) fn lines(pipe: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn next(lines: &Receiver<String>, until: Instant) -> Result<String, String> {
    // What went wrong, the driver has said on standard error, which is ours, too.
    lines.recv_timeout(left(until)).map_err(|error| format!("no more from the driver: {error}"))
}

fn expect(lines: &Receiver<String>, until: Instant, wanted: &str) -> Result<(), String> {
    let found = next(lines, until)?;
    if found == wanted { Ok(()) } else { Err(format!("the driver said {found}, not {wanted}")) }
}

const ASK: Duration = Duration::from_secs(60);
const LOAD: Duration = Duration::from_secs(180);
const GRACE: Duration = Duration::from_secs(20);
