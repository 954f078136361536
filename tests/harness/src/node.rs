//! A broker in a process of its own: the built `ottla`, or with `OTTLA_PEER=apache` Apache Kafka.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::command::{left, run, tail};

/// A single node on a port and a data directory that survive its process.
#[derive(Debug)]
pub struct Node {
    directory: PathBuf,
    port: u16,
    program: Program,
    arguments: Vec<String>,
    /// What the program is started with, if not by itself.
    wrapper: Vec<String>,
    child: Option<Child>,
}

/// What serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    /// `ottla --data`, or with `OTTLA_PEER=apache` Apache Kafka 4.3.1.
    Bare,
    /// `ottla start --config`.
    Configured,
    /// Apache Kafka 4.4.0 on the same configuration.
    Apache,
    /// As `Bare`, but always ours, with the bug of that name awake.
    Planted(&'static str),
}

impl Node {
    /// Starts a node on `directory` and waits until it accepts connections.
    ///
    /// # Panics
    /// If it doesn't accept before the deadline; with what it logged.
    pub fn start(directory: &Path) -> Self {
        Self::of(directory, free_port(), Program::Bare, &[])
    }

    /// As [`Self::start`], by another program, which is given the node's own command line.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn under(directory: &Path, wrapper: &[&str]) -> Self {
        Self::wrapped(directory, free_port(), Program::Bare, &[], wrapper)
    }

    /// As [`Self::configured`], by another program.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn configured_under(directory: &Path, port: u16, wrapper: &[&str]) -> Self {
        Self::wrapped(directory, port, Program::Configured, &[], wrapper)
    }

    /// As [`Self::start`], in a directory that is made, with more arguments.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn with(directory: &Path, arguments: &[&str]) -> Self {
        fs::create_dir_all(directory).expect("a directory for the node");
        Self::of(directory, free_port(), Program::Bare, arguments)
    }

    /// Starts `ottla` on `directory/server.properties`, which says that it listens on `port`.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn configured(directory: &Path, port: u16) -> Self {
        Self::of(directory, port, Program::Configured, &[])
    }

    /// Starts Apache Kafka 4.4.0 on `directory/server.properties`, which says that it listens on
    /// `port`.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn apache(directory: &Path, port: u16) -> Self {
        Self::of(directory, port, Program::Apache, &[])
    }

    /// As [`Self::start`], with the bug of `ottla_log::planted` that is called so awake; of the
    /// binary `ottla-planted`, which is built on its own.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn planted(directory: &Path, bug: &'static str) -> Self {
        Self::of(directory, free_port(), Program::Planted(bug), &[])
    }

    fn of(directory: &Path, port: u16, program: Program, arguments: &[&str]) -> Self {
        Self::wrapped(directory, port, program, arguments, &[])
    }

    fn wrapped(
        directory: &Path,
        port: u16,
        program: Program,
        arguments: &[&str],
        wrapper: &[&str],
    ) -> Self {
        let directory = directory.to_owned();
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        let (arguments, wrapper) = (owned(arguments), owned(wrapper));
        let mut node = Self { directory, port, program, arguments, wrapper, child: None };
        node.launch();
        node
    }

    /// `host:port`, as clients want it.
    pub fn address(&self) -> String {
        self.socket().to_string()
    }

    /// Where it listens.
    pub fn socket(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// True if the process under test is Apache Kafka, whose memory is not ours to judge.
    pub fn is_peer() -> bool {
        std::env::var_os("OTTLA_PEER").is_some()
    }

    /// Starts the process again on the same port and directory.
    ///
    /// # Panics
    /// If it still runs, or as [`Self::start`].
    pub fn launch(&mut self) {
        assert!(self.child.is_none(), "the node still runs");
        let log = File::options().create(true).append(true).open(self.log_path());
        let log = log.expect("a log file for the node");
        let mut command = self.wrapped_command();
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a file handle")).stderr(log);
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        self.child = Some(child);
        let until = Instant::now() + if self.is_java() { PEER_START } else { START };
        while TcpStream::connect_timeout(&self.socket(), POLL).is_err() {
            if let Some(status) = self.exited() {
                panic!("the node ended with {status}:\n{}", self.log());
            }
            assert!(Instant::now() < until, "the node doesn't accept:\n{}", self.log());
            pause(POLL);
        }
    }

    /// Ends the process as a power cut would, as far as the process can tell.
    ///
    /// # Panics
    /// If it has ended before.
    pub fn kill(&mut self) {
        assert!(self.exited().is_none(), "the node had ended by itself:\n{}", self.log());
        let mut child = self.child.take().expect("a running node");
        child.kill().expect("SIGKILL to a child");
        child.wait().expect("the exit status of a child");
    }

    /// Asks the process to end (SIGTERM) and waits until it did, in order.
    ///
    /// # Panics
    /// If it ends any other way or not before the deadline.
    pub fn stop(&mut self) {
        assert!(self.exited().is_none(), "the node had ended by itself:\n{}", self.log());
        let pid = self.pid().to_string();
        run(Command::new("kill").args(["-TERM", &pid]), POLL * 100).success();
        let until = Instant::now() + STOP;
        let status = loop {
            match self.exited() {
                Some(status) => break status,
                None if Instant::now() > until => panic!("SIGTERM is ignored:\n{}", self.log()),
                None => pause(POLL),
            }
        };
        self.child = None;
        // The JVM reports 143 after an orderly stop.
        let orderly = status.success() || (self.is_java() && status.code() == Some(143));
        assert!(orderly, "ended with {status} on SIGTERM:\n{}", self.log());
    }

    /// Waits until the process ends by itself.
    ///
    /// # Panics
    /// If it does not before the deadline.
    pub fn wait_for_end(&mut self, deadline: Duration) -> ExitStatus {
        let mut status = None;
        wait_until("the node ends", deadline, || {
            status = self.exited();
            status.is_some()
        });
        self.child = None;
        status.expect("it ended")
    }

    /// Files and sockets the process holds open.
    ///
    /// # Panics
    /// If the process has ended.
    pub fn open_files(&self) -> usize {
        let path = format!("/proc/{}/fd", self.pid());
        fs::read_dir(path).expect("the files of a running process").count()
    }

    /// Fails unless the process still runs.
    ///
    /// # Panics
    /// If it has ended; with what it logged.
    #[track_caller]
    pub fn assert_alive(&mut self) {
        if let Some(status) = self.exited() {
            panic!("ended with {status} (signal {:?}):\n{}", status.signal(), self.log());
        }
    }

    /// Resident memory in bytes.
    ///
    /// # Panics
    /// If the process has ended.
    pub fn resident_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let text = fs::read_to_string(path).expect("the status of a running process");
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.expect("VmRSS in KiB") * 1024
    }

    /// The end of what the node wrote on its standard streams.
    pub fn log(&self) -> String {
        let bytes = fs::read(self.log_path()).unwrap_or_default();
        tail(&String::from_utf8_lossy(&bytes)).to_owned()
    }

    /// The directory given to [`Self::start`].
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn is_java(&self) -> bool {
        self.program == Program::Apache || (self.program == Program::Bare && Self::is_peer())
    }

    fn wrapped_command(&self) -> Command {
        let command = self.command();
        let Some((program, arguments)) = self.wrapper.split_first() else { return command };
        let mut wrapped = Command::new(program);
        wrapped.args(arguments).arg(command.get_program()).args(command.get_args());
        if let Some(directory) = command.get_current_dir() {
            wrapped.current_dir(directory);
        }
        wrapped
    }

    fn command(&self) -> Command {
        let root = crate::root();
        let data = self.directory.join("data");
        let port = self.port.to_string();
        let properties = self.directory.join("server.properties");
        match self.program {
            Program::Bare if Self::is_peer() => {
                let mut command = Command::new(root.join("tests/conformance/peer"));
                command.arg(data).arg(port);
                command
            }
            Program::Bare | Program::Planted(_) => {
                let mut command = match self.program {
                    Program::Planted(bug) => {
                        let mut command = Command::new(built("ottla-planted"));
                        command.env("OTTLA_PLANTED", bug);
                        command
                    }
                    _ => Command::new(binary()),
                };
                command.arg("--data").arg(data).arg("--port").arg(port).args(&self.arguments);
                command.current_dir(&self.directory);
                command
            }
            Program::Configured => {
                let mut command = Command::new(binary());
                command.arg("start").arg("--config").arg(properties);
                command
            }
            Program::Apache => {
                let mut command = Command::new(root.join("tests/oracle/java/run"));
                command.arg("codec").arg("kafka.Kafka").arg(properties);
                command
            }
        }
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("node.log")
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().expect("a running node").id()
    }

    fn exited(&mut self) -> Option<ExitStatus> {
        let child = self.child.as_mut().expect("a running node");
        child.try_wait().expect("the state of a child")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            eprintln!("the node's log ends:\n{}", self.log());
        }
    }
}

