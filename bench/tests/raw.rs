//! The load generator on a node of ours: what it reports was written and read. No time is judged.

use std::time::Duration;

use ottla_bench::broker::{Broker, Peer, Side};
use ottla_bench::raw::connection::{Connection, Place, Topic};
use ottla_bench::raw::{fetch, latency, produce};

fn topic(name: &str, partitions: i32) -> Topic {
    Topic { name: name.into(), partitions, config: Vec::new() }
}

#[test]
fn raw_load_counts_what_it_wrote_and_read() {
    if !harness::have("raw load", &["setpriv"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let broker = Broker::start(Side::Ottla, Peer::Default, directory.path()).unwrap();
    let address = broker.address();
    let mut asking = Connection::open(&address).unwrap();

    let plan = produce::Plan {
        address: address.clone(),
        topic: topic("bulk", 3),
        size: 16 << 10,
        record: 1024,
        connections: 2,
        inflight: 5,
        acks: -1,
        rate: None,
        volume: 2 << 20,
        time: None,
    };
    let closed = produce::Prepared::new(&plan).unwrap().run().unwrap();
    assert!(closed.bytes >= 2 << 20 && closed.records == 15 * closed.requests.len() as u64);
    let paced = produce::Plan { rate: Some(500.0), volume: 1 << 20, ..plan };
    let open = produce::Prepared::new(&paced).unwrap().run().unwrap();
    assert!(open.bytes >= 1 << 20 && open.seconds > 0.0);
    let ends = asking.offsets("bulk", 3, Place::End).unwrap();
    assert_eq!(ends.iter().sum::<i64>() as u64, closed.records + open.records);

    let plan = fetch::Plan {
        address: address.clone(),
        topic: topic("bulk", 3),
        connections: 3,
        max_bytes: 1 << 20,
        from: Place::Start,
        volume: 4 << 20,
        time: None,
    };
    let read = fetch::Prepared::new(&plan).unwrap().run().unwrap();
    assert!(read.bytes >= 3 * (4 << 20) && read.records > closed.records, "more than once");
    let nothing = fetch::Plan { topic: topic("empty", 1), ..plan };
    assert!(fetch::Prepared::new(&nothing).unwrap_err().contains("nothing is in partition 0"));

    let plan = latency::Plan {
        address,
        topic: topic("letters", 1),
        record: 100,
        rate: 500.0,
        acks: -1,
        time: Duration::from_millis(200),
    };
    for _ in 0..2 {
        let found = latency::Prepared::new(&plan).unwrap().run().unwrap();
        assert_eq!((found.records, found.requests.len(), found.end_to_end.len()), (100, 100, 100));
        assert!(found.end_to_end.iter().all(|time| *time > 0));
    }
    asking.delete("bulk").unwrap();
}

#[test]
fn refused_produce_is_an_error_and_not_a_result() {
    if !harness::have("refused produce", &["setpriv"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let broker = Broker::start(Side::Ottla, Peer::Default, directory.path()).unwrap();
    let plan = produce::Plan {
        address: broker.address(),
        topic: topic("letters", 1),
        size: 2 << 20,
        record: 2 << 20,
        connections: 1,
        inflight: 2,
        acks: 1,
        rate: None,
        volume: 8 << 20,
        time: None,
    };
    let error = produce::Prepared::new(&plan).unwrap().run().unwrap_err();
    assert!(error.contains("MESSAGE_TOO_LARGE"), "{error}");
    let paced = produce::Plan { rate: Some(100.0), ..plan };
    assert!(produce::Prepared::new(&paced).unwrap().run().is_err());
}
