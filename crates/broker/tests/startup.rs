//! Which directories a node takes for its own, and what it refuses to touch.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use broker::rng::Rng;
use broker::startup::{self, FirstQuorum, Format, Options, Report, StartError};
use broker::{Listener, Node, Now};
use ottla_log::disk::mem::MemDisk;
use ottla_log::disk::{self, Disk, FileId, Op, Space};
use wire::Bytes;

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
fn the_snapshot_of_another_cluster_is_no_trace_of_formatting() {
    for name in ["00000000000000000042-0000000003.checkpoint", "quorum-state.tmp"] {
        let disk = MemDisk::new();
        disk.put(&Path::new("/data/__cluster_metadata-0").join(name), b"precious");
        assert!(refusal(&disk).contains("not a data directory"), "{name}");
    }
}

/// Tells the operations in their order.
#[derive(Debug, Default)]
struct Recorder(MemDisk, Mutex<Vec<String>>);

impl Disk for Recorder {
    fn execute(&self, op: &Op) -> disk::Result<()> {
        let path = match op {
            Op::CreateDir { path } | Op::SyncDir { path } | Op::Replace { path, .. } => path,
            other => panic!("{other:?}"),
        };
        self.1.lock().unwrap().push(format!("{} {}", op.name(), path.display()));
        self.0.execute(op)
    }

    fn read_at(&self, file: FileId, at: u64, len: usize) -> disk::Result<Bytes> {
        self.0.read_at(file, at, len)
    }

    fn len(&self, file: FileId) -> disk::Result<u64> {
        self.0.len(file)
    }

    fn space(&self, dir: &Path) -> disk::Result<Space> {
        self.0.space(dir)
    }

    fn list(&self, dir: &Path) -> disk::Result<Vec<String>> {
        self.0.list(dir)
    }

    fn read_file(&self, path: &Path) -> disk::Result<Bytes> {
        self.0.read_file(path)
    }
}

#[test]
fn every_name_is_durable_before_the_file_that_says_formatted() {
    for (dir, above) in [("/new/er/data", &["/", "/new", "/new/er"][..]), ("rel", &["."])] {
        let disk = Recorder::default();
        disk.0.put(Path::new("/other"), b"");
        let mut rng = Rng::new([1, 2, 3, 4]);
        let plan = Format {
            dirs: vec![dir.into()],
            metadata_dir: dir.into(),
            node_id: 1,
            cluster_id: "AAAAAAAAAAAAAAAAAAAAZg".into(),
            is_controller: true,
            quorum: FirstQuorum::Configured,
            records: Vec::new(),
            ignore_formatted: false,
        };
        startup::format(&disk, &plan, &mut rng, 0).unwrap();
        let told = disk.1.into_inner().unwrap();
        let at = |what: String| {
            told.iter().position(|op| *op == what).unwrap_or_else(|| panic!("{what}: {told:?}"))
        };
        let meta = at(format!("replace {dir}/meta.properties"));
        assert!(at(format!("sync directory {dir}")) < meta, "{told:?}");
        assert!(at(format!("create directory {dir}/__cluster_metadata-0")) < meta, "{told:?}");
        for above in above {
            assert!(at(format!("sync directory {above}")) < meta, "{told:?}");
        }
    }
}

#[test]
fn the_way_to_format_a_directory_is_told_whole() {
    let disk = MemDisk::new();
    let listener = Listener::plaintext("localhost", 9092);
    let mut options = Options::alone(PathBuf::from("/data"), 1, listener, [1, 2, 3, 4]);
    options.format = false;
    let now = Now { wall_ms: 0, steady_ms: 0 };
    let told = startup::open(&disk, &options, now).unwrap_err().to_string();
    assert!(told.ends_with("-c FILE --standalone"), "{told}");
    options.file.insert("controller.quorum.voters".into(), "1@localhost:9093".into());
    let told = startup::open(&disk, &options, now).unwrap_err().to_string();
    assert!(told.ends_with("-c FILE"), "{told}");
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
