//! `ottla produce`: writes a record for each line of standard input.
//!
//! Invariants:
//! - I1: memory is bounded by the producer's buffer, however long the input is; one line by
//!   [`LINE_MAX`].
//! - I2: a line that is no record ends it, after the records of the lines before were written.

use std::collections::VecDeque;
use std::io::{BufRead, Read as _};

use client::{Delivery, Producer, Record};
use serde_json::json;
use wire::Bytes;

use super::format::Input;
use super::output::Output;
use super::{COMMAND_CONFIG, Call, FAILED, PARTIAL, PROPERTY, SERVER, Verb, failed, told, usage};
use crate::flags::{Spec, switch, value};
use crate::{Failure, Io, cluster};

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
    // Reading waits for whoever types; what was typed goes out meanwhile.
    cluster::block_on_beside(async {
        let admin = call.connect(&properties).await?;
        let producer = Producer::new(admin.client().clone());
        let mut sending = Sending { under_way: VecDeque::new(), written: 0, refused: 0 };
        let ended = sending.all(&producer, &plan, call.io).await;
        // I2: those before a bad line go out, too.
        let flushed = producer.flush().await;
        while let Some(delivery) = sending.under_way.pop_front() {
            sending.settle(delivery, &plan, call.io).await?;
        }
        let _ = producer.close().await;
        ended?;
        flushed.map_err(failed)?;
        let (written, refused) = (sending.written, sending.refused);
        let plural = if written == 1 { "" } else { "s" };
        call.say(&format!("{written} record{plural} written to {}", plan.template.topic));
        Ok(match (written, refused) {
            (_, 0) => 0,
            (0, _) => FAILED,
            _ => PARTIAL,
        })
    })?
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

/// Records on their way.
struct Sending {
    /// Oldest first.
    under_way: VecDeque<Delivery>,
    written: u64,
    refused: u64,
}

impl Sending {
    async fn all(
        &mut self,
        producer: &Producer,
        plan: &Plan,
        io: &mut Io<'_>,
    ) -> Result<(), Failure> {
        let mut line = Vec::new();
        let mut number = 0_u64;
        while read_line(io.stdin, &mut line)? {
            number += 1;
            let mut record = plan.template.clone();
            let filled = plan.input.fill(&line, &mut record);
            filled.map_err(|why| told(format!("error: line {number}: {why}"), FAILED))?;
            if plan.tombstones && record.value.as_ref().is_some_and(Bytes::is_empty) {
                record.value = None;
            }
            let delivery = producer.enqueue(record).await;
            let delivery = delivery.map_err(|error| {
                let Failure::Told { text, code } = failed(error) else { return Failure::Closed };
                told(format!("{text} (line {number})"), code)
            })?;
            self.under_way.push_back(delivery);
            if self.under_way.len() > UNDER_WAY_MAX
                && let Some(oldest) = self.under_way.pop_front()
            {
                self.settle(oldest, plan, io).await?;
            }
        }
        Ok(())
    }

    async fn settle(
        &mut self,
        delivery: Delivery,
        plan: &Plan,
        io: &mut Io<'_>,
    ) -> Result<(), Failure> {
        match delivery.await {
            Ok(place) => {
                self.written += 1;
                if plan.told {
                    let place = json!({
                        "topic": place.topic,
                        "partition": place.partition,
                        "offset": place.offset,
                        "timestamp": place.timestamp,
                    });
                    writeln!(io.out, "{place}")?;
                }
            }
            Err(error) => {
                self.refused += 1;
                if self.refused <= TOLD_MAX {
                    let _ = writeln!(io.err, "error: {}: {error}", plan.template.topic);
                }
            }
        }
        Ok(())
    }
}

/// The next line without its end; false at the end of the input.
fn read_line(stdin: &mut (dyn BufRead + Send), line: &mut Vec<u8>) -> Result<bool, Failure> {
    line.clear();
    let read = stdin.take(LINE_MAX + 1).read_until(b'\n', line);
    let read = read.map_err(|error| told(format!("error: standard input: {error}"), FAILED))?;
    if line.last() == Some(&b'\n') {
        line.pop();
        if line.last() == Some(&b'\r') {
            line.pop();
        }
    } else if line.len() as u64 > LINE_MAX {
        return Err(told(format!("error: a line is longer than {LINE_MAX} bytes"), FAILED));
    }
    Ok(read > 0)
}

/// Longer than any broker takes.
const LINE_MAX: u64 = 128 << 20;
/// So many may wait for their answers before the oldest is waited for.
const UNDER_WAY_MAX: usize = 100_000;
/// So many refusals are told one by one.
const TOLD_MAX: u64 = 10;
