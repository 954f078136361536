//! `ottla produce`: writes a record for each line of standard input.
//!
//! Invariants:
//! - I1: memory is bounded by the producer's buffer, however long the input is; one line by
//!   [`LINE_BYTES_MAX`].
//! - I2: a line that is no record ends it, after the records of the lines before were written.

use std::collections::{BTreeMap, VecDeque};
use std::future::IntoFuture as _;
use std::io::{BufRead, ErrorKind};
use std::pin::Pin;
use std::sync::mpsc::RecvTimeoutError;
use std::thread;
use std::time::Duration;

use client::{Error, Producer, Record, RecordMetadata};
use serde_json::json;
use tokio::sync::mpsc;
use wire::{Bytes, ErrorCode};

use super::format::Input;
use super::output::{Output, escape};
use super::{COMMAND_CONFIG, Call, FAILED, PARTIAL, PROPERTY, SERVER, Verb, failed, told, usage};
use crate::cluster::{self, Signals};
use crate::flags::{Spec, switch, value};
use crate::{Failure, Io, finish};

pub(super) static PRODUCE: Verb = Verb {
    spec: &Spec {
        tool: "ottla produce",
        about: "Writes a record for each line of standard input.",
        flags: &[
            value(&["key", "k"], "text", "The key of every record."),
            value(&["header", "H"], "name=value", "A header of every record. May be repeated."),
            value(&["partition", "p"], "n", "The partition; by key, or any, unless given."),
            value(&["timestamp"], "ms", "The timestamp; now, unless given."),
            value(
                &["format", "f"],
                "text",
                "What a line is: %k, %v, %p, %d (ms) with texts between them, {hex} or {base64} \
                 after %k and %v. %v unless given.",
            ),
            value(
                &["input", "i"],
                "form",
                "json: a line is an object with value, key, headers, timestamp, partition, as \
                 ottla consume -o json writes it. lines unless given.",
            ),
            switch(&["tombstone", "Z"], "An empty value is none: it deletes its key."),
            value(&["compression", "z"], "codec", "none, gzip, snappy, lz4 or zstd."),
            value(&["acks"], "n", "all, 1 or 0."),
            value(&["output", "o"], "form", "json or jsonl: where each record went, a line each."),
            SERVER,
            PROPERTY,
            COMMAND_CONFIG,
        ],
    },
    arguments: ("TOPIC", 1..=1),
    run: produce,
};

/// What is the same for every record.
struct Plan {
    input: Input,
    template: Record,
    tombstones: bool,
    /// Whether places are reported.
    told: bool,
}

fn produce(call: &mut Call<'_, '_>) -> Result<u8, Failure> {
    let plan = plan(call)?;
    let mut changes: Vec<(&str, String)> = Vec::new();
    if let Some(codec) = call.parsed.value("compression").map_err(usage)? {
        changes.push(("compression.type", codec.to_owned()));
    }
    if let Some(acks) = call.parsed.value("acks").map_err(usage)? {
        changes.push(("acks", acks.to_owned()));
    }
    let properties = call.properties(&changes)?;
    // Reading waits for whoever types: what was typed goes out, and is reported, meanwhile.
    let runtime = cluster::beside()?;
    let (sender, lines) = mpsc::channel(BATCHES_READ);
    let stdin = &mut *call.io.stdin;
    let err = &mut *call.io.err;
    let mut io = Io { stdin: &mut std::io::empty(), out: &mut *call.io.out, err };
    let mut rest = Call { parsed: call.parsed, io: &mut io, output: call.output };
    let done = thread::scope(|scope| {
        let (reading, ended) = std::sync::mpsc::channel::<()>();
        scope.spawn(move || {
            feed(stdin, &sender);
            drop(reading);
        });
        let done = runtime.block_on(produce_all(&mut rest, &plan, &properties, lines));
        if ended.recv_timeout(LAST_READ) == Err(RecvTimeoutError::Timeout) {
            // Its read can't be taken back, and nobody wants what comes of it.
            let code = finish(rest.io, |_| done);
            std::process::exit(i32::from(code));
        }
        done
    });
    runtime.shutdown_timeout(Duration::ZERO);
    done
}

type Lines = mpsc::Receiver<Result<Vec<Vec<u8>>, Failure>>;

