//! Disks that are full, fail, or may not be written to: real ones, as far as a test can make them.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use harness::{Node, binary, free_port, have, run, wait_until};

use super::operate::{admin_of_life, get_from, number};
use super::{CLIENT, directory, kcat_consume};

const SHORT: Duration = Duration::from_secs(30);

/// A file system of its own, in memory, for as long as it is held; `None` means that this process
/// may not mount one, and was said.
struct Mounted(PathBuf);

impl Mounted {
    fn new(test: &str, at: &Path, mib: u32) -> Option<Self> {
        fs::create_dir_all(at).expect("a directory to mount on");
        let size = format!("size={mib}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at);
        let mounted = run(&mut mount, SHORT);
        if mounted.code != Some(0) {
            harness::skip(test, &format!("mounting takes root: {}", mounted.stderr.trim()));
            return None;
        }
        Some(Self(at.to_owned()))
    }

    fn again(&self, options: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-o", options]).arg(&self.0);
        run(&mut mount, SHORT).success();
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let mut unmount = Command::new("umount");
        let _ = run(unmount.arg("--lazy").arg(&self.0), SHORT);
    }
}

/// Writes numbered lines, and waits for them to be acknowledged; false if some were not in time.
fn produce(node: &Node, topic: &str, numbers: std::ops::Range<usize>, width: usize) -> bool {
    let lines: Vec<String> = numbers.map(|number| format!("{number:0width$}")).collect();
    let file = node.directory().join(format!("{topic}.lines"));
    fs::write(&file, lines.join("\n") + "\n").expect("a file of lines");
    let mut command = Command::new("kcat");
    command.args(["-P", "-b", &node.address(), "-t", topic, "-X", "acks=all"]);
    command.args(["-X", "message.timeout.ms=3000", "-X", "retry.backoff.ms=50", "-l"]);
    run(command.arg(file), CLIENT).code == Some(0)
}

/// The numbers in a topic, without repetitions.
fn numbers(node: &Node, topic: &str) -> std::collections::BTreeSet<usize> {
    let read = kcat_consume(node, topic, "%s\n");
    read.lines().map(|line| line.parse().expect("a number")).collect()
}

fn verb(node: &Node, arguments: &[&str]) -> harness::Finished {
    let mut command = Command::new(binary());
    run(command.args(arguments).args(["--server", &node.address()]), SHORT)
}

#[test]
fn a_full_disk_takes_no_records_loses_none_and_serves_again_when_there_is_room() {
    let test = "full disk";
    if !have(test, &["kcat", "mount", "umount"]) || Node::is_peer() {
        return;
    }
    let directory = directory();
    let data = directory.path().join("data");
    let Some(_mounted) = Mounted::new(test, &data, 24) else { return };
    let mut node = Node::start(directory.path());
    assert!(produce(&node, "small", 0..10, 10));
    // Somebody else's file takes most of the room.
    let filler = data.join("filler");
    fs::write(&filler, vec![b'x'; 12 << 20]).expect("room for a file");
    let (mut written, step) = (0, 1000);
    while produce(&node, "letters", written..written + step, 1000) {
        written += step;
        assert!(written < 12_000, "there is no room for that");
    }
    assert!(written >= 4_000, "{written} were taken");
    node.assert_alive();
    assert!(node.log().contains("data is full"), "{}", node.log());
    // What was acknowledged is there to be read all the same, and there is room for metadata.
    let there = |node: &Node, upto: usize| {
        let found = numbers(node, "letters");
        (0..upto).for_each(|number| assert!(found.contains(&number), "{number} is lost"));
    };
    there(&node, written);
    assert!(!produce(&node, "small", 10..20, 10), "no record is taken in a full directory");
    verb(&node, &["topic", "delete", "small", "--yes"]).success();
    assert!(!verb(&node, &["topic", "list"]).success().contains("small"));
    fs::remove_file(&filler).expect("the filler");
    wait_until("it takes records again", SHORT, || node.log().contains("has room again"));
    assert!(produce(&node, "letters", written..written + step, 1000));
    assert!(produce(&node, "small", 0..10, 10), "a topic is made again");
    there(&node, written + step);
    node.kill();
    node.launch();
    there(&node, written + step);
    node.stop();
    node.launch();
    there(&node, written + step);
    assert_eq!(numbers(&node, "small").len(), 10);
}

/// Of a failed sync nobody knows what became of the data: it is never tried again.
#[test]
fn a_sync_that_fails_ends_the_node_and_nothing_acknowledged_is_lost() {
    if !have("failed sync", &["kcat", "strace"]) || Node::is_peer() {
        return;
    }
    let directory = directory();
    let mut node = Node::start(directory.path());
    assert!(produce(&node, "letters", 0..5, 10));
    node.stop();
    let log = directory.path().join("data/letters-0/00000000000000000000.log");
    let path = format!("--trace-path={}", log.display());
    // Of each thread's syncs of that file the second fails, and all after it.
    let inject = "inject=fdatasync:error=EIO:when=2+";
    let traced = ["strace", "-D", "--follow-forks", "--output=/dev/null", &path, "-e", inject];
    let mut node = Node::under(directory.path(), &traced);
    let mut written = 5;
    while produce(&node, "letters", written..written + 5, 10) {
        written += 5;
        assert!(written < 1_000, "no sync failed");
    }
    let status = node.wait_for_end(SHORT);
    assert_eq!(status.code(), Some(1), "{}", node.log());
    let log = node.log();
    assert!(log.contains("data failed, seen with") && log.contains("os error 5"), "{log}");
    let node = Node::start(directory.path());
    let found = numbers(&node, "letters");
    (0..written).for_each(|number| assert!(found.contains(&number), "{number} is lost"));
}

/// A node of three directories, stopped, with five records in each of four topics.
struct Several {
    directory: tempfile::TempDir,
    port: u16,
    /// Of the directories the one that is to fail.
    one: PathBuf,
    /// Topics that are there,
    failing: Vec<&'static str>,
    /// and elsewhere.
    sound: Vec<&'static str>,
}

impl Several {
    fn with_records() -> Self {
        let directory = directory();
        let data = directory.path().join("data");
        let port = free_port();
        let [one, two, meta] = ["one", "two", "meta"].map(|name| data.join(name));
        let text = format!(
            "process.roles=broker,controller\nnode.id=1\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{}\n\
             controller.listener.names=CONTROLLER\n\
             controller.quorum.bootstrap.servers=127.0.0.1:{}\n\
             log.dirs={},{}\nmetadata.log.dir={}\n",
            port + 1,
            port + 1,
            one.display(),
            two.display(),
            meta.display()
        );
        let properties = directory.path().join("server.properties");
        fs::write(&properties, text).expect("a configuration file");
        let mut format = Command::new(binary());
        format.args(["kafka-storage", "format", "--standalone"]);
        format.args(["-t", "AAAAAAAAAAAAAAAAAAAAZg", "-c"]);
        run(format.arg(&properties), SHORT).success();
        let mut node = Node::configured(directory.path(), port);
        let topics = ["a", "b", "c", "d"];
        for topic in topics {
            assert!(produce(&node, topic, 0..5, 10));
        }
        let in_one = |topic: &&str| one.join(format!("{topic}-0")).is_dir();
        let (failing, sound): (Vec<&str>, Vec<&str>) = topics.into_iter().partition(in_one);
        assert!(failing.len() == 2 && sound.len() == 2, "{failing:?} {sound:?}");
        node.stop();
        Self { directory, port, one, failing, sound }
    }
}

/// With several directories the others go on.
#[test]
fn a_directory_that_fails_takes_its_partitions_and_no_others() {
    if !have("failed directory", &["kcat", "strace"]) || Node::is_peer() {
        return;
    }
    let Several { directory, port, one, failing, sound } = Several::with_records();
    let log = one.join(format!("{}-0/00000000000000000000.log", failing[0]));
    let path = format!("--trace-path={}", log.display());
    let inject = "inject=fdatasync:error=EIO:when=2+";
    let traced = ["strace", "-D", "--follow-forks", "--output=/dev/null", &path, "-e", inject];
    let mut node = Node::configured_under(directory.path(), port, &traced);
    let mut written = 5;
    while produce(&node, failing[0], written..written + 1, 10) {
        written += 1;
        assert!(written < 100, "no sync failed");
    }
    for topic in &sound {
        assert!(produce(&node, topic, 5..10, 10), "{topic}");
        assert_eq!(numbers(&node, topic).len(), 10);
    }
    for topic in &failing {
        assert!(!produce(&node, topic, 500..501, 10), "{topic} is offline");
    }
    node.assert_alive();
    assert!(node.log().contains("one failed, seen with"), "{}", node.log());
    // A log that is offline is not closed in order; the next start finds everything.
    node.kill();
    let node = Node::configured(directory.path(), port);
    for topic in failing.iter().chain(&sound) {
        let found = numbers(&node, topic);
        let upto = if *topic == failing[0] { written } else { 5 };
        (0..upto).for_each(|number| assert!(found.contains(&number), "{topic}: {number}"));
    }
}

/// A device that does not answer keeps those waiting who need it, and nobody else.
#[test]
fn a_directory_that_hangs_holds_up_no_others() {
    if !have("hanging directory", &["kcat", "strace"]) || Node::is_peer() {
        return;
    }
    let Several { directory, port, one, failing, sound } = Several::with_records();
    hang("fdatasync", (directory.path(), port, &one), (failing[0], &sound));
}

/// Nor is even the page cache of it waited for.
#[test]
fn a_directory_that_takes_no_writes_holds_up_no_others() {
    if !have("hanging directory", &["kcat", "strace"]) || Node::is_peer() {
        return;
    }
    let Several { directory, port, one, failing, sound } = Several::with_records();
    hang("pwrite64,pwritev,pwritev2", (directory.path(), port, &one), (failing[0], &sound));
}

/// One directory hangs in that system call; the others are served meanwhile.
fn hang(call: &str, (root, port, one): (&Path, u16, &Path), (failing, sound): (&str, &[&str])) {
    let log = one.join(format!("{failing}-0/00000000000000000000.log"));
    let path = format!("--trace-path={}", log.display());
    // In microseconds; longer than what follows takes.
    let inject = format!("inject={call}:delay_enter=15000000");
    let traced = ["strace", "-D", "--follow-forks", "--output=/dev/null", &path, "-e", &inject];
    let mut node = Node::configured_under(root, port, &traced);
    let before = fs::metadata(&log).expect("a log").len();
    let mut command = Command::new("kcat");
    command.args(["-P", "-b", &node.address(), "-t", failing, "-X", "acks=all"]);
    command.stdin(Stdio::piped()).stderr(Stdio::null());
    let mut hanging = command.spawn().expect("kcat");
    let mut input = hanging.stdin.take().expect("its input");
    input.write_all(b"5\n").expect("a line for it");
    drop(input);
    let admin = admin_of_life(&node, 2);
    wait_until("a record has come", SHORT, || {
        let (_, metrics) = get_from(admin, "/metrics");
        number(&metrics, "kafka_server_brokertopicmetrics_messagesin_total") == 1
    });
    for round in 1..3 {
        for topic in sound {
            assert!(produce(&node, topic, round * 5..round * 5 + 5, 10), "{topic}");
            assert_eq!(numbers(&node, topic).len(), round * 5 + 5);
        }
    }
    assert_eq!(numbers(&node, failing).len(), 5, "what is not durable is not shown");
    assert!(hanging.try_wait().expect("kcat").is_none(), "it does not hang");
    let grew = fs::metadata(&log).expect("a log").len() > before;
    assert_eq!(grew, call == "fdatasync", "it hangs elsewhere");
    node.kill();
    let _ = hanging.kill();
    let _ = hanging.wait();
}

#[test]
fn a_directory_that_may_not_be_written_is_refused_and_left_as_it_is() {
    let test = "read-only mount";
    if !have(test, &["kcat", "mount", "umount"]) || Node::is_peer() {
        return;
    }
    let directory = directory();
    let data = directory.path().join("data");
    let Some(mounted) = Mounted::new(test, &data, 24) else { return };
    let mut node = Node::start(directory.path());
    assert!(produce(&node, "letters", 0..10, 10));
    node.kill();
    mounted.again("remount,ro");
    let mut start = Command::new(binary());
    start.arg("--data").arg(&data).args(["--port", "0"]).current_dir(directory.path());
    let refused = run(&mut start, SHORT);
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert_eq!(refused.code, Some(1), "{said}");
    assert!(said.contains("Read-only file system") && said.contains("data"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    mounted.again("remount,rw");
    node.launch();
    assert_eq!(numbers(&node, "letters").len(), 10);
}

#[test]
fn a_lock_that_nobody_holds_any_more_is_taken_over() {
    if !have("stale lock", &["kcat"]) || Node::is_peer() {
        return;
    }
    let directory = directory();
    let mut node = Node::start(directory.path());
    assert!(produce(&node, "letters", 0..10, 10));
    let data = directory.path().join("data");
    let mut second = Command::new(binary());
    second.arg("--data").arg(&data).args(["--port", "0"]).current_dir(directory.path());
    let refused = run(&mut second, SHORT);
    let said = format!("{}{}", refused.stdout, refused.stderr);
    assert_eq!(refused.code, Some(1), "{said}");
    assert!(said.contains("another process"), "{said}");
    node.kill();
    assert!(data.join(".lock").is_file(), "a kill leaves the lock file");
    node.launch();
    assert_eq!(numbers(&node, "letters").len(), 10);
}

/// A thousand logs with fewer descriptors than that.
#[test]
fn more_logs_are_written_and_read_than_files_may_be_open() {
    if !have("few descriptors", &["kcat", "prlimit"]) || Node::is_peer() {
        return;
    }
    let directory = directory();
    let mut node = Node::under(directory.path(), &["prlimit", "--nofile=300:300"]);
    let partitions = 1_000;
    let count = partitions.to_string();
    verb(&node, &["topic", "create", "many", "--partitions", &count]).success();
    for round in 0..2 {
        let mut command = Command::new("kcat");
        command.args(["-P", "-b", &node.address(), "-t", "many", "-X", "acks=all"]);
        command.args(["-X", "sticky.partitioning.linger.ms=0", "-K:", "-l"]);
        let lines: Vec<String> =
            (0..20_000).map(|number| format!("{round}-{number}:{number}")).collect();
        let file = node.directory().join("many.lines");
        fs::write(&file, lines.join("\n") + "\n").expect("a file of lines");
        run(command.arg(file), CLIENT).success();
        let read = kcat_consume(&node, "many", "%p %s\n");
        assert_eq!(read.lines().count(), 20_000 * (round + 1));
        let into: std::collections::BTreeSet<&str> =
            read.lines().filter_map(|line| line.split(' ').next()).collect();
        assert_eq!(into.len(), partitions);
        assert!(node.open_files() < 300, "{}", node.open_files());
        if round == 0 {
            node.kill();
            node.launch();
        }
    }
    assert!(!node.log().contains("Too many open files"), "{}", node.log());
    node.stop();
}
