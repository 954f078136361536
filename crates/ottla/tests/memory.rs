//! What a partition takes that was written to once and went idle: counted by the allocator, of the
//! whole node in this process.
//!
//! Alone in its binary, because whatever else ran would be counted.
#![allow(unsafe_code)] // An allocator that counts can't be written without.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use client::admin::NewTopic;
use client::{Admin, Client, Options, Producer, Record};
use server::serve::{self, Listen, Settings};

/// The system's allocator, and how many bytes are in use.
struct Counting;

static IN_USE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on as it came; the counter changes nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promised us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promised us.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const PARTITIONS: i32 = 4_000;
/// Image, controller, log, marks, handles, the producer that wrote to it, and what checkpoint files
/// say of it.
const BYTES_EACH: usize = 2048;

async fn client(address: &str) -> Client {
    let properties = BTreeMap::from([
        ("bootstrap.servers".to_owned(), address.to_owned()),
        ("linger.ms".to_owned(), "50".to_owned()),
    ]);
    let options = Options::from_properties(&properties).expect("options");
    Client::connect(options).await.expect("a connection")
}

#[test]
fn a_partition_written_once_takes_little_memory() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let directory = tempfile::tempdir().expect("a directory");
        let mut settings = Settings::alone(directory.path().to_owned(), 0, true);
        settings.admin = None;
        settings.listeners[0].listen = Listen::Loopback { port: 0, may_move: true };
        let running = serve::start(settings).await.expect("a node");
        let address = running.address.to_string();
        // What the first of everything takes is no partition's.
        write(&address, "first", 16).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let before = IN_USE.load(Ordering::Relaxed);
        write(&address, "many", PARTITIONS).await;
        // The node finds out within some seconds that they are idle.
        let until = Instant::now() + Duration::from_secs(120);
        let each = loop {
            let more = IN_USE.load(Ordering::Relaxed).saturating_sub(before);
            let each = more / PARTITIONS as usize;
            if each <= BYTES_EACH || Instant::now() > until {
                break each;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        // With `--nocapture`, for who wants to know.
        eprintln!("{each} bytes a partition");
        assert!(each <= BYTES_EACH, "{each} bytes a partition");
        running.stop().await.expect("an orderly stop");
    });
}

/// Makes a topic and writes a record into each of its partitions.
async fn write(address: &str, topic: &str, partitions: i32) {
    let client = client(address).await;
    let made = Admin::new(client.clone())
        .create_topics(&[NewTopic::new(topic, partitions)], false)
        .await
        .expect("an answer");
    made.into_iter().for_each(|(name, made)| {
        made.unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
    });
    let producer = Producer::new(client);
    for partition in 0..partitions {
        let mut record = Record::new(topic, "x".repeat(100));
        record.partition = Some(partition);
        drop(producer.enqueue(record).await.expect("room"));
    }
    producer.flush().await.expect("acknowledgements");
    producer.close().await.expect("an orderly end");
}
