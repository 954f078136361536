//! How tools come to a cluster: its address and properties from the command line, one connection,
//! one thread; how they name what went wrong, and what they do about signals.
//!
//! Invariant I1: a cluster that can't be reached is one line on standard error and exit code 1,
//! within seconds, whatever Apache Kafka's tool prints after a minute.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use client::{Admin, ApiError, Client, Error, Options};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use wire::ErrorCode;

use crate::flags::{Flag, Parsed, value};
use crate::{Failure, Io};

/// `--bootstrap-server`.
pub(crate) const BOOTSTRAP_SERVER: Flag =
    value(&["bootstrap-server"], "host:port,...", "Required. Brokers to begin with.");
/// `--command-config`.
pub(crate) const COMMAND_CONFIG: Flag =
    value(&["command-config"], "file", "Properties for the connection.");

/// What goes wrong once the command line is in order.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// For the tool to say in its way: on standard output or on standard error.
    Said {
        /// The code, if a broker gave one.
        code: Option<ErrorCode>,
        /// The words.
        text: String,
    },
    /// Nothing is left to say but this.
    Failed(Failure),
}

impl Trouble {
    /// Words without a code.
    pub fn said(text: impl Into<String>) -> Self {
        Self::Said { code: None, text: text.into() }
    }

    /// The text with the name of Java's exception in front, if there is a code.
    pub fn with_exception(code: Option<ErrorCode>, text: &str) -> String {
        match code {
            Some(code) => format!("{}: {text}", exception(code)),
            None => text.to_owned(),
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        match error {
            Error::Unreachable { .. } | Error::Disconnected { .. } => {
                Self::Failed(Failure::new(text))
            }
            Error::Timeout { .. } => Self::Said { code: Some(ErrorCode::REQUEST_TIMED_OUT), text },
            Error::Broker(code, _) => Self::Said { code: Some(code), text },
            Error::Unsupported(_) => {
                Self::Said { code: Some(ErrorCode::UNSUPPORTED_VERSION), text }
            }
            Error::Protocol(_) | Error::Config(_) | Error::Closed(_) => {
                Self::Said { code: None, text }
            }
        }
    }
}

impl From<ApiError> for Trouble {
    fn from(error: ApiError) -> Self {
        Self::Said { code: Some(error.code), text: error.to_string() }
    }
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// Runs a tool's work on this thread.
pub(crate) fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().map_err(unable)?;
    Ok(drive(runtime, work))
}

/// As [`block_on`], with the client on a thread of its own: `work` may block in reads and writes.
pub(crate) fn block_on_beside<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    Ok(drive(beside()?, work))
}

/// A runtime whose tasks go on while this thread reads or writes.
pub(crate) fn beside() -> Result<Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).enable_all().build().map_err(unable)
}

fn drive<T>(runtime: Runtime, work: impl Future<Output = T>) -> T {
    let done = runtime.block_on(work);
    // What the client still has under way is of no interest any more.
    runtime.shutdown_timeout(Duration::ZERO);
    done
}

fn unable(error: std::io::Error) -> Failure {
    Failure::new(format!("error: {error}"))
}

/// The signals that ask to stop.
pub(crate) struct Signals {
    seen: watch::Receiver<Option<u8>>,
    /// Writes begun and ended: odd while one is under way.
    writes: Arc<AtomicU64>,
}

impl Signals {
    /// Takes them over, for the runtime this is called in. After a second one nothing is waited
    /// for, nor after the first for a write that is stuck: see [`Self::writing`].
    ///
    /// # Errors
    /// The operating system's.
    pub fn take_over() -> Result<Self, Failure> {
        let failed = |error| Failure::new(format!("error: signals: {error}"));
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let (sender, seen) = watch::channel(None);
        let writes = Arc::new(AtomicU64::new(0));
        let watched = writes.clone();
        tokio::spawn(async move {
            let mut first = None;
            let mut before = 0;
            loop {
                let code = tokio::select! {
                    _ = interrupt.recv() => INTERRUPTED,
                    _ = terminate.recv() => TERMINATED,
                    () = tokio::time::sleep(STUCK), if first.is_some() => {
                        let now = watched.load(Ordering::Relaxed);
                        let is_stuck = now % 2 == 1 && now == before;
                        before = now;
                        if let (true, Some(code)) = (is_stuck, first) {
                            std::process::exit(i32::from(code));
                        }
                        continue;
                    }
                };
                if first.is_some() {
                    std::process::exit(i32::from(code));
                }
                first = Some(code);
                before = watched.load(Ordering::Relaxed);
                let _ = sender.send(Some(code));
            }
        });
        Ok(Self { seen, writes })
    }

    /// Writes where somebody may have stopped reading: if it takes a second after a signal, the
    /// process ends.
    pub fn writing<T>(&self, write: impl FnOnce() -> T) -> T {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let written = write();
        self.writes.fetch_add(1, Ordering::Relaxed);
        written
    }

    /// The exit code, if one came.
    pub fn seen(&self) -> Option<u8> {
        *self.seen.borrow()
    }

