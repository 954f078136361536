//! `kafka-console-producer`: lines of standard input become records.
//!
//! A thread reads and hands records to the client; what becomes of them is awaited on the tool's
//! own thread, so that a refusal is told while the next line is still being typed.
//!
//! Standard output stays empty but for warnings about old names and, on a terminal, the prompt.
//! Without `--sync` a record that is not written is told and does not change the exit code, as by
//! Apache Kafka 4.3.1.

use std::io::{BufRead, IsTerminal, Write};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use client::{Client, Delivery, Error, Options, Producer, Record};
use tokio::runtime::Handle;
use tokio::sync::{Mutex, mpsc};

use super::lines::{Line, Lines};
use super::reader::Reader;
use super::{Properties, Renamed};
use crate::cluster::{self, BOOTSTRAP_SERVER, COMMAND_CONFIG, Signals};
use crate::flags::{Parsed, Spec, optional, switch, value};
use crate::{Failure, Io, Tool, finish, java};

/// The entry in the list of tools.
pub const TOOL: Tool = Tool {
    name: "kafka-console-producer",
    about: "Sends the lines of standard input as records to a topic.",
    run,
};

static SPEC: Spec = Spec {
    tool: TOOL.name,
    about: TOOL.about,
    flags: &[
        BOOTSTRAP_SERVER,
        value(&["topic"], "name", "Required. Where to; the broker may create it."),
        COMMAND_CONFIG,
        value(&["command-property"], "key=value", "A property of the producer; may be repeated."),
        value(
            &["reader-property"],
            "key=value",
            "How lines are read; may be repeated. parse.key, key.separator (a tab), parse.headers, \
             headers.delimiter (a tab), headers.separator (,), headers.key.separator (:), \
             null.marker, ignore.error.",
        ),
        value(&["reader-config"], "file", "The same as properties."),
        value(&["line-reader"], "class", "What reads lines; there is one reader."),
        switch(&["sync"], "Wait for each record's acknowledgement, and stop at the first error."),
        optional(
            &["compression-codec"],
            "codec",
            "none, gzip, snappy, lz4 or zstd; gzip if no codec follows, none without the flag.",
        ),
        value(&["request-required-acks"], "acks", "all (-1, the default), 1 or 0."),
        value(&["timeout"], "ms", "How long records wait for more to go with them (1000)."),
        value(&["batch-size"], "bytes", "At which a batch does not wait (16384)."),
        value(&["message-send-max-retries"], "n", "How often a batch is sent again (3)."),
        value(&["retry-backoff-ms"], "ms", "Pause before that (100)."),
        value(&["request-timeout-ms"], "ms", "How long an answer is waited for (1500)."),
        value(&["max-block-ms"], "ms", "How long a line waits for its topic or room (60000)."),
        value(&["max-memory-bytes"], "bytes", "Records on their way (33554432)."),
        value(&["metadata-expiry-ms"], "ms", "Age at which metadata is asked for again (300000)."),
        value(&["socket-buffer-size"], "bytes", "Of no effect: the system sizes buffers."),
        value(&["property"], "key=value", "Old name of --reader-property."),
        value(&["producer-property"], "key=value", "Old name of --command-property."),
        value(&["producer.config"], "file", "Old name of --command-config."),
        value(&["max-partition-memory-bytes"], "bytes", "Old name of --batch-size."),
    ],
};

const COMMAND_FILE: Renamed = Renamed { old: "producer.config", new: "command-config" };
const COMMAND: Renamed = Renamed { old: "producer-property", new: "command-property" };
const READER: Renamed = Renamed { old: "property", new: "reader-property" };
const BATCH: Renamed = Renamed { old: "max-partition-memory-bytes", new: "batch-size" };

fn run(args: &[String], io: &mut Io<'_>) -> u8 {
    let typed = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let mut terminal = typed.then(std::io::stdout);
    produce(args, io, terminal.as_mut().map(|out| out as &mut (dyn Write + Send)))
}

