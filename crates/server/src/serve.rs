//! Starting and stopping: from settings to a listening node, from a signal to a closed one.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use broker::startup::{self, Opened, Options, Report};
use broker::{ConnId, Event, ListenerId, Node, Now};
use ottla_log::disk::os::OsDisk;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::admin::{self, Desk, Start};
use crate::connection::{self, Counted, Limits};
use crate::lock::{self, DirLock};
use crate::log_line;
use crate::shell::Shell;

/// What to serve, and where.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `log.dirs`, at least one.
    pub log_dirs: Vec<PathBuf>,
    /// `metadata.log.dir`, one of `log_dirs` or another one.
    pub metadata_dir: PathBuf,
    /// `node.id`.
    pub node_id: i32,
    /// Where clients come in, at least one.
    pub listeners: Vec<Listener>,
    /// The controller listener, if one is configured: name, host, port.
    pub controller: Option<(String, String, u16)>,
    /// Where probes and scrapers come in, and whether another port will do; nowhere if `None`.
    pub admin: Option<(SocketAddr, bool)>,
    /// Broker keys that were set, checked.
    pub file: BTreeMap<String, String>,
    /// Empty directories are formatted, as a cluster of their own.
    pub format: bool,
}

/// A listener for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its name, `PLAINTEXT` or one of the operator's.
    pub name: String,
    /// Where to listen.
    pub listen: Listen,
    /// What its clients are told to connect to, if it is advertised; the port 0 is the one that is
    /// listened on.
    pub advertised: Option<(String, u16)>,
}

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// On 127.0.0.1 and ::1; on another port if this one is taken and `may_move`.
    Loopback {
        /// The port.
        port: u16,
        /// Any other port will do.
        may_move: bool,
    },
    /// On every interface.
    Everywhere(u16),
    /// On one address.
    At(String, u16),
}

impl Settings {
    /// A node of its own in one directory, for programs on this machine.
    pub fn alone(dir: PathBuf, port: u16, may_move: bool) -> Self {
        Self {
            log_dirs: vec![dir.clone()],
            metadata_dir: dir,
            node_id: 1,
            listeners: vec![Listener {
                name: "PLAINTEXT".to_owned(),
                listen: Listen::Loopback { port, may_move },
                advertised: Some(("localhost".to_owned(), 0)),
            }],
            controller: None,
            admin: Some((SocketAddr::from(([127, 0, 0, 1], ADMIN_PORT)), true)),
            file: startup::ALONE.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            format: true,
        }
    }

    /// All its directories, each once: where one is slow, the others are not.
    pub fn dirs(&self) -> Vec<&PathBuf> {
        let mut dirs: Vec<&PathBuf> = self.log_dirs.iter().collect();
        if !dirs.contains(&&self.metadata_dir) {
            dirs.push(&self.metadata_dir);
        }
        dirs
    }
}

/// Why a node does not serve, for the operator.
#[derive(Clone, Debug)]
pub struct ServeError(pub String);

impl std::fmt::Display for ServeError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for ServeError {}

/// A serving node.
pub struct Running {
    /// Where its first listener listens.
    pub address: SocketAddr,
    /// Where each listener listens, in the order of the settings, on every address it has.
    pub listening: Vec<(String, Vec<SocketAddr>)>,
    /// Where probes and scrapers come in.
    pub admin: Option<SocketAddr>,
    /// `cluster.id`.
    pub cluster_id: String,
    /// What was found at the start.
    pub report: Report,
    shell: Arc<Shell>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    limits: Arc<Limits>,
    _locks: Vec<DirLock>,
}

