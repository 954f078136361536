//! What the consumer prints of a record: Apache Kafka's formatter classes, by their names.
//!
//! Invariants:
//! - I1: a formatter appends to what is to be printed and waits for nothing.
//! - I2: what was appended before an error stays, as it does in Apache Kafka's tool.

use std::io::Write;

use client::ConsumerRecord;
use wire::batch::TimestampType;

use super::deserializer::Deserializer;
use super::{Properties, is_true};
use crate::Failure;
use crate::coordinator_records::{self, OFFSETS, Records, SHARE_STATE, TRANSACTIONS, Unread};

/// See the module.
#[derive(Debug)]
pub(super) enum Formatter {
    /// Columns.
    Columns(Box<Columns>),
    /// The same, and a line on standard error.
    Logging(Box<Columns>),
    /// Nothing.
    Nothing,
    /// JSON of records of coordinators: of these topics, and of them these types.
    Coordinator(Records, &'static [i16]),
}

impl Formatter {
    /// By the full name of its class, with its properties. What is passed over is told on `err`.
    ///
    /// # Errors
    /// A class that is not here.
    pub fn new(class: &str, properties: &Properties, err: &mut dyn Write) -> Result<Self, Failure> {
        let mut columns = || Box::new(Columns::new(properties, err));
        let name = class.strip_prefix(PACKAGE);
        Ok(match name {
            Some("DefaultMessageFormatter") => Self::Columns(columns()),
            Some("LoggingMessageFormatter") => Self::Logging(columns()),
            Some("NoOpMessageFormatter") => Self::Nothing,
            Some("OffsetsMessageFormatter") => Self::Coordinator(OFFSETS, &[0, 1]),
            Some("GroupMetadataMessageFormatter") => Self::Coordinator(OFFSETS, &[2]),
            Some("ShareGroupMessageFormatter") => {
                Self::Coordinator(OFFSETS, &[10, 11, 12, 13, 14, 15])
            }
            Some("TransactionLogMessageFormatter") => Self::Coordinator(TRANSACTIONS, &[0]),
            Some("group.share.ShareGroupStateMessageFormatter") => {
                Self::Coordinator(SHARE_STATE, &[0, 1])
            }
            _ => {
                let known = CLASSES.map(|name| format!("\n  {PACKAGE}{name}")).concat();
                return Err(Failure::new(format!(
                    "error: --formatter {class}: no Java class can be loaded here; there are{known}"
                )));
            }
        })
    }

