//! Each workload for a moment on a node of ours: what it prints can be counted with. No time is
//! judged.

use std::time::Duration;

use ottla_bench::broker::{Broker, Peer, Side};
use ottla_bench::driver::Driver;
use ottla_bench::run::{Options, Workload};
use serde_json::Value;

#[test]
fn workloads_count_what_they_wrote_and_read() {
    if !harness::have("load driver", &["go", "setpriv"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let driver = Driver::build().unwrap();
    let broker = Broker::start(Side::Ottla, Peer::Default, directory.path()).unwrap();
    let options = Options { volume_mib: 8, seconds: 1, ..Options::full() };
    let address = broker.address();
    let load = |workload: Workload, topic: &str| {
        driver.load(&options.load(workload, &address, topic), broker.pid()).unwrap()
    };
    driver.create(&address, "bulk", 12).unwrap();
    let ingest = load(Workload::Ingest, "bulk");
    let replay = load(Workload::Replay, "bulk");
    driver.create(&address, "steady", 12).unwrap();
    let steady = load(Workload::Steady, "steady");

    let bytes =
        |run: &Value| (run["driver"]["bytes_in"].as_u64(), run["driver"]["bytes_out"].as_u64());
    assert_eq!(bytes(&ingest), (Some(8 << 20), Some(0)));
    // More than once in a second, and the last time in part.
    let read = bytes(&replay).1.unwrap();
    assert!(read > 8 << 20 && replay["driver"]["records"] == read / 1024, "{replay}");
    assert_eq!(bytes(&steady), (Some(2000 * 256), Some(2000 * 256)));
    assert_counted(&ingest["driver"]["ack_ms"], 8 << 10);
    assert_counted(&steady["driver"]["ack_ms"], 2000);
    assert_counted(&steady["driver"]["end_to_end_ms"], 2000);
    for run in [&ingest, &replay, &steady] {
        let number = |at: &str| run.pointer(at).and_then(Value::as_f64);
        assert!(number("/driver/mib_per_second") > Some(0.0), "{run}");
        assert!(number("/driver/driver_cpu_seconds") > Some(0.0), "{run}");
        assert!(number("/broker/cpu_seconds") >= Some(0.0), "{run}");
        assert!(number("/broker/peak_resident_bytes") >= number("/broker/resident_bytes"), "{run}");
    }

    driver.delete(&address, "bulk").unwrap();
    harness::wait_until("the topic's files are gone", Duration::from_secs(60), || {
        broker.is_rid_of("bulk")
    });
    assert!(!broker.is_rid_of("steady"));
}

#[test]
fn failing_load_is_an_error_and_not_a_result() {
    if !harness::have("failing load", &["go", "setpriv"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let driver = Driver::build().unwrap();
    let broker = Broker::start(Side::Ottla, Peer::Default, directory.path()).unwrap();
    let address = broker.address();
    driver.create(&address, "letters", 12).unwrap();
    let error = driver.create(&address, "letters", 12).unwrap_err();
    assert!(error.contains("TOPIC_ALREADY_EXISTS"), "{error}");
    // One record, larger than a batch may be.
    let size = (2 << 20).to_string();
    let arguments = ["ingest", "-records", "1", "-size", &size, &address, "letters"];
    let arguments = arguments.map(str::to_owned);
    assert!(driver.load(&arguments, broker.pid()).is_err(), "{arguments:?}");
    assert!(driver.load(&["unknown".to_owned()], broker.pid()).is_err());
}

#[track_caller]
fn assert_counted(latencies: &Value, count: u64) {
    assert_eq!(latencies["count"], count, "{latencies}");
    let order = ["p50", "p90", "p99", "p999", "max"].map(|key| latencies[key].as_f64().unwrap());
    assert!(order.is_sorted() && order[0] >= 0.0, "{latencies}");
}
