//! The two brokers as processes: started, waited for, and gone when we are.
//!
//! Owns the process and nothing of its directory, which stays for the caller to remove.
//!
//! I2: every such process asks the kernel to be killed when the thread that started it ends
//! (`setpriv --pdeathsig`), which holds after SIGINT, SIGKILL and a panic alike.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Ours.
    Ottla,
    /// Apache Kafka 4.3.1.
    Apache,
}

impl Side {
    /// Its word in results.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ottla => "ottla",
            Self::Apache => "apache",
        }
    }
}

/// How Apache Kafka is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// As it comes.
    Default,
    /// With `log.flush.interval.messages=1`: it syncs before it acknowledges, too.
    Durable,
}

impl Peer {
    /// Its word in results and on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Durable => "durable",
        }
    }
}

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    side: Side,
    directory: PathBuf,
    port: u16,
    child: Child,
}

impl Broker {
    /// Starts `side` on an empty `directory`, formatted first, and waits until it accepts.
    ///
    /// # Errors
    /// If it can't be started or doesn't accept in time; with what it said last.
    pub fn start(side: Side, peer: Peer, directory: &Path) -> Result<Self, String> {
        let port = harness::free_port();
        let properties = format(side, peer, directory, port)?;
        let mut broker = Self::spawn(side, &mut starting(side, &properties)?, directory, port)?;
        broker.wait_until_it_accepts()?;
        Ok(broker)
    }

