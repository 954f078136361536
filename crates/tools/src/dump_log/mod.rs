//! `kafka-dump-log`: shows what is in the files of a log directory.
//!
//! Standard output and exit codes are those of Apache Kafka 4.3.1, byte for byte, on sound files
//! as on damaged ones: what it prints before an exception is printed here before the error.
//!
//! Different on purpose: decoder classes other than Apache Kafka's own are refused, for they are
//! Java; bytes that are not decoded are shown in hexadecimal instead of by Java's address; message
//! formats v0 and v1 are refused; files are never made or trimmed.

mod batches;
mod decoders;
mod indexes;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use messages::json;
use messages::schema::Message;
use wire::batch::TimestampType;
use wire::record::ControlKind;
use wire::{Bytes, Reader};

use self::batches::{Batch, Record, Segment};
use self::decoders::{Decoder, Plain};
use crate::flags::{Parsed, Spec, optional, switch, value};
use crate::{Failure, Io, Tool, finish, java};

/// The entry in the list of tools.
pub const TOOL: Tool = Tool {
    name: "kafka-dump-log",
    about: "Shows what is in the files of a log directory, sound or damaged.",
    run,
};

static SPEC: Spec = Spec {
    tool: TOOL.name,
    about: TOOL.about,
    flags: &[
        value(
            &["files"],
            "file,...",
            "Required. Files to show: .log, .index, .timeindex, .txnindex, .snapshot (producers) \
             and .checkpoint (metadata snapshots).",
        ),
        switch(&["print-data-log"], "Print keys and values of records, too."),
        switch(&["deep-iteration"], "Go through the records of every batch."),
        switch(&["verify-index-only"], "Compare an index with its log, without printing it."),
        switch(&["index-sanity-check"], "Only make the checks of an index that a start makes."),
        value(&["max-message-size"], "bytes", "How large a batch that an index names may be."),
        value(&["max-bytes"], "bytes", "Stop after the batches within so many bytes."),
        optional(&["value-decoder-class"], "class", "Decoder of values."),
        optional(&["key-decoder-class"], "class", "Decoder of keys."),
        switch(&["offsets-decoder"], "Records are those of __consumer_offsets."),
        switch(&["transaction-log-decoder"], "Records are those of __transaction_state."),
        switch(&["cluster-metadata-decoder"], "Records are those of __cluster_metadata."),
        switch(&["remote-log-metadata-decoder"], "Records are those of __remote_log_metadata."),
        switch(&["share-group-state-decoder"], "Records are those of __share_group_state."),
        switch(
            &["skip-record-metadata"],
            "Print contents of records only, and no control records.",
        ),
    ],
};

fn run(args: &[String], io: &mut Io<'_>) -> u8 {
    finish(io, |io| {
        let parsed = SPEC.parse(args, io)?;
        parsed.require(&["files"])?;
        let options = Options::new(&parsed);
        let mut errors = Errors::default();
        for path in java::split(parsed.value("files")?.unwrap_or_default(), ',') {
            dump(&java::file(path), &options, &mut errors, io)?;
        }
        io.out.flush()?;
        let _ = write!(io.err, "{}", errors.told());
        Ok(0)
    })
}

/// What was asked for besides files. What is wrong with a value is told at the first file that it
/// matters for, as by Apache Kafka's tool.
struct Options {
    decoder: Result<Decoder, Failure>,
    contents: bool,
    records: bool,
    verify_only: bool,
    sanity_only: bool,
    skip_metadata: bool,
    max_message_size: Result<i32, Failure>,
    max_bytes: Result<i32, Failure>,
}

impl Options {
    fn new(parsed: &Parsed) -> Self {
        let known = [
            ("offsets-decoder", Decoder::Offsets),
            ("transaction-log-decoder", Decoder::Transactions),
            ("cluster-metadata-decoder", Decoder::ClusterMetadata),
            ("remote-log-metadata-decoder", Decoder::RemoteLogMetadata),
            ("share-group-state-decoder", Decoder::ShareState),
        ];
        let known = known.into_iter().find(|(flag, _)| parsed.has(flag));
        let classes = ["value-decoder-class", "key-decoder-class"];
        let contents = known.is_some()
            || parsed.has("print-data-log")
            || classes.iter().any(|flag| parsed.has(flag));
        let number = |flag: &str, default| Ok(parsed.number(flag)?.unwrap_or(default));
        Self {
            decoder: match known {
                Some((_, decoder)) => Ok(decoder),
                None => decoders(parsed),
            },
            contents,
            records: contents || parsed.has("deep-iteration"),
            verify_only: parsed.has("verify-index-only"),
            sanity_only: parsed.has("index-sanity-check"),
            skip_metadata: parsed.has("skip-record-metadata"),
            max_message_size: number("max-message-size", 5 << 20),
            max_bytes: number("max-bytes", i32::MAX),
        }
    }
}