/// Runs the tool; the prompt goes to `terminal`.
fn produce(args: &[String], io: &mut Io<'_>, terminal: Option<&mut (dyn Write + Send)>) -> u8 {
    finish(io, |io| {
        let parsed = SPEC.parse(args, io)?;
        parsed.require(&["topic"])?;
        COMMAND_FILE.check(&parsed)?;
        COMMAND.check(&parsed)?;
        READER.check(&parsed)?;
        for (renamed, until) in [
            (COMMAND, "a future version"),
            (COMMAND_FILE, "a future version"),
            (READER, "a future version"),
            (BATCH, "Apache Kafka 5.0"),
        ] {
            if parsed.has(renamed.old) {
                let Renamed { old, new } = renamed;
                writeln!(
                    io.out,
                    "Warning: --{old} is deprecated and will be removed in {until}. Use --{new} \
                     instead."
                )?;
            }
        }
        parsed.require(&["bootstrap-server"])?;
        servers_have_ports(parsed.value("bootstrap-server")?.unwrap_or_default())?;
        let reader = reader(&parsed)?;
        let options = super::options(&properties(&parsed)?, io)?;
        io.out.flush()?;
        send(reader, options, parsed.has("sync"), io, terminal)?;
        Ok(0)
    })
}

fn servers_have_ports(servers: &str) -> Result<(), Failure> {
    let has_port = |server: &str| {
        let port = server.trim().rsplit_once(':').map(|(_, port)| port);
        port.is_some_and(|port| port.parse::<u16>().is_ok())
    };
    if servers.split(',').all(has_port) {
        return Ok(());
    }
    Err(SPEC.misuse(&format!("--bootstrap-server {servers}: expected host:port,...")))
}

fn reader(parsed: &Parsed) -> Result<Reader, Failure> {
    let class = parsed.value("line-reader")?.unwrap_or(LINE_READER);
    if class != LINE_READER {
        return Err(Failure::new(format!(
            "error: --line-reader {class}: no Java class can be loaded here; there is\n  \
             {LINE_READER}"
        )));
    }
    let topic = parsed.value("topic")?.unwrap_or_default();
    let mut properties = match parsed.value("reader-config")? {
        Some(path) => crate::cluster::read_properties(path)?,
        None => Properties::new(),
    };
    properties.insert("topic".into(), topic.into());
    properties.extend(READER.pairs(parsed));
    Reader::new(&properties).map_err(|error| Failure::new(format!("error: {error}")))
}

/// A flag wins over a property, a property over the flag's default.
fn properties(parsed: &Parsed) -> Result<Properties, Failure> {
    let mut properties = COMMAND_FILE.file(parsed)?;
    properties.extend(COMMAND.pairs(parsed));
    let mut set = |key: &str, value: &str| drop(properties.insert(key.into(), value.into()));
    set("bootstrap.servers", parsed.value("bootstrap-server")?.unwrap_or_default());
    // Whatever the properties say.
    let codec = match parsed.has("compression-codec") {
        true => parsed.value("compression-codec")?.unwrap_or("gzip"),
        false => "none",
    };
    set("compression.type", codec);
    let number = |flag: &str| {
        let number = parsed.number::<i64>(flag)?;
        Ok::<_, Failure>(number.map(|number| number.to_string()))
    };
    let given = |flag: &str| Ok::<_, Failure>(parsed.value(flag)?.map(str::to_owned));
    for (key, flag, default) in [
        ("linger.ms", number("timeout")?, "1000"),
        ("acks", given("request-required-acks")?, "-1"),
        ("request.timeout.ms", number("request-timeout-ms")?, "1500"),
        ("retries", number("message-send-max-retries")?, "3"),
        ("retry.backoff.ms", number("retry-backoff-ms")?, "100"),
        ("buffer.memory", number("max-memory-bytes")?, "33554432"),
        ("batch.size", number(BATCH.old)?.or(number(BATCH.new)?), "16384"),
        ("metadata.max.age.ms", number("metadata-expiry-ms")?, "300000"),
        ("max.block.ms", number("max-block-ms")?, "60000"),
        ("client.id", None, "console-producer"),
    ] {
        match flag {
            Some(value) => drop(properties.insert(key.into(), value)),
            None => drop(properties.entry(key.into()).or_insert_with(|| default.into())),
        }
    }
    // Nothing is set for what it does not change, so that nothing is told of it either.
    number("socket-buffer-size")?;
    Ok(properties)
}

/// What the thread that reads tells the one that awaits.
enum Told {
    Sent(Sent, Delivery),
    Refused(Sent, Error),
    Waiting(Error),
}