/// Opens the node on its directory and listens. The ports open when the node can answer.
///
/// # Errors
/// What the operator has to change.
pub async fn start(settings: Settings) -> Result<Running, ServeError> {
    let open_files = raise_open_files();
    let dirs = settings.dirs();
    let mut locks = Vec::new();
    for dir in &dirs {
        locks.push(lock::acquire(dir, settings.format).map_err(ServeError)?);
    }
    // Bound before the node is opened, so that the node knows its address and a taken port is
    // found before anything is written; accepting begins after.
    let mut listeners = Vec::new();
    let mut listening = Vec::new();
    let mut told = Vec::new();
    for (index, listener) in settings.listeners.iter().enumerate() {
        let sockets = bind(&listener.listen).await?;
        let addresses: Result<Vec<SocketAddr>, _> =
            sockets.iter().map(TcpListener::local_addr).collect();
        let addresses = addresses.map_err(|error| ServeError(error.to_string()))?;
        let port = addresses.first().map_or(0, SocketAddr::port);
        told.push(broker::Listener {
            name: listener.name.clone(),
            advertised: listener.advertised.clone().map(|(host, told)| match told {
                0 => (host, port),
                told => (host, told),
            }),
        });
        listening.push((listener.name.clone(), addresses));
        let id = ListenerId(u16::try_from(index).unwrap_or(u16::MAX));
        listeners.extend(sockets.into_iter().map(|socket| (id, socket)));
    }
    let address = listening.first().and_then(|(_, addresses)| addresses.first().copied());
    let address = address.ok_or_else(|| ServeError("no listener".to_owned()))?;
    let admin = match settings.admin {
        Some((at, may_move)) => {
            let bound = admin::bind(at, may_move).await;
            Some(bound.map_err(|error| ServeError(format!("admin port {at}: {error}")))?)
        }
        None => None,
    };
    let volumes: Vec<PathBuf> = dirs.into_iter().cloned().collect();
    let disk = OsDisk::with_volumes(&volumes).map_err(|error| ServeError(error.to_string()))?;
    // The rest is for connections, which need theirs all the time.
    disk.limit_open((open_files / 2).min(OPEN_FILES_MAX));
    let disk = Arc::new(disk);
    let seed = entropy().map_err(|error| ServeError(format!("/dev/urandom: {error}")))?;
    let options = Options {
        log_dirs: settings.log_dirs.clone(),
        metadata_dir: settings.metadata_dir.clone(),
        node_id: settings.node_id,
        listeners: told,
        controller: settings.controller.clone(),
        file: settings.file.clone(),
        format: settings.format,
        seed,
    };
    let (stop, stopped) = watch::channel(false);
    // Probes and scrapers are answered from here on: recovery may take a while.
    let starting = Arc::new(Start::new());
    let desk = Arc::new(Desk::new(starting.clone()));
    let mut tasks = Vec::new();
    let admin = admin.and_then(|listener| {
        let at = listener.local_addr().ok();
        tasks.push(tokio::spawn(admin::serve(listener, desk.clone(), stopped.clone())));
        at
    });
    let (mut node, report) = open(disk.clone(), options, starting).await?;
    // What is described as the level is the one that holds.
    node.log_levels.insert("root".to_owned(), log_line::level().to_owned());
    let cluster_id = node.config.cluster_id.clone();
    let limits = Arc::new(Limits::new(&node, disk.volumes()));
    let shell = Shell::new(node, disk, Handle::current());
    let shell = shell.map_err(|error| ServeError(error.to_string()))?;
    desk.open(shell.clone());
    let serials = Arc::new(AtomicU64::new(1));
    tasks.push(tokio::spawn(tick(shell.clone(), stopped.clone())));
    for (id, listener) in listeners {
        tasks.push(tokio::spawn(accept(
            (id, listener),
            shell.clone(),
            limits.clone(),
            serials.clone(),
            stopped.clone(),
        )));
    }
    Ok(Running {
        address,
        admin,
        listening,
        cluster_id,
        report,
        shell,
        stop,
        tasks,
        limits,
        _locks: locks,
    })
}

/// Opens the node, which waits for the disk, telling how far that has come.
async fn open(
    disk: Arc<OsDisk>,
    options: Options,
    starting: Arc<Start>,
) -> Result<(Node, Report), ServeError> {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = Now { wall_ms: wall.as_millis() as i64, steady_ms: 0 };
    let work = move || {
        let mut told = Instant::now();
        let mut tell = |opened: Opened| {
            starting.note(opened);
            if told.elapsed() >= TELL_EVERY && opened.done < opened.all {
                told = Instant::now();
                log_line::line("INFO", &starting.to_string());
            }
        };
        startup::open_telling(&*disk, &options, now, &mut tell)
    };
    let opened = tokio::task::spawn_blocking(work).await;
    let opened = opened.map_err(|error| ServeError(format!("the start failed: {error}")))?;
    opened.map_err(|error| ServeError(error.0))
}

async fn bind(listen: &Listen) -> Result<Vec<TcpListener>, ServeError> {
    match listen {
        Listen::Loopback { port, may_move } => bind_loopback(*port, *may_move).await,
        Listen::Everywhere(port) => {
            // Where the machine has IPv6, this takes both.
            let v6 = SocketAddr::from(([0u16; 8], *port));
            let v4 = SocketAddr::from(([0u8; 4], *port));
            match TcpListener::bind(v6).await {
                Ok(listener) => Ok(vec![listener]),
                Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                    Err(ServeError(format!("cannot listen on port {port}: {error}")))
                }
                Err(_) => TcpListener::bind(v4)
                    .await
                    .map(|listener| vec![listener])
                    .map_err(|error| ServeError(format!("cannot listen on port {port}: {error}"))),
            }
        }
        Listen::At(host, port) => TcpListener::bind((host.as_str(), *port))
            .await
            .map(|listener| vec![listener])
            .map_err(|error| ServeError(format!("cannot listen on {host}:{port}: {error}"))),
    }
}