    /// Appends what is to be printed of a record.
    ///
    /// # Errors
    /// It can't be decoded.
    pub fn write(
        &self,
        record: &ConsumerRecord,
        out: &mut Vec<u8>,
        err: &mut dyn Write,
    ) -> Result<(), String> {
        match self {
            Self::Columns(columns) => columns.write(record, out),
            Self::Logging(columns) => {
                columns.write(record, out)?;
                let text = |bytes: &Option<wire::Bytes>| match bytes {
                    Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                    None => "null".to_owned(),
                };
                let (key, value) = (text(&record.key), text(&record.value));
                let stamp = match timestamp(record) {
                    Some((kind, at)) => format!("{kind}:{at}, "),
                    None => String::new(),
                };
                let _ = writeln!(err, "{stamp}key:{key}, value:{value}");
                Ok(())
            }
            Self::Nothing => Ok(()),
            Self::Coordinator(records, kinds) => coordinator(records, kinds, record, out),
        }
    }
}

fn coordinator(
    records: Records,
    kinds: &[i16],
    record: &ConsumerRecord,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    let Some(key) = &record.key else { return Ok(()) };
    let shown = match coordinator_records::show(records, key, record.value.as_ref(), |_, _| None) {
        Ok(shown) if kinds.contains(&shown.kind) => shown,
        Ok(_) | Err(Unread::Type(_)) => return Ok(()),
        Err(Unread::Other(error)) => return Err(error),
    };
    let (kind, key) = (shown.kind, shown.key);
    let written = match shown.value {
        Some((version, data)) => write!(
            out,
            "{{\"key\":{{\"type\":{kind},\"data\":{key}}},\"value\":{{\"version\":{version},\
             \"data\":{data}}}}}"
        ),
        None => write!(out, "{{\"key\":{{\"type\":{kind},\"data\":{key}}},\"value\":null}}"),
    };
    written.map_err(|error| error.to_string())
}

/// What is printed of a record, in the order of the columns.
#[derive(Debug)]
pub(super) struct Columns {
    timestamp: bool,
    partition: bool,
    offset: bool,
    delivery: bool,
    epoch: bool,
    headers: bool,
    key: bool,
    value: bool,
    key_separator: Vec<u8>,
    line_separator: Vec<u8>,
    headers_separator: Vec<u8>,
    null: Vec<u8>,
    key_deserializer: Option<Deserializer>,
    value_deserializer: Option<Deserializer>,
    headers_deserializer: Option<Deserializer>,
}

impl Columns {
    fn new(properties: &Properties, err: &mut dyn Write) -> Self {
        let on = |name: &str| is_true(properties, &format!("print.{name}"));
        let text = |key: &str, default: &str| {
            properties.get(key).map_or(default, String::as_str).as_bytes().to_vec()
        };
        let mut deserializer = |key: &str| {
            let class = properties.get(key)?;
            let found = Deserializer::from_class(class);
            if found.is_none() {
                let _ = writeln!(
                    err,
                    "warning: {key} {class}: no Java class can be loaded here, so bytes are \
                     printed as they are"
                );
            }
            found
        };
        Self {
            timestamp: on("timestamp"),
            partition: on("partition"),
            offset: on("offset"),
            delivery: on("delivery"),
            epoch: on("epoch"),
            headers: on("headers"),
            key: on("key"),
            value: !properties.contains_key("print.value") || on("value"),
            key_separator: text("key.separator", "\t"),
            line_separator: text("line.separator", "\n"),
            headers_separator: text("headers.separator", ","),
            null: text("null.literal", "null"),
            key_deserializer: deserializer("key.deserializer"),
            value_deserializer: deserializer("value.deserializer"),
            headers_deserializer: deserializer("headers.deserializer"),
        }
    }

    fn write(&self, record: &ConsumerRecord, out: &mut Vec<u8>) -> Result<(), String> {
        // How many columns are still to come after the one at hand.
        let columns = [
            self.timestamp,
            self.partition,
            self.offset,
            self.delivery,
            self.epoch,
            self.headers,
            self.key,
            self.value,
        ];
        let mut left = columns.iter().filter(|on| **on).count();
        let mut end = |out: &mut Vec<u8>| {
            left -= 1;
            out.extend_from_slice(if left > 0 {
                &self.key_separator
            } else {
                &self.line_separator
            });
        };
        // Nothing fails when it is written to memory.
        if self.timestamp {
            let _ = match timestamp(record) {
                Some((kind, at)) => write!(out, "{kind}:{at}"),
                None => out.write_all(b"NO_TIMESTAMP"),
            };
            end(out);
        }
        if self.partition {
            let _ = write!(out, "Partition:{}", record.partition);
            end(out);
        }
        if self.offset {
            let _ = write!(out, "Offset:{}", record.offset);
            end(out);
        }
        if self.delivery {
            out.extend_from_slice(b"Delivery:NOT_PRESENT");
            end(out);
        }
        if self.epoch {
            // Whatever is known: Apache Kafka's tool loses it on the way to its formatter.
            out.extend_from_slice(b"Epoch:NOT_PRESENT");
            end(out);
        }
        if self.headers {
            if record.headers.is_empty() {
                out.extend_from_slice(b"NO_HEADERS");
            }
            for (index, (name, value)) in record.headers.iter().enumerate() {
                if index > 0 {
                    out.extend_from_slice(&self.headers_separator);
                }
                let _ = write!(out, "{name}:");
                self.show(self.headers_deserializer, value.as_deref(), out)?;
            }
            end(out);
        }
        if self.key {
            self.show(self.key_deserializer, record.key.as_deref(), out)?;
            end(out);
        }
        if self.value {
            self.show(self.value_deserializer, record.value.as_deref(), out)?;
            end(out);
        }
        Ok(())
    }