/// What a message about a record says of it.
#[derive(Clone, Copy)]
struct Sent {
    key: Option<usize>,
    value: Option<usize>,
}

impl Sent {
    fn of(record: &Record) -> Self {
        Self {
            key: record.key.as_ref().map(wire::Bytes::len),
            value: record.value.as_ref().map(wire::Bytes::len),
        }
    }
}

fn send(
    reader: Reader,
    options: Options,
    sync: bool,
    io: &mut Io<'_>,
    terminal: Option<&mut (dyn Write + Send)>,
) -> Result<(), Failure> {
    let runtime = cluster::beside()?;
    let entered = runtime.enter();
    let mut signals = Signals::take_over()?;
    let limit = options.producer.request_bytes_max;
    let client = Client::unconnected(options);
    let producer = Producer::new(client.clone());
    drop(entered);
    let (tell, mut told) = mpsc::channel(RECORDS_TOLD);
    let sending = Arc::new(Mutex::default());
    let mut errors = Errors { topic: reader.topic().to_owned(), last: String::new(), more: 0 };
    let feeder = Feeder {
        reader,
        lines: Lines::new(limit),
        limit,
        client,
        producer: producer.clone(),
        runtime: runtime.handle().clone(),
        sync,
        tell,
        sending: sending.clone(),
    };
    let stdin = &mut *io.stdin;
    let err = &mut *io.err;
    let outcome = thread::scope(|scope| {
        let feeder = scope.spawn(move || feeder.run(stdin, terminal));
        let stopped = runtime.block_on(async {
            tokio::select! {
                () = errors.listen(&mut told, err) => None,
                code = signals.any() => Some(code),
            }
        });
        if let Some(code) = stopped {
            // Invariant I2: what was read is sent, before the end.
            runtime.block_on(async {
                let flushed = async {
                    // Not given back: nothing comes behind what is sent now.
                    std::mem::forget(sending.lock().await);
                    producer.flush().await
                };
                let _ = tokio::time::timeout(LAST_FLUSH, flushed).await;
                told.close();
                let rest = errors.listen(&mut told, err);
                let _ = tokio::time::timeout(Duration::from_secs(1), rest).await;
            });
            errors.end(err);
            // The other thread is in a read of standard input, which can't be taken back.
            std::process::exit(i32::from(code));
        }
        errors.end(err);
        feeder.join()
    });
    runtime.shutdown_timeout(Duration::ZERO);
    outcome.unwrap_or_else(|_| Err(Failure::new("error: reading ended unexpectedly")))
}

/// Reads lines and hands their records to the producer.
struct Feeder {
    reader: Reader,
    lines: Lines,
    limit: usize,
    client: Client,
    producer: Producer,
    runtime: Handle,
    sync: bool,
    tell: mpsc::Sender<Told>,
    /// Held while a line that was read becomes a record on its way.
    sending: Arc<Mutex<()>>,
}

impl Feeder {
    fn run(
        mut self,
        stdin: &mut (dyn BufRead + Send),
        terminal: Option<&mut (dyn Write + Send)>,
    ) -> Result<(), Failure> {
        let fed = self.feed(stdin, terminal);
        // Whatever ended it, the lines before are sent.
        let flushed = self.runtime.block_on(self.producer.flush());
        fed.and(flushed.map_err(|error| Failure::new(format!("error: {error}"))))
    }

    fn feed(
        &mut self,
        stdin: &mut (dyn BufRead + Send),
        mut terminal: Option<&mut (dyn Write + Send)>,
    ) -> Result<(), Failure> {
        for number in 1.. {
            if let Some(out) = &mut terminal {
                out.write_all(b">").and_then(|()| out.flush())?;
            }
            let line = self.lines.next(stdin);
            let line =
                line.map_err(|error| Failure::new(format!("error: standard input: {error}")));
            let read = match line? {
                None => return Ok(()),
                Some(Line::Whole(bytes)) => self.reader.read(&java::text(bytes), number),
                Some(Line::TooLong(length)) => {
                    self.refuse(length)?;
                    continue;
                }
            };
            let record = read.map_err(|error| Failure::new(format!("error: {error}")))?;
            if number == 1 {
                self.look_for_the_cluster();
            }
            self.send(record)?;
        }
        Ok(())
    }