    /// Waits for one; its exit code.
    pub async fn any(&mut self) -> u8 {
        loop {
            if let Some(code) = *self.seen.borrow_and_update() {
                return code;
            }
            if self.seen.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

/// What a shell says of SIGINT and SIGTERM.
const INTERRUPTED: u8 = 130;
const TERMINATED: u8 = 143;
/// How long a write may take after a signal.
const STUCK: Duration = Duration::from_secs(1);

/// What `--command-config` and `--bootstrap-server` say.
pub(crate) fn properties(parsed: &Parsed) -> Result<BTreeMap<String, String>, Failure> {
    let mut properties = match parsed.value("command-config")? {
        Some(path) => read_properties(path)?,
        None => BTreeMap::new(),
    };
    if let Some(servers) = parsed.value("bootstrap-server")? {
        properties.insert("bootstrap.servers".into(), servers.to_owned());
    }
    Ok(properties)
}

/// Reads a file of Java properties; the last of equal keys counts.
pub(crate) fn read_properties(path: &str) -> Result<BTreeMap<String, String>, Failure> {
    let failed = |error: String| Failure::new(format!("error: {path}: {error}"));
    let content = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let entries =
        wire::files::parse_properties(&content).map_err(|error| failed(error.to_string()))?;
    Ok(entries.into_iter().map(|(_, key, value)| (key, value)).collect())
}

/// What those properties say; what they hold in vain is told.
///
/// # Errors
/// A property that is none.
pub(crate) fn told_options(
    properties: &BTreeMap<String, String>,
    io: &mut Io<'_>,
) -> Result<Options, Error> {
    let options = Options::from_properties(properties)?;
    for warning in &options.warnings {
        let _ = writeln!(io.err, "warning: {warning}");
    }
    Ok(options)
}

/// As [`told_options`], for who waits for an answer.
///
/// # Errors
/// A property that is none.
pub(crate) fn options(
    properties: &BTreeMap<String, String>,
    io: &mut Io<'_>,
) -> Result<Options, Error> {
    let mut options = told_options(properties, io)?;
    if !properties.contains_key(SETUP_TIMEOUT) {
        // I1: a person waits.
        options.connect_timeout = options.connect_timeout.min(CONNECT_TIMEOUT);
    }
    Ok(options)
}

/// Connects with those properties.
pub(crate) async fn connect(
    properties: &BTreeMap<String, String>,
    timeout: Option<Duration>,
    io: &mut Io<'_>,
) -> Result<Admin, Failure> {
    let told = |error: Error| match error {
        Error::Unreachable { .. } => Failure::new(error.to_string()),
        other => Failure::new(format!("error: {other}")),
    };
    let mut options = options(properties, io).map_err(told)?;
    if let Some(timeout) = timeout {
        options.api_timeout = timeout;
        options.request_timeout = options.request_timeout.min(timeout);
    }
    Ok(Admin::new(Client::connect(options).await.map_err(told)?))
}

/// The class of the exception that Apache Kafka's clients throw for a code.
pub(crate) fn exception(code: ErrorCode) -> String {
    let name = code.name().unwrap_or("UNKNOWN_SERVER_ERROR");
    let special = EXCEPTIONS.iter().find(|(known, _)| *known == name).map(|(_, class)| *class);
    let class = special.map_or_else(
        || {
            let words = name.split('_').map(|word| {
                let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
                format!("{first}{}", rest.to_ascii_lowercase())
            });
            let class: String = words.collect();
            class.strip_suffix("Exception").map(str::to_owned).unwrap_or(class)
        },
        str::to_owned,
    );
    format!("org.apache.kafka.common.errors.{class}Exception")
}

const SETUP_TIMEOUT: &str = "socket.connection.setup.timeout.ms";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Codes whose exceptions have names of their own.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("UNKNOWN_SERVER_ERROR", "UnknownServer"),
    ("REQUEST_TIMED_OUT", "Timeout"),
    ("TOPIC_ALREADY_EXISTS", "TopicExists"),
    ("NON_EMPTY_GROUP", "GroupNotEmpty"),
    ("INVALID_CONFIG", "InvalidConfiguration"),
    ("TOPIC_AUTHORIZATION_FAILED", "TopicAuthorization"),
    ("GROUP_AUTHORIZATION_FAILED", "GroupAuthorization"),
    ("CLUSTER_AUTHORIZATION_FAILED", "ClusterAuthorization"),
    ("MESSAGE_TOO_LARGE", "RecordTooLarge"),
    ("KAFKA_STORAGE_ERROR", "KafkaStorage"),
    ("THROTTLING_QUOTA_EXCEEDED", "ThrottlingQuotaExceeded"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_have_javas_names() {
        let class = |code| exception(code).rsplit('.').next().unwrap().to_owned();
        assert_eq!(class(ErrorCode::GROUP_ID_NOT_FOUND), "GroupIdNotFoundException");
        assert_eq!(class(ErrorCode::NON_EMPTY_GROUP), "GroupNotEmptyException");
        assert_eq!(class(ErrorCode::INVALID_TOPIC_EXCEPTION), "InvalidTopicException");
        assert_eq!(class(ErrorCode::POLICY_VIOLATION), "PolicyViolationException");
        assert_eq!(class(ErrorCode::REQUEST_TIMED_OUT), "TimeoutException");
    }
}
