//! `ottla topic get`: the newest record of a key.

use client::{Admin, ConsumerRecord, TopicPartition};
use wire::Bytes;

use super::consume::Shape;
use super::output::escape;
use super::{
    ALL_PARTITIONS, COMMAND_CONFIG, Call, KEY_FORMAT, NOT_FOUND, PROPERTY, SERVER, Verb, failed,
    format, told, topic, usage,
};
use crate::flags::{Spec, switch, value};
use crate::{Failure, cluster};

pub(super) static GET: Verb = Verb {
    spec: &Spec {
        tool: "ottla topic get",
        about: "Shows the newest record of a key, unless that deleted it.",
        flags: &[
            KEY_FORMAT,
            value(
                &["partition", "p"],
                "n",
                "Look in this partition. The one that producers put the key into unless given.",
            ),
            ALL_PARTITIONS,
            value(
                &["format", "f"],
                "text",
                "How to write the record, as for ottla consume. %v\\n unless given.",
            ),
            value(
                &["output", "o"],
                "form",
                "json or jsonl: an object; table: a line of all parts.",
            ),
            switch(&["read-committed"], "Leave out what transactions took back or may yet."),
            SERVER,
            PROPERTY,
            COMMAND_CONFIG,
        ],
    },
    arguments: ("TOPIC KEY", 2..=2),
    run: get,
};

fn get(call: &mut Call<'_, '_>) -> Result<u8, Failure> {
    let shape = Shape::of(call)?;
    let parsed = call.parsed;
    let [name, text] = call.arguments() else { return Err(call.wrong("TOPIC and KEY")) };
    let name = name.clone();
    let coding = parsed.value("key-format").map_err(usage)?;
    let key = format::key(text, coding).map_err(|text| call.wrong(&format!("KEY: {text}")))?;
    let partition: Option<i32> = parsed.number("partition").map_err(usage)?;
    let anywhere = parsed.has("all-partitions");
    if partition.is_some() && anywhere {
        return Err(call.wrong("--all-partitions can't be used with --partition"));
    }
    let mut changes = vec![("allow.auto.create.topics", "false".to_owned())];
    if parsed.has("read-committed") {
        changes.push(("isolation.level", "read_committed".into()));
    }
    let properties = call.properties(&changes)?;
    let found = cluster::block_on(async {
        let admin = call.connect(&properties).await?;
        let there = topic::partitions(&admin, &name).await?;
        let wanted = match partition {
            Some(index) if !there.contains(&index) => {
                let text = format!("error: {name} has no partition {index}, but {}", there.len());
                return Err(told(text, NOT_FOUND));
            }
            Some(index) => vec![TopicPartition::new(&name, index)],
            None if anywhere => {
                there.iter().map(|index| TopicPartition::new(&name, *index)).collect()
            }
            None => vec![admin.client().partition_of(&name, &key).await.map_err(failed)?],
        };
        look_up(&admin, &wanted, &key).await
    })??;
    let Some(newest) = found.iter().max_by_key(|record| record.timestamp) else {
        let mut text = format!("error: {}: there is no record with that key", escape(&name));
        if !anywhere && partition.is_none() {
            text +=
                " where producers put it\n  --all-partitions looks in the other partitions, too";
        }
        return Err(told(text, NOT_FOUND));
    };
    if found.len() > 1 {
        let mut places: Vec<i32> = found.iter().map(|record| record.partition).collect();
        places.sort_unstable();
        let text = format!(
            "warning: {}: the key is in the partitions {places:?}; this is its youngest record",
            escape(&name)
        );
        call.say(&text);
    }
    if newest.value.is_none() {
        let (partition, offset) = (newest.partition, newest.offset);
        let text = format!("error: {name}: the key was deleted, at {name}-{partition}@{offset}");
        return Err(told(text, NOT_FOUND));
    }
    shape.write(call.io, newest, 0)?;
    Ok(0)
}

/// The newest record of the key in each of these partitions that has one.
async fn look_up(
    admin: &Admin,
    partitions: &[TopicPartition],
    key: &Bytes,
) -> Result<Vec<ConsumerRecord>, Failure> {
    let mut found = Vec::new();
    for partition in partitions {
        let looked_up = admin.client().look_up(partition, key).await.map_err(failed)?;
        found.extend(looked_up.newest);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::run;
    use crate::Io;

    #[test]
    fn what_can_not_be_looked_up_is_refused_before_anything_is_reached() {
        for args in [
            &["letters"][..],
            &["letters", "a", "b"],
            &["letters", "xyz", "--key-format", "hex"],
            &["letters", "abc", "--key-format", "hex"],
            &["letters", "a", "--key-format", "json"],
            &["letters", "a", "-p", "1", "--all-partitions"],
            &["letters", "a", "-p", "x"],
            &["letters", "a", "-o", "name"],
            &["letters", "a", "-f", "%q"],
        ] {
            let mut words = vec!["topic".to_owned(), "get".to_owned()];
            words.extend(args.iter().map(|arg| (*arg).to_owned()));
            let (mut out, mut err) = (Vec::new(), Vec::new());
            let mut io = Io { stdin: &mut std::io::empty(), out: &mut out, err: &mut err };
            let code = run(&words, &mut io);
            assert_eq!((code, out.len()), (2, 0), "{args:?}");
            assert!(err.starts_with(b"error: "), "{args:?}");
        }
    }
}