/// The decoders of keys and values by class.
fn decoders(parsed: &Parsed) -> Result<Decoder, Failure> {
    let named = |flag: &str| {
        let class = parsed.value(flag)?.unwrap_or(STRING_DECODER);
        let found = CLASSES.iter().find(|(known, _)| *known == class);
        found.map(|(_, decoder)| *decoder).ok_or_else(|| {
            let known: Vec<&str> = CLASSES.iter().map(|(known, _)| *known).collect();
            Failure::new(format!(
                "error: --{flag} {class}: Java classes can't be loaded; built in are {}",
                known.join(", ")
            ))
        })
    };
    Ok(Decoder::Plain { key: named("key-decoder-class")?, value: named("value-decoder-class")? })
}

fn dump(
    path: &str,
    options: &Options,
    errors: &mut Errors,
    io: &mut Io<'_>,
) -> Result<(), Failure> {
    writeln!(io.out, "Dumping {path}")?;
    let name = path.rsplit('/').next().unwrap_or_default();
    match name.rfind('.').and_then(|dot| name.get(dot..)) {
        Some(".log") => {
            options.decoder.clone()?;
            options.max_bytes.clone()?;
            writeln!(io.out, "Log starting offset: {}", base_offset(path)?)?;
            log(path, options, errors, io)
        }
        Some(".checkpoint") => {
            options.decoder.clone()?;
            options.max_bytes.clone()?;
            if name == "bootstrap.checkpoint" {
                writeln!(io.out, "KRaft bootstrap snapshot")?;
            } else {
                let (offset, epoch) = snapshot_id(path, name)?;
                writeln!(io.out, "Snapshot end offset: {offset}, epoch: {epoch}")?;
            }
            log(path, options, errors, io)
        }
        Some(".index") => {
            let largest = options.max_message_size.clone()?;
            indexes::offsets(path, options, largest, errors, io)
        }
        Some(".timeindex") => indexes::times(path, options, errors, io),
        Some(".snapshot") => indexes::producers(path, io),
        Some(".txnindex") => indexes::aborted(path, io),
        _ => {
            let _ = writeln!(io.err, "Ignoring unknown file {path}");
            Ok(())
        }
    }
}

fn log(path: &str, options: &Options, errors: &mut Errors, io: &mut Io<'_>) -> Result<(), Failure> {
    let file = Segment::open(path).map_err(failed(path))?;
    let (decoder, max_bytes) = (options.decoder.clone()?, options.max_bytes.clone()?);
    let file = file.slice(0, max_bytes).map_err(failed(path))?;
    let mut valid_bytes = 0;
    let mut last_offset = -1;
    while let Some(batch) = file.batch(valid_bytes).map_err(failed(path))? {
        let whole = print_batch(path, &file, &batch, io)?;
        if options.records {
            let mut records = batch.records(&whole).map_err(failed(path))?;
            while let Some(record) = records.next().map_err(failed(path))? {
                if record.offset != i64::wrapping_add(last_offset, 1) {
                    errors.gap(path, last_offset, record.offset);
                }
                last_offset = record.offset;
                print_record(path, &batch, &record, decoder, options, io)?;
            }
        }
        valid_bytes += batch.size as u64;
    }
    let trailing = file.size() - valid_bytes;
    if trailing > 0 && max_bytes == i32::MAX {
        let name = path.rsplit('/').next().unwrap_or_default();
        writeln!(io.out, "Found {trailing} invalid bytes at the end of {name}")?;
    }
    Ok(())
}