    /// Null is deserialized, too: as the bytes of the text that stands for it.
    fn show(
        &self,
        deserializer: Option<Deserializer>,
        bytes: Option<&[u8]>,
        out: &mut Vec<u8>,
    ) -> Result<(), String> {
        let bytes = bytes.unwrap_or(&self.null);
        match deserializer {
            Some(deserializer) => deserializer.show(bytes, out),
            None => {
                out.extend_from_slice(bytes);
                Ok(())
            }
        }
    }
}

fn timestamp(record: &ConsumerRecord) -> Option<(&'static str, i64)> {
    let kind = match record.timestamp_type {
        TimestampType::CreateTime => "CreateTime",
        TimestampType::LogAppendTime => "LogAppendTime",
    };
    (record.timestamp >= 0).then_some((kind, record.timestamp))
}

const PACKAGE: &str = "org.apache.kafka.tools.consumer.";
const CLASSES: [&str; 8] = [
    "DefaultMessageFormatter",
    "LoggingMessageFormatter",
    "NoOpMessageFormatter",
    "OffsetsMessageFormatter",
    "GroupMetadataMessageFormatter",
    "TransactionLogMessageFormatter",
    "ShareGroupMessageFormatter",
    "group.share.ShareGroupStateMessageFormatter",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> ConsumerRecord {
        ConsumerRecord {
            topic: "t".into(),
            partition: 3,
            offset: 7,
            timestamp: 1_700_000_000_000,
            timestamp_type: TimestampType::CreateTime,
            leader_epoch: Some(5),
            key: Some("k".into()),
            value: Some("v".into()),
            headers: vec![("a".into(), Some("1".into())), ("b".into(), None)],
        }
    }

    fn format(class: &str, pairs: &[(&str, &str)], record: &ConsumerRecord) -> (String, String) {
        let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let class = format!("{PACKAGE}{class}");
        let formatter = Formatter::new(&class, &pairs.collect(), &mut err).unwrap();
        if let Err(error) = formatter.write(record, &mut out, &mut err) {
            err.extend_from_slice(error.as_bytes());
        }
        (String::from_utf8_lossy(&out).into_owned(), String::from_utf8(err).unwrap())
    }

    fn columns(pairs: &[(&str, &str)], record: &ConsumerRecord) -> String {
        let (out, err) = format("DefaultMessageFormatter", pairs, record);
        assert_eq!(err, "");
        out
    }

    const ALL: [(&str, &str); 7] = [
        ("print.timestamp", "true"),
        ("print.partition", "true"),
        ("print.offset", "true"),
        ("print.delivery", "true"),
        ("print.epoch", "TRUE"),
        ("print.headers", "true"),
        ("print.key", "true"),
    ];

    #[test]
    fn columns_have_an_order_and_the_last_ends_the_line() {
        let stamp = "CreateTime:1700000000000";
        assert_eq!(
            columns(&ALL, &record()),
            format!(
                "{stamp}\tPartition:3\tOffset:7\tDelivery:NOT_PRESENT\tEpoch:NOT_PRESENT\t\
                 a:1,b:null\tk\tv\n"
            )
        );
        assert_eq!(columns(&[], &record()), "v\n");
        let keys = [("print.key", "true"), ("print.value", "no"), ("line.separator", "|")];
        assert_eq!(columns(&keys, &record()), "k|");
        assert_eq!(columns(&[("print.value", "false")], &record()), "");
        let mut bare = record();
        bare.timestamp = -1;
        bare.headers.clear();
        let some = [("print.timestamp", "true"), ("print.headers", "true"), ("key.separator", "/")];
        assert_eq!(columns(&some, &bare), "NO_TIMESTAMP/NO_HEADERS/v\n");
        bare.timestamp = 5;
        bare.timestamp_type = TimestampType::LogAppendTime;
        assert_eq!(columns(&some[..1], &bare), "LogAppendTime:5\tv\n");
    }

    #[test]
    fn null_is_a_text_that_is_deserialized() {
        let mut nothing = record();
        (nothing.key, nothing.value) = (None, None);
        let literal = [("null.literal", "nil"), ("print.key", "true"), ("print.headers", "true")];
        assert_eq!(columns(&literal, &nothing), "a:1,b:nil\tnil\tnil\n");
        let integer = "org.apache.kafka.common.serialization.IntegerDeserializer";
        let integers = [("print.key", "true"), ("key.deserializer", integer)];
        assert_eq!(columns(&integers, &nothing), "1853189228\tnull\n");
    }

    #[test]
    fn large_values_and_bytes_that_are_no_text_come_out_as_they_went_in() {
        let mut large = record();
        large.value = Some(vec![0xff; 900_000].into());
        let mut out = Vec::new();
        let formatter = Columns::new(&Properties::new(), &mut Vec::new());
        formatter.write(&large, &mut out).unwrap();
        assert_eq!(out.len(), 900_001);
        assert!(out.starts_with(&[0xff, 0xff]) && out.ends_with(&[0xff, b'\n']));
    }

    #[test]
    fn what_was_printed_before_an_error_stays() {
        let long = "org.apache.kafka.common.serialization.LongDeserializer";
        let pairs = [("print.offset", "true"), ("value.deserializer", long)];
        let (out, err) = format("DefaultMessageFormatter", &pairs, &record());
        assert_eq!(out, "Offset:7\t");
        assert_eq!(err, "Size of data received by LongDeserializer is not 8");
    }

    #[test]
    fn classes_are_known_by_name_and_others_are_named() {
        for class in CLASSES {
            let class = format!("{PACKAGE}{class}");
            assert!(Formatter::new(&class, &Properties::new(), &mut Vec::new()).is_ok(), "{class}");
        }
        let Err(Failure::Told { text, code: 1 }) = Formatter::new(
            "kafka.tools.DefaultMessageFormatter",
            &Properties::new(),
            &mut Vec::new(),
        ) else {
            panic!("a class of an old name");
        };
        assert!(text.contains("kafka.tools.DefaultMessageFormatter: no Java class"), "{text}");
        assert!(CLASSES.iter().all(|class| text.contains(class)), "{text}");
        let (out, err) = format("LoggingMessageFormatter", &[], &record());
        assert_eq!(
            (out.as_str(), err.as_str()),
            ("v\n", "CreateTime:1700000000000, key:k, value:v\n")
        );
        assert_eq!(format("NoOpMessageFormatter", &ALL, &record()), (String::new(), String::new()));
        let unknown = [("value.deserializer", "a.B")];
        let (out, err) = format("DefaultMessageFormatter", &unknown, &record());
        assert_eq!(out, "v\n");
        assert!(err.starts_with("warning: value.deserializer a.B: no Java class"), "{err}");
    }

    #[test]
    fn records_of_coordinators_are_json_and_others_are_nothing() {
        let mut offset = record();
        // Type 1, group "g", topic "t", partition 0; version 4.
        offset.key = Some(b"\0\x01\0\x01g\0\x01t\0\0\0\0".to_vec().into());
        offset.value = None;
        let key =
            "{\"key\":{\"type\":1,\"data\":{\"group\":\"g\",\"topic\":\"t\",\"partition\":0}}";
        let shown = |class: &str, record: &ConsumerRecord| format(class, &[], record);
        let (out, err) = shown("OffsetsMessageFormatter", &offset);
        assert_eq!((out, err.as_str()), (format!("{key},\"value\":null}}"), ""));
        let nothing = (String::new(), String::new());
        assert_eq!(shown("GroupMetadataMessageFormatter", &offset), nothing);
        offset.value = Some(b"\0\x63".to_vec().into());
        let (out, err) = shown("OffsetsMessageFormatter", &offset);
        assert_eq!(out, "");
        assert_eq!(err, "Found an unknown record version 99 for 1 type");
        offset.key = Some(b"\0\x63".to_vec().into());
        assert_eq!(shown("OffsetsMessageFormatter", &offset), nothing);
        offset.key = None;
        assert_eq!(shown("OffsetsMessageFormatter", &offset), nothing);
        // A transactional id without a value.
        offset.key = Some(b"\0\0\0\x02tx".to_vec().into());
        offset.value = None;
        let transaction =
            "{\"key\":{\"type\":0,\"data\":{\"transactionalId\":\"tx\"}},\"value\":null}";
        assert_eq!(shown("TransactionLogMessageFormatter", &offset).0, transaction);
    }
}