async fn produce_all(
    call: &mut Call<'_, '_>,
    plan: &Plan,
    properties: &BTreeMap<String, String>,
    mut lines: Lines,
) -> Result<u8, Failure> {
    let mut signals = Signals::take_over()?;
    let admin = call.connect(properties).await?;
    let producer = Producer::new(admin.client().clone());
    let mut sending = Sending::default();
    let ended = sending.all(&producer, plan, call.io, &mut lines, &mut signals).await;
    // I2: those before a bad line go out, too.
    let flushed = producer.flush().await;
    while let Some((line, delivery)) = sending.under_way.pop_front() {
        sending.settle(line, delivery.await, plan, call.io);
    }
    let _ = producer.close().await;
    let (written, refused) = (sending.written, sending.refused);
    let plural = if written == 1 { "" } else { "s" };
    let topic = escape(&plan.template.topic);
    if refused > TOLD_MAX {
        call.say(&format!("error: {} more lines were refused", refused - TOLD_MAX));
    }
    call.say(&format!("{written} record{plural} written to {topic}"));
    let interrupted = ended?;
    flushed.map_err(failed)?;
    Ok(match (interrupted, written, refused) {
        (Some(code), ..) => code,
        (None, _, 0) => 0,
        (None, 0, _) => sending.code,
        (None, ..) => PARTIAL,
    })
}

fn plan(call: &Call<'_, '_>) -> Result<Plan, Failure> {
    let parsed = call.parsed;
    let format = parsed.value("format").map_err(usage)?;
    let input = match parsed.value("input").map_err(usage)? {
        Some("json" | "jsonl") if format.is_some() => {
            return Err(call.wrong("--format can't be used with --input json"));
        }
        Some("json" | "jsonl") => Input::Json,
        None | Some("lines") => match format {
            Some(text) => {
                Input::read(text).map_err(|text| call.wrong(&format!("--format: {text}")))?
            }
            None => Input::values(),
        },
        Some(other) => {
            return Err(call.wrong(&format!("--input {other}: expected lines or json")));
        }
    };
    if call.output == Output::Name {
        return Err(call.wrong("--output name: records have no names"));
    }
    let headers = parsed.values("header").map(|pair| {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| call.wrong(&format!("--header {pair}: expected NAME=VALUE")))?;
        Ok((name.to_owned(), Some(Bytes::copy_from_slice(value.as_bytes()))))
    });
    let key = parsed.value("key").map_err(usage)?;
    let template = Record {
        topic: call.arguments().first().cloned().unwrap_or_default(),
        partition: parsed.number("partition").map_err(usage)?,
        key: key.map(|key| Bytes::copy_from_slice(key.as_bytes())),
        headers: headers.collect::<Result<_, Failure>>()?,
        timestamp: parsed.number("timestamp").map_err(usage)?,
        value: None,
    };
    let told = call.output.is_json();
    Ok(Plan { input, template, tombstones: parsed.has("tombstone"), told })
}

/// What became of a record.
type Written = Result<RecordMetadata, Error>;
type Arriving = Pin<Box<dyn Future<Output = Written> + Send>>;

/// Records on their way.
#[derive(Default)]
struct Sending {
    /// Oldest first.
    under_way: VecDeque<(u64, Arriving)>,
    lines: u64,
    written: u64,
    refused: u64,
    /// What the first refusal makes of it if nothing is written.
    code: u8,
    /// Nobody reads the reports any more; what is read is written nevertheless.
    unheard: bool,
}

impl Sending {
    /// Sends every line; the exit code of a signal, if one came.
    async fn all(
        &mut self,
        producer: &Producer,
        plan: &Plan,
        io: &mut Io<'_>,
        lines: &mut Lines,
        signals: &mut Signals,
    ) -> Result<Option<u8>, Failure> {
        loop {
            let batch = tokio::select! {
                biased;
                code = signals.any() => return Ok(Some(code)),
                (line, written) = first(&mut self.under_way) => {
                    self.under_way.pop_front();
                    self.settle(line, written, plan, io);
                    if plan.told && lines.is_empty() {
                        self.unheard |= io.out.flush().is_err();
                    }
                    continue;
                }
                batch = lines.recv() => batch,
            };
            let Some(batch) = batch else { return Ok(None) };
            for line in batch? {
                self.enqueue(producer, plan, &line).await?;
            }
            while self.under_way.len() > UNDER_WAY_MAX
                && let Some((line, oldest)) = self.under_way.pop_front()
            {
                self.settle(line, oldest.await, plan, io);
            }
        }
    }

