//! `kafka-delete-records`: moves the start of partitions up, to offsets given in a file.
//!
//! A partition that fails is told on standard output, and the exit code stays 0, as for Apache
//! Kafka 4.3.1. Lines come in the order of the file; there, they have none.

use std::collections::BTreeSet;

use client::TopicPartition;
use serde_json::Value;
use wire::ErrorCode;

use crate::cluster::{self, BOOTSTRAP_SERVER, COMMAND_CONFIG, Trouble};
use crate::flags::{Spec, value};
use crate::{Failure, Io, Tool, finish};

/// The entry in the list of tools.
pub const TOOL: Tool = Tool {
    name: "kafka-delete-records",
    about: "Deletes the records of partitions before an offset.",
    run,
};

static SPEC: Spec = Spec {
    tool: TOOL.name,
    about: TOOL.about,
    flags: &[
        BOOTSTRAP_SERVER,
        value(
            &["offset-json-file"],
            "file",
            "Required. {\"version\":1,\"partitions\":[{\"topic\":\"t\",\"partition\":0,\
             \"offset\":5}]}; the offset -1 is all records.",
        ),
        COMMAND_CONFIG,
    ],
};

fn run(args: &[String], io: &mut Io<'_>) -> u8 {
    finish(io, |io| {
        let parsed = SPEC.parse(args, io)?;
        parsed.require(&["bootstrap-server", "offset-json-file"])?;
        let properties = cluster::properties(&parsed)?;
        let path = parsed.value("offset-json-file")?.unwrap_or_default();
        let content = std::fs::read_to_string(path)
            .map_err(|error| Failure::new(format!("error: {path}: {error}")))?;
        let before =
            read(&content).map_err(|what| Failure::new(format!("error: {path}: {what}")))?;
        let outcome = cluster::block_on(delete(&properties, &before, io))?;
        match outcome {
            Ok(()) => Ok(0),
            Err(Trouble::Failed(failure)) => Err(failure),
            Err(Trouble::Said { text, .. }) => Err(Failure::new(format!("error: {text}"))),
        }
    })
}

async fn delete(
    properties: &std::collections::BTreeMap<String, String>,
    before: &[(TopicPartition, i64)],
    io: &mut Io<'_>,
) -> Result<(), Trouble> {
    let admin = cluster::connect(properties, None, io).await?;
    writeln!(io.out, "Executing records delete operation")?;
    let outcomes = match before {
        [] => Vec::new(),
        _ => admin.delete_records(before).await?,
    };
    writeln!(io.out, "Records delete operation completed:")?;
    for (partition, outcome) in outcomes {
        match outcome {
            Ok(low) => writeln!(io.out, "partition: {partition}\tlow_watermark: {low}")?,
            Err(error) => {
                let words = match error.code {
                    // Java's client finds it out from the metadata, and says so.
                    ErrorCode::INVALID_TOPIC_EXCEPTION => format!(
                        "Failed to fetch metadata for partition {partition} due to invalid topic \
                         `{}`",
                        partition.topic
                    ),
                    _ => error.to_string(),
                };
                let text = Trouble::with_exception(Some(error.code), &words);
                writeln!(io.out, "partition: {partition}\terror: {text}")?;
            }
        }
    }
    Ok(())
}

/// Partitions and offsets in the file's JSON; what follows the first value is ignored.
fn read(content: &str) -> Result<Vec<(TopicPartition, i64)>, String> {
    let mut values = serde_json::Deserializer::from_str(content).into_iter::<Value>();
    let Some(Ok(json)) = values.next() else {
        return Err("The input string is not a valid JSON".into());
    };
    let json = json.as_object().ok_or_else(|| wrong("JSON object", &json))?;
    match json.get("version") {
        None => {}
        Some(version) => match int(version).ok_or_else(|| wrong("`Integer` value", version))? {
            1 => {}
            other => return Err(format!("Not supported version field value {other}")),
        },
    }
    let partitions = json.get("partitions").ok_or("Missing partitions field")?;
    let partitions = partitions.as_array().ok_or_else(|| wrong("JSON array", partitions))?;
    let mut seen = BTreeSet::new();
    let mut twice = BTreeSet::new();
    let mut before = Vec::new();
    for entry in partitions {
        let entry = entry.as_object().ok_or_else(|| wrong("JSON object", entry))?;
        let field =
            |name: &str| entry.get(name).ok_or_else(|| format!("No such field exists: `{name}`"));
        let topic = field("topic")?;
        let topic = topic.as_str().ok_or_else(|| wrong("`String` value", topic))?;
        let partition = field("partition")?;
        let partition = int(partition).ok_or_else(|| wrong("`Integer` value", partition))?;
        let offset = field("offset")?;
        let offset = offset.as_i64().ok_or_else(|| wrong("`Long` value", offset))?;
        let partition = TopicPartition::new(topic, partition);
        if !seen.insert(partition.clone()) {
            twice.insert(partition.to_string());
        }
        before.push((partition, offset));
    }
    if !twice.is_empty() {
        let twice: Vec<String> = twice.into_iter().collect();
        let twice = twice.join(",");
        return Err(format!("Offset json file contains duplicate topic partitions: {twice}"));
    }
    Ok(before)
}

fn int(json: &Value) -> Option<i32> {
    json.as_i64().and_then(|number| i32::try_from(number).ok())
}

fn wrong(expected: &str, received: &Value) -> String {
    format!("Expected {expected}, received {received}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run_for_test;

    #[test]
    fn the_file_lists_partitions_and_offsets() {
        let text = "{\"partitions\":[{\"topic\":\"a\",\"partition\":1,\"offset\":-1,\"more\":0}],\
                    \"version\":1} and more";
        assert_eq!(read(text), Ok(vec![(TopicPartition::new("a", 1), -1)]));
        assert_eq!(read("{\"partitions\":[]}"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_wrong_with_the_file_is_named() {
        let entry = |fields: &str| format!("{{\"partitions\":[{fields}]}}");
        let whole = "{\"topic\":\"b\",\"partition\":0,\"offset\":1}";
        let pairs = [
            ("".into(), "The input string is not a valid JSON"),
            ("[]".into(), "Expected JSON object, received []"),
            ("{}".into(), "Missing partitions field"),
            ("{\"version\":2}".into(), "Not supported version field value 2"),
            ("{\"version\":1.0}".into(), "Expected `Integer` value, received 1.0"),
            ("{\"partitions\":{}}".into(), "Expected JSON array, received {}"),
            (entry("5"), "Expected JSON object, received 5"),
            (entry("{}"), "No such field exists: `topic`"),
            (entry("{\"topic\":5}"), "Expected `String` value, received 5"),
            (
                entry("{\"topic\":\"b\",\"partition\":0,\"offset\":\"1\"}"),
                "Expected `Long` value, received \"1\"",
            ),
            (
                entry(&format!("{whole},{whole}")),
                "Offset json file contains duplicate topic partitions: b-0",
            ),
        ];
        for (text, told) in pairs {
            assert_eq!(read(&text).unwrap_err(), told, "{text}");
        }
    }

    #[test]
    fn both_flags_are_required() {
        let (code, out, err) = run_for_test(&TOOL, &["--offset-json-file=x"], "");
        assert_eq!((code, out.as_str()), (1, ""));
        assert!(err.starts_with("error: --bootstrap-server is required"), "{err}");
        let (_, _, err) = run_for_test(&TOOL, &["--bootstrap-server=localhost:1"], "");
        assert!(err.starts_with("error: --offset-json-file is required"), "{err}");
    }
}