/// Prints a batch's line and returns the whole batch.
fn print_batch(
    path: &str,
    file: &Segment,
    batch: &Batch,
    io: &mut Io<'_>,
) -> Result<Bytes, Failure> {
    let header = &batch.header;
    let horizon = header.has_delete_horizon().then_some(header.base_timestamp);
    write!(
        io.out,
        "baseOffset: {} lastOffset: {} count: {} baseSequence: {} lastSequence: {} producerId: {} \
         producerEpoch: {} partitionLeaderEpoch: {} isTransactional: {} isControl: {} \
         deleteHorizonMs: {}",
        header.base_offset,
        batch.last_offset(),
        header.count,
        header.base_sequence,
        batch.last_sequence(),
        header.producer_id,
        header.producer_epoch,
        header.leader_epoch,
        header.is_transactional(),
        header.is_control(),
        java::optional_long(horizon),
    )?;
    let codec = header.compression().ok_or_else(|| {
        failed(path)(format!("unknown compression codec {}", header.compression_id()))
    })?;
    let whole = file.whole(batch).map_err(failed(path))?;
    writeln!(
        io.out,
        " position: {} {}: {} size: {} magic: {} compresscodec: {} crc: {} isvalid: {}",
        batch.position,
        timestamp_type(header.timestamp_type()),
        header.max_timestamp,
        batch.size,
        header.magic,
        codec.name(),
        header.crc,
        batch.is_valid(&whole),
    )?;
    Ok(whole)
}

fn print_record(
    path: &str,
    batch: &Batch,
    record: &Record,
    decoder: Decoder,
    options: &Options,
    io: &mut Io<'_>,
) -> Result<(), Failure> {
    let is_control = batch.header.is_control();
    if !options.skip_metadata {
        let size = |bytes: &Option<Bytes>| bytes.as_ref().map_or(-1, |bytes| bytes.len() as i64);
        let headers: Vec<_> = record.headers.iter().map(|n| String::from_utf8_lossy(n)).collect();
        write!(
            io.out,
            "| offset: {} {}: {} keySize: {} valueSize: {} sequence: {} headerKeys: [{}]",
            record.offset,
            timestamp_type(batch.header.timestamp_type()),
            record.timestamp,
            size(&record.key),
            size(&record.value),
            record.sequence,
            headers.join(",")
        )?;
        if is_control {
            let control = control(record).map_err(failed(path))?;
            write!(io.out, "{control}")?;
        }
    }
    if options.contents && !is_control {
        let mut prefix = if options.skip_metadata { "| " } else { " " };
        let (key, value) = decoder.show(record).map_err(failed(path))?;
        if let Some(key) = key {
            write!(io.out, "{prefix}key: {key}")?;
            prefix = " ";
        }
        if let Some(value) = value {
            write!(io.out, "{prefix}payload: {value}")?;
        }
    }
    writeln!(io.out)?;
    Ok(())
}

/// What a control record says, with a space in front.
fn control(record: &Record) -> Result<String, String> {
    let cut = "a control record is cut short";
    let mut key = Reader::new(record.key.clone().ok_or("a control record has no key")?);
    let (version, kind) = (key.i16().map_err(|_| cut)?, key.i16().map_err(|_| cut)?);
    if version < 0 {
        return Err(format!("a control record of version {version}"));
    }
    let value = || record.value.clone().ok_or("a control record has no value");
    let marker = |name: &str| -> Result<String, String> {
        let mut value = Reader::new(value()?);
        let (_, epoch) = (value.i16().map_err(|_| cut)?, value.i32().map_err(|_| cut)?);
        Ok(format!(" endTxnMarker: {name} coordinatorEpoch: {epoch}"))
    };
    let known = record.key.as_ref().and_then(|key| ControlKind::of_key(key));
    let (title, schema) = match known {
        Some(ControlKind::Abort) => return marker("ABORT"),
        Some(ControlKind::Commit) => return marker("COMMIT"),
        Some(ControlKind::LeaderChange) => ("LeaderChange:", "LeaderChangeMessage"),
        Some(ControlKind::SnapshotHeader) => ("SnapshotHeader", "SnapshotHeaderRecord"),
        Some(ControlKind::SnapshotFooter) => ("SnapshotFooter", "SnapshotFooterRecord"),
        Some(ControlKind::KRaftVersion) => ("KRaftVersion", "KRaftVersionRecord"),
        Some(ControlKind::KRaftVoters) => ("KRaftVoters", "VotersRecord"),
        None => return Ok(format!(" controlType: UNKNOWN({kind})")),
    };
    let schema = Message::find(schema).ok_or("no schema of a control record")?;
    // Apache Kafka reads version 0 whatever the version in the record says, which version 1 of a
    // LeaderChangeMessage was made for: its fields end up ignored.
    let data = json::read(schema, 0, &mut Reader::new(value()?)).map_err(|e| e.to_string())?;
    Ok(format!(" {title} {}", java::message_json(schema, &data)))
}