    async fn enqueue(
        &mut self,
        producer: &Producer,
        plan: &Plan,
        line: &[u8],
    ) -> Result<(), Failure> {
        self.lines += 1;
        let number = self.lines;
        let mut record = plan.template.clone();
        let filled = plan.input.fill(line, &mut record);
        filled.map_err(|why| told(format!("error: line {number}: {why}"), FAILED))?;
        if plan.tombstones && record.value.as_ref().is_some_and(Bytes::is_empty) {
            record.value = None;
        }
        let delivery = producer.enqueue(record).await.map_err(|error| match failed(error) {
            Failure::Told { text, code } => told(format!("{text} (line {number})"), code),
            other => other,
        })?;
        self.under_way.push_back((number, delivery.into_future()));
        Ok(())
    }

    fn settle(&mut self, line: u64, written: Written, plan: &Plan, io: &mut Io<'_>) {
        let row = match written {
            Ok(place) => {
                self.written += 1;
                json!({
                    "line": line,
                    "topic": place.topic,
                    "partition": place.partition,
                    "offset": place.offset,
                    "timestamp": place.timestamp,
                })
            }
            Err(error) => {
                self.refused += 1;
                if self.refused <= TOLD_MAX {
                    let _ = writeln!(io.err, "error: line {line}: {error}");
                }
                let code = error.code().and_then(ErrorCode::name);
                let row = json!({ "line": line, "error": { "code": code, "message": error.to_string() } });
                if let (1, Failure::Told { code, .. }) = (self.refused, failed(error)) {
                    self.code = code;
                }
                row
            }
        };
        if plan.told && !self.unheard && writeln!(io.out, "{row}").is_err() {
            self.unheard = true;
            let _ = writeln!(io.err, "warning: nobody reads where records go; they go on");
        }
    }
}

/// Waits for the oldest; for ever if there is none.
async fn first(under_way: &mut VecDeque<(u64, Arriving)>) -> (u64, Written) {
    match under_way.front_mut() {
        Some((line, oldest)) => (*line, oldest.await),
        None => std::future::pending().await,
    }
}

/// Reads lines until the input ends or nobody wants more: those that came together go together.
fn feed(stdin: &mut (dyn BufRead + Send), sender: &mpsc::Sender<Result<Vec<Vec<u8>>, Failure>>) {
    let mut begun = Vec::new();
    loop {
        let bytes = match stdin.fill_buf() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => {
                let failure = told(format!("error: standard input: {error}"), FAILED);
                let _ = sender.blocking_send(Err(failure));
                return;
            }
        };
        let count = bytes.len();
        let mut lines = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            begun.extend_from_slice(part);
            if begun.last() == Some(&b'\n') {
                begun.pop();
                if begun.last() == Some(&b'\r') {
                    begun.pop();
                }
                lines.push(std::mem::take(&mut begun));
            }
        }
        stdin.consume(count);
        // The last line may lack its end.
        if count == 0 && !begun.is_empty() {
            lines.push(std::mem::take(&mut begun));
        }
        if begun.len() > LINE_BYTES_MAX {
            let failure = format!("error: a line is longer than {LINE_BYTES_MAX} bytes");
            let _ = sender.blocking_send(Err(told(failure, FAILED)));
            return;
        }
        if !lines.is_empty() && sender.blocking_send(Ok(lines)).is_err() || count == 0 {
            return;
        }
    }
}

/// Longer than any broker takes.
const LINE_BYTES_MAX: usize = 128 << 20;
/// For the reading thread to see that it is over, unless it is in a read.
const LAST_READ: Duration = Duration::from_millis(50);
/// Read ahead of what is sent.
const BATCHES_READ: usize = 4;
/// So many may wait for their answers before the oldest is waited for.
const UNDER_WAY_MAX: usize = 100_000;
/// So many refusals are told one by one.
const TOLD_MAX: u64 = 10;
