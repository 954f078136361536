//! The admin port: whether the node serves, and what it counts, for probes and scrapers.
//!
//! `GET /healthz` (also `/livez`, `/readyz`, `/v1/status/ready`) says 200 while the node serves,
//! and 503 while logs are opened, with how many are, and when it does not serve any more; `GET
//! /metrics` (also `/public_metrics`) is Prometheus' text. The port answers from the beginning of
//! the start.
//!
//! Invariants:
//! - I1: a peer gets one answer a connection, within `PATIENCE`, and no more memory than
//!   `HEAD_MAX`; at most `PEERS_MAX` are served at a time, and where there are more the oldest
//!   give way, so that silent ones keep nobody out.
//! - I2: nothing here changes the node: the port is not guarded.
//! - I3: the node is asked for its numbers at most once in `FRESH`, however many ask here.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use broker::metrics::recovery_text;
use broker::startup::Opened;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::shell::Shell;

/// How far a start has come.
#[derive(Debug)]
pub struct Start {
    began: Instant,
    done: AtomicUsize,
    all: AtomicUsize,
}

impl Start {
    /// It begins.
    pub fn new() -> Self {
        Self { began: Instant::now(), done: AtomicUsize::new(0), all: AtomicUsize::new(0) }
    }

    /// It has come so far.
    pub fn note(&self, opened: Opened) {
        self.all.store(opened.all, Ordering::Relaxed);
        self.done.store(opened.done, Ordering::Relaxed);
    }

    /// Logs that are left to open, of all, and how many seconds that takes, about.
    fn left(&self) -> (usize, usize, u64) {
        let (done, all) = (self.done.load(Ordering::Relaxed), self.all.load(Ordering::Relaxed));
        let left = all.saturating_sub(done);
        let secs = self.began.elapsed().as_secs_f64() / done.max(1) as f64 * left as f64;
        (left, all, secs as u64)
    }
}

impl Default for Start {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Display for Start {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (left, all, secs) = self.left();
        write!(out, "recovering: {} of {all} logs, about {secs} s left", all - left)
    }
}

/// The node, and what it said of itself last.
#[derive(Default)]
pub struct Desk {
    start: Arc<Start>,
    /// From when it serves on.
    shell: OnceLock<Arc<Shell>>,
    numbers: Mutex<Option<(Instant, Arc<str>)>>,
}

impl Desk {
    /// One of a node that is starting.
    pub fn new(start: Arc<Start>) -> Self {
        Self { start, ..Self::default() }
    }

    /// The node serves.
    pub fn open(&self, shell: Arc<Shell>) {
        let _ = self.shell.set(shell);
    }

    /// Why the node does not serve, if it does not.
    fn trouble(&self) -> Option<String> {
        match self.shell.get() {
            Some(shell) if shell.is_halted() => Some("stopping\n".to_owned()),
            Some(_) => None,
            None => Some(format!("{}\n", self.start)),
        }
    }

    /// The text for a scraper; `None` once the node is gone.
    async fn numbers(&self) -> Option<Arc<str>> {
        let Some(shell) = self.shell.get() else {
            let (left, _, secs) = self.start.left();
            return Some(recovery_text(left as u64, secs).into());
        };
        let mut last = self.numbers.lock().await;
        if let Some((taken, text)) = &*last
            && taken.elapsed() < FRESH
        {
            return Some(text.clone());
        }
        let shell = shell.clone();
        // It waits for a step to end, and may step itself.
        let sampled = tokio::task::spawn_blocking(move || shell.sample()).await;
        let text: Arc<str> = sampled.ok().flatten()?.text().into();
        *last = Some((Instant::now(), text.clone()));
        Some(text)
    }
}

/// Serves until the node stops.
pub async fn serve(listener: TcpListener, desk: Arc<Desk>, mut stop: watch::Receiver<bool>) {
    let mut peers: VecDeque<JoinHandle<()>> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let Ok((stream, _)) = accepted else {
            // Out of descriptors, most likely: wait for some to come back.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        peers.retain(|peer| !peer.is_finished());
        if peers.len() >= PEERS_MAX
            && let Some(oldest) = peers.pop_front()
        {
            oldest.abort();
        }
        let desk = desk.clone();
        peers.push_back(tokio::spawn(async move {
            let _ = timeout(PATIENCE, converse(stream, &desk)).await;
        }));
    }
    for peer in peers {
        peer.abort();
    }
}

/// Listens on `wanted`, or on any port beside it if that one is taken and `may_move`.
///
/// # Errors
/// The address can't be listened on.
pub async fn bind(wanted: SocketAddr, may_move: bool) -> std::io::Result<TcpListener> {
    match TcpListener::bind(wanted).await {
        Err(error) if may_move && error.kind() == std::io::ErrorKind::AddrInUse => {
            TcpListener::bind(SocketAddr::new(wanted.ip(), 0)).await
        }
        bound => bound,
    }
}

async fn converse(mut stream: TcpStream, desk: &Desk) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let room = HEAD_MAX.saturating_sub(head.len());
        if (&mut stream).take(room as u64).read_buf(&mut head).await? == 0 {
            // The head is too large, or the peer gave up half way.
            break;
        }
    }
    let answer = answer(&head, desk).await;
    stream.write_all(&answer).await?;
    stream.shutdown().await
}

async fn answer(head: &[u8], desk: &Desk) -> Vec<u8> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let path = target.split('?').next().unwrap_or_default();
    let is_http = words.next().is_some_and(|version| version.starts_with("HTTP/1."));
    if !is_http || !head.windows(4).any(|end| end == b"\r\n\r\n") {
        return response("400 Bad Request", TEXT, "not an HTTP/1 request\n", true);
    }
    if method != "GET" && method != "HEAD" {
        return response("405 Method Not Allowed", TEXT, "only GET and HEAD\n", true);
    }
    let body = method == "GET";
    match path {
        "/healthz" | "/livez" | "/readyz" | "/v1/status/ready" => match desk.trouble() {
            Some(trouble) => response("503 Service Unavailable", TEXT, &trouble, body),
            None => response("200 OK", TEXT, "ok\n", body),
        },
        "/metrics" | "/public_metrics" => match desk.numbers().await {
            Some(text) => response("200 OK", EXPOSITION, &text, body),
            None => response("503 Service Unavailable", TEXT, "stopping\n", body),
        },
        _ => response("404 Not Found", TEXT, "there is /healthz and /metrics\n", body),
    }
}

fn response(status: &str, kind: &str, text: &str, with_body: bool) -> Vec<u8> {
    let size = text.len();
    let mut bytes = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\
         Connection: close\r\n\r\n"
    )
    .into_bytes();
    if with_body {
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

const TEXT: &str = "text/plain; charset=utf-8";
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";
/// A request's head, at most.
const HEAD_MAX: usize = 8 << 10;
/// Connections served at a time.
const PEERS_MAX: usize = 32;
/// How long a conversation may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// How old numbers may be.
const FRESH: Duration = Duration::from_secs(1);
