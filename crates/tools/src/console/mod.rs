//! `kafka-console-producer` and `kafka-console-consumer`: lines of standard input to a topic, and
//! records of topics to standard output, as by Apache Kafka 4.3.1.
//!
//! Owns what both are made of: flags under two names, `KEY=VALUE` arguments, signals, and how a
//! runtime works beside the thread that reads or writes.
//!
//! Invariants:
//! - I1: memory is bounded, however much comes in: a line by what a record may have, records on
//!   their way by `buffer.memory`, records to print by what a fetch may have.
//! - I2: whatever is on its way when the tool ends, by the end of its input, an error or a signal,
//!   is sent, or told on standard error; a group is left.

pub mod consumer;
pub mod producer;

mod deserializer;
mod formatter;
mod lines;
mod reader;

use std::collections::BTreeMap;

use client::Options;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::flags::Parsed;
use crate::{Failure, Io, cluster};

/// Properties, by key.
type Properties = BTreeMap<String, String>;

/// A flag that has an old name, too.
#[derive(Clone, Copy, Debug)]
struct Renamed {
    old: &'static str,
    new: &'static str,
}

impl Renamed {
    /// Both at once are refused.
    fn check(self, parsed: &Parsed) -> Result<(), Failure> {
        parsed.exclude(self.new, &[self.old])
    }

    /// What stands behind either, as `KEY=VALUE`; what has no `=` is an empty value.
    fn pairs(self, parsed: &Parsed) -> Properties {
        let given = parsed.values(self.new).chain(parsed.values(self.old));
        let pairs = given.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    /// The properties of the file that either names.
    fn file(self, parsed: &Parsed) -> Result<Properties, Failure> {
        let new = parsed.value(self.new)?;
        match new.or(parsed.value(self.old)?) {
            Some(path) => cluster::read_properties(path),
            None => Ok(Properties::new()),
        }
    }
}

/// What Java takes for true: the word, in any case.
fn is_true(properties: &Properties, key: &str) -> bool {
    properties.get(key).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"))
}

/// Reads what a client goes by; what is passed over is told.
fn options(properties: &Properties, io: &mut Io<'_>) -> Result<Options, Failure> {
    let options = Options::from_properties(properties);
    let options = options.map_err(|error| Failure::new(format!("error: {error}")))?;
    for warning in &options.warnings {
        let _ = writeln!(io.err, "warning: {warning}");
    }
    Ok(options)
}

/// A runtime whose tasks go on while this thread reads or writes.
fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Failure::new(format!("error: {error}")))
}

/// Takes over the signals that ask to stop: the exit code, once there was one. After a second one
/// nothing is waited for.
fn signals(runtime: &Runtime) -> Result<watch::Receiver<Option<u8>>, Failure> {
    let _entered = runtime.enter();
    let failed = |error| Failure::new(format!("error: signals: {error}"));
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let (sender, receiver) = watch::channel(None);
    runtime.spawn(async move {
        for seen in 0.. {
            let code = tokio::select! {
                _ = interrupt.recv() => INTERRUPTED,
                _ = terminate.recv() => TERMINATED,
            };
            if seen > 0 {
                std::process::exit(i32::from(code));
            }
            let _ = sender.send(Some(code));
        }
    });
    Ok(receiver)
}

/// Waits for a signal; its exit code.
async fn signalled(signals: &mut watch::Receiver<Option<u8>>) -> u8 {
    loop {
        if let Some(code) = *signals.borrow_and_update() {
            return code;
        }
        if signals.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What a shell says of SIGINT and SIGTERM.
const INTERRUPTED: u8 = 130;
const TERMINATED: u8 = 143;
