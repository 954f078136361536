//! Real input through Ottla, with its client library: 20 000 flights of early 2001.
//!
//! `flights create` makes the topic, `load FILE` writes every flight in the order of departure,
//! keyed by airport, with the time of departure as its timestamp; `read FILE` is a member of a
//! group that writes down what it is given, `check FILE READ...` proves that what came out is what
//! went in, and `replay DATE FILE` reads again from a date on and proves that.
//!
//! The `run` script beside this does all of it.
#![allow(clippy::print_stdout)] // A program for people.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use client::admin::NewTopic;
use client::{Admin, Client, Consumer, ConsumerRecord, Options, Producer, Record, TopicPartition};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const TOPIC: &str = "flights";
const GROUP: &str = "departures";
const PARTITIONS: i32 = 6;

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["create"] => create().await,
        ["load", file] => load(file).await,
        ["read", file] => read(file).await,
        ["check", file, parts @ ..] => check(file, parts),
        ["replay", date, file] => replay(date, file).await,
        _ => {
            Err("usage: flights create|load FILE|read FILE|check FILE READ...|replay DATE FILE"
                .into())
        }
    };
    match done {
        Ok(told) => {
            println!("{told}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn connect(properties: &[(&str, &str)]) -> Outcome<Client> {
    let server = std::env::var("OTTLA_SERVER").unwrap_or_else(|_| "localhost:9092".to_owned());
    let mut all = BTreeMap::from([("bootstrap.servers".to_owned(), server)]);
    all.extend(properties.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    Ok(Client::connect(Options::from_properties(&all)?).await?)
}

async fn create() -> Outcome<String> {
    let admin = Admin::new(connect(&[]).await?);
    let topic = NewTopic {
        configs: vec![
            // Records are as old as their timestamps say, and these are of 2001: with the default
            // of seven days they would be deleted as soon as they were written.
            ("retention.ms".into(), "-1".into()),
            // A segment is closed when its timestamps span more than this: with the default of
            // seven days three months of flights would lie in thirteen segments a partition.
            ("segment.ms".into(), "31536000000".into()),
        ],
        ..NewTopic::new(TOPIC, PARTITIONS)
    };
    for (_, made) in admin.create_topics(&[topic], false).await? {
        made?;
    }
    Ok(format!("topic {TOPIC} with {PARTITIONS} partitions"))
}

/// A flight: its airport, its time of departure in ms since 1970 UTC, and all that is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Flight {
    origin: String,
    departure: i64,
    document: String,
}

/// The flights of a file, in the order in which they left the ground.
fn flights(file: &str) -> Outcome<Vec<Flight>> {
    let rows: Vec<Value> = serde_json::from_slice(&std::fs::read(file)?)?;
    let flight = |row: &Value| -> Outcome<Flight> {
        let text = |field: &str| {
            row[field].as_str().map(str::to_owned).ok_or_else(|| format!("no {field} in {row}"))
        };
        let date = text("date")?;
        let departure = time(&date).ok_or_else(|| format!("{date} is no time"))?;
        Ok(Flight { origin: text("origin")?, departure, document: row.to_string() })
    };
    let mut flights = rows.iter().map(flight).collect::<Outcome<Vec<Flight>>>()?;
    flights.sort_by_key(|flight| flight.departure);
    Ok(flights)
}

/// `2001/01/31 18:20` or `2001-01-31`, UTC, in ms since 1970.
fn time(text: &str) -> Option<i64> {
    let numbers = text.split(['/', '-', ' ', ':']).map(str::parse).collect::<Result<Vec<i64>, _>>();
    let (year, month, day, minutes) = match numbers.ok()?[..] {
        [year, month, day] => (year, month, day, 0),
        [year, month, day, hour, minute] => (year, month, day, hour * 60 + minute),
        _ => return None,
    };
    // Years that begin in March end with the day that leap years add.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    Some(((days - 719_468) * 1440 + minutes) * 60_000)
}

async fn load(file: &str) -> Outcome<String> {
    let flights = flights(file)?;
    let producer = Producer::new(connect(&[("compression.type", "zstd")]).await?);
    let mut deliveries = Vec::with_capacity(flights.len());
    for flight in &flights {
        let mut record = Record::new(TOPIC, flight.document.clone()).key(flight.origin.clone());
        record.timestamp = Some(flight.departure);
        // Waits only where there is no room; the broker's word comes with the delivery.
        deliveries.push(producer.enqueue(record).await?);
    }
    producer.flush().await?;
    for delivery in deliveries {
        delivery.await?;
    }
    producer.close().await?;
    Ok(format!("{} flights written", flights.len()))
}

/// Reads as a member of the group until it is told to end, and writes down what it was given.
async fn read(file: &str) -> Outcome<String> {
    let options = [
        ("group.id", GROUP),
        ("auto.offset.reset", "earliest"),
        ("auto.commit.interval.ms", "100"),
    ];
    let consumer = Consumer::new(connect(&options).await?);
    consumer.subscribe(&[TOPIC])?;
    let mut out = BufWriter::new(std::fs::File::create(file)?);
    let mut end = signal(SignalKind::terminate())?;
    let mut count = 0;
    loop {
        let records = tokio::select! {
            records = consumer.poll(Duration::from_secs(1)) => records?,
            _ = end.recv() => break,
        };
        for record in records {
            writeln!(out, "{}", written_down(&record)?)?;
            count += 1;
        }
    }
    out.flush()?;
    consumer.close().await?;
    Ok(format!("{count} flights read"))
}

fn written_down(record: &ConsumerRecord) -> Outcome<Value> {
    let text = |bytes: Option<&[u8]>| -> Outcome<String> {
        let bytes = bytes.ok_or("a record without key or value")?;
        Ok(std::str::from_utf8(bytes)?.to_owned())
    };
    Ok(json!({
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": text(record.key.as_deref())?,
        "value": text(record.value.as_deref())?,
    }))
}

/// Flights by airport, each airport's in order.
fn by_airport(flights: impl Iterator<Item = Flight>) -> BTreeMap<String, Vec<Flight>> {
    let mut airports: BTreeMap<String, Vec<Flight>> = BTreeMap::new();
    for flight in flights {
        airports.entry(flight.origin.clone()).or_default().push(flight);
    }
    airports
}

/// Every member got a share, no two of them the same record, and together they have what is in the
/// file: of each airport the same flights in the same order.
fn check(file: &str, parts: &[&str]) -> Outcome<String> {
    let mut records: BTreeMap<(i64, i64), Flight> = BTreeMap::new();
    let mut homes: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    let mut shares = Vec::new();
    for part in parts {
        let mut share = BTreeSet::new();
        for line in std::fs::read_to_string(part)?.lines() {
            let row: Value = serde_json::from_str(line)?;
            let number = |field: &str| row[field].as_i64().ok_or(format!("no {field} in {line}"));
            let text = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
            let (partition, offset) = (number("partition")?, number("offset")?);
            let flight = Flight {
                origin: text("key"),
                departure: number("timestamp")?,
                document: text("value"),
            };
            homes.entry(flight.origin.clone()).or_default().insert(partition);
            share.insert(partition);
            if records.insert((partition, offset), flight).is_some() {
                return Err(format!("{partition}@{offset} was read twice").into());
            }
        }
        if share.is_empty() {
            return Err(format!("the member of {part} got nothing").into());
        }
        shares.push(format!("{share:?}"));
    }
    if let Some((airport, partitions)) = homes.iter().find(|(_, partitions)| partitions.len() > 1) {
        return Err(format!("{airport} is in the partitions {partitions:?}").into());
    }
    let count = records.len();
    let out = by_airport(records.into_values());
    compare(&by_airport(flights(file)?.into_iter()), &out)?;
    let (airports, shares) = (out.len(), shares.join(", "));
    Ok(format!("{count} flights of {airports} airports, in order; partitions of members: {shares}"))
}

fn compare(
    expected: &BTreeMap<String, Vec<Flight>>,
    out: &BTreeMap<String, Vec<Flight>>,
) -> Outcome<()> {
    if let Some(stranger) = out.keys().find(|airport| !expected.contains_key(*airport)) {
        return Err(format!("{stranger} is no airport of the file").into());
    }
    for (airport, flights) in expected {
        let found = out.get(airport).map(Vec::as_slice).unwrap_or_default();
        if flights != found {
            let (wanted, got) = (flights.len(), found.len());
            return Err(format!("{airport}: {wanted} flights in, {got} out, not the same").into());
        }
    }
    Ok(())
}

/// Reads again from a date on, without a group.
async fn replay(date: &str, file: &str) -> Outcome<String> {
    let from = time(date).ok_or_else(|| format!("{date}: expected a date, 2001-02-01"))?;
    let client = connect(&[]).await?;
    let partitions: Vec<TopicPartition> =
        (0..PARTITIONS).map(|index| TopicPartition::new(TOPIC, index)).collect();
    let consumer = Consumer::new(client.clone());
    consumer.assign(&partitions)?;
    let times: Vec<_> = partitions.iter().map(|one| (one.clone(), from)).collect();
    let mut ends: BTreeMap<TopicPartition, i64> =
        consumer.end_offsets(&partitions).await?.into_iter().collect();
    for (partition, found) in consumer.offsets_for_times(&times).await? {
        match found {
            Some(found) => consumer.seek(&partition, found.offset)?,
            // Nothing is that young there.
            None => drop(ends.remove(&partition)),
        }
    }
    consumer.assign(&ends.keys().cloned().collect::<Vec<_>>())?;
    let mut read = Vec::new();
    while !ends.is_empty() {
        let records = consumer.poll(Duration::from_secs(10)).await?;
        if records.is_empty() {
            return Err(format!("nothing more came of {:?}", ends.keys()).into());
        }
        for record in records {
            let partition = TopicPartition::new(&*record.topic, record.partition);
            if ends.get(&partition).is_some_and(|end| record.offset + 1 >= *end) {
                ends.remove(&partition);
            }
            let row = written_down(&record)?;
            let text = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
            let (origin, document) = (text("key"), text("value"));
            read.push(Flight { origin, departure: record.timestamp, document });
        }
    }
    consumer.close().await?;
    let expected = flights(file)?.into_iter().filter(|flight| flight.departure >= from);
    let count = read.len();
    compare(&by_airport(expected), &by_airport(read.into_iter()))?;
    Ok(format!("{count} flights since {date}, in order"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc() {
        assert_eq!(time("1970/01/01 00:00"), Some(0));
        assert_eq!(time("2001/03/01 12:30"), Some(983_449_800_000));
        assert_eq!(time("2001-02-28"), Some(983_318_400_000));
        assert_eq!(time("soon"), None);
    }

    fn flight(origin: &str, departure: i64) -> Flight {
        Flight { origin: origin.into(), departure, document: "{}".into() }
    }

    #[test]
    fn what_is_lost_added_or_out_of_order_is_found() {
        let airports = |flights: &[Flight]| by_airport(flights.iter().cloned());
        let expected = airports(&[flight("A", 1), flight("A", 2), flight("B", 1)]);
        let same = airports(&[flight("B", 1), flight("A", 1), flight("A", 2)]);
        assert!(compare(&expected, &same).is_ok());
        for wrong in [
            &[flight("A", 1), flight("B", 1)][..],
            &[flight("A", 2), flight("A", 1), flight("B", 1)],
            &[flight("A", 1), flight("A", 2), flight("B", 1), flight("B", 1)],
            &[flight("A", 1), flight("A", 2), flight("B", 1), flight("C", 1)],
        ] {
            assert!(compare(&expected, &airports(wrong)).is_err(), "{wrong:?}");
        }
    }
}