    /// Starts bare `ottla` in an empty directory and doesn't wait.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn bare(directory: &Path) -> Result<Self, String> {
        let port = harness::free_port();
        let mut command = dying_with_us(harness::binary());
        command.arg("--data").arg(directory.join("data")).arg("--port").arg(port.to_string());
        command.args(["--admin", "none"]);
        Self::spawn(Side::Ottla, &mut command, directory, port)
    }

    /// Starts Apache Kafka on a directory made by [`format()`] and doesn't wait.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn apache(properties: &Path, directory: &Path, port: u16) -> Result<Self, String> {
        Self::spawn(Side::Apache, &mut starting(Side::Apache, properties)?, directory, port)
    }

    /// Starts a broker again on the directory of one that ended, and doesn't wait.
    ///
    /// # Errors
    /// If it can't be started.
    pub fn again(side: Side, directory: &Path, port: u16) -> Result<Self, String> {
        let properties = directory.join("server.properties");
        Self::spawn(side, &mut starting(side, &properties)?, directory, port)
    }

    fn spawn(
        side: Side,
        command: &mut Command,
        directory: &Path,
        port: u16,
    ) -> Result<Self, String> {
        let log = log_file(directory)?;
        let error = log.try_clone().map_err(|error| error.to_string())?;
        let child = command.stdin(Stdio::null()).stdout(log).stderr(error).spawn();
        let child = child.map_err(|error| format!("{command:?}: {error}"))?;
        Ok(Self { side, directory: directory.to_owned(), port, child })
    }

    /// Returns as soon as a connection is accepted.
    ///
    /// # Errors
    /// If the process ends before, or none is accepted in time.
    pub fn wait_until_it_accepts(&mut self) -> Result<(), String> {
        let until = Instant::now() + START;
        let at: SocketAddr = (Ipv4Addr::LOCALHOST, self.port).into();
        while TcpStream::connect_timeout(&at, CONNECT).is_err() {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("{} ended with {status}:\n{}", self.side.word(), self.log()));
            }
            if Instant::now() > until {
                return Err(format!("{} doesn't accept:\n{}", self.side.word(), self.log()));
            }
            // Its process can't wake this thread; a millisecond is the error of start-up times.
            thread::park_timeout(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Who it is.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Asks it to stop (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// If it is still there after a minute or two, or says that it failed.
    pub fn stop(mut self) -> Result<(), String> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .map_err(|error| format!("{}: {error}", self.side.word()))?;
        let until = Instant::now() + STOP;
        while self.child.try_wait().map_err(|error| error.to_string())?.is_none() {
            if Instant::now() > until {
                return Err(format!("{} doesn't stop:\n{}", self.side.word(), self.log()));
            }
            thread::park_timeout(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Ends it at once, as `kill -9` does; it is gone afterwards.
    pub fn kill(self) {
        drop(self);
    }

    /// The files of a topic's logs.
    pub fn log_files(&self, topic: &str) -> Vec<PathBuf> {
        let start = format!("{topic}-");
        let files = |directory: &Path| fs::read_dir(directory).into_iter().flatten().flatten();
        files(&self.directory.join("data"))
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(&start))
            .flat_map(|entry| files(&entry.path()).map(|file| file.path()).collect::<Vec<_>>())
            .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
            .collect()
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// True if no file or directory of that topic is left, none to be removed later either.
    pub fn is_rid_of(&self, topic: &str) -> bool {
        let start = format!("{topic}-");
        let entries = fs::read_dir(self.directory.join("data")).into_iter().flatten().flatten();
        !entries.map(|entry| entry.file_name()).any(|name| {
            // Apache Kafka cuts the name of a directory that is to go if it gets too long; ours
            // are short.
            name.to_string_lossy().starts_with(&start)
        })
    }

    /// The end of what it wrote.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.directory.join("broker.log")).unwrap_or_default();
        harness::command::tail(&String::from_utf8_lossy(&bytes)).to_owned()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The command that starts a broker with that configuration.
fn starting(side: Side, properties: &Path) -> Result<Command, String> {
    let mut command = match side {
        Side::Ottla => dying_with_us(harness::binary()),
        Side::Apache => java(BROKER_HEAP)?,
    };
    match side {
        Side::Ottla => command.args(["start", "--admin", "none", "--config"]).arg(properties),
        Side::Apache => command.arg("kafka.Kafka").arg(properties),
    };
    Ok(command)
}

/// Writes `server.properties` into the directory and formats what it names; returns the file.
///
/// # Errors
/// If the formatting tool fails.
pub fn format(side: Side, peer: Peer, directory: &Path, port: u16) -> Result<PathBuf, String> {
    let properties = directory.join("server.properties");
    let text = server_properties(side, peer, &directory.join("data"), port);
    fs::create_dir_all(directory)
        .and_then(|()| fs::write(&properties, text))
        .map_err(|error| format!("{}: {error}", properties.display()))?;
    let mut command = match side {
        Side::Ottla => {
            let mut command = dying_with_us(harness::binary());
            command.arg("kafka-storage");
            command
        }
        Side::Apache => {
            let mut command = java(TOOL_HEAP)?;
            command.arg("kafka.tools.StorageTool");
            command
        }
    };
    command.args(["format", "--cluster-id", "AAAAAAAAQACAAAAAAAAAAA", "--config"]);
    command.arg(&properties);
    let finished = harness::run(&mut command, START);
    if finished.code != Some(0) {
        return Err(format!("{command:?}:\n{}{}", finished.stdout, finished.stderr));
    }
    Ok(properties)
}

/// The same for both sides, and nothing but what a single node needs.
fn server_properties(side: Side, peer: Peer, data: &Path, port: u16) -> String {
    let controller = port + 1;
    let mut text = format!(
        "process.roles=broker,controller\nnode.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         controller.listener.names=CONTROLLER\nlog.dirs={}\n\
         offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\nlog.segment.delete.delay.ms=100\n",
        data.display()
    );
    if (side, peer) == (Side::Apache, Peer::Durable) {
        text.push_str("log.flush.interval.messages=1\n");
    }
    text
}

/// A command whose process the kernel kills when the thread that starts it ends.
pub fn dying_with_us(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program);
    command
}

/// Java with Apache Kafka's class path; the class is the next argument.
///
/// # Errors
/// If its jars can't be gathered; in one line.
pub fn java(heap: &[&str]) -> Result<Command, String> {
    let mut gather = Command::new(harness::root().join("tests/oracle/jars"));
    let gathered = harness::run(gather.arg("broker"), harness::DOWNLOAD);
    if gathered.code != Some(0) {
        let why = gathered.stderr.lines().last().unwrap_or("unknown").to_owned();
        return Err(format!("no jars of Apache Kafka: {why}"));
    }
    let mut command = dying_with_us("java");
    command.args(heap).args(JVM).arg("-cp").arg(gathered.stdout.trim());
    Ok(command)
}

fn log_file(directory: &Path) -> Result<File, String> {
    let path = directory.join("broker.log");
    fs::create_dir_all(directory)
        .and_then(|()| File::options().create(true).append(true).open(&path))
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// What `kafka-run-class.sh` gives every JVM.
const JVM: [&str; 6] = [
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
];
/// The heap that `kafka-server-start.sh` gives a broker.
pub const BROKER_HEAP: &[&str] = &["-Xmx1G", "-Xms1G"];
/// The heap that `kafka-run-class.sh` gives a tool.
pub const TOOL_HEAP: &[&str] = &["-Xmx256M"];
/// Apache Kafka takes a minute or more with 5 000 partitions on a busy machine.
const START: Duration = Duration::from_secs(180);
const STOP: Duration = Duration::from_secs(120);
const CONNECT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_are_configured_alike_unless_the_peer_is_durable() {
        let text = |side, peer| server_properties(side, peer, Path::new("data"), 9092);
        let ours = text(Side::Ottla, Peer::Durable);
        assert_eq!(ours, text(Side::Apache, Peer::Default));
        assert!(ours.contains("CONTROLLER://127.0.0.1:9093\n"));
        let durable = text(Side::Apache, Peer::Durable);
        assert_eq!(durable, format!("{ours}log.flush.interval.messages=1\n"));
    }
}