    /// A line that no record can hold.
    fn refuse(&self, length: usize) -> Result<(), Failure> {
        let words = format!(
            "The message is {length} bytes when serialized which is larger than {}, which is the \
             value of the max.request.size configuration.",
            self.limit
        );
        let error = Error::Broker(wire::ErrorCode::MESSAGE_TOO_LARGE, words);
        self.refused(Sent { key: None, value: Some(length) }, error)
    }

    fn refused(&self, sent: Sent, error: Error) -> Result<(), Failure> {
        if self.sync {
            return Err(Failure::new(format!("error: {error}")));
        }
        let _ = self.tell.blocking_send(Told::Refused(sent, error));
        Ok(())
    }

    /// A person whose cluster is not there is told at once, not after `max.block.ms`.
    fn look_for_the_cluster(&self) {
        let looked = self.runtime.block_on(async {
            let patience = self.client.options().producer.max_block;
            let looked = self.client.refresh(Some(Vec::new()), false);
            tokio::time::timeout(patience, looked).await.unwrap_or(Ok(()))
        });
        if let Err(error @ Error::Unreachable { .. }) = looked {
            let _ = self.tell.blocking_send(Told::Waiting(error));
        }
    }

    fn send(&self, record: Record) -> Result<(), Failure> {
        let sent = Sent::of(&record);
        let (producer, sync) = (&self.producer, self.sync);
        let enqueued = self.runtime.block_on(async {
            let _sending = self.sending.lock().await;
            let delivery = producer.enqueue(record).await?;
            if !sync {
                return Ok(Some(delivery));
            }
            // Nothing else will come that this could wait for.
            producer.flush().await?;
            delivery.await.map(|_| None)
        });
        match enqueued {
            Ok(Some(delivery)) => drop(self.tell.blocking_send(Told::Sent(sent, delivery))),
            Ok(None) => {}
            Err(error) => return self.refused(sent, error),
        }
        Ok(())
    }
}

/// Tells of records that were not written: the first of each kind in full, how many more after.
struct Errors {
    topic: String,
    last: String,
    more: u64,
}

impl Errors {
    async fn listen(&mut self, told: &mut mpsc::Receiver<Told>, err: &mut dyn Write) {
        while let Some(told) = told.recv().await {
            match told {
                Told::Sent(sent, delivery) => {
                    if let Err(error) = delivery.await {
                        self.tell(sent, &error, err);
                    }
                }
                Told::Refused(sent, error) => self.tell(sent, &error, err),
                Told::Waiting(error) => drop(writeln!(err, "warning: {error}; trying again")),
            }
        }
    }

    fn tell(&mut self, sent: Sent, error: &Error, err: &mut dyn Write) {
        let error = error.to_string();
        if error == self.last {
            self.more += 1;
            return;
        }
        self.end(err);
        let size = |bytes: Option<usize>| match bytes {
            None => "null".to_owned(),
            Some(bytes) => format!("{bytes} bytes"),
        };
        let (topic, key, value) = (&self.topic, size(sent.key), size(sent.value));
        let _ = writeln!(
            err,
            "error: a record was not written to {topic} (key: {key}, value: {value}): {error}"
        );
        self.last = error;
    }

    /// What was counted since the last message.
    fn end(&mut self, err: &mut dyn Write) {
        match std::mem::take(&mut self.more) {
            0 => {}
            1 => drop(writeln!(err, "error: 1 more record was not written, for the same reason")),
            more => {
                let _ = writeln!(
                    err,
                    "error: {more} more records were not written, for the same reason"
                );
            }
        }
    }
}