/// The built `ottla`.
///
/// # Panics
/// If it was not built.
pub fn binary() -> PathBuf {
    built("ottla")
}

fn built(name: &str) -> PathBuf {
    let root = crate::root();
    let target = std::env::var_os("CARGO_TARGET_DIR");
    let target = target.map_or(root.join("target"), |target| root.join(target));
    let binary = target.join("release").join(name);
    let how = match name {
        "ottla" => "cargo build --release -p ottla".to_owned(),
        _ => format!("cargo build --release -p ottla --features planted --bin {name}"),
    };
    assert!(binary.is_file(), "not built: run ./test, or {how}");
    binary
}

/// Waits for a condition that another process brings about.
///
/// # Panics
/// If it doesn't hold before the deadline.
#[track_caller]
pub fn wait_until(what: &str, deadline: Duration, mut condition: impl FnMut() -> bool) {
    let until = Instant::now() + deadline;
    while !condition() {
        assert!(!left(until).is_zero(), "not before {deadline:?}: {what}");
        pause(POLL);
    }
}

fn pause(duration: Duration) {
    // Polling: what we wait for happens in another process, which can't wake this thread.
    thread::park_timeout(duration);
}

/// A port, and the one above it, that nobody listens on. Below the range from which the kernel
/// takes ports for outgoing connections, so that it stays free while a node is down.
///
/// # Panics
/// If there is none.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = (std::process::id() % 500) as u16 * 20;
    for _ in 0..500 {
        let port = 20_000 + (first + 2 * NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if free(port) && free(port + 1) {
            return port;
        }
    }
    panic!("no free port between 20000 and 30000");
}

const START: Duration = Duration::from_secs(10);
/// Apache Kafka formats its directory first, and starts a JVM for each.
const PEER_START: Duration = Duration::from_secs(90);
const STOP: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