fn timestamp_type(kind: TimestampType) -> &'static str {
    match kind {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    }
}

/// The offset in a file's name, up to its first dot.
fn base_offset(path: &str) -> Result<i64, Failure> {
    let name = path.rsplit('/').next().unwrap_or_default();
    let digits = name.split('.').next().unwrap_or_default();
    digits.parse().map_err(|_| failed(path)("its name does not begin with an offset".into()))
}

/// As [`base_offset`], for files that tell nothing else by their name.
fn first_offset_part(path: &str) -> Result<(), Failure> {
    base_offset(path).map(|_| ())
}

/// End offset and epoch in the name of a metadata snapshot.
fn snapshot_id(path: &str, name: &str) -> Result<(i64, i32), Failure> {
    let offset = name.get(..20).and_then(|digits| digits.parse().ok());
    let epoch = name.get(21..31).and_then(|digits| digits.parse().ok());
    offset.zip(epoch).ok_or_else(|| failed(path)("its name is not OFFSET-EPOCH.checkpoint".into()))
}

/// The file of the same segment with another suffix.
fn beside(path: &str, suffix: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or_default();
    let dir = path.strip_suffix(name).unwrap_or_default();
    format!("{dir}{}{suffix}", name.split('.').next().unwrap_or_default())
}

fn failed(path: &str) -> impl Fn(String) -> Failure + '_ {
    move |what| Failure::new(format!("error: {path}: {what}"))
}

/// What does not fit together; told after everything was dumped, and no failure.
#[derive(Default)]
struct Errors {
    mismatches: BTreeMap<String, BTreeMap<i64, i64>>,
    times: BTreeMap<String, Vec<String>>,
    gaps: BTreeMap<String, BTreeMap<i64, i64>>,
}

impl Errors {
    fn index_mismatch(&mut self, path: &str, indexed: i64, found: i64) {
        self.mismatches.entry(path.to_owned()).or_default().insert(indexed, found);
    }

    fn time_mismatch(&mut self, path: &str, indexed: i64, found: i64) {
        self.time(path, format!("index timestamp {indexed}, but the log has {found}"));
    }

    fn time_falls(&mut self, path: &str, indexed: i64, before: i64) {
        self.time(path, format!("index timestamp {indexed} after {before}"));
    }

    fn time_offset_missing(&mut self, path: &str, indexed: i64, found: i64) {
        self.time(path, format!("indexed offset {indexed} is not in the log, but {found}"));
    }

    fn time(&mut self, path: &str, what: String) {
        self.times.entry(path.to_owned()).or_default().push(what);
    }

    fn gap(&mut self, path: &str, before: i64, after: i64) {
        let gaps = self.gaps.entry(path.to_owned()).or_default();
        // A log of many compacted gaps must not fill the memory.
        if gaps.len() < GAPS_MAX {
            gaps.insert(before, after);
        }
    }

    fn told(&self) -> String {
        let mut text = String::new();
        for (path, offsets) in &self.mismatches {
            let _ = writeln!(text, "Mismatches in :{path}");
            for (indexed, found) in offsets.iter().rev() {
                let _ = writeln!(text, "  Index offset: {indexed}, log offset: {found}");
            }
        }
        for (path, lines) in &self.times {
            let _ = writeln!(text, "Wrong times in {path}");
            for line in lines {
                let _ = writeln!(text, "  {line}");
            }
        }
        for (path, gaps) in &self.gaps {
            let _ = writeln!(text, "Non-consecutive offsets in {path}");
            for (before, after) in gaps {
                let _ = writeln!(text, "  {before} is followed by {after}");
            }
        }
        text
    }
}

const STRING_DECODER: &str = "org.apache.kafka.tools.api.StringDecoder";
const CLASSES: &[(&str, Plain)] = &[
    (STRING_DECODER, Plain::Text),
    ("org.apache.kafka.tools.api.IntegerDecoder", Plain::Integer),
    ("org.apache.kafka.tools.api.LongDecoder", Plain::Long),
    ("org.apache.kafka.tools.api.DefaultDecoder", Plain::Bytes),
];
/// Gaps that are remembered of one file.
const GAPS_MAX: usize = 100_000;

#[cfg(test)]
mod tests;
