//! The console tools against a node of ours, in this process: what transcripts can't show, because
//! it is about bytes, about time, or about who reads standard output.
#![allow(missing_docs)]

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use server::{Running, Settings, start};
use tokio::runtime::Runtime;
use tools::Io;

/// No test takes longer; each waits for what it needs, not for a time.
const DEADLINE: Duration = Duration::from_secs(60);
/// So that a thread that reads ends before that, whatever went wrong.
const GIVE_UP: &str = "--timeout-ms=30000";

struct Node {
    runtime: Runtime,
    running: Option<Running>,
    server: String,
    _dir: tempfile::TempDir,
}

impl Node {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let runtime = Runtime::new().unwrap();
        let settings = Settings::alone(dir.path().to_owned(), 0, false);
        let running = runtime.block_on(start(settings)).unwrap_or_else(|error| panic!("{error}"));
        let server = format!("localhost:{}", running.address.port());
        Self { runtime, running: Some(running), server, _dir: dir }
    }

    /// Runs a tool; its exit code and what it printed.
    fn run(&self, tool: &str, args: &[&str], stdin: &[u8]) -> (u8, Vec<u8>, String) {
        let mut out = Vec::new();
        let (code, err) = self.run_into(tool, args, stdin, &mut out);
        (code, out, err)
    }

    fn run_into(
        &self,
        tool: &str,
        args: &[&str],
        stdin: &[u8],
        out: &mut dyn Write,
    ) -> (u8, String) {
        let all = ["--bootstrap-server", &self.server].into_iter().chain(args.iter().copied());
        let args: Vec<String> = all.map(str::to_owned).collect();
        let (mut stdin, mut err) = (stdin, Vec::new());
        let mut io = Io { stdin: &mut stdin, out, err: &mut err };
        let code = (tools::find(tool).unwrap().run)(&args, &mut io);
        (code, String::from_utf8(err).unwrap())
    }

    fn produce(&self, topic: &str, stdin: &[u8], more: &[&str]) {
        let args = [&["--topic", topic][..], more].concat();
        let done = self.run("kafka-console-producer", &args, stdin);
        assert_eq!(done, (0, Vec::new(), String::new()));
    }

    fn consume(&self, topic: &str, count: usize, more: &[&str]) -> Vec<u8> {
        let count = count.to_string();
        let args = ["--topic", topic, "--from-beginning", "--max-messages", &count];
        let (code, out, err) = self.run("kafka-console-consumer", &[&args[..], more].concat(), b"");
        assert_eq!((code, err), (0, format!("Processed a total of {count} messages\n")));
        out
    }

    /// Where a group is in the first partition of its only topic.
    fn committed(&self, group: &str) -> Option<u64> {
        let args = ["--describe", "--group", group, "--offsets"];
        let (_, out, _) = self.run("kafka-consumer-groups", &args, b"");
        let out = String::from_utf8(out).unwrap();
        let line = out.lines().find(|line| line.starts_with(group))?;
        line.split_whitespace().nth(3)?.parse().ok()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.stop()).expect("a clean stop");
        }
    }
}

/// A pipe whose reader is gone after so many bytes.
struct Closing(usize);

impl Write for Closing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let taken = bytes.len().min(self.0);
        self.0 -= taken;
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What somebody who watches standard output has seen: what was flushed.
#[derive(Clone, Default)]
struct Watched(Arc<(Mutex<Vec<u8>>, Condvar)>, Vec<u8>);

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.0.lock().unwrap().append(&mut self.1);
        self.0.1.notify_all();
        Ok(())
    }
}

impl Watched {
    fn wait_for(&self, seen: &str) {
        let (shown, changed) = &*self.0;
        let began = Instant::now();
        let mut shown = shown.lock().unwrap();
        while *shown != seen.as_bytes() {
            let left = DEADLINE.checked_sub(began.elapsed()).expect(seen);
            shown = changed.wait_timeout(shown, left).unwrap().0;
        }
    }
}

#[test]
fn any_bytes_come_back_and_what_is_no_text_is_replaced() {
    let node = Node::start();
    let mut lines = vec![b'x'; 900_000];
    lines.extend_from_slice("\n\u{e9}\u{1f600}\na\u{ff}\u{80}b\r\n".as_bytes());
    lines.extend_from_slice(b"a\xffb\r\xed\xa0\x80");
    node.produce("bytes", &lines, &["--compression-codec", "zstd"]);
    let read = node.consume("bytes", 5, &[]);
    assert!(read.starts_with(&[b'x'; 900_000]));
    let rest = String::from_utf8(read[900_000..].to_vec()).unwrap();
    assert_eq!(rest, "\n\u{e9}\u{1f600}\na\u{ff}\u{80}b\na\u{fffd}b\n\u{fffd}\n");
    let properties = [
        "--reader-property=parse.headers=true",
        "--reader-property=headers.delimiter=|",
        "--reader-property=null.marker=NULL",
    ];
    node.produce("headers", b"a:NULL,b:1|NULL\n", &properties);
    let shown = node.consume("headers", 1, &["--formatter-property=print.headers=true"]);
    assert_eq!(String::from_utf8(shown).unwrap(), "a:null,b:1\tnull\n");
}