const LINE_READER: &str = "org.apache.kafka.tools.LineMessageReader";
/// Records whose fate is not known yet, at most.
const RECORDS_TOLD: usize = 100_000;
/// How long a signal waits for what was read to be written.
const LAST_FLUSH: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    fn run(args: &[&str], stdin: &[u8]) -> (u8, String, String, String) {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let (mut out, mut err, mut terminal) = (Vec::new(), Vec::new(), Vec::new());
        let mut input = stdin;
        let mut io = Io { stdin: &mut input, out: &mut out, err: &mut err };
        let code = produce(&args, &mut io, Some(&mut terminal));
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (code, text(out), text(err), text(terminal))
    }

    fn set(args: &[&str]) -> Result<Properties, Failure> {
        let mut all = vec!["--bootstrap-server".to_owned(), "a:1".into()];
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        let mut io =
            Io { stdin: &mut std::io::empty(), out: &mut Vec::new(), err: &mut Vec::new() };
        properties(&SPEC.parse(&all, &mut io)?)
    }

    const NOBODY: [&str; 5] =
        ["--bootstrap-server", "127.0.0.1:1", "--topic", "t", "--max-block-ms=50"];

    #[test]
    fn flags_win_over_properties_and_those_over_defaults() {
        let plain = set(&[]).unwrap();
        let text = |properties: &Properties, key: &str| properties.get(key).unwrap().clone();
        for (key, value) in [
            ("linger.ms", "1000"),
            ("request.timeout.ms", "1500"),
            ("retries", "3"),
            ("compression.type", "none"),
            ("client.id", "console-producer"),
        ] {
            assert_eq!(text(&plain, key), value);
        }
        let given = set(&[
            "--command-property=linger.ms=7",
            "--command-property",
            "retries=9",
            "--message-send-max-retries=2",
            "--command-property=compression.type=lz4",
            "--batch-size=1",
            "--max-partition-memory-bytes=2",
            "--compression-codec",
        ])
        .unwrap();
        assert_eq!(text(&given, "linger.ms"), "7");
        assert_eq!(text(&given, "retries"), "2");
        assert_eq!(text(&given, "batch.size"), "2");
        assert_eq!(text(&given, "compression.type"), "gzip");
        assert!(set(&["--timeout=x"]).is_err());
    }

    #[test]
    fn what_is_not_sent_is_told_once_and_counted() {
        let (code, out, err, prompts) = run(&NOBODY, b"a\nb\nc\n");
        assert_eq!((code, out.as_str(), prompts.as_str()), (0, "", ">>>>"));
        let lines: Vec<&str> = err.lines().collect();
        assert_eq!(lines.len(), 3, "{err}");
        assert!(lines[0].starts_with("warning: cannot reach 127.0.0.1:1"), "{err}");
        let first = "error: a record was not written to t (key: null, value: 1 bytes): timed out";
        assert!(lines[1].starts_with(first), "{err}");
        assert_eq!(lines[2], "error: 2 more records were not written, for the same reason");
    }

    #[test]
    fn with_sync_the_first_error_ends_it() {
        let (code, out, err, prompts) = run(&[&NOBODY[..], &["--sync"]].concat(), b"a\nb\n");
        assert_eq!((code, out.as_str(), prompts.as_str()), (1, "", ">"));
        assert!(err.lines().last().unwrap().starts_with("error: timed out after 50 ms"), "{err}");
    }

    #[test]
    fn a_line_no_record_can_hold_is_an_error_by_its_length() {
        let small = [&NOBODY[..], &["--command-property=max.request.size=100"]].concat();
        let (code, _, err, _) = run(&small, &[b'x'; 1000]);
        assert_eq!(code, 0);
        assert!(err.contains("The message is 1000 bytes when serialized"), "{err}");
    }

    #[test]
    fn a_line_that_can_not_be_read_ends_it_by_number() {
        let keys = [&NOBODY[..], &["--reader-property", "parse.key=true"]].concat();
        let (code, _, err, prompts) = run(&keys, b"no key\na\tb\n");
        assert_eq!((code, prompts.as_str()), (1, ">"));
        assert_eq!(err, "error: No key separator found on line number 1: 'no key'\n");
    }

    #[test]
    fn no_input_needs_no_cluster_and_what_is_wrong_is_told_before_it() {
        assert_eq!(run(&NOBODY, b""), (0, String::new(), String::new(), ">".into()));
        for (more, words) in [
            (&["--line-reader", "a.B"][..], "org.apache.kafka.tools.LineMessageReader"),
            (&["--compression-codec", "zip"], "compression.type"),
            (&["--request-required-acks", "7"], "acks"),
            (&["--producer-property=a=b", "--command-property=a=b"], "--command-property"),
        ] {
            let (code, out, err, prompts) = run(&[&NOBODY[..], more].concat(), b"a\n");
            assert_eq!((code, out.as_str(), prompts.as_str()), (1, "", ""), "{more:?}");
            assert!(err.contains(words), "{err}");
        }
    }
}
