//! What key filters cost: `cargo run --release -p ottla-log --example key_filters [MIB]`. Writes
//! one segment of each kind into a temporary directory, builds its filter, and asks it.
//!
//! The figures of decision 9 come from here: processor time of the building thread a GB of segment,
//! the filter's size, how often it says yes to keys that are not there, and the time of a look-up
//! through files, the page cache warm.
#![allow(clippy::print_stdout, clippy::unwrap_used)] // A program to be read and run by hand.

use std::path::Path;
use std::time::Instant;

use ottla_log::disk::os::OsDisk;
use ottla_log::{Completion, Disk, FileIds, Log, LogConfig, Submission, Validated};
use wire::compress::Compression;
use wire::files::{KeyFilterHeader, KeyHash};
use wire::record::{BatchBuilder, BatchOptions};

const BATCH_BYTES: usize = 16 << 10;
const ASKED: u64 = 200_000;

fn main() {
    let mib: u64 = std::env::args().nth(1).map_or(256, |text| text.parse().unwrap());
    println!("segments of {mib} MiB, batches of 16 KiB unpacked\n");
    println!("| records | keys | codec | CPU s a GB | filter | bits a key | wrong yes | look-up |");
    println!("|---|--:|---|--:|--:|--:|--:|--:|");
    for (value_bytes, repeats, codec) in [
        (100, 1, Compression::None),
        (100, 10, Compression::None),
        (1_000, 1, Compression::None),
        (100, 1, Compression::Lz4),
        (100, 1, Compression::Zstd),
    ] {
        measure(mib << 20, value_bytes, repeats, codec);
    }
}

fn measure(segment_bytes: u64, value_bytes: usize, repeats: u64, codec: Compression) {
    let root = tempfile::tempdir().unwrap();
    let disk = OsDisk::new();
    let config = LogConfig { segment_bytes: segment_bytes as u32, ..LogConfig::default() };
    let (mut out, mut ids) = (Vec::new(), FileIds::default());
    let path = root.path().join("t-0");
    let mut log = Log::create(&path, wire::Uuid(7 << 90), config, &mut out);
    let (mut records, mut random) = (0u64, 1u64);
    while log.segment_bases().len() < 2 {
        let mut builder =
            BatchBuilder::new(BatchOptions { compression: codec, ..Default::default() });
        for _ in 0..BATCH_BYTES / (value_bytes + 30) {
            let key = format!("customer-{:012}", records / repeats);
            // Half of it can be packed.
            let mut value = vec![b'.'; value_bytes];
            for piece in value.chunks_mut(16) {
                random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                piece
                    .iter_mut()
                    .zip((random >> 20).to_le_bytes())
                    .for_each(|(to, from)| *to = from);
            }
            builder.push(1, Some(key.as_bytes()), Some(&value), &[]);
            records += 1;
        }
        let batch = Validated::trusted(builder.build().unwrap()).unwrap();
        log.append_as_leader(0, batch, 0, &mut ids, &mut out).unwrap();
        settle(&disk, &mut log, &mut out);
    }
    let keys = records / repeats;
    let plan = log.plan_filter(&mut ids).unwrap();
    let bytes = plan.bytes();
    let before = cpu_seconds();
    let built = plan.build(&disk, &mut |_| true).unwrap();
    let cpu = cpu_seconds() - before;
    assert!(log.install_filter(built, &mut out));
    settle(&disk, &mut log, &mut out);
    let file = std::fs::read(path.join("00000000000000000000.keyfilter")).unwrap();
    let wrong = wrong_share(&file);
    let began = Instant::now();
    for number in 0..ASKED / 10 {
        let key = KeyHash::of(format!("nobody-{number}").as_bytes());
        let mut plan = log.plan_read_of_key(key, 0, 1 << 20, i64::MAX).unwrap();
        plan.skip(&disk).unwrap();
    }
    let look_up = began.elapsed().as_nanos() as u64 / (ASKED / 10);
    println!(
        "| {value_bytes} B | {keys} | {codec:?} | {:.2} | {} KiB | {:.1} | {:.2} % | {look_up} ns |",
        cpu / (bytes as f64 / 1e9),
        file.len() / 1024,
        file.len() as f64 * 8.0 / keys as f64,
        wrong * 100.0,
    );
}

fn wrong_share(file: &[u8]) -> f64 {
    let header = KeyFilterHeader::parse(file).unwrap();
    let wrong = (0..ASKED).filter(|number| {
        let key = KeyHash::of(format!("nobody-{number}").as_bytes());
        let at = header.position(key).unwrap() as usize;
        header.may_hold(key, &file[at..]).unwrap()
    });
    wrong.count() as f64 / ASKED as f64
}

fn settle(disk: &OsDisk, log: &mut Log, out: &mut Vec<Submission>) {
    while !out.is_empty() {
        for Submission { token, op } in std::mem::take(out) {
            // What is measured is not how long the device takes for it.
            let result = match op {
                ottla_log::Op::Sync { .. } => Ok(()),
                op => disk.execute(&op),
            };
            log.on_completion(Completion { token, result }, out).unwrap();
        }
    }
}

/// Of this process, which has one thread.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string(Path::new("/proc/self/schedstat")).unwrap();
    let nanos: u64 = text.split(' ').next().unwrap().parse().unwrap();
    nanos as f64 / 1e9
}