#[test]
fn nobody_reading_on_is_a_quiet_success_and_commits_nothing_unseen() {
    let node = Node::start();
    let lines: String = (0..2_000).map(|number| format!("{number}\n")).collect();
    node.produce("letters", lines.as_bytes(), &[]);
    let args = ["--topic", "letters", "--from-beginning", "--group", "watchers"];
    // The first poll's records go through, those of the second don't all.
    let more = [&args[..], &["--command-property=max.poll.records=100"]].concat();
    let mut pipe = Closing(1_000);
    let done = node.run_into("kafka-console-consumer", &more, b"", &mut pipe);
    assert_eq!(done, (0, String::new()));
    assert_eq!(node.committed("watchers"), Some(200), "290 bytes, 400, and not 400 more");
    let (_, out, _) =
        node.run("kafka-console-consumer", &[&args[..], &["--max-messages", "3"]].concat(), b"");
    assert_eq!(out, b"200\n201\n202\n", "the next goes on with what nobody saw");
    assert_eq!(node.committed("watchers"), Some(203));
}

#[test]
fn what_came_is_shown_before_more_is_waited_for() {
    let node = Node::start();
    node.produce("letters", b"one\n", &[]);
    let watched = Watched::default();
    thread::scope(|scope| {
        let mut out = watched.clone();
        let node = &node;
        let reader = scope.spawn(move || {
            let args = ["--topic=letters", "--from-beginning", "--max-messages=2", GIVE_UP];
            node.run_into("kafka-console-consumer", &args, b"", &mut out).0
        });
        watched.wait_for("one\n");
        node.produce("letters", b"two\n", &[]);
        watched.wait_for("one\ntwo\n");
        assert_eq!(reader.join().unwrap(), 0);
    });
}

#[test]
fn topics_that_match_are_picked_up_while_it_runs() {
    let node = Node::start();
    node.produce("letters-a", b"one\n", &[]);
    node.produce("letters", b"no\n", &[]);
    let watched = Watched::default();
    thread::scope(|scope| {
        let mut out = watched.clone();
        let node = &node;
        let reader = scope.spawn(move || {
            let args = [
                "--include=letters-[ab]",
                "--from-beginning",
                "--max-messages=2",
                "--command-property=metadata.max.age.ms=100",
                "--command-property=heartbeat.interval.ms=50",
                GIVE_UP,
            ];
            node.run_into("kafka-console-consumer", &args, b"", &mut out).0
        });
        watched.wait_for("one\n");
        node.produce("letters-b", b"two\n", &[]);
        watched.wait_for("one\ntwo\n");
        assert_eq!(reader.join().unwrap(), 0);
    });
}

#[test]
fn a_record_that_can_not_be_shown_is_told_and_counts() {
    let node = Node::start();
    node.produce("letters", b"abcd\nabcdefgh\n", &[]);
    let long = "org.apache.kafka.common.serialization.LongDeserializer";
    let args = ["--topic=letters", "--from-beginning", "--max-messages=2", "--value-deserializer"];
    let (code, out, err) = node.run("kafka-console-consumer", &[&args[..], &[long]].concat(), b"");
    assert_eq!((code, out), (1, Vec::new()));
    assert_eq!(
        err,
        "Processed a total of 1 messages\nerror: letters-0 at offset 0: Size of data received by \
         LongDeserializer is not 8\n"
    );
    let skip = [&args[..], &[long, "--skip-message-on-error"]].concat();
    let (code, out, err) = node.run("kafka-console-consumer", &skip, b"");
    assert_eq!((code, String::from_utf8(out).unwrap()), (0, "7017280452245743464\n".into()));
    assert!(err.starts_with("warning: skipped: letters-0 at offset 0: "), "{err}");
    assert!(err.ends_with("\nProcessed a total of 2 messages\n"), "{err}");
}

#[test]
fn lines_of_any_number_take_bounded_memory_and_keep_their_order() {
    let node = Node::start();
    let lines: String = (0..300_000).map(|number| format!("{number}\n")).collect();
    // Far more than may be on its way at once.
    node.produce("letters", lines.as_bytes(), &["--max-memory-bytes=200000"]);
    assert!(node.consume("letters", 300_000, &[]) == lines.as_bytes());
}
