//! Loads of the cells that are not raw ones, on a node of ours: what they report was written and
//! read. No time is judged.

use ottla_bench::broker::{Broker, Peer, Side};
use ottla_bench::cells::load::{self, Scale, bulk};
use ottla_bench::cells::plan::Load;
use ottla_bench::raw::connection::{Connection, Place, Topic};
use ottla_bench::raw::produce;

#[test]
fn producer_on_librdkafka_writes_what_it_counts() {
    if !harness::have("producer on librdkafka", &["cc", "setpriv"]) {
        return;
    }
    if let Err(why) = load::librdkafka() {
        harness::skip("producer on librdkafka", &why);
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let broker = Broker::start(Side::Ottla, Peer::Default, directory.path()).unwrap();
    let topic = Topic { name: "letters".into(), partitions: 1, config: Vec::new() };
    let mut asking = Connection::open(&broker.address()).unwrap();
    asking.ensure(&topic).unwrap();
    let properties = &["acks=1", "compression.codec=lz4"];
    let wanted = Load::Librdkafka { record: 100, volume: 32, properties };
    let run = load::run(wanted, &broker, &topic, Scale::Brief).unwrap();
    let records = (32 << 20) / 128 / 100;
    assert_eq!(run["driver"]["records"], records);
    let ends = asking.offsets("letters", 1, Place::End).unwrap();
    assert_eq!(ends, [records + 1], "and one before the clock starts");
    let refused = Load::Librdkafka { record: 100, volume: 1, properties: &["acks=what"] };
    assert!(load::run(refused, &broker, &topic, Scale::Brief).is_err());
}

#[test]
fn cold_reader_reads_while_a_producer_writes() {
    if !harness::have("cold reader", &["setpriv"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let broker = Broker::start(Side::Ottla, Peer::Default, directory.path()).unwrap();
    let topic = Topic { name: "letters".into(), partitions: 1, config: Vec::new() };
    let plan = bulk(&broker.address(), &topic, 64 << 10, 4 << 20);
    produce::Prepared::new(&plan).unwrap().run().unwrap();
    assert_eq!(broker.log_files("letters").len(), 1);
    let run = load::run(Load::Cold { volume: 128 }, &broker, &topic, Scale::Brief).unwrap();
    assert!(run["driver"]["bytes"].as_u64() >= Some(1 << 20), "{run}");
    assert!(run["driver"]["cold_bytes"].as_u64() > Some(0), "{run}");
}