/// Listens on 127.0.0.1 and, where the machine has it, ::1.
async fn bind_loopback(port: u16, may_move: bool) -> Result<Vec<TcpListener>, ServeError> {
    let v4 = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let first = match TcpListener::bind(v4(port)).await {
        Ok(listener) => listener,
        Err(error) if may_move => TcpListener::bind(v4(0))
            .await
            .map_err(|_| ServeError(format!("port {port}: {error}")))?,
        Err(error) => {
            return Err(ServeError(format!("cannot listen on 127.0.0.1:{port}: {error}")));
        }
    };
    let port = first.local_addr().map_err(|error| ServeError(error.to_string()))?.port();
    let mut listeners = vec![first];
    let v6 = SocketAddr::from(([0, 0, 0, 0, 0, 0, 0, 1], port));
    if let Ok(listener) = TcpListener::bind(v6).await {
        listeners.push(listener);
    }
    Ok(listeners)
}

async fn accept(
    (id, listener): (ListenerId, TcpListener),
    shell: Arc<Shell>,
    limits: Arc<Limits>,
    serials: Arc<AtomicU64>,
    mut stop: watch::Receiver<bool>,
) {
    let mut connections: Vec<JoinHandle<()>> = Vec::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        connections.retain(|connection| !connection.is_finished());
        let (stream, peer): (TcpStream, SocketAddr) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: wait for some to come back.
                limits.complaints.line("WARN", &format!("cannot accept: {error}"));
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(counted) = Counted::one_more(&limits) else {
            limits.complaints.line("WARN", &format!("refused {peer}: max.connections reached"));
            continue;
        };
        let conn = ConnId(serials.fetch_add(1, Ordering::Relaxed));
        let serving =
            connection::serve(shell.clone(), counted, (conn, id), stream, peer, stop.clone());
        connections.push(tokio::spawn(serving));
    }
    drop(listener);
    for connection in connections {
        let _ = connection.await;
    }
}

/// Ticks the node at its deadlines.
async fn tick(shell: Arc<Shell>, mut stop: watch::Receiver<bool>) {
    loop {
        let wait = shell.next_deadline_ms().saturating_sub(shell.now().steady_ms).clamp(0, 60_000);
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(wait as u64)) => {
                shell.submit(Event::Ticked);
            }
            () = shell.deadline_changed.notified() => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

impl Running {
    /// Returns when the node can't go on by itself.
    pub async fn halted(&self) {
        if !self.shell.is_halted() {
            self.shell.halted.notified().await;
        }
    }

    /// Stops in order: no new requests, those under way answered, logs closed, marker written.
    ///
    /// # Errors
    /// What kept it from a clean stop; the next start recovers then.
    pub async fn stop(self) -> Result<(), ServeError> {
        // What only waits for more to come is answered with what there is.
        self.shell.submit(Event::Stopping);
        let _ = self.stop.send(true);
        for task in self.tasks {
            let _ = tokio::time::timeout(STOP_PATIENCE, task).await;
        }
        drop(self.limits);
        // Its threads write to directories that may be another node's once this one is closed.
        let shell = self.shell.clone();
        let _ = tokio::task::spawn_blocking(move || shell.stop_elsewhere()).await;
        let began = Instant::now();
        let node = loop {
            if self.shell.is_halted() {
                return Err(ServeError("stopped without closing the logs".into()));
            }
            if let Some(node) = self.shell.take_idle() {
                break node;
            }
            if began.elapsed() > STOP_PATIENCE {
                return Err(ServeError("the disk does not answer; stopped without closing".into()));
            }
            self.shell.pump();
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        startup::close(&**self.shell.disk(), node).map_err(|error| ServeError(error.0))
    }
}

/// The soft limit of 1024 descriptors many systems give is no limit to plan with. Gives how many
/// there may be.
fn raise_open_files() -> usize {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    let before = limit.current;
    limit.current = limit.maximum;
    let held = if setrlimit(Resource::Nofile, limit).is_ok() { limit.maximum } else { before };
    held.and_then(|held| usize::try_from(held).ok()).unwrap_or(usize::MAX)
}

/// 256 bits of it.
///
/// # Errors
/// The system has none to give.
pub fn entropy() -> std::io::Result<[u64; 4]> {
    use std::io::Read;
    let mut bytes = [0u8; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    let mut seed = [0u64; 4];
    for (word, chunk) in seed.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = chunk.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    }
    Ok(seed)
}

/// Where `/healthz` and `/metrics` are looked for.
pub const ADMIN_PORT: u16 = 9644;
/// Files of logs that are held open at most, whatever the system allows.
const OPEN_FILES_MAX: usize = 16 * 1024;
/// How often the operator is told how far a long start has come.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// How long the end of connections and of disk operations is waited for.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
