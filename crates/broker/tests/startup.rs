//! Which directories a node takes for its own, and what it refuses to touch.

use std::path::{Path, PathBuf};

use broker::startup::{self, Options, Report, StartError};
use broker::{Listener, Node, Now};
use ottla_log::disk::Disk;
use ottla_log::disk::mem::MemDisk;

fn open(disk: &MemDisk) -> Result<(Node, Report), StartError> {
    let listener = Listener::plaintext("localhost", 9092);
    let options = Options::alone(PathBuf::from("/data"), 1, listener, [1, 2, 3, 4]);
    startup::open(disk, &options, Now { wall_ms: 1_800_000_000_000, steady_ms: 0 })
}

fn refusal(disk: &MemDisk) -> String {
    open(disk).expect_err("it was opened").to_string()
}

#[test]
fn an_empty_directory_is_formatted_once_and_keeps_its_cluster() {
    let disk = MemDisk::new();
    let (node, report) = open(&disk).unwrap();
    assert!(report.formatted && !report.recovered);
    let cluster = node.config.cluster_id.clone();
    startup::close(&disk, node).unwrap();
    let (node, report) = open(&disk).unwrap();
    assert!(!report.formatted && !report.recovered);
    assert_eq!(node.config.cluster_id, cluster);
    drop(node);
    let (_, report) = open(&disk).unwrap();
    assert!(report.recovered, "a node that was not closed must recover");
}

#[test]
fn a_directory_with_other_files_is_left_alone() {
    let disk = MemDisk::new();
    disk.put(Path::new("/data/letters.txt"), b"dear Ottla");
    assert!(refusal(&disk).contains("not a data directory"));
    assert_eq!(disk.list(Path::new("/data")).unwrap(), ["letters.txt"]);
}

#[test]
fn a_formatting_that_was_cut_short_is_done_again() {
    let disk = MemDisk::new();
    let path = "/data/__cluster_metadata-0/00000000000000000000-0000000000.checkpoint.tmp";
    disk.put(Path::new(path), b"half");
    assert!(open(&disk).unwrap().1.formatted);
}

#[test]
fn the_directory_of_another_node_is_refused() {
    let disk = MemDisk::new();
    let meta = b"version=1\ncluster.id=abc\nnode.id=7\ndirectory.id=AAAAAAAAAAAAAAAAAAAAZg\n";
    disk.put(Path::new("/data/meta.properties"), meta);
    assert!(refusal(&disk).contains("node.id is 7"));
}

#[test]
fn a_metadata_snapshot_that_can_not_be_read_stops_the_start() {
    let disk = MemDisk::new();
    let (node, _) = open(&disk).unwrap();
    startup::close(&disk, node).unwrap();
    let path = "/data/__cluster_metadata-0/00000000000000000042-0000000003.checkpoint";
    disk.put(Path::new(path), b"");
    assert!(refusal(&disk).contains("the end is missing"));
    // Nothing was changed: its own broker still finds it closed in order.
    assert!(disk.content(Path::new("/data/.kafka_cleanshutdown")).is_some());
}

#[test]
fn partitions_the_metadata_does_not_know_are_set_aside_not_reused() {
    let disk = MemDisk::new();
    let (node, _) = open(&disk).unwrap();
    startup::close(&disk, node).unwrap();
    disk.put(Path::new("/data/letters-0/00000000000000000000.log"), b"precious");
    let (_, report) = open(&disk).unwrap();
    assert!(report.cuts.iter().any(|line| line.contains("set aside")), "{:?}", report.cuts);
    let names = disk.list(Path::new("/data")).unwrap();
    assert!(!names.contains(&"letters-0".to_owned()));
    let aside = names.iter().find(|name| name.ends_with("-stray")).expect("it is kept");
    let kept = PathBuf::from("/data").join(aside).join("00000000000000000000.log");
    assert_eq!(disk.content(&kept).as_deref(), Some(b"precious".as_slice()));
}

#[test]
fn other_peoples_files_and_directories_are_left_where_they_are() {
    let disk = MemDisk::new();
    let (node, _) = open(&disk).unwrap();
    startup::close(&disk, node).unwrap();
    disk.put(Path::new("/data/dump-1"), b"a file");
    disk.put(Path::new("/data/backup-2024/letters.txt"), b"a directory");
    let (_, report) = open(&disk).unwrap();
    assert!(report.cuts.is_empty(), "{:?}", report.cuts);
    let names = disk.list(Path::new("/data")).unwrap();
    assert!(names.contains(&"dump-1".to_owned()) && names.contains(&"backup-2024".to_owned()));
}
